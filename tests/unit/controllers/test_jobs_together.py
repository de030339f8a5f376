"""Jobs over the real API server, beside the garbage collector and the rest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.batch import job as jobs
from api.batch.job import Job
from api.core import pod as pods
from api.errors import NotFound
from api.resource import ObjectKey
from tests.unit.controllers.world import World, world

pytestmark = [pytest.mark.looptime]
KEY = ObjectKey("default", "j")


def a_job(**spec: Any) -> Job:
    template = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
    body = {"metadata": {"name": "j", "namespace": "default"}, "spec": {"template": template, **spec}}
    return msgspec.convert(body, Job)


async def end_pods(at: World, phase: str = "Succeeded") -> None:
    for pod in await at.pods():
        if pod.status.phase == "Running":
            key = ObjectKey("default", pod.metadata.name)
            await at.client.patch(pods.RESOURCE, key, {"status": {"phase": phase}}, subresource="status")


def has(at: World, condition: str) -> Any:
    async def check() -> bool:
        await end_pods(at)
        found = await at.client.get(jobs.RESOURCE, KEY)
        return any(one.type == condition and one.status == "True" for one in found.status.conditions)

    return check


def is_gone(at: World) -> Any:
    async def check() -> bool:
        try:
            await at.client.get(jobs.RESOURCE, KEY)
        except NotFound:
            return not await at.pods()
        return False

    return check


async def test_a_job_completes_and_goes_after_its_time_with_its_pods():
    async with world() as at:
        await at.client.create(jobs.RESOURCE, a_job(completions=4, parallelism=2, ttlSecondsAfterFinished=5))
        await at.until(has(at, "Complete"))
        done = await at.client.get(jobs.RESOURCE, KEY)
        assert (done.status.succeeded, done.status.active, done.status.ready) == (4, 0, 0)
        await at.until(is_gone(at))


async def test_deleting_a_job_takes_its_running_pods_along_in_every_way():
    async with world() as at:
        for propagation in ("Background", "Foreground"):
            await at.client.create(jobs.RESOURCE, a_job(parallelism=3))

            async def runs() -> bool:
                return [pod.status.phase for pod in await at.pods()] == ["Running"] * 3

            await at.until(runs)
            await at.client.delete(jobs.RESOURCE, KEY, propagation=propagation)
            await at.until(is_gone(at))


async def test_orphaned_pods_stay_and_can_be_deleted():
    async with world() as at:
        await at.client.create(jobs.RESOURCE, a_job(parallelism=2))

        async def runs() -> bool:
            return [pod.status.phase for pod in await at.pods()] == ["Running"] * 2

        await at.until(runs)
        await at.client.delete(jobs.RESOURCE, KEY, propagation="Orphan")

        async def is_released() -> bool:
            try:
                await at.client.get(jobs.RESOURCE, KEY)
            except NotFound:
                found = await at.pods()
                return len(found) == 2 and not any(pod.metadata.finalizers for pod in found)
            return False

        await at.until(is_released)


async def test_an_evicted_pod_is_replaced_and_the_job_completes_though_its_controller_was_away():
    async with world() as at:
        await at.client.create(jobs.RESOURCE, a_job(completions=2, completionMode="Indexed", parallelism=2))

        async def runs() -> bool:
            return [pod.status.phase for pod in await at.pods()] == ["Running"] * 2

        await at.until(runs)
        await at.stop_controllers()
        first, second = await at.pods()
        await at.client.delete(pods.RESOURCE, ObjectKey("default", first.metadata.name), grace_period_s=0)
        key = ObjectKey("default", second.metadata.name)
        await at.client.patch(pods.RESOURCE, key, {"status": {"phase": "Succeeded"}}, subresource="status")
        await at.client.delete(pods.RESOURCE, key, grace_period_s=0)
        await at.start_controllers()
        await at.until(has(at, "Complete"))
        status = (await at.client.get(jobs.RESOURCE, KEY)).status
        assert (status.completed_indexes, status.succeeded, status.failed) == ("0,1", 2, 1)
