"""Claims and volumes over the real API server: who gets which, and what becomes of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.volume_matching import select_volume
from api.resource import ObjectKey
from api.storage import storageclass as classes
from controllers.volume_reclaim import CannotReclaim, delete_host_path
from tests.unit.controllers.world import World, world


def volume(name: str, size: str = "1Gi", **spec: Any) -> PersistentVolume:
    body = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}, **spec}
    metadata = {"name": name, "labels": {"name": name}}
    return msgspec.convert({"metadata": metadata, "spec": body}, PersistentVolume)


def claim(name: str = "c", size: str = "1Gi", **spec: Any) -> PersistentVolumeClaim:
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    metadata = {"name": name, "namespace": "default", "uid": f"u-{name}"}
    return msgspec.convert({"metadata": metadata, "spec": body}, PersistentVolumeClaim)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ({}, "small"),
        ({"size": "2Gi"}, "large"),
        ({"size": "9Gi"}, None),
        ({"accessModes": ["ReadWriteMany"]}, "shared"),
        ({"storageClassName": "gold"}, "gold"),
        ({"volumeMode": "Block"}, None),
        ({"selector": {"matchLabels": {"name": "large"}}}, "large"),
    ],
)
def test_a_claim_gets_the_smallest_volume_of_the_fewest_modes(wanted: dict[str, Any], chosen: str | None) -> None:
    candidates = [
        volume("large", "5Gi"),
        volume("small"),
        volume("shared", "3Gi", accessModes=["ReadWriteOnce", "ReadWriteMany"]),
        volume("gold", storageClassName="gold"),
        volume("taken", claimRef={"namespace": "default", "name": "other"}),
    ]
    found = select_volume(claim(**wanted), candidates)
    assert (found.metadata.name if found else None) == chosen


def test_a_volume_that_names_the_claim_is_preferred() -> None:
    mine = volume("mine", "9Gi", claimRef={"namespace": "default", "name": "c"})
    assert select_volume(claim(), [volume("small"), mine]) is mine
    assert select_volume(claim(), [volume("small"), mine], only_named=True) is mine
    assert select_volume(claim(), [volume("small")], only_named=True) is None


def phases(at: World, **wanted: str) -> Any:
    async def check() -> bool:
        found = {one.metadata.name: one.status.phase for one in (await at.client.list(volumes.RESOURCE)).items}
        found |= {one.metadata.name: one.status.phase for one in (await at.client.list(claims.RESOURCE)).items}
        return found == wanted

    return check


@pytest.mark.looptime
async def test_each_volume_goes_to_one_claim_and_is_released_with_it():
    async with world() as at:
        await at.client.create(volumes.RESOURCE, volume("v1"))
        await at.until(phases(at, v1="Available"))
        for name in ("c1", "c2", "c3"):
            await at.client.create(claims.RESOURCE, claim(name))
        await at.client.create(volumes.RESOURCE, volume("v2", "2Gi"))
        await at.until(lambda: _bound(at, 2))
        found = {one.metadata.name: one for one in (await at.client.list(claims.RESOURCE)).items}
        (waiting,) = [one for one in found.values() if one.status.phase == "Pending"]
        bound = sorted(one.spec.volume_name for one in found.values() if one is not waiting)
        assert bound == ["v1", "v2"]
        (second,) = [one for one in found.values() if one.spec.volume_name == "v2"]
        assert second.status.capacity == {"storage": "2Gi"}
        await at.client.delete(claims.RESOURCE, ObjectKey("default", second.metadata.name))
        (first,) = [one for one in found.values() if one.spec.volume_name == "v1"]
        await at.until(
            phases(at, v1="Bound", v2="Released", **{first.metadata.name: "Bound", waiting.metadata.name: "Pending"})
        )
        await at.client.patch(volumes.RESOURCE, ObjectKey("", "v2"), {"spec": {"claimRef": None}})
        await at.until(lambda: _bound(at, 2))


async def _bound(at: World, number: int) -> bool:
    found = (await at.client.list(claims.RESOURCE)).items
    return sum(one.status.phase == "Bound" for one in found) == number


@pytest.mark.looptime
async def test_of_a_class_that_waits_for_a_consumer_the_scheduler_chooses():
    waiting = {"metadata": {"name": "wait"}, "provisioner": "kubernetes.io/no-provisioner"}
    waiting["volumeBindingMode"] = "WaitForFirstConsumer"
    async with world() as at:
        await at.client.create(classes.RESOURCE, msgspec.convert(waiting, classes.StorageClass))
        await at.client.create(volumes.RESOURCE, volume("v", storageClassName="wait"))
        made = await at.client.create(claims.RESOURCE, claim(storageClassName="wait"))
        await at.clock.sleep(10)
        change = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}}
        await at.client.patch(claims.RESOURCE, ObjectKey("default", "c"), change)
        await at.clock.sleep(10)
        # Any volume might be out of that node's reach: a provisioner is to make one.
        assert await phases(at, v="Available", c="Pending")()
        ref = {"namespace": "default", "name": "c", "uid": made.metadata.uid}
        await at.client.patch(volumes.RESOURCE, ObjectKey("", "v"), {"spec": {"claimRef": ref}})
        await at.until(phases(at, v="Bound", c="Bound"))


@pytest.mark.looptime
async def test_a_volume_named_by_its_user_is_bound_only_if_it_will_do():
    async with world() as at:
        await at.client.create(volumes.RESOURCE, volume("v"))
        await at.client.create(claims.RESOURCE, claim("large", "2Gi", volumeName="v"))
        await at.clock.sleep(5)
        assert await phases(at, v="Available", large="Pending")()
        await at.client.create(claims.RESOURCE, claim("c", volumeName="v"))
        await at.until(phases(at, v="Bound", large="Pending", c="Bound"))


def filled(directory: Path) -> Path:
    directory.mkdir()
    (directory / "file").touch()
    return directory


def present(path: Path) -> bool:
    return path.exists()


@pytest.mark.looptime
async def test_a_released_volume_is_deleted_with_its_data_kept_or_failed_as_its_policy_says():
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        data = filled(Path(place, "data"))
        async with world() as at:
            policy = "persistentVolumeReclaimPolicy"
            mine = {"hostPath": {"path": str(data)}}
            for number, spec in enumerate(({policy: "Delete", **mine}, {policy: "Delete"}, {policy: "Retain", **mine})):
                name = f"v{number}"
                await at.client.create(volumes.RESOURCE, volume(name, **spec))
                await at.client.create(claims.RESOURCE, claim(f"c{number}", volumeName=name))
            await at.until(lambda: _bound(at, 3))
            assert present(data / "file")
            for number in range(3):
                await at.client.delete(claims.RESOURCE, ObjectKey("default", f"c{number}"))
            await at.until(phases(at, v1="Failed", v2="Released"))
            assert not present(data)
            failed = await at.client.get(volumes.RESOURCE, ObjectKey("", "v1"))
            assert failed.status.message == "host_path deleter only supports /tmp/.+ but received provided /d"


@pytest.mark.looptime
async def test_a_volume_set_aside_for_a_claim_that_took_another_is_free_again_and_never_deleted():
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        data = filled(Path(place, "data"))
        async with world() as at:
            await at.client.create(volumes.RESOURCE, volume("v1"))
            made = await at.client.create(claims.RESOURCE, claim())
            await at.until(lambda: _bound(at, 1))
            ref = {"namespace": "default", "name": "c", "uid": made.metadata.uid}
            kept = {"hostPath": {"path": str(data)}, "persistentVolumeReclaimPolicy": "Delete"}
            await at.client.create(volumes.RESOURCE, volume("v2", claimRef=ref, **kept))
            await at.until(phases(at, v1="Bound", v2="Available", c="Bound"))
            assert present(data / "file")
            freed = await at.client.get(volumes.RESOURCE, ObjectKey("", "v2"))
            assert freed.spec.claim_ref is not None
            assert (freed.spec.claim_ref.name, freed.spec.claim_ref.uid) == ("c", "")


@pytest.mark.parametrize("path", ["/tmp", "/tmp/", "/tmp/../etc", "/etc/x", "/tmp/{link}/x"])
def test_nothing_outside_tmp_is_ever_deleted(path: str) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as elsewhere, tempfile.TemporaryDirectory(dir="/tmp") as place:
        kept = Path(elsewhere, "x")
        kept.touch()
        Path(place, "link").symlink_to(elsewhere)
        with pytest.raises(CannotReclaim):
            delete_host_path(path.replace("{link}", f"{Path(place).name}/link"))
        assert kept.exists()


@pytest.mark.looptime
async def test_a_claim_whose_volume_was_taken_away_is_lost():
    async with world() as at:
        await at.client.create(volumes.RESOURCE, volume("v"))
        await at.client.create(claims.RESOURCE, claim())
        await at.until(phases(at, v="Bound", c="Bound"))
        await at.client.delete(volumes.RESOURCE, ObjectKey("", "v"))
        await at.clock.sleep(5)
        assert await phases(at, v="Bound", c="Bound")()  # it is held while it is bound
        await at.client.patch(volumes.RESOURCE, ObjectKey("", "v"), {"metadata": {"finalizers": None}})
        await at.until(phases(at, c="Lost"))
