"""StatefulSets over the real API server, beside the garbage collector and the rest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.apps import controllerrevision as controllerrevisions
from api.apps import statefulset as statefulsets
from api.apps.statefulset import StatefulSet
from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.resource import ObjectKey
from client.verbs import PatchType
from tests.unit.controllers.world import World, world

pytestmark = [pytest.mark.looptime]
KEY = ObjectKey("default", "db")


def a_stateful_set(**spec: Any) -> StatefulSet:
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    body = {
        "metadata": {"name": "db", "namespace": "default"},
        "spec": {
            "replicas": 3,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": template,
            **spec,
        },
    }
    return msgspec.convert(body, StatefulSet)


def with_claims(**policy: str) -> StatefulSet:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": "data"}, "spec": spec}
    return a_stateful_set(volumeClaimTemplates=[claim], persistentVolumeClaimRetentionPolicy=policy)


def image(version: int) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": f"i:{version}"}]}}}}


async def change(at: World, patch: dict[str, Any]) -> None:
    await at.client.patch(statefulsets.RESOURCE, KEY, patch, type=PatchType.STRATEGIC)


def is_settled(at: World, count: int = 3) -> Any:
    async def check() -> bool:
        sts = await at.client.get(statefulsets.RESOURCE, KEY)
        status = sts.status
        counts = (status.replicas, status.ready_replicas, status.available_replicas)
        is_current = status.current_revision == status.update_revision != ""
        return is_current and status.observed_generation == sts.metadata.generation and counts == (count,) * 3

    return check


async def images(at: World) -> list[str]:
    return [pod.spec.containers[0].image for pod in sorted(await at.pods(), key=lambda pod: pod.metadata.name)]


async def claim_names(at: World) -> list[str]:
    return [claim.metadata.name for claim in (await at.client.list(claims.RESOURCE, "default")).items]


async def test_pods_come_one_after_the_other_and_know_who_they_are():
    async with world() as at:
        at.unready = lambda pod: pod.metadata.name == "db-1"
        await at.client.create(statefulsets.RESOURCE, a_stateful_set())

        async def are_two_there() -> bool:
            found = await at.pods()
            return len(found) == 2 and all(pod.status.pod_ip for pod in found)

        await at.until(are_two_there)
        second = (await at.pods())[1]
        assert second.metadata.name == "db-1"
        assert (second.spec.hostname, second.spec.subdomain) == ("db-1", "db")
        assert second.metadata.labels["statefulset.kubernetes.io/pod-name"] == "db-1"
        assert second.metadata.labels["apps.kubernetes.io/pod-index"] == "1"
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await at.client.patch(pods.RESOURCE, ObjectKey("default", "db-1"), ready, subresource="status")
        await at.until(is_settled(at))


async def test_an_update_an_undo_and_what_a_partition_keeps():
    async with world() as at:
        await at.client.create(statefulsets.RESOURCE, a_stateful_set())
        await at.until(is_settled(at))
        await change(at, image(2))
        await at.until(is_settled(at))
        assert await images(at) == ["i:2"] * 3
        found = (await at.client.list(controllerrevisions.RESOURCE, "default")).items
        first = min(found, key=lambda each: each.revision)
        await change(at, first.data)
        await at.until(is_settled(at))
        assert await images(at) == ["i:1"] * 3
        found = (await at.client.list(controllerrevisions.RESOURCE, "default")).items
        assert sorted(each.revision for each in found) == [2, 3]

        await change(at, {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}} | {})
        await change(at, image(3))

        async def is_canary() -> bool:
            return await images(at) == ["i:1", "i:1", "i:3"]

        await at.until(is_canary)
        await at.client.delete(pods.RESOURCE, ObjectKey("default", "db-0"))

        async def is_back() -> bool:
            status = (await at.client.get(statefulsets.RESOURCE, KEY)).status
            return (status.ready_replicas, status.updated_replicas, status.current_replicas) == (3, 1, 2)

        await at.until(is_back)
        assert await images(at) == ["i:1", "i:1", "i:3"]


async def test_a_failed_pod_comes_back_under_its_name():
    async with world() as at:
        await at.client.create(statefulsets.RESOURCE, a_stateful_set())
        await at.until(is_settled(at))
        before = {pod.metadata.name: pod.metadata.uid for pod in await at.pods()}
        failed = {"status": {"phase": "Failed", "reason": "Evicted"}}
        await at.client.patch(pods.RESOURCE, ObjectKey("default", "db-1"), failed, subresource="status")

        async def is_replaced() -> bool:
            after = {pod.metadata.name: pod.metadata.uid for pod in await at.pods()}
            return after.keys() == before.keys() and after["db-1"] != before["db-1"]

        await at.until(is_replaced)
        await at.until(is_settled(at))


async def test_claims_stay_with_names_unless_the_policy_says_otherwise():
    async with world() as at:
        await at.client.create(statefulsets.RESOURCE, with_claims())
        await at.until(is_settled(at))
        wanted = ["data-db-0", "data-db-1", "data-db-2"]
        assert await claim_names(at) == wanted
        await change(at, {"spec": {"replicas": 1}})
        await at.until(is_settled(at, 1))
        assert await claim_names(at) == wanted
        policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
        await change(at, {"spec": {"replicas": 3, "persistentVolumeClaimRetentionPolicy": policy}})
        await at.until(is_settled(at, 3))
        await change(at, {"spec": {"replicas": 2}})

        async def is_gone(expected: list[str]) -> bool:
            return await claim_names(at) == expected

        await at.until(lambda: is_gone(wanted[:2]))
        await at.client.delete(statefulsets.RESOURCE, KEY)
        await at.until(lambda: is_gone([]))


async def test_parallel_pods_start_and_stop_at_once_from_the_first_ordinal():
    async with world() as at:
        at.unready = lambda pod: True
        await at.client.create(
            statefulsets.RESOURCE, a_stateful_set(podManagementPolicy="Parallel", ordinals={"start": 5})
        )

        async def names() -> bool:
            return [pod.metadata.name for pod in await at.pods()] == ["db-5", "db-6", "db-7"]

        await at.until(names)
        await change(at, {"spec": {"replicas": 0}})

        async def none() -> bool:
            return not await at.pods()

        await at.until(none)
