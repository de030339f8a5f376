"""Claims and volumes over the real API server: who gets which, and what becomes of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.resource import ObjectKey
from api.storage import storageclass as classes
from controllers.volume_binder import select_volume
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
        ({"size": "2Gi"}, "shared"),
        ({"size": "9Gi"}, None),
        ({"accessModes": ["ReadWriteMany"]}, "shared"),
        ({"storageClassName": "gold"}, "gold"),
        ({"volumeMode": "Block"}, None),
        ({"selector": {"matchLabels": {"name": "large"}}}, "large"),
    ],
)
def test_a_claim_gets_the_smallest_volume_that_will_do(wanted: dict[str, Any], chosen: str | None) -> None:
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
    assert select_volume(claim(), [volume("small"), mine], is_waiting=True) is mine
    assert select_volume(claim(), [volume("small")], is_waiting=True) is None


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
async def test_a_class_that_waits_for_a_consumer_binds_when_a_node_was_chosen():
    waiting = {"metadata": {"name": "wait"}, "provisioner": "kubernetes.io/no-provisioner"}
    waiting["volumeBindingMode"] = "WaitForFirstConsumer"
    async with world() as at:
        await at.client.create(classes.RESOURCE, msgspec.convert(waiting, classes.StorageClass))
        await at.client.create(volumes.RESOURCE, volume("v", storageClassName="wait"))
        await at.client.create(claims.RESOURCE, claim(storageClassName="wait"))
        await at.clock.sleep(10)
        assert await phases(at, v="Available", c="Pending")()
        change = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}}
        await at.client.patch(claims.RESOURCE, ObjectKey("default", "c"), change)
        await at.until(phases(at, v="Bound", c="Bound"))


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
