"""Volumes by claim: what a claim stands for, and what can be used here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.core.node import Node
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.core.volumes import Volume
from api.meta import ObjectMeta
from api.resource import ObjectKey
from kubelet.volumes.claims import NotMounted, NotProcessed, refusal, resolve, set_up
from kubelet.volumes.devices import DeviceError

POD = Pod(metadata=ObjectMeta(name="web", namespace="default", uid="pod-uid"))
BOUND = {"spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}
BY_NAME = msgspec.convert({"name": "v", "persistentVolumeClaim": {"claimName": "data"}}, Volume)
EPHEMERAL = msgspec.convert({"name": "v", "ephemeral": {}}, Volume)


class Storage:
    """One claim and one volume, or none."""

    def __init__(self, claim: dict[str, Any] | None, volume: dict[str, Any] | None = None) -> None:
        metadata = {"uid": "claim-uid", **((claim or {}).get("metadata", {}))}
        self._claim = None if claim is None else msgspec.convert({**claim, "metadata": metadata}, PersistentVolumeClaim)
        self._volume = None if volume is None else pv(**volume)

    async def claim(self, key: ObjectKey) -> PersistentVolumeClaim | None:
        return self._claim

    async def persistent_volume(self, name: str) -> PersistentVolume | None:
        return self._volume


def pv(**spec: Any) -> PersistentVolume:
    return msgspec.convert({"metadata": {"name": "pv"}, "spec": spec}, PersistentVolume)


@pytest.mark.parametrize(
    ("storage", "volume", "why"),
    [
        (Storage(None), BY_NAME, 'failed to fetch PVC from API server: persistentvolumeclaims "data" not found'),
        (Storage({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), BY_NAME, "PVC is being deleted"),
        (Storage({"status": {"phase": "Pending"}}), BY_NAME, "PVC is not bound"),
        (Storage(BOUND), BY_NAME, "failed to fetch PV pv from API server: it is not found"),
        (Storage(BOUND, {"claimRef": {"uid": "other"}}), BY_NAME, "bound to another claim"),
        (Storage(BOUND), EPHEMERAL, "was not created for pod default/web (pod is not owner)"),
    ],
)
def test_what_keeps_a_claim_from_being_mounted_is_said(storage: Storage, volume: Volume, why: str) -> None:
    with pytest.raises(NotProcessed) as raised:
        asyncio.run(resolve(POD, volume, "data", storage))
    assert str(raised.value).startswith("error processing PVC default/data: ")
    assert why in str(raised.value)


def test_a_bound_claim_is_its_volume() -> None:
    storage = Storage(BOUND, {"claimRef": {"uid": "claim-uid"}})
    assert asyncio.run(resolve(POD, BY_NAME, "data", storage)).metadata.name == "pv"


def test_a_local_volume_is_where_it_says_if_it_is_there(tmp_path: Path) -> None:
    assert set_up(pv(local={"path": str(tmp_path)}), None, None) == tmp_path
    with pytest.raises(NotMounted, match="does not exist"):
        set_up(pv(local={"path": str(tmp_path / "x")}), None, None)
    (tmp_path / "file").touch()
    with pytest.raises(NotMounted, match="is neither a directory nor a block device"):
        set_up(pv(local={"path": str(tmp_path / "file")}), None, None)


def test_a_volume_in_mode_block_is_a_device_as_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    device = pv(local={"path": "/dev/zero"}, volumeMode="Block")
    with pytest.raises(NotMounted, match='path "/dev/zero" is not a block device'):
        set_up(device, None, 5)
    monkeypatch.setattr(Path, "is_block_device", lambda path: True)
    assert set_up(device, None, 5) == Path("/dev/zero")


def test_a_file_system_on_a_device_is_where_it_was_mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "is_block_device", lambda path: path == Path("/dev/zero"))
    volume = pv(local={"path": "/dev/zero"})
    assert set_up(volume, None, None, mount_device=lambda volume, device: tmp_path) == tmp_path

    def fail(volume: PersistentVolume, device: Path) -> Path:
        raise DeviceError(f"failed to mount device {device}")

    with pytest.raises(NotMounted, match="local: failed to mount device /dev/zero") as raised:
        set_up(volume, None, None, mount_device=fail)
    assert raised.value.step == "MountDevice"


@pytest.mark.parametrize(
    ("mode", "used", "why"),
    [
        ("Block", {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, "Block, but is specified in volumeMounts"),
        (
            "Filesystem",
            {"volumeDevices": [{"name": "v", "devicePath": "/v"}]},
            "Filesystem, but is specified in volumeD",
        ),
    ],
)
def test_a_volume_is_used_as_its_mode_says(mode: str, used: dict[str, Any], why: str) -> None:
    storage = Storage(BOUND, {"claimRef": {"uid": "claim-uid"}, "volumeMode": mode})
    spec = {"containers": [{"name": "c", **used}]}
    pod = msgspec.convert({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}, Pod)
    with pytest.raises(NotProcessed, match=f"^volume v has volumeMode {why}"):
        asyncio.run(resolve(pod, BY_NAME, "data", storage))


def test_a_volume_out_of_reach_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    away = pv(local={"path": str(tmp_path)}, nodeAffinity={"required": {"nodeSelectorTerms": [term]}})
    with pytest.raises(NotMounted, match="no matching NodeSelectorTerms"):
        set_up(away, Node(metadata=ObjectMeta(labels={"zone": "b"})), None)
    assert set_up(away, Node(metadata=ObjectMeta(labels={"zone": "a"})), None) == tmp_path
    with pytest.raises(NotMounted, match="volumes of kind NFS are not supported"):
        set_up(pv(nfs={"server": "s", "path": "/"}), None, None)
    with pytest.raises(NotMounted, match="only local volumes of mode Block"):
        set_up(pv(hostPath={"path": str(tmp_path)}, volumeMode="Block"), None, None)


def test_every_kind_that_is_not_served_has_a_name() -> None:
    served = {"name", "host_path", "empty_dir", "secret", "persistent_volume_claim", "downward_api", "config_map"}
    served |= {"projected", "ephemeral"}
    for field in set(Volume.__struct_fields__) - served - {"csi"}:
        volume = Volume(name="v")
        setattr(volume, field, object())
        assert refusal(volume).endswith("not supported by this kubelet")
        assert "unknown" not in refusal(volume)
    by_driver = msgspec.convert({"name": "v", "csi": {"driver": "d"}}, Volume)
    assert "driver name d not found in the list of registered CSI drivers" in refusal(by_driver)
