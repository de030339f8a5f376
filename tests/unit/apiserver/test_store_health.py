from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.core import configmap
from api.errors import ServiceUnavailable, Timeout
from apiserver.app import Api, InternalCredentials, build
from apiserver.bootstrap import bootstrap
from apiserver.request import Call, RequestInfo, User
from apiserver.store_health import ASK_EVERY_S, LOST_AFTER_S, SLOW_AFTER_S
from client.verbs import Client
from component.clock import LoopClock
from store.client import StoreStatus, Unavailable
from store.local import LocalStore
from tests import builders
from tests.local_transport import LocalTransport

pytestmark = pytest.mark.looptime
BOUND_S = ASK_EVERY_S + LOST_AFTER_S + 1.0


class FailingStore(LocalStore):
    """Answers nothing while it is told not to; says then how many lead, and whether anybody can say so."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()
        self.leader = 1
        self.says_status = True

    async def range(self, *args: Any, **options: Any) -> Any:
        await self.answers.wait()
        return await super().range(*args, **options)

    async def txn(self, *args: Any, **options: Any) -> Any:
        await self.answers.wait()
        return await super().txn(*args, **options)

    async def put_if(self, *args: Any, **options: Any) -> Any:
        await self.answers.wait()
        return await super().put_if(*args, **options)

    async def status(self) -> StoreStatus:
        if self.answers.is_set():
            return await super().status()
        if not self.says_status:
            raise Unavailable("nobody is there")
        return StoreStatus("3.5.21", 1, 0, self.leader, 1, 1, has_trusted_progress=True)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[FailingStore, Api, Client]]:
    """Run an API over a store that can fail; not a fixture, whose timers would not be on the test's virtual time."""
    store = FailingStore()
    api = build(store, LoopClock(), random.Random(1))
    task = asyncio.create_task(api.run())
    await api.wait_ready()
    await bootstrap(api.registries)
    await asyncio.sleep(0.5 * ASK_EVERY_S)  # not in step with what asks
    try:
        yield store, api, Client(LocalTransport(api))
    finally:
        task.cancel()
        await asyncio.wait([task])


async def refusal(work: Any) -> tuple[str, float]:
    began = asyncio.get_running_loop().time()
    with pytest.raises(ServiceUnavailable) as caught:
        await work
    return str(caught.value), asyncio.get_running_loop().time() - began


async def requests(client: Client) -> list[tuple[str, float]]:
    asked = (
        client.create(configmap.RESOURCE, builders.configmap("x", namespace="default")),
        client.list(configmap.RESOURCE, "default"),
    )
    return await asyncio.gather(*(refusal(each) for each in asked))


async def test_what_is_under_way_is_refused_soon_after_the_quorum_is_lost():
    async with served() as (store, api, client):
        store.leader = 0
        store.answers.clear()
        for why, took_s in await requests(client):
            assert "the store has lost its quorum" in why
            assert LOST_AFTER_S < took_s < BOUND_S


async def test_what_is_asked_later_is_refused_at_once_and_was_not_done():
    async with served() as (store, api, client):
        store.leader = 0
        store.answers.clear()
        await asyncio.sleep(BOUND_S)
        for why, took_s in await requests(client):
            assert why.startswith("the store has lost its quorum") and "not known" not in why
            assert took_s < 0.1


async def test_reads_that_wait_for_one_another_are_refused_together():
    async with served() as (store, api, client):
        await client.list(configmap.RESOURCE, "default")
        store.says_status = False
        store.answers.clear()
        first = asyncio.create_task(refusal(client.list(configmap.RESOURCE, "default")))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(refusal(client.list(configmap.RESOURCE, "default")))
        for why, took_s in await asyncio.gather(first, second):
            assert "the store cannot be reached: no member answers" in why
            assert took_s < BOUND_S


async def test_a_change_of_leaders_is_waited_for():
    async with served() as (store, api, client):
        store.leader = 0
        store.answers.clear()
        asked = asyncio.create_task(client.create(configmap.RESOURCE, builders.configmap("x", namespace="default")))
        reading = asyncio.create_task(client.list(configmap.RESOURCE, "default"))
        await asyncio.sleep(2.5)
        store.answers.set()
        await asked
        await reading
        assert api.store_health.check() is None


async def test_a_store_that_leads_and_is_slow_is_given_longer():
    async with served() as (store, api, client):
        store.answers.clear()
        await asyncio.sleep(BOUND_S)
        assert api.store_health.check() is None
        await asyncio.sleep(SLOW_AFTER_S)
        assert "does not answer in time" in (api.store_health.check() or "")


async def test_it_is_served_again_within_a_second_of_the_store_answering():
    async with served() as (store, api, client):
        store.leader = 0
        store.answers.clear()
        await asyncio.sleep(2 * BOUND_S)
        store.answers.set()
        await asyncio.sleep(1)
        assert api.store_health.check() is None
        await client.create(configmap.RESOURCE, builders.configmap("x", namespace="default"))


async def test_a_client_that_waits_less_long_hears_of_its_own_timeout():
    async with served() as (store, api, client):
        store.answers.clear()
        began = asyncio.get_running_loop().time()
        info = RequestInfo("list", version="v1", plural="configmaps", namespace="default")
        who = InternalCredentials(user=User("admin", groups=("system:masters",)))
        with pytest.raises(Timeout):
            await api.handle(Call(info, who, resource=configmap.RESOURCE, options={"timeout": "500ms"}))
        assert asyncio.get_running_loop().time() - began < 1


async def test_the_size_of_the_store_is_among_the_metrics_once_it_was_asked_for():
    async with served() as (store, api, client):
        assert api.store_health.size_bytes is not None
        shown = f'apiserver_storage_size_bytes{{storage_cluster_id="etcd-0"}} {api.store_health.size_bytes}'
        assert shown in api.scrape().decode()
