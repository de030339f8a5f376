"""What only looks: get, describe, explain, events, and what the server says of itself."""

from __future__ import annotations

import json
import re
import time

from tests.e2e.conftest import eventually
from tests.e2e.kubectl import IMAGE, Kubectl

DESCRIBED = {
    "namespace/default": "Active",
    "node/node-1": "Non-terminated Pods",
    "configmap/kube-root-ca.crt": "BEGIN CERTIFICATE",
    "serviceaccount/default": "Tokens",
    "clusterrole/view": "PolicyRule",
    "clusterrolebinding/cluster-admin": "system:masters",
    "priorityclass/system-node-critical": "2000001000",
    "service/web": "Endpoints",
    "endpointslice": "Addresses",
    "pod/web": "Scheduled",
    "secret/s": "Type:",
    "role/r": "PolicyRule",
    "rolebinding/rb": "r",
    "resourcequota/q": "Hard",
    "limitrange/limits": "Default Request",
    "poddisruptionbudget/b": "Min available",
    "job/j": "Completions",
    "cronjob/cj": "Schedule",
    "deployment/d": "StrategyType",
    "replicaset": "Controlled By",
    "daemonset/ds": "Desired Number",
    "statefulset/ss": "Pods Status",
    "horizontalpodautoscaler/d": "Reference",
    "ingress/i": "Rules",
    "ingressclass/{namespace}": "Controller",
    "networkpolicy/np": "PodSelector",
    "persistentvolumeclaim/claim": "Access Modes",
    "persistentvolume/{namespace}": "Reclaim Policy",
    "storageclass/{namespace}": "Provisioner",
    "lease/l": "Lease",
    "replicationcontroller/rc": "Replicas",
    "event": "Reason",
    "apiservice/v1.apps": "APIService",
    "csr/{namespace}": "Requesting User",
    "flowschema/exempt": "Matching",
    "customresourcedefinition/walks.{namespace}.example.com": "Established",
    "podtemplate/pt": "Template",
    "endpoints/web": "Subsets",
    "runtimeclass/{namespace}": "Handler",
    "csidriver/{namespace}.example.com": "Spec",
    "validatingadmissionpolicy/{namespace}": "Spec",
}


def everything(namespace: str, csr: str) -> list[dict[str, object]]:
    """Return one object of most kinds; the cluster's own are named after the namespace."""
    template = {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": IMAGE}], "terminationGracePeriodSeconds": 1},
    }
    group = f"{namespace}.example.com"
    selector = {"matchLabels": {"app": "x"}}

    def one(kind: str, name: str, version: str = "v1", **rest: object) -> dict[str, object]:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}

    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"plural": "walks", "kind": "Walk", "singular": "walk"}
    crd = {
        "group": group,
        "scope": "Namespaced",
        "names": names,
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    }
    storage = {"accessModes": ["ReadWriteOnce"], "storageClassName": namespace}
    policy = {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["walks"]}
            ]
        },
        "validations": [{"expression": "true"}],
    }
    return [
        one("LimitRange", "limits", spec={"limits": [{"type": "Container", "defaultRequest": {"cpu": "1m"}}]}),
        one("DaemonSet", "ds", "apps/v1", spec={"selector": selector, "template": template}),
        one(
            "StatefulSet",
            "ss",
            "apps/v1",
            spec={"replicas": 0, "serviceName": "s", "selector": selector, "template": template},
        ),
        one("ReplicationController", "rc", spec={"replicas": 0, "selector": {"app": "x"}, "template": template}),
        one("PodTemplate", "pt", template=template),
        one("NetworkPolicy", "np", "networking.k8s.io/v1", spec={"podSelector": selector, "policyTypes": ["Ingress"]}),
        one("IngressClass", namespace, "networking.k8s.io/v1", spec={"controller": "example.com/none"}),
        one("StorageClass", namespace, "storage.k8s.io/v1", provisioner="example.com/none"),
        one(
            "PersistentVolume",
            namespace,
            spec={**storage, "capacity": {"storage": "1Mi"}, "hostPath": {"path": f"/tmp/{namespace}"}},
        ),
        one(
            "PersistentVolumeClaim",
            "claim",
            spec={**storage, "resources": {"requests": {"storage": "1Mi"}}},
        ),
        one("Lease", "l", "coordination.k8s.io/v1", spec={"holderIdentity": "me"}),
        one("RuntimeClass", namespace, "node.k8s.io/v1", handler="runc"),
        one("CSIDriver", group, "storage.k8s.io/v1", spec={"attachRequired": False}),
        one("CustomResourceDefinition", f"walks.{group}", "apiextensions.k8s.io/v1", spec=crd),
        one("ValidatingAdmissionPolicy", namespace, "admissionregistration.k8s.io/v1", spec=policy),
        one(
            "CertificateSigningRequest",
            namespace,
            "certificates.k8s.io/v1",
            spec={"request": csr, "signerName": "example.com/none", "usages": ["client auth"]},
        ),
    ]


def make_everything(k: Kubectl) -> str:
    """Make one object of each described kind; return the manifest of those not made by a generator."""
    from tests.e2e.walk.access import signing_request

    k("create", "deployment", "d", f"--image={IMAGE}", "--replicas=0")
    k("run", "web", f"--image={IMAGE}", "--port=8080", "--expose", "--labels=app=web")
    k("create", "secret", "generic", "s", "--from-literal=a=b")
    k("create", "role", "r", "--verb=get", "--resource=pods")
    k("create", "rolebinding", "rb", "--role=r", "--user=u")
    k("create", "quota", "q", "--hard=configmaps=100")
    k("create", "pdb", "b", "--selector=app=d", "--min-available=1")
    k("create", "job", "j", f"--image={IMAGE}", "--", "true")
    k("create", "cronjob", "cj", f"--image={IMAGE}", "--schedule=0 0 1 1 *", "--", "true")
    k("create", "ingress", "i", "--rule=a.b/*=web:8080")
    k("autoscale", "deployment", "d", "--min=1", "--max=2", "--cpu-percent=50")
    items = everything(k.namespace, signing_request(k.namespace))
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    k("apply", "-f", "-", stdin=manifest)
    k("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    return manifest


def describe_every_kind(k: Kubectl) -> None:
    manifest = make_everything(k)
    try:
        wrong = []
        for what, wanted in DESCRIBED.items():
            kind, _, name = what.format(namespace=k.namespace).partition("/")
            said = k("describe", kind, *([name] if name else []), check=False)
            if wanted not in said:
                wrong.append(f"describe {what}: no {wanted!r} in\n{said}")
        assert not wrong, "\n".join(wrong)
        assert "web" in k("describe", "-f", "-", stdin=json.dumps(k.json("pod", "web")))
        assert "web" in k("describe", "pods", "-l", "app=web", "--show-events=false")
        assert "Events" in k("describe", "pods", "-A", "--chunk-size=3")
    finally:
        k("delete", "-f", "-", "--wait=false", stdin=manifest)


def get_in_every_shape(k: Kubectl) -> None:
    for n in range(5):
        k("create", "configmap", f"c{n}", f"--from-literal=n={n}")
    k("label", "configmap", "c1", "c2", "tier=front")
    assert "c4" in k("get", "configmaps")
    assert "DATA" in k("get", "cm", "-o", "wide") and "DATA" not in k("get", "cm", "--no-headers")
    assert "kind: ConfigMap" in k("get", "cm", "c1", "-o", "yaml")
    assert "managedFields" in k("get", "cm", "c1", "-o", "yaml", "--show-managed-fields")
    assert k.json("cm")["kind"] == "List"
    assert k("get", "cm", "c1", "c2", "-o", "name").split() == ["configmap/c1", "configmap/c2"]
    assert k.path("cm/c3", ".data.n") == "3"
    assert k("get", "cm", "c3", "-o", "jsonpath-as-json={.data}").split() == ["[", "{", '"n":', '"3"', "}", "]"]
    assert k("get", "cm", "c3", "-o", "go-template={{.data.n}}") == "3"
    columns = k("get", "cm", "-l", "tier", "-o", "custom-columns=NAME:.metadata.name,N:.data.n", "--no-headers")
    assert columns.split() == ["c1", "1", "c2", "2"]
    assert k("get", "cm", "-l", "tier in (front),tier!=back", "-o", "name").split() == ["configmap/c1", "configmap/c2"]
    assert k("get", "cm", "--field-selector", "metadata.name=c2", "-o", "name").strip() == "configmap/c2"
    assert len(k("get", "cm", "--chunk-size=2", "-o", "name").split()) == 6
    assert len(k("get", "cm", "--chunk-size=2").splitlines()) == 7
    assert "kube-system" in k("get", "cm", "-A")
    assert "front" in k("get", "cm", "-L", "tier") and "tier=front" in k("get", "cm", "--show-labels")
    assert k("get", "cm", "--sort-by=.data.n", "-o", "name").split()[-1] == "configmap/c4"
    assert json.loads(k("get", "--raw", f"/api/v1/namespaces/{k.namespace}/configmaps/c1"))["data"] == {"n": "1"}
    assert json.loads(k("get", "--raw", "/apis/apps/v1"))["kind"] == "APIResourceList"
    assert "configmap/c0" in k("get", "cm,sa,secrets", "-o", "name")
    assert "ConfigMap" in k("get", "cm", "c0", "--show-kind", "-o", "yaml")
    assert 'configmaps "absent" not found' in k.fails("get", "configmap", "absent")
    assert k("get", "cm", "absent", "--ignore-not-found") == ""
    assert "the server doesn't have a resource type" in k.fails("get", "nonsense")
    assert "No resources found" in k("get", "pods")
    assert "NotFound" in k.fails("get", "cm", "absent")
    assert "kubernetes" in k("get", "svc,endpoints,namespaces,nodes", "-A", "-o", "wide")
    kinds = k("api-resources", "--verbs=list", "-o", "name").split()
    assert "kube-system" in k("get", ",".join(kinds), "-A", "--ignore-not-found", "--show-kind")


def watch_changes(k: Kubectl) -> None:
    k("create", "configmap", "old", "--from-literal=a=b")
    with k.running("get", "configmaps", "-w", "--output-watch-events") as seen:
        eventually(lambda: any("old" in line for line in seen), 20, "the watch begins with what is there")
        k("create", "configmap", "new", "--from-literal=a=b")
        eventually(lambda: any("ADDED" in line and "new" in line for line in seen), 20, "a new one is seen")
        k("label", "configmap", "new", "a=b")
        eventually(lambda: any("MODIFIED" in line and "new" in line for line in seen), 20, "a change is seen")
        k("delete", "configmap", "new")
        eventually(lambda: any("DELETED" in line and "new" in line for line in seen), 20, "its end is seen")
    with k.running("get", "configmap", "old", "--watch-only", "-o", "jsonpath={.metadata.labels.n}{'\\n'}") as seen:

        def is_seen() -> bool:
            k("label", "configmap", "old", f"n=v{time.monotonic_ns()}", "--overwrite")
            return any(line.startswith("v") for line in seen)

        eventually(is_seen, 20, "changes alone, through a template")


def explain_every_kind(k: Kubectl) -> None:
    listed = [line.split() for line in k("api-resources", "--no-headers").splitlines()]
    wrong = []
    for words in listed:
        version, kind = words[-3], words[-1]
        said = k("explain", words[0], f"--api-version={version}", check=False)
        if not re.search(rf"KIND:\s+{kind}\b", said) or "DESCRIPTION" not in said:
            wrong.append(f"{words[0]} of {version}: {said[:200]}")
    assert not wrong, wrong
    explain_deep(k)


def explain_deep(k: Kubectl) -> None:
    assert "maxSurge" in k("explain", "deployment.spec.strategy.rollingUpdate")
    whole = k("explain", "pods", "--recursive")
    assert "topologySpreadConstraints" in whole and "fieldPath" in whole
    assert "behavior" in k("explain", "hpa.spec", "--api-version=autoscaling/v2")
    assert "containers" in k("explain", "cronjob.spec.jobTemplate.spec.template.spec")
    assert "does not exist" in k.fails("explain", "pod.nonsense")
    assert "Always" in k("explain", "pod.spec.restartPolicy", "--output=plaintext")


def what_the_server_says_of_itself(k: Kubectl) -> None:
    said = json.loads(k.raw("version", "-o", "json").stdout)
    assert (said["serverVersion"]["major"], said["serverVersion"]["minor"]) == ("1", "32")
    assert "apps/v1" in k("api-versions").split()
    assert "deployments.apps" in k("api-resources", "--api-group=apps", "-o", "name").split()
    assert "deploy" in k("api-resources", "--namespaced=true", "-o", "wide", "--sort-by=name")
    assert "nodes" in k("api-resources", "--namespaced=false", "--cached=false")
    assert "pods" in k("api-resources", "--categories=all", "-o", "name")
    assert "is running at" in k("cluster-info")
    assert "livez check passed" in k("get", "--raw", "/livez?verbose")
    assert k("get", "--raw", "/healthz") == "ok"


def dump_the_cluster(k: Kubectl) -> None:
    k("create", "configmap", "c", "--from-literal=a=b")
    k("run", "web", f"--image={IMAGE}")
    k("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    dumped = k("cluster-info", "dump", f"--namespaces={k.namespace}")
    assert '"kind": "NodeList"' in dumped and "START logs for container web" in dumped


def events_are_told(k: Kubectl) -> None:
    k("run", "web", f"--image={IMAGE}")
    k("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    assert "Scheduled" in k("events") and "Started" in k("events", "--for=pod/web", "--types=Normal")
    assert "Scheduled" in k("get", "events", "--sort-by=.lastTimestamp")
    assert "Scheduled" in k("get", "events", "--field-selector=involvedObject.kind=Pod,reason=Scheduled")
    assert "Scheduled" in k("events", "-A", "-o", "json")
    with k.running("events", "--watch") as seen:
        eventually(lambda: any("Scheduled" in line for line in seen), 20, "the events so far")
        k("delete", "pod", "web", "--wait=false")
        eventually(lambda: any("Killing" in line for line in seen), 30, "what comes after")
