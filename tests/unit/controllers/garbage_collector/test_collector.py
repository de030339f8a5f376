from __future__ import annotations

import pytest

from api.core import configmap, event, namespace, node
from api.core.configmap import ConfigMap
from api.core.namespace import Namespace
from api.errors import NotFound
from api.meta import ObjectMeta, OwnerReference
from api.resource import ObjectKey
from tests.unit.controllers.world import World, world


async def make(at: World, place: str, name: str, *owners: OwnerReference) -> ConfigMap:
    metadata = ObjectMeta(namespace=place, name=name, owner_references=list(owners))
    return await at.client.create(configmap.RESOURCE, ConfigMap(metadata=metadata))


async def is_gone(at: World, place: str, name: str) -> bool:
    try:
        await at.client.get(configmap.RESOURCE, ObjectKey(place, name))
    except NotFound:
        return True
    return False


def named(owner: ConfigMap) -> OwnerReference:
    return OwnerReference(api_version="v1", kind="ConfigMap", name=owner.metadata.name, uid=owner.metadata.uid)


@pytest.mark.looptime
async def test_an_owner_that_is_named_from_another_namespace_is_told_of_and_is_gone_in_that_namespace_only():
    async with world(("n1",)) as at:
        await at.client.create(namespace.RESOURCE, Namespace(metadata=ObjectMeta(name="other")))
        owner = await make(at, "default", "owner")
        await make(at, "other", "stray", named(owner))

        async def is_collected() -> bool:
            return await is_gone(at, "other", "stray")

        await at.until(is_collected)
        # It names one that is gone beside the one that is there, so it is looked at, and must be let live.
        gone = OwnerReference(
            api_version="v1", kind="ConfigMap", name="gone", uid="4c4b2d3e-0000-4000-8000-000000000000"
        )
        await make(at, "default", "child", named(owner), gone)

        async def has_one_owner() -> bool:
            child = await at.client.get(configmap.RESOURCE, ObjectKey("default", "child"))
            return [one.name for one in child.metadata.owner_references] == ["owner"]

        await at.until(has_one_owner)
        told = (await at.client.list(event.RESOURCE, "other")).items
        (one,) = [each for each in told if each.reason == "OwnerRefInvalidNamespace"]
        about = one.involved_object
        assert (one.type, about.kind, about.name) == ("Warning", "ConfigMap", "stray")
        assert one.source.component == "garbage-collector-controller"
        assert one.message == (
            f"ownerRef [v1/ConfigMap, namespace: other, name: owner, uid: {owner.metadata.uid}]"
            ' does not exist in namespace "other"'
        )


@pytest.mark.looptime
async def test_an_object_of_the_cluster_that_names_an_owner_in_a_namespace_is_told_of_and_kept():
    async with world(("n1",)) as at:
        owner = named(await make(at, "default", "owner"))
        await at.client.create(node.RESOURCE, node.Node(metadata=ObjectMeta(name="odd", owner_references=[owner])))

        async def is_told() -> bool:
            told = (await at.client.list(event.RESOURCE, "default")).items
            return any(each.reason == "OwnerRefInvalidNamespace" for each in told)

        await at.until(is_told)
        assert (await at.client.get(node.RESOURCE, ObjectKey("", "odd"))).metadata.name == "odd"
