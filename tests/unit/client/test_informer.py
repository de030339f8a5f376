from __future__ import annotations

import asyncio
import random

import pytest

from api.core import configmap as configmaps
from api.errors import ApiError, NotReached, ServiceUnavailable
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.informer import Change, Informer
from client.verbs import Client
from component.clock import LoopClock
from tests.unit.client.memory_api import MemoryApi

pytestmark = [pytest.mark.looptime]


def config_map(name: str, **data: str) -> configmaps.ConfigMap:
    return configmaps.ConfigMap(metadata=ObjectMeta(namespace="default", name=name), data=data)


class World:
    def __init__(self) -> None:
        self.api = MemoryApi()
        self.client = Client(self.api)
        self.informer = Informer(self.client, configmaps.RESOURCE, clock=LoopClock(), rng=random.Random(1))
        self.told: list[str] = []
        self.informer.add_handler(self._note)

    def _note(self, change: Change[configmaps.ConfigMap]) -> None:
        kind = "add" if change.old is None else "delete" if change.new is None else "update"
        self.told.append(f"{kind} {change.object.metadata.name}")


@pytest.fixture
async def world():
    made = World()
    await made.client.create(configmaps.RESOURCE, config_map("a", x="1"))
    task = asyncio.ensure_future(made.informer.run())
    await made.informer.wait_synced()
    await asyncio.sleep(0.1)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_lists_then_follows_every_change(world):
    await world.client.create(configmaps.RESOURCE, config_map("b"))
    await world.client.patch(configmaps.RESOURCE, ObjectKey("default", "a"), {"data": {"x": "2"}})
    await world.client.delete(configmaps.RESOURCE, ObjectKey("default", "b"))
    await asyncio.sleep(0.1)
    assert world.told == ["add a", "add b", "update a", "delete b"]
    assert [found.data for found in world.informer.store.list("default")] == [{"x": "2"}]
    assert world.informer.version == world.api.version


async def test_a_watch_that_ends_is_resumed_without_listing_again(world):
    world.api.break_watches()
    await world.client.create(configmaps.RESOURCE, config_map("b"))
    await asyncio.sleep(30)
    assert world.told == ["add a", "add b"]
    assert [verb for verb, _ in world.api.calls if verb == "list"] == ["list"]


async def test_a_version_too_old_is_answered_by_listing_again_and_finding_what_was_missed(world):
    world.api.fail = lambda verb, address: ServiceUnavailable("down") if verb in ("watch", "list") else None
    world.api.break_watches()
    await asyncio.sleep(1)
    await world.client.delete(configmaps.RESOURCE, ObjectKey("default", "a"))
    await world.client.create(configmaps.RESOURCE, config_map("b"))
    world.api.compact()
    world.api.fail = lambda verb, address: None
    await asyncio.sleep(30)
    assert sorted(world.told) == ["add a", "add b", "delete a"]


async def test_an_object_made_again_while_nobody_watched_is_told_as_deleted_and_added(world):
    world.api.fail = lambda verb, address: ServiceUnavailable("down") if verb in ("watch", "list") else None
    world.api.break_watches()
    await asyncio.sleep(1)
    await world.client.delete(configmaps.RESOURCE, ObjectKey("default", "a"))
    await world.client.create(configmaps.RESOURCE, config_map("a"))
    world.api.compact()
    world.api.fail = lambda verb, address: None
    await asyncio.sleep(30)
    assert world.told == ["add a", "delete a", "add a"]


async def test_what_nobody_expected_ends_no_informer(world):
    def broken(verb: str, address: object) -> ApiError | None:
        if verb in ("watch", "list"):
            raise KeyError("nobody thought of that")
        return None

    world.api.fail = broken
    world.api.break_watches()
    await asyncio.sleep(20)
    await world.client.create(configmaps.RESOURCE, config_map("b"))
    world.api.fail = lambda verb, address: None
    await asyncio.sleep(30)
    assert world.told == ["add a", "add b"]


async def test_an_index_follows_the_objects(world):
    world.informer.add_index("value", lambda found: found.data.values())
    await world.client.patch(configmaps.RESOURCE, ObjectKey("default", "a"), {"data": {"x": "2"}})
    await asyncio.sleep(0.1)
    assert world.informer.store.by_index("value", "1") == []
    assert [found.metadata.name for found in world.informer.store.by_index("value", "2")] == ["a"]


async def test_a_relist_that_is_asked_for_happens_at_once(world):
    world.informer.relist()
    await asyncio.sleep(0.01)
    assert [verb for verb, _ in world.api.calls if verb == "list"] == ["list", "list"]
    assert world.told == ["add a"]


@pytest.mark.parametrize(
    ("failure", "asked"), [(NotReached("nobody"), (40, 120)), (ServiceUnavailable("not now"), (12, 30))]
)
async def test_who_is_not_there_is_looked_for_again_sooner_than_one_who_has_no_time_is_asked(
    world, failure: ApiError, asked: tuple[int, int]
):
    world.api.fail = lambda verb, address: failure if verb == "watch" else None
    world.api.calls.clear()
    world.api.break_watches()
    await asyncio.sleep(60)
    assert asked[0] <= len([verb for verb, _ in world.api.calls if verb == "watch"]) <= asked[1]
    world.api.fail = lambda verb, address: None
    await world.client.create(configmaps.RESOURCE, config_map("b"))
    await asyncio.sleep(1.6 if isinstance(failure, NotReached) else 5.1)
    assert "add b" in world.told
