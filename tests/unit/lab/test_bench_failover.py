from __future__ import annotations

import asyncio
import time

import pytest

from lab.bench.failover import Writer
from store.client import Unavailable
from store.local import LocalStore


class Failing(LocalStore):
    """A store that can be out of reach, and that can forget."""

    is_away = False

    async def txn(self, compares, success, failure=()):
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable("away")
        return await super().txn(compares, success, failure)


@pytest.fixture
async def writing():
    store = Failing()
    writer = Writer(store, 0)
    task = asyncio.create_task(writer.run())
    await writer.written.wait()
    yield store, writer
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_writes_have_resumed_when_one_begun_after_the_kill_is_acknowledged(writing):
    store, writer = writing
    store.is_away = True
    killed_at = time.monotonic()
    waiting = asyncio.create_task(writer.resumed(killed_at))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    store.is_away = False
    assert await waiting >= killed_at + 0.05


async def test_a_key_older_than_what_was_acknowledged_is_a_lost_write(writing):
    store, writer = writing
    assert not await writer.has_lost()
    store.is_away = True
    await asyncio.sleep(0)
    writer.acknowledged += 1000
    assert await writer.has_lost()
