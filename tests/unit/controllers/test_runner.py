from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from api.apps import replicaset as replicasets
from api.errors import ApiError, Forbidden, ServiceUnavailable
from api.resource import ObjectKey
from client.events import EventRecorder
from client.informer import Informers
from client.verbs import Address, Client, RawObject
from component import metrics
from component.clock import LoopClock
from controllers import replicaset
from controllers.runner import TURN_S_MAX, Runner
from tests.unit.client.memory_api import MemoryApi
from tests.unit.controllers.test_replicaset import replica_set

pytestmark = [pytest.mark.looptime]
WEB = ObjectKey("default", "web")


class ForgetfulApi(MemoryApi):
    """Does what it is asked, and may lose the answer, or tell watchers late."""

    lose_answers = 0
    keep_answers = 0
    watch_delay_s = 0.0

    async def create(self, address: Address, body: bytes) -> RawObject:
        answer = await super().create(address, body)
        if address.plural == "pods" and self.lose_answers:
            self.lose_answers -= 1
            raise ServiceUnavailable("the connection broke")
        if address.plural == "pods" and self.keep_answers:
            self.keep_answers -= 1
            await asyncio.sleep(10_000)
        return answer

    async def watch(self, address, **options):
        async for batch in super().watch(address, **options):
            if address.plural == "pods":
                await asyncio.sleep(self.watch_delay_s)
            yield batch


@asynccontextmanager
async def running(api: MemoryApi):
    client, clock, rng = Client(api), LoopClock(), random.Random(1)
    informers = Informers(client, clock=clock, rng=rng)
    recorder = EventRecorder(client, "controllers", clock=clock, rng=rng)
    runner = Runner(replicaset.CONTROLLER, informers, client, recorder, clock=clock, rng=rng)
    tasks = [asyncio.ensure_future(each.run()) for each in (informers, recorder, runner)]
    await asyncio.sleep(1)
    try:
        yield client
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def create(client: Client, replicas: int) -> None:
    made = replica_set(replicas)
    made.metadata.uid = ""
    await client.create(replicasets.RESOURCE, made)


async def test_a_write_whose_answer_was_lost_is_not_done_twice():
    api = ForgetfulApi()
    async with running(api) as client:
        api.lose_answers = 4
        await create(client, 6)
        await asyncio.sleep(60)
        assert len(api.of("pods")) == 6
        assert api.of("replicasets")[0]["status"]["replicas"] == 6


async def test_a_write_that_was_given_up_is_not_done_twice():
    api = ForgetfulApi()
    api.watch_delay_s = TURN_S_MAX + 20
    async with running(api) as client:
        api.keep_answers = 1
        await create(client, 3)
        await asyncio.sleep(TURN_S_MAX + 200)
        assert sum(verb == "create" and address.plural == "pods" for verb, address in api.calls) == 3


async def test_a_slow_watch_makes_no_twins():
    api = ForgetfulApi()
    api.watch_delay_s = 5.0
    async with running(api) as client:
        await create(client, 3)
        await asyncio.sleep(2)
        # Something else wakes the key while the pods are not in the cache yet.
        await client.patch(replicasets.RESOURCE, WEB, {"metadata": {"annotations": {"a": "b"}}})
        await asyncio.sleep(60)
        assert len(api.of("pods")) == 3


async def test_a_watch_that_says_nothing_is_given_up_by_listing_again():
    api = ForgetfulApi()
    api.watch_delay_s = 1e6
    async with running(api) as client:
        await create(client, 3)
        await asyncio.sleep(20)
        await client.patch(replicasets.RESOURCE, WEB, {"spec": {"replicas": 5}})
        await asyncio.sleep(5)
        assert len(api.of("pods")) == 3
        await asyncio.sleep(60)
        assert len(api.of("pods")) == 5


async def test_a_refused_creation_is_told_and_tried_again_more_and_more_slowly():
    api = MemoryApi()

    def quota(verb: str, address: Address) -> ApiError | None:
        return Forbidden("exceeded quota") if (verb, address.plural) == ("create", "pods") else None

    api.fail = quota
    async with running(api) as client:
        await create(client, 100)
        await asyncio.sleep(30)
        (rs,) = api.of("replicasets")
        assert rs["status"]["conditions"][0]["reason"] == "FailedCreate"
        tried = [address for verb, address in api.calls if (verb, address.plural) == ("create", "pods")]
        assert 5 < len(tried) < 20
        assert {event["reason"] for event in api.of("events")} == {"FailedCreate"}
        api.fail = lambda verb, address: None
        await asyncio.sleep(100)
        assert len(api.of("pods")) == 100
        assert "conditions" not in api.of("replicasets")[0]["status"]


async def test_queues_are_told_of_while_somebody_works_on_them():
    def told() -> bool:
        return b'workqueue_unfinished_work_seconds{name="replicaset-controller"}' in metrics.render(metrics.SHARED)

    async with running(MemoryApi()):
        await asyncio.sleep(1)
        assert told()
    assert not told()
