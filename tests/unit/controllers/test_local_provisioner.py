"""Directories for claims: what is made for which, and what becomes of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.core import node as nodes
from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core.local_volumes import DIRECTORY, PROVISIONER, node_of
from api.core.node import Node
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.volume_matching import SELECTED_NODE
from api.errors import NotFound
from api.resource import ObjectKey
from api.storage import storageclass as classes
from api.storage.storageclass import StorageClass
from controllers.actions import Create, Emit, Patch
from controllers.local_provisioner import ObservedClaim, reconcile_claim, volume_for
from tests.unit.controllers.world import world

CLAIM = ObjectKey("default", "c")


def storage_class(**fields: Any) -> StorageClass:
    made = {
        "metadata": {"name": "standard"},
        "provisioner": PROVISIONER,
        "parameters": {"path": "/srv/volumes"},
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return msgspec.convert(made | fields, StorageClass)


def claim(node: str = "n1", **spec: Any) -> PersistentVolumeClaim:
    body = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "standard",
        **spec,
    }
    annotations = {SELECTED_NODE: node} if node else {}
    metadata = {"name": "c", "namespace": "default", "uid": "u1", "annotations": annotations}
    return msgspec.convert({"metadata": metadata, "spec": body}, PersistentVolumeClaim)


def node(name: str = "n1", hostname: str = "host-1") -> Node:
    return msgspec.convert({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": hostname}}}, Node)


def test_a_claim_gets_a_directory_on_the_node_of_its_pod():
    plan = reconcile_claim(ObservedClaim(claim(), storage_class(), node(), None), 0)
    begun, made = plan.actions
    assert isinstance(begun, Emit) and begun.reason == "Provisioning"
    assert isinstance(made, Create) and made.done is not None
    assert made.done(made.object).message == "Successfully provisioned volume pvc-u1"
    volume = made.object
    assert isinstance(volume, PersistentVolume)
    assert volume.spec.local is not None and volume.spec.local.path == "/srv/volumes/n1/pvc-u1_default_c"
    affinity = volume.spec.node_affinity
    assert affinity is not None and affinity.required is not None
    (term,) = affinity.required.node_selector_terms
    assert [(r.key, r.values) for r in term.match_expressions] == [("kubernetes.io/hostname", ["host-1"])]
    assert (volume.spec.capacity, volume.spec.persistent_volume_reclaim_policy) == ({"storage": "1Gi"}, "Delete")
    assert node_of(volume) == "n1" and volume.spec.claim_ref is not None and volume.spec.claim_ref.uid == "u1"


def test_nothing_is_done_before_a_node_is_chosen_or_once_the_volume_is_there():
    assert reconcile_claim(ObservedClaim(claim(node=""), storage_class(), None, None), 0).actions == ()
    there = volume_for(claim(), storage_class(), node())
    assert reconcile_claim(ObservedClaim(claim(), storage_class(), node(), there), 0).actions == ()


def test_a_node_that_is_gone_is_chosen_anew():
    (action,) = reconcile_claim(ObservedClaim(claim(), storage_class(), None, None), 0).actions
    assert isinstance(action, Patch) and action.patch["metadata"]["annotations"] == {SELECTED_NODE: None}


@pytest.mark.parametrize(
    ("wanted", "of_class", "why"),
    [
        ({"accessModes": ["ReadWriteMany"]}, {}, "only support ReadWriteOnce and ReadWriteOncePod access modes"),
        ({"volumeMode": "Block"}, {}, "only support volumeMode Filesystem"),
        ({"selector": {"matchLabels": {"a": "b"}}}, {}, "claim.Spec.Selector is not supported"),
        ({"dataSource": {"kind": "PersistentVolumeClaim", "name": "x"}}, {}, "cannot be made from a data source"),
        ({}, {"parameters": {}}, 'must have a parameter "path"'),
        ({}, {"parameters": {"path": "volumes"}}, 'must have a parameter "path"'),
        ({}, {"parameters": {"path": "/v", "type": "fast"}}, "parameters that are not known: type"),
        ({"node": ""}, {"volumeBindingMode": "Immediate"}, "no node was specified"),
    ],
)
def test_what_no_directory_can_be_is_refused_in_an_event(wanted: dict[str, Any], of_class: dict[str, Any], why: str):
    plan = reconcile_claim(ObservedClaim(claim(**wanted), storage_class(**of_class), node(), None), 0)
    (told,) = plan.actions
    assert isinstance(told, Emit) and told.reason == "ProvisioningFailed" and why in told.message
    assert told.message.startswith('failed to provision volume with StorageClass "standard": ')
    assert plan.requeue_after_s


@pytest.mark.looptime
async def test_a_claim_is_bound_and_its_volume_goes_with_it_when_the_node_is_through_with_the_directory():
    async with world() as at:
        name = await _provisioned(at)
        await at.client.patch(volumes.RESOURCE, name, {"metadata": {"finalizers": [DIRECTORY]}})
        await at.client.delete(claims.RESOURCE, CLAIM)
        await at.until(lambda: _holds(at, name, [DIRECTORY]))
        await at.client.patch(volumes.RESOURCE, name, {"metadata": {"finalizers": []}})
        await at.until(lambda: _is_gone(at, name))


@pytest.mark.looptime
async def test_a_volume_of_a_node_that_is_gone_goes_without_it():
    async with world() as at:
        name = await _provisioned(at)
        await at.client.patch(volumes.RESOURCE, name, {"metadata": {"finalizers": [DIRECTORY]}})
        await at.client.delete(claims.RESOURCE, CLAIM)
        await at.until(lambda: _holds(at, name, [DIRECTORY]))
        at.silent.add("n9")
        await at.client.delete(nodes.RESOURCE, ObjectKey("", "n9"))
        await at.until(lambda: _is_gone(at, name))


async def _provisioned(at: Any) -> ObjectKey:
    await at.client.create(classes.RESOURCE, storage_class())
    await at.add_node("n9")
    await at.client.create(claims.RESOURCE, claim(node="n9"))

    async def is_bound() -> bool:
        found = await at.client.get(claims.RESOURCE, CLAIM)
        return bool(found.status.phase == "Bound")

    await at.until(is_bound)
    found = await at.client.get(claims.RESOURCE, CLAIM)
    return ObjectKey("", found.spec.volume_name)


async def _holds(at: Any, name: ObjectKey, finalizers: list[str]) -> bool:
    found = await at.client.get(volumes.RESOURCE, name)
    return bool(found.metadata.deletion_timestamp) and found.metadata.finalizers == finalizers


async def _is_gone(at: Any, name: ObjectKey) -> bool:
    try:
        await at.client.get(volumes.RESOURCE, name)
    except NotFound:
        return True
    return False
