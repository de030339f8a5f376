"""What is taken, and warned of: objects as a client writes them, and what each is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api import serde, validation
from api.core import secret as secrets
from api.core.key_pairs import mismatch
from api.core.secret import Secret
from api.discover import by_kind
from api.meta import ObjectMeta


def read(text: str) -> tuple[Any, Any]:
    body = yaml.safe_load(text)
    resource = by_kind(body["apiVersion"], body["kind"])
    assert resource is not None
    decoded = serde.decode(yaml.safe_dump(body).encode(), resource, content_type="application/yaml")
    obj: Any = decoded.object
    obj.metadata.namespace = "default" if resource.namespaced else ""
    resource.default(obj)
    return resource, obj


def warned(text: str) -> list[str]:
    resource, obj = read(text)
    validation.check(resource, obj, None)
    return list(resource.warn(obj, None))


def deployment(spec: str, annotations: str = "{}", name: str = "web") -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{a: b}}}}
  template: {{metadata: {{labels: {{a: b}}, annotations: {annotations}}}, spec: {spec}}}
"""


def pod(spec: str, name: str = "p") -> str:
    return f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {spec}}}"


def claim(amount: str) -> str:
    return f"{{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {amount}}}}}}}"


CONTAINERS = "containers: [{name: c, image: i}]"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (deployment(f"{{{CONTAINERS}}}"), []),
        (
            deployment(f"{{{CONTAINERS}}}", name="web-1.2"),
            [
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising "
                "behavior; a DNS "
                "label is recommended: [must not contain dots]"
            ],
        ),
        (
            pod(f"{{{CONTAINERS}}}", name="p.x"),
            [
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a "
                "DNS label "
                "is recommended: [must not contain dots]"
            ],
        ),
        (
            deployment(f"{{nodeSelector: {{beta.kubernetes.io/os: linux}}, {CONTAINERS}}}"),
            [
                "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "
                '"kubernetes.io/os" '
                "instead"
            ],
        ),
        (
            deployment(
                f"{{{CONTAINERS}}}",
                "{scheduler.alpha.kubernetes.io/critical-pod: '', "
                "seccomp.security.alpha.kubernetes.io/pod: runtime/default, "
                "container.apparmor.security.beta.kubernetes.io/c: unconfined}",
            ),
            [
                "spec.template.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in "
                'v1.16+; use the "priorityClassName" field instead',
                "spec.template.metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in "
                "v1.27+; "
                'use the "seccompProfile" field instead',
                "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: "
                "deprecated since "
                'v1.30; use the "appArmorProfile" field instead',
            ],
        ),
        (
            pod(
                "{topologySpreadConstraints: [{maxSkew: 1, topologyKey: failure-domain.beta.kubernetes.io/zone, "
                f"whenUnsatisfiable: DoNotSchedule}}], {CONTAINERS}}}"
            ),
            [
                "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated "
                'since v1.17; use "topology.kubernetes.io/zone" instead',
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            ],
        ),
        (
            pod(
                "{affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, "
                f"podAffinityTerm: {{topologyKey: a}}}}]}}}}, {CONTAINERS}}}"
            ),
            [
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm."
                "labelSelector: a null labelSelector results in matching no pod"
            ],
        ),
        (
            pod(
                "{volumes: [{name: v, gitRepo: {repository: r}}, {name: w, cephfs: {monitors: [m]}}, "
                "{name: x, configMap: {name: m, items: [{key: a, path: d}, {key: b, path: d/e}]}}], "
                f"{CONTAINERS}}}"
            ),
            [
                "spec.volumes[0].gitRepo: deprecated in v1.11",
                "spec.volumes[1].cephfs: deprecated in v1.28, non-functional in v1.31+",
                'volume "x" (ConfigMap "m"): overlapping paths: "d/e" with "d"',
            ],
        ),
        (
            pod(
                "{hostAliases: [{ip: 1.1.1.1}, {ip: 1.1.1.1}], imagePullSecrets: [{name: ''}, {name: s}, {name: s}], "
                f"{CONTAINERS}}}"
            ),
            [
                'spec.hostAliases[1].ip: duplicate ip "1.1.1.1"',
                'spec.imagePullSecrets[2].name: duplicate name "s"',
                'spec.imagePullSecrets[0].name: invalid empty name ""',
            ],
        ),
        (
            pod(
                "{containers: [{name: c, image: i, resources: {limits: {memory: 100m}, requests: {memory: 100m}}, env: "
                "[{name: A, value: x}, {name: A, value: $(A)y}, {name: A, value: z}], ports: [{containerPort: 80}]}], "
                "initContainers: [{name: d, image: i, ports: [{containerPort: 80}, {containerPort: 81, "
                "hostIP: 1.2.3.4}]}]}"
            ),
            [
                'spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be '
                "an integer",
                'spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an '
                "integer",
                'spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply',
                "spec.initContainers[0].ports[1]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:81 "
                "Protocol:TCP HostIP:1.2.3.4}",
                "spec.containers[0].ports[0]: duplicate port definition with spec.initContainers[0].ports[0]",
            ],
        ),
        (
            "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: s}, spec: {revisionHistoryLimit: -1, "
            "serviceName: "
            f"s, selector: {{matchLabels: {{a: b}}}}, volumeClaimTemplates: [{{metadata: {{name: v}}, spec: "
            f"{claim('1.5')}}}], "
            f"template: {{metadata: {{labels: {{a: b}}}}, spec: {{{CONTAINERS}}}}}}}}}",
            [
                'spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value "1500m" is '
                "invalid, must "
                "be an integer",
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is "
                "recommended",
            ],
        ),
        (
            "{apiVersion: batch/v1, kind: CronJob, metadata: {name: c.x}, spec: {schedule: '@daily', "
            "jobTemplate: {spec: "
            f"{{template: {{spec: {{restartPolicy: Never, terminationGracePeriodSeconds: -1, {CONTAINERS}}}}}}}}}}}}}",
            [
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising "
                "behavior; a DNS "
                "label is recommended: [must not contain dots]",
                "spec.jobTemplate.spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are "
                "invalid and will be treated as 1",
            ],
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: s, annotations: "
            "{service.kubernetes.io/topology-aware-hints: auto}}, spec: {clusterIP: None, clusterIPs: [None], "
            "sessionAffinity: ClientIP, "
            "externalName: a.b, externalIPs: [010.1.1.1], ports: [{port: 80}]}}",
            [
                "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use "
                "service.kubernetes.io/topology-mode instead",
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
                "spec.externalIPs[0]: IP address was accepted, but will be invalid in a future Kubernetes release: "
                'ParseAddr("010.1.1.1"): IPv4 field has octet with leading zero',
                'spec.externalName is ignored when spec.type is not "ExternalName"',
            ],
        ),
        (
            "{apiVersion: v1, kind: ServiceAccount, metadata: {name: a, annotations: "
            "{kubernetes.io/enforce-mountable-secrets: 'true'}}}",
            [
                "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate "
                "namespaces to isolate access to mounted secrets"
            ],
        ),
        (
            "{apiVersion: v1, kind: PersistentVolume, metadata: {name: v, annotations: "
            "{volume.beta.kubernetes.io/storage-class: s}}, spec: {capacity: {storage: 1Gi}, accessModes: "
            "[ReadWriteOnce], persistentVolumeReclaimPolicy: Recycle, hostPath: {path: /x}}}",
            [
                "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "
                '"storageClassName" attribute instead',
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the "
                "recommended "
                "approach is to use dynamic provisioning.",
            ],
        ),
        (
            f"{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: c}}, spec: {claim('1.5')}}}",
            ['spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer'],
        ),
        (
            "{apiVersion: v1, kind: Node, metadata: {name: n}, spec: {externalID: x, configSource: {}}}",
            [
                "spec.configSource: the feature is removed",
                "spec.externalID: this field is deprecated, and is unused by Kubernetes",
            ],
        ),
        (
            "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, annotations: "
            "{kubernetes.io/ingress.class: x}}, spec: {defaultBackend: {service: {name: s, port: {number: 80}}}}}",
            ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"],
        ),
        (
            "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: s}, provisioner: p, "
            "allowedTopologies: "
            "[{matchLabelExpressions: [{key: beta.kubernetes.io/arch, values: [a]}]}]}",
            [
                "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use "
                '"kubernetes.io/arch" instead'
            ],
        ),
        (
            "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: r}, handler: h, scheduling: "
            "{nodeSelector: "
            "{beta.kubernetes.io/arch: x}}}",
            ['scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/arch" instead'],
        ),
    ],
)
def test_what_is_taken_is_warned_of_in_upstreams_words(text: str, told: list[str]):
    assert warned(text) == told


def test_a_change_is_warned_of_only_where_wishes_change_and_pods_never():
    resource, new = read(deployment(f"{{terminationGracePeriodSeconds: -1, {CONTAINERS}}}", name="web.1"))
    old = copy.deepcopy(new)
    assert list(resource.warn(new, old)) == []
    new.metadata.generation = old.metadata.generation + 1
    assert [text.partition(":")[0] for text in resource.warn(new, old)] == [
        "spec.template.spec.terminationGracePeriodSeconds"
    ]
    resource, new = read(pod(f"{{terminationGracePeriodSeconds: -1, {CONTAINERS}}}"))
    assert list(resource.warn(new, new)) == []


def test_a_certificate_and_a_key_that_do_not_belong_together_are_warned_of():
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert mismatch(b"", key) == "tls: failed to find any PEM data in certificate input"
    assert mismatch(key, key) == (
        "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
        "PEM inputs may have been switched"
    )
    obj = Secret(metadata=ObjectMeta(name="s"), type="kubernetes.io/tls", data={"tls.crt": b"x", "tls.key": b"y"})
    assert list(secrets.RESOURCE.warn(obj, None)) == ["tls: failed to find any PEM data in certificate input"]
