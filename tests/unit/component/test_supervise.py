from __future__ import annotations

import asyncio

import pytest

from component.clock import LoopClock
from component.supervise import keep_going

pytestmark = pytest.mark.looptime


async def test_work_that_breaks_is_begun_again_until_it_returns(caplog: pytest.LogCaptureFixture):
    turns = 0

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns < 3:
            raise KeyError("nobody thought of that")

    clock = LoopClock()
    began = clock.monotonic()
    await keep_going("a part", work, clock, again_s=2.0)
    assert (turns, clock.monotonic() - began) == (3, pytest.approx(4.0))
    assert caplog.text.count("nobody thought of that") >= 2


async def test_work_that_is_cancelled_is_over():
    clock = LoopClock()
    running = asyncio.ensure_future(keep_going("a part", lambda: clock.sleep(100), clock))
    await asyncio.sleep(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
