"""Volumes by claim on real nodes: bound, mounted, shared, kept or deleted as their users and classes say."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunningCluster, eventually

PLACE = Path(f"/tmp/steersman-e2e-volumes{os.environ.get('PYTEST_XDIST_WORKER', '')}")
WAIT = ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done"]


class Storage:
    """One test's volumes and claims, by kubectl."""

    def __init__(self, cluster: RunningCluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.nodes: list[str] = [each["metadata"]["name"] for each in cluster.get("nodes")["items"]]

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin, check=check).stdout

    def make(self, *objects: dict[str, Any]) -> None:
        self.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.cluster.get(kind, name, "-n", self.namespace)

    def phase(self, kind: str, name: str) -> str:
        return self.get(kind, name)["status"]["phase"]

    def messages(self, name: str) -> list[str]:
        found = self.cluster.get("events", "-n", self.namespace, f"--field-selector=involvedObject.name={name}")
        return [each["message"] for each in found["items"]]

    def until_ready(self, *pods: str) -> None:
        self.kubectl("wait", "--for=condition=Ready", *(f"pod/{name}" for name in pods), "--timeout=60s")

    def volume(self, name: str, klass: str, *, node: str = "", policy: str = "Retain", size: str = "1Gi") -> Any:
        path = PLACE / name
        path.mkdir(parents=True)
        spec: dict[str, Any] = {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": klass,
            "persistentVolumeReclaimPolicy": policy,
        }
        if node:
            where = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
            spec["local"] = {"path": str(path)}
            spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [where]}]}}
        else:
            spec["hostPath"] = {"path": str(path), "type": "Directory"}
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def storage_class(name: str, mode: str) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": mode,
    }


def claim(name: str, klass: str, size: str = "1Gi") -> dict[str, Any]:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": klass,
        "resources": {"requests": {"storage": size}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def pod(name: str, volume: dict[str, Any], *mounts: dict[str, Any], **spec: Any) -> dict[str, Any]:
    wanted = mounts or ({"mountPath": "/data"},)
    container = {
        "name": "c",
        "image": "steersman.local/web:1",
        "command": WAIT,
        "env": [{"name": "WHO", "value": name}],
        "volumeMounts": [{"name": "v", **mount} for mount in wanted],
    }
    body = {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": [{"name": "v", **volume}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}


def of_claim(name: str, **more: Any) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": name, **more}}


@pytest.fixture
def storage(cluster: RunningCluster, namespace: str) -> Iterator[Storage]:
    shutil.rmtree(PLACE, ignore_errors=True)
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(storage_class("e2e-wait", "WaitForFirstConsumer")))
    yield Storage(cluster, namespace)
    cluster.kubectl("delete", "storageclass", "e2e-wait")
    cluster.kubectl("delete", "namespace", namespace, check=False)
    volumes = [each["metadata"]["name"] for each in cluster.get("pv")["items"]]
    cluster.kubectl("delete", "pv", *volumes, check=False) if volumes else None
    shutil.rmtree(PLACE, ignore_errors=True)


def test_a_claim_that_waits_is_bound_where_its_pod_goes_and_its_data_outlives_the_pod(storage: Storage) -> None:
    node = storage.nodes[1]
    storage.make(storage.volume("e2e-local", "e2e-wait", node=node), claim("data", "e2e-wait"))
    eventually(
        lambda: "waiting for first consumer to be created before binding" in storage.messages("data"), 20, "it waits"
    )
    writer = pod(
        "writer",
        of_claim("data"),
        {"mountPath": "/data"},
        {"mountPath": "/own", "subPathExpr": "of/$(WHO)"},
        securityContext={"fsGroup": 4321},
    )
    storage.make(writer)
    storage.until_ready("writer")
    assert storage.get("pod", "writer")["spec"]["nodeName"] == node
    assert (storage.phase("pvc", "data"), storage.phase("pv", "e2e-local")) == ("Bound", "Bound")
    storage.kubectl("exec", "writer", "--", "sh", "-c", "echo kept > /own/file")
    listed = storage.kubectl("exec", "writer", "--", "stat", "-c", "%g %A", "/data").split()
    assert listed == ["4321", "drwxrwsr-x"]

    # A claim in use stays until its last pod has gone.
    storage.kubectl("delete", "pvc", "data", "--wait=false")
    assert storage.get("pvc", "data")["metadata"]["deletionTimestamp"]
    storage.make(pod("late", of_claim("data")))
    eventually(
        lambda: any('persistentvolumeclaim "data" is being deleted' in each for each in storage.messages("late")),
        20,
        "no new pod may use it",
    )
    storage.kubectl("delete", "pod", "writer", "late")
    eventually(lambda: storage.phase("pv", "e2e-local") == "Released", 20, "the claim goes, the volume is kept")
    assert (PLACE / "e2e-local/of/writer/file").read_text() == "kept\n"


def test_read_only_reclaimed_and_refused(storage: Storage) -> None:
    storage.make(storage.volume("e2e-gone", "", policy="Delete"), claim("data", ""))
    storage.make(
        pod("reader", of_claim("data", readOnly=True)),
        pod("unbound", of_claim("missing")),
        pod("driver", {"csi": {"driver": "d.example.com"}}),
    )
    eventually(
        lambda: any('persistentvolumeclaim "missing" not found' in each for each in storage.messages("unbound")),
        20,
        "why it waits",
    )
    refused = 'MountVolume.SetUp failed for volume "v" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: '
    refused += "driver name d.example.com not found in the list of registered CSI drivers"
    eventually(lambda: any(each.startswith(refused) for each in storage.messages("driver")), 30, "CSI is refused")
    storage.until_ready("reader")
    done = storage.cluster.kubectl("exec", "-n", storage.namespace, "reader", "--", "touch", "/data/file", check=False)
    assert "Read-only file system" in done.stderr
    storage.kubectl("delete", "pod", "reader")
    storage.kubectl("delete", "pvc", "data")
    eventually(lambda: "e2e-gone" not in storage.kubectl("get", "pv", "-o", "name"), 20, "the volume is deleted")
    assert not (PLACE / "e2e-gone").exists()


def test_ephemeral_volumes_and_those_of_stateful_sets_have_claims_of_their_own(storage: Storage) -> None:
    template = claim("x", "e2e-wait")
    storage.make(*(storage.volume(f"e2e-{i}", "e2e-wait", node=storage.nodes[0]) for i in range(2)))
    storage.make(pod("scratch", {"ephemeral": {"volumeClaimTemplate": {"spec": template["spec"]}}}))
    container = pod("x", {})["spec"]["containers"][0]
    storage.make(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db"},
            "spec": {
                "serviceName": "db",
                "replicas": 1,
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
                "selector": {"matchLabels": {"app": "db"}},
                "template": {
                    "metadata": {"labels": {"app": "db"}},
                    "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
                },
                "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": template["spec"]}],
            },
        }
    )
    eventually(lambda: "pod/db-0" in storage.kubectl("get", "pods", "-o", "name"), 20, "the set's pod")
    storage.until_ready("scratch", "db-0")
    claims = storage.kubectl("get", "pvc", "-o", "name").split()
    assert claims == ["persistentvolumeclaim/scratch-v", "persistentvolumeclaim/v-db-0"]
    storage.kubectl("delete", "pod/scratch", "statefulset/db")
    eventually(lambda: not storage.kubectl("get", "pvc", "-o", "name"), 30, "the claims go with their owners")


def test_claims_that_name_no_class_get_directories_that_go_with_them(storage: Storage) -> None:
    assert "standard (default)" in storage.kubectl("get", "storageclass")
    size = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    container = {
        "name": "c",
        "image": "steersman.local/web:1",
        "command": WAIT,
        "securityContext": {"runAsUser": 1000},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    labels = {"matchLabels": {"app": "db"}}
    template = {
        "metadata": {"labels": {"app": "db"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    claims = [{"metadata": {"name": "data"}, "spec": size}]
    spec = {
        "replicas": 2,
        "serviceName": "db",
        "selector": labels,
        "template": template,
        "volumeClaimTemplates": claims,
    }
    many = {"accessModes": ["ReadWriteMany"], "resources": size["resources"]}
    storage.make(
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "many"}, "spec": many},
        pod("user", {"persistentVolumeClaim": {"claimName": "many"}}),
    )
    storage.kubectl("rollout", "status", "statefulset/db", "--timeout=90s")
    storage.kubectl("exec", "db-1", "--", "sh", "-c", "echo kept > /data/file")
    volume = storage.get("pvc", "data-db-1")["spec"]["volumeName"]
    path = Path(storage.cluster.get("pv", volume)["spec"]["local"]["path"])
    assert (path / "file").read_text() == "kept\n"
    storage.kubectl("delete", "pod", "db-1")
    storage.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    assert storage.kubectl("exec", "db-1", "--", "cat", "/data/file") == "kept\n"
    eventually(
        lambda: any("only support ReadWriteOnce" in message for message in storage.messages("many")),
        30,
        "it is refused",
    )
    storage.kubectl("delete", "statefulset,pod,pvc", "--all", "--timeout=60s")
    eventually(lambda: not path.exists() and volume not in storage.kubectl("get", "pv", "-o", "name"), 30, "it is gone")


def test_a_scratch_volume_above_its_limit_ends_its_pod_and_tokens_are_their_readers(storage: Storage) -> None:
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    storage.make(
        pod("greedy", {"emptyDir": {"sizeLimit": "1Mi"}}),
        pod("reader", {"emptyDir": {"medium": "Memory"}}, securityContext={"runAsUser": 1000}),
    )
    storage.until_ready("greedy", "reader")
    found = storage.kubectl("exec", "reader", "--", "stat", "-L", "-c", "%u %a", token).split()
    assert found == ["1000", "600"]
    assert storage.kubectl("exec", "reader", "--", "stat", "-c", "%a", "/data").strip() == "1777"
    storage.kubectl("exec", "greedy", "--", "sh", "-c", "head -c 3000000 /dev/zero > /data/file")
    eventually(lambda: storage.phase("pod", "greedy") == "Failed", 40, "the pod is evicted")
    status = storage.get("pod", "greedy")["status"]
    why = 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    assert (status["reason"], status["message"]) == ("Evicted", why)
    disrupted = next(each for each in status["conditions"] if each["type"] == "DisruptionTarget")
    assert (disrupted["status"], disrupted["reason"]) == ("True", "TerminationByKubelet")
    eventually(lambda: why.strip() in [each.strip() for each in storage.messages("greedy")], 10, "the event")
