from __future__ import annotations

import asyncio

import looptime  # noqa: F401
import pytest

from client.backoff import Backoff
from client.workqueue import WorkQueue
from component.clock import LoopClock

pytestmark = [pytest.mark.looptime]


def queue() -> WorkQueue[str]:
    return WorkQueue(LoopClock(), backoff=Backoff(1.0, 60.0))


async def test_a_key_added_twice_is_worked_on_once():
    keys = queue()
    keys.add("a")
    keys.add("a")
    keys.add("b")
    assert [await keys.get(), await keys.get()] == ["a", "b"]
    assert len(keys) == 0


async def test_a_key_added_while_it_is_worked_on_comes_again_after_done_and_not_before():
    keys = queue()
    keys.add("a")
    await keys.get()
    keys.add("a")
    assert len(keys) == 0
    keys.done("a")
    assert await keys.get() == "a"


async def test_a_busy_key_goes_to_the_end():
    keys = queue()
    keys.add("a")
    keys.add("b")
    await keys.get()
    keys.add("a")
    keys.done("a")
    assert [await keys.get(), await keys.get()] == ["b", "a"]


async def test_a_delayed_key_comes_when_it_is_due_and_the_earliest_wish_counts():
    keys, loop = queue(), asyncio.get_running_loop()
    start = loop.time()
    keys.add_after("late", 50)
    keys.add_after("a", 30)
    keys.add_after("a", 10)
    keys.add_after("a", 20)
    assert await keys.get() == "a"
    assert loop.time() - start == pytest.approx(10, abs=0.01)
    keys.done("a")
    assert await keys.get() == "late"
    assert loop.time() - start == pytest.approx(50, abs=0.01)
    assert not keys._due


async def test_a_failing_key_waits_longer_each_time_until_it_is_forgotten():
    keys, loop = queue(), asyncio.get_running_loop()
    waits = []
    for _ in range(3):
        start = loop.time()
        keys.add_rate_limited("a")
        keys.done(await keys.get())
        waits.append(round(loop.time() - start))
    keys.forget("a")
    start = loop.time()
    keys.add_rate_limited("a")
    keys.done(await keys.get())
    assert [*waits, round(loop.time() - start)] == [1, 2, 4, 1]


async def test_a_worker_cancelled_while_it_waits_loses_no_key():
    keys = queue()
    first, second = asyncio.ensure_future(keys.get()), asyncio.ensure_future(keys.get())
    await asyncio.sleep(0)
    keys.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"
