"""The store in memory keeps the store's promises."""

from __future__ import annotations

import asyncio

import pytest

from store.client import Compacted, Compare, CompareResult, CompareTarget, Conflict, Put, Range, Refused, prefix_end
from store.local import LocalStore


async def test_conditional_writes_conflict_with_what_is_there():
    store = LocalStore()
    revision = await store.put_if(b"/a", b"1", 0)
    with pytest.raises(Conflict) as caught:
        await store.put_if(b"/a", b"2", 0)
    assert caught.value.current.mod_revision == revision
    await store.delete_if(b"/a", revision)
    with pytest.raises(Conflict):
        await store.delete_if(b"/a", revision)


async def test_transactions_take_either_branch():
    store = LocalStore()
    missing = Compare(b"/a", CompareTarget.VERSION, CompareResult.EQUAL, 0)
    assert (await store.txn([missing], [Put(b"/a", b"1")])).succeeded
    refused = await store.txn([missing], [Put(b"/a", b"2")], [Range(b"/a")])
    assert (refused.succeeded, refused.results[0].kvs[0].value) == (False, b"1")
    with pytest.raises(Refused, match="etcdserver: duplicate key"):
        await store.txn([], [Put(b"/a"), Put(b"/a")])


async def test_a_watch_hears_the_past_then_waits_for_more():
    store = LocalStore()
    await store.put_if(b"/w/a", b"", 0)
    heard = []

    async def listen():
        async for batch in store.watch(b"/w/", 1):
            heard.extend(event.kv.key for event in batch.events)

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    await store.put_if(b"/w/b", b"", 0)
    await store.put_if(b"/x", b"", 0)
    await asyncio.sleep(0)
    assert heard == [b"/w/a", b"/w/b"]
    await store.close()
    await asyncio.wait_for(task, 1)


async def test_progress_is_told_on_request_after_what_was_written():
    store = LocalStore()
    watch = store.watch(b"/w/")
    revision = await store.put_if(b"/x", b"", 0)
    await watch.request_progress()
    batch = await anext(aiter(watch))
    assert (batch.events, batch.revision) == ((), revision)


async def test_compaction_ends_watches_of_the_past():
    store = LocalStore()
    revision = 0
    for _ in range(4):
        revision = await store.put_if(b"/a", b"", revision)
    await store.compact(revision)
    with pytest.raises(Compacted):
        await anext(aiter(store.watch(b"/a", 2)))
    assert (await store.range(b"/", prefix_end(b"/"), revision=revision)).count == 1
