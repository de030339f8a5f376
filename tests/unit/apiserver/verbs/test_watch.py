from __future__ import annotations

import asyncio

import pytest

from api.core import configmap as configmaps
from api.errors import BadRequest, Expired, Invalid, Timeout
from api.resource import ObjectKey
from apiserver.app import Api
from apiserver.registry import watch_cache
from client.verbs import Client, EventType
from tests import builders
from tests.unit.apiserver.verbs.test_verbs import call

A = ObjectKey("default", "a")


async def collect(watcher, count: int) -> list[tuple[str, str]]:
    ready = asyncio.Event()
    watcher.on_ready = ready.set
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += [(d.type, d.stored.name if d.stored else "") for d in watcher.take()]
            if len(found) < count:
                await ready.wait()
                ready.clear()
    watcher.close()
    return found


async def test_a_watch_from_a_list_sees_everything_after_it_once(client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("before"))
    listed = await client.list(configmaps.RESOURCE, "default")
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    events = []

    async def watch() -> None:
        async for batch in client.watch(configmaps.RESOURCE, "default", resource_version=listed.resource_version):
            events.extend((e.type, e.object.metadata.name) for e in batch if e.object)
            if len(events) >= 3:
                return

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await client.patch(configmaps.RESOURCE, ObjectKey("default", "a"), {"data": {"k": "v"}})
    await client.delete(configmaps.RESOURCE, ObjectKey("default", "a"))
    await asyncio.wait_for(watching, 5)
    assert events == [(EventType.ADDED, "a"), (EventType.MODIFIED, "a"), (EventType.DELETED, "a")]


async def test_initial_events_end_with_a_bookmark_that_says_so(api: Api, client: Client):
    for name in "ab":
        await client.create(configmaps.RESOURCE, builders.configmap(name))
    options = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    watcher = await api.handle(call(configmaps.RESOURCE, "watch", **options))
    taken = watcher.take()
    assert [(d.type, d.ends_initial) for d in taken] == [("ADDED", False), ("ADDED", False), ("BOOKMARK", True)]
    watcher.close()


async def test_the_end_of_initial_events_is_told_only_to_who_wants_bookmarks(api: Api, client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    options = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    watcher = await api.handle(call(configmaps.RESOURCE, "watch", **options))
    assert [d.type for d in watcher.take()] == ["ADDED"]
    watcher.close()


async def test_a_watch_from_version_0_begins_with_what_is_there(api: Api, client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    watcher = await api.handle(call(configmaps.RESOURCE, "watch", resourceVersion="0"))
    await client.create(configmaps.RESOURCE, builders.configmap("b"))
    assert await collect(watcher, 2) == [("ADDED", "a"), ("ADDED", "b")]


async def write_more_than_the_ring_holds(client: Client, monkeypatch) -> str:
    monkeypatch.setattr(watch_cache, "RING_CHANGES_MAX", 3)
    first = await client.create(configmaps.RESOURCE, builders.configmap("a"))
    for count in range(8):
        await client.patch(configmaps.RESOURCE, A, {"data": {"k": str(count)}})
    await client.delete(configmaps.RESOURCE, A)
    await client.list(configmaps.RESOURCE, "default")
    monkeypatch.undo()
    return first.metadata.resource_version


async def test_a_watch_from_before_the_ring_is_told_the_stores_history(api: Api, client: Client, monkeypatch):
    first = await write_more_than_the_ring_holds(client, monkeypatch)
    watchers = await asyncio.gather(
        *(api.handle(call(configmaps.RESOURCE, "watch", resourceVersion=first)) for _ in range(3))
    )
    for watcher in watchers:
        assert await collect(watcher, 9) == [("MODIFIED", "a")] * 8 + [("DELETED", "a")]


async def test_a_version_that_is_compacted_has_expired(api: Api, client: Client, store, monkeypatch):
    first = await write_more_than_the_ring_holds(client, monkeypatch)
    await store.compact(int(first) + 2)
    with pytest.raises(Expired, match="too old resource version"):
        await api.handle(call(configmaps.RESOURCE, "watch", resourceVersion=first))


async def test_a_watch_goes_on_when_the_stores_watch_breaks(api: Api, client: Client):
    watcher = await api.handle(call(configmaps.RESOURCE, "watch", resourceVersion="0"))
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    await asyncio.sleep(0)
    cache = api.registries.of(configmaps.RESOURCE).cache
    await cache._store_watch.close()
    await client.create(configmaps.RESOURCE, builders.configmap("b"))
    assert await collect(watcher, 2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_nonsense_in_a_watch_is_refused(api: Api, client: Client):
    with pytest.raises(BadRequest):
        await api.handle(call(configmaps.RESOURCE, "watch", resourceVersion="-1"))
    for options in ({"sendInitialEvents": "true"}, {"resourceVersionMatch": "Exact"}):
        with pytest.raises(Invalid, match="resourceVersionMatch: Forbidden"):
            await api.handle(call(configmaps.RESOURCE, "watch", **options))
    with pytest.raises(Invalid) as refused:
        await api.handle(call(configmaps.RESOURCE, "watch", sendInitialEvents="", resourceVersionMatch="Exact"))
    assert [cause.message for cause in refused.value.causes] == [
        "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        'Unsupported value: "Exact": supported values: "NotOlderThan"',
    ]


@pytest.mark.parametrize(
    ("verb", "options"),
    [("list", {}), ("watch", {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"})],
)
async def test_what_is_there_at_a_version_from_the_future_is_waited_for_and_then_refused(
    api: Api, client: Client, monkeypatch, verb: str, options: dict[str, str]
):
    monkeypatch.setattr(watch_cache, "CATCH_UP_TIMEOUT_S", 0.05)
    with pytest.raises(Timeout, match="Timeout: Too large resource version: 99999, current: ") as refused:
        await api.handle(call(configmaps.RESOURCE, verb, resourceVersion="99999", **options))
    assert [cause.reason for cause in refused.value.causes] == ["ResourceVersionTooLarge"]
    assert refused.value.retry_after_s == 1


async def test_a_watch_from_a_version_of_the_future_begins_there(api: Api, client: Client):
    made = await client.create(configmaps.RESOURCE, builders.configmap("a"))
    ahead = str(int(made.metadata.resource_version) + 1)
    watcher = await api.handle(call(configmaps.RESOURCE, "watch", resourceVersion=ahead))
    for name in "bcd":
        await client.create(configmaps.RESOURCE, builders.configmap(name))
    assert await collect(watcher, 2) == [("ADDED", "c"), ("ADDED", "d")]


async def test_a_list_reads_the_store_where_its_progress_cannot_be_trusted(api: Api, client: Client, monkeypatch):
    cache = api.registries.of(configmaps.RESOURCE).cache
    monkeypatch.setattr(cache._revisions, "_trusts_progress", False)
    for count in range(1, 20):
        await client.create(configmaps.RESOURCE, builders.configmap(f"c{count}"))
        assert len((await client.list(configmaps.RESOURCE, "default")).items) == count
    watcher = await api.handle(call(configmaps.RESOURCE, "watch", resourceVersion="0"))
    assert len(await collect(watcher, 19)) == 19


async def test_a_value_that_is_no_object_hides_no_other(api: Api, client: Client, store):
    await store.put_if(b"/registry/core/configmaps/default/bad", b"not json", 0)
    await client.create(configmaps.RESOURCE, builders.configmap("good"))
    listed = await client.list(configmaps.RESOURCE, "default")
    assert [one.metadata.name for one in listed.items] == ["good"]


async def test_a_limit_of_a_watch_means_nothing_but_is_to_be_a_number(api: Api):
    with pytest.raises(BadRequest, match="strconv.ParseInt"):
        await api.handle(call(configmaps.RESOURCE, "watch", limit="x"))
