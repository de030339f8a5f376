"""A static pod on a real node, as kubectl sees it: its mirror."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import RunningCluster, eventually

NAME = "own-node-1"


@pytest.fixture
def file(cluster: RunningCluster) -> Iterator[Path]:
    made = Path(cluster.data_dir) / "nodes/node-1/manifests/own.yaml"
    yield made
    made.unlink(missing_ok=True)


def test_a_static_pod_is_seen_survives_its_mirror_and_goes_with_its_file(
    cluster: RunningCluster, namespace: str, file: Path
) -> None:
    def kubectl(*arguments: str, check: bool = True) -> str:
        return cluster.kubectl("-n", namespace, *arguments, check=check).stdout

    def container() -> str:
        return kubectl("get", "pod", NAME, "-o", "jsonpath={.status.containerStatuses[0].containerID}", check=False)

    command = ["sh", "-c", "echo begun; trap 'exit 0' TERM; while true; do sleep 0.1; done"]
    containers = [{"name": "main", "image": "steersman.local/web:1", "command": command}]
    metadata = {"name": "own", "namespace": namespace}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}
    file.write_text(json.dumps(body))
    before = eventually(container, 30, "the mirror shows the pod running")
    assert kubectl("logs", NAME) == "begun\n"
    assert kubectl("exec", NAME, "--", "echo", "within") == "within\n"
    assert "Controlled By: Node/node-1" in " ".join(kubectl("describe", "pod", NAME).split())
    uid = cluster.get("pod", NAME, "-n", namespace)["metadata"]["uid"]
    kubectl("delete", "pod", NAME, "--wait=false")
    eventually(lambda: kubectl("get", "pod", NAME, "-o", "jsonpath={.metadata.uid}", check=False) not in ("", uid), 30,
               "the mirror comes back")  # fmt: skip
    eventually(lambda: container() == before, 30, "it shows the container that ran all the while")
    file.unlink()
    eventually(lambda: kubectl("get", "pods", "-o", "name") == "", 60, "nothing is left")
