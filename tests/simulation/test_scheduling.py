"""The scheduler's words and waits, in a simulated cluster without faults."""

from __future__ import annotations

import random
from collections.abc import Coroutine
from typing import Any

from api.core import event as events
from api.core import node as nodes
from api.core import pod as pods
from api.core.containers import Container, ResourceRequirements
from api.core.pod import Pod, PodSpec
from api.meta import ObjectMeta
from api.resource import ObjectKey
from tests.simulation.cluster import Cluster, running, until
from tests.simulation.loop import run


async def create(cluster: Cluster, name: str, *, cpu: str = "100m", **spec: Any) -> None:
    container = Container(name="c", image="web:1", resources=ResourceRequirements(requests={"cpu": cpu}))
    wanted = Pod(metadata=ObjectMeta(name=name, namespace="default"), spec=PodSpec(containers=[container], **spec))
    await cluster.admin().create(pods.RESOURCE, wanted)


async def read(cluster: Cluster, name: str) -> Pod:
    return await cluster.admin().get(pods.RESOURCE, ObjectKey("default", name))


async def reasons(cluster: Cluster, name: str) -> list[tuple[str, str]]:
    found = await cluster.admin().list(events.RESOURCE, "default")
    told = [each for each in found.items if each.involved_object.name == name]
    return [(each.reason, each.message) for each in told if each.source.component == "default-scheduler"]


def condition(pod: Pod) -> tuple[str, str, str]:
    found = next((each for each in pod.status.conditions if each.type == "PodScheduled"), None)
    return (found.status, found.reason, found.message) if found else ("", "", "")


def test_a_pod_that_fits_nowhere_says_why_and_is_placed_when_a_node_becomes_right() -> None:
    async def main(rng: random.Random) -> None:
        async with running(rng, nodes=2) as cluster:

            async def is_rejected() -> bool:
                return condition(await read(cluster, "picky"))[0] == "False" and bool(await reasons(cluster, "picky"))

            async def is_placed() -> bool:
                return bool((await read(cluster, "picky")).spec.node_name)

            await until(lambda: _count(cluster, 2), within_s=30)
            await create(cluster, "picky", node_selector={"disk": "ssd"})
            await until(is_rejected, within_s=10)
            message = (
                "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: "
                "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
            )
            assert condition(await read(cluster, "picky")) == ("False", "Unschedulable", message)
            patch = {"metadata": {"labels": {"disk": "ssd"}}}
            await cluster.admin().patch(nodes.RESOURCE, ObjectKey("", "node-2"), patch)
            assert await until(is_placed, within_s=10) < 3
            placed = await read(cluster, "picky")
            assert (placed.spec.node_name, condition(placed)[0]) == ("node-2", "True")
            told = ("Scheduled", "Successfully assigned default/picky to node-2")
            await until(lambda: _contains(reasons(cluster, "picky"), told), within_s=5)

    run(7, main)


def test_a_waiting_pod_takes_the_room_that_a_deleted_one_leaves() -> None:
    async def main(rng: random.Random) -> None:
        async with running(rng, nodes=1) as cluster:

            async def is_placed(name: str) -> bool:
                return bool((await read(cluster, name)).spec.node_name)

            await until(lambda: _count(cluster, 1), within_s=30)
            await create(cluster, "first", cpu="900m")
            await until(lambda: is_placed("first"), within_s=10)
            await create(cluster, "second", cpu="900m")
            await until(lambda: _contains_text(reasons(cluster, "second"), "1 Insufficient cpu"), within_s=10)
            await cluster.admin().delete(pods.RESOURCE, ObjectKey("default", "first"), grace_period_s=1)
            assert await until(lambda: is_placed("second"), within_s=30) < 15

    run(8, main)


def test_pods_of_other_schedulers_are_left_alone() -> None:
    async def main(rng: random.Random) -> None:
        async with running(rng, nodes=1) as cluster:

            async def is_placed() -> bool:
                return bool((await read(cluster, "ours")).spec.node_name)

            await create(cluster, "theirs", scheduler_name="another")
            await create(cluster, "ours")
            await until(is_placed, within_s=30)
            theirs = await read(cluster, "theirs")
            assert (theirs.spec.node_name, condition(theirs)) == ("", ("", "", ""))

    run(9, main)


async def _count(cluster: Cluster, count: int) -> bool:
    """Whether so many nodes take pods: no taint is left of their beginning."""
    found = (await cluster.admin().list(nodes.RESOURCE)).items
    return len([node for node in found if not node.spec.taints]) == count


async def _contains(found: Coroutine[Any, Any, list[tuple[str, str]]], wanted: tuple[str, str]) -> bool:
    return wanted in await found


async def _contains_text(found: Coroutine[Any, Any, list[tuple[str, str]]], text: str) -> bool:
    return any(text in message for _, message in await found)
