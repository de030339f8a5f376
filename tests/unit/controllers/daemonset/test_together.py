"""DaemonSets over the real API server, beside the garbage collector and the rest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.apps import controllerrevision as controllerrevisions
from api.apps import daemonset as daemonsets
from api.apps.controllerrevision import ControllerRevision
from api.apps.daemonset import DaemonSet
from api.core import node as nodes
from api.core import pod as pods
from api.resource import ObjectKey
from client.verbs import PatchType
from tests.unit.controllers.world import World, world

pytestmark = [pytest.mark.looptime]
KEY = ObjectKey("default", "agent")


def a_daemon_set(**spec: Any) -> DaemonSet:
    template = {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    body = {
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template, **spec},
    }
    return msgspec.convert(body, DaemonSet)


def image(version: int) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": f"i:{version}"}]}}}}


async def change(at: World, patch: dict[str, Any]) -> None:
    await at.client.patch(daemonsets.RESOURCE, KEY, patch, type=PatchType.STRATEGIC)


async def revisions(at: World) -> list[ControllerRevision]:
    found = (await at.client.list(controllerrevisions.RESOURCE, "default")).items
    return sorted(found, key=lambda each: each.revision)


def is_rolled_out(at: World, count: int = 3) -> Any:
    async def check() -> bool:
        ds = await at.client.get(daemonsets.RESOURCE, KEY)
        status = ds.status
        counts = (status.desired_number_scheduled, status.updated_number_scheduled, status.number_available)
        return status.observed_generation == ds.metadata.generation and counts == (count,) * 3

    return check


def images(found: list[pods.Pod]) -> set[str]:
    return {pod.spec.containers[0].image for pod in found if not pod.metadata.deletion_timestamp}


async def test_every_node_gets_one_pod_and_a_new_node_gets_one_too():
    async with world() as at:
        await at.client.create(daemonsets.RESOURCE, a_daemon_set())
        await at.until(is_rolled_out(at))
        assert sorted(pod.spec.node_name for pod in await at.pods()) == ["n1", "n2", "n3"]
        await at.add_node("n4")
        await at.until(is_rolled_out(at, 4))
        taint = {"spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]}}
        await at.client.patch(nodes.RESOURCE, ObjectKey("", "n4"), taint)
        await at.until(is_rolled_out(at, 3))


async def test_a_rolling_update_and_an_undo_as_kubectl_does_it():
    async with world() as at:
        await at.client.create(daemonsets.RESOURCE, a_daemon_set())
        await at.until(is_rolled_out(at))
        await change(at, image(2))
        await at.until(is_rolled_out(at))
        assert images(await at.pods()) == {"i:2"}
        first, second = await revisions(at)
        assert (first.revision, second.revision) == (1, 2)
        await change(at, first.data)
        await at.until(is_rolled_out(at))
        assert images(await at.pods()) == {"i:1"}
        assert [(each.metadata.name, each.revision) for each in await revisions(at)] == [
            (second.metadata.name, 2),
            (first.metadata.name, 3),
        ]


async def test_history_beyond_its_limit_is_forgotten():
    async with world() as at:
        await at.client.create(daemonsets.RESOURCE, a_daemon_set(revisionHistoryLimit=1))
        for version in range(2, 6):
            await at.until(is_rolled_out(at))
            await change(at, image(version))
        await at.until(is_rolled_out(at))

        async def is_trimmed() -> bool:
            return [each.revision for each in await revisions(at)] == [4, 5]

        await at.until(is_trimmed)


async def test_a_failed_pod_is_replaced_and_orphans_are_adopted():
    async with world() as at:
        await at.client.create(daemonsets.RESOURCE, a_daemon_set())
        await at.until(is_rolled_out(at))
        victim = (await at.pods())[0]
        key = ObjectKey("default", victim.metadata.name)
        await at.client.patch(pods.RESOURCE, key, {"status": {"phase": "Failed"}}, subresource="status")

        async def is_replaced() -> bool:
            return victim.metadata.name not in [pod.metadata.name for pod in await at.pods()]

        await at.until(is_replaced)
        await at.until(is_rolled_out(at))
        before = {pod.metadata.uid for pod in await at.pods()}
        await at.client.delete(daemonsets.RESOURCE, KEY, propagation="Orphan")

        async def are_orphans() -> bool:
            return all(not pod.metadata.owner_references for pod in await at.pods())

        await at.until(are_orphans)
        await at.client.create(daemonsets.RESOURCE, a_daemon_set())
        await at.until(is_rolled_out(at))
        assert {pod.metadata.uid for pod in await at.pods()} == before
