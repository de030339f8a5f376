from __future__ import annotations

import asyncio

from component.clock import LoopClock, sleep_unless


async def test_a_sleep_ends_with_its_time_or_with_its_event_and_leaves_the_event_as_it_was() -> None:
    clock, event = LoopClock(), asyncio.Event()
    began = clock.monotonic()
    await sleep_unless(clock, 0.05, event)
    assert clock.monotonic() - began >= 0.04 and not event.is_set()
    asyncio.get_running_loop().call_later(0.01, event.set)
    began = clock.monotonic()
    await sleep_unless(clock, 30.0, event)
    assert clock.monotonic() - began < 20 and event.is_set()
