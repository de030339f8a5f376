from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.core.static_pods import is_static
from api.resource import ObjectKey
from kubelet.manifests import SETTLE_S, BadManifest, Manifests, read_pod

WEB = ObjectKey("default", "web-n1")


def manifest(name: str = "web", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "i:1"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers} | spec}


def text(*args: Any, **spec: Any) -> bytes:
    return yaml.safe_dump(manifest(*args, **spec)).encode()


class Place:
    """A directory, and who looks at it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.told: list[str] = []
        self.manifests = Manifests(path, "n1", lambda: self.now, self.told.append)

    def look(self) -> list[str]:
        return [str(key) for key in self.manifests.look()]


def test_a_file_becomes_a_pod_of_this_node():
    pod = read_pod(text(), "/m/web.yaml", "n1", 0.0)
    assert (pod.metadata.name, pod.metadata.namespace, pod.spec.node_name) == ("web-n1", "default", "n1")
    annotations = pod.metadata.annotations
    assert annotations["kubernetes.io/config.source"] == "file" and is_static(pod)
    assert annotations["kubernetes.io/config.hash"] == pod.metadata.uid and len(pod.metadata.uid) == 32
    assert annotations["kubernetes.io/config.seen"] == "1970-01-01T00:00:00Z"
    assert [(t.operator, t.effect) for t in pod.spec.tolerations] == [("Exists", "NoExecute")]
    assert pod.spec.restart_policy == "Always", "defaults are applied"


def test_the_uid_is_of_what_the_file_says_and_of_where_it_is():
    first = read_pod(text(), "/m/web.yaml", "n1", 0.0).metadata.uid
    assert read_pod(json.dumps(manifest()).encode(), "/m/web.yaml", "n1", 9.0).metadata.uid == first
    others = {
        read_pod(text(hostNetwork=True), "/m/web.yaml", "n1", 0.0).metadata.uid,
        read_pod(text(), "/m/other.yaml", "n1", 0.0).metadata.uid,
        read_pod(text(), "/m/web.yaml", "n2", 0.0).metadata.uid,
    }
    assert len(others) == 3 and first not in others


def test_a_file_cannot_pass_for_a_mirror_or_choose_its_uid():
    value = manifest()
    value["metadata"] |= {"uid": "mine", "annotations": {"kubernetes.io/config.mirror": "x"}}
    pod = read_pod(json.dumps(value).encode(), "/m/web.yaml", "n1", 0.0)
    assert is_static(pod) and pod.metadata.uid != "mine"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"kind: [", "yaml: line 1: did not find expected node content"),
        (b"", "it must hold one Pod"),
        (b'{"kind": "Pod"}', "it must hold one Pod"),
        (b"apiVersion: apps/v1\nkind: Deployment\n", "it must hold one Pod"),
        (text(restartPolicy="Sometimes"), "spec.restartPolicy: Unsupported value"),
        (text(containers=[]), "spec.containers: Required value"),
        (text(name=""), "metadata.name"),
        (text(containers=7), "spec.containers"),
        (text(serviceAccountName="default"), "may not refer to a service account"),
        (text(volumes=[{"name": "v", "secret": {"secretName": "s"}}]), "may not refer to secrets"),
        (text(volumes=[{"name": "v", "configMap": {"name": "s"}}]), "may not refer to configmaps"),
        (text(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]), "persistentvolumeclaims"),
        (
            text(volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]),
            "may not refer to service account tokens",
        ),
        (
            text(containers=[{"name": "a", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]),
            "may not refer to secrets",
        ),
    ],
)
def test_what_is_no_static_pod_is_refused_with_a_reason(body: bytes, why: str):
    with pytest.raises(BadManifest) as caught:
        read_pod(body, "/m/web.yaml", "n1", 0.0)
    assert why in str(caught.value)


def test_files_come_change_and_go(tmp_path: Path):
    place = Place(tmp_path)
    assert place.look() == []
    (tmp_path / "web.yaml").write_bytes(text())
    (tmp_path / ".hidden.yaml").write_bytes(text("hidden"))
    (tmp_path / "directory").mkdir()
    (tmp_path / "b.json").write_text(json.dumps(manifest("b")))
    assert place.look() == ["default/b-n1", "default/web-n1"]
    first = place.manifests.look()[WEB]
    (tmp_path / "web.yaml").write_bytes(text(hostNetwork=True))
    changed = place.manifests.look()[WEB]
    assert changed.metadata.uid != first.metadata.uid and changed.spec.host_network
    (tmp_path / "web.yaml").unlink()
    assert place.look() == ["default/b-n1"]
    assert place.told == []


def test_a_half_written_file_stops_nothing_and_a_wrong_one_is_told_of_once(tmp_path: Path):
    place = Place(tmp_path)
    file = tmp_path / "web.yaml"
    file.write_bytes(text())
    before = place.manifests.look()[WEB]
    file.write_bytes(b"apiVersion: v1\nkind: [")
    assert place.manifests.look()[WEB] is before and not place.told
    place.now += SETTLE_S
    assert place.look() == [] and len(place.told) == 1 and place.told[0].startswith(f"{file}: ")
    place.now += 60
    assert place.look() == [] and len(place.told) == 1
    file.write_bytes(text())
    assert place.look() == ["default/web-n1"]


def test_a_name_in_two_files_is_the_first_files(tmp_path: Path):
    place = Place(tmp_path)
    (tmp_path / "a.yaml").write_bytes(text())
    (tmp_path / "b.yaml").write_bytes(text(hostNetwork=True))
    assert not place.manifests.look()[WEB].spec.host_network
    assert place.told == [f"{tmp_path}/b.yaml: another file has a pod of the name default/web-n1 already"]


def test_a_touched_file_is_the_same_pod(tmp_path: Path):
    place = Place(tmp_path)
    (tmp_path / "web.yaml").write_bytes(text())
    before = place.manifests.look()[WEB]
    place.now += 10
    (tmp_path / "web.yaml").write_bytes(text() + b"# a comment\n")
    assert place.manifests.look()[WEB] is before


def test_one_file_may_be_named_and_a_path_may_come_later(tmp_path: Path):
    place = Place(tmp_path / "later")
    assert place.look() == []
    (tmp_path / "later").write_bytes(text())
    assert place.look() == ["default/web-n1"]


def test_a_huge_file_is_not_read(tmp_path: Path):
    place = Place(tmp_path)
    (tmp_path / "web.yaml").write_bytes(b"#" * (1 << 20) + text())
    place.look()
    place.now += SETTLE_S
    assert place.look() == []
    assert "larger than 1048576 bytes" in place.told[0]
