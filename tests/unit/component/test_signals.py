from __future__ import annotations

import asyncio

import pytest

from component import signals

LAME_DUCK_S = 8.0


async def told_to_stop_after(seconds: float, working: asyncio.Task[None], leaving: asyncio.Event) -> float:
    """Tell it so, and return how long it took to obey."""
    loop = asyncio.get_running_loop()
    server = loop.create_task(signals.work_on(working, LAME_DUCK_S, leaving))
    await asyncio.sleep(seconds)
    assert not leaving.is_set()
    server.cancel()
    began = loop.time()
    with pytest.raises(asyncio.CancelledError):
        await server
    return loop.time() - began


@pytest.mark.looptime
async def test_who_is_told_to_stop_says_so_at_once_and_works_on_for_its_time():
    leaving = asyncio.Event()
    said: list[tuple[float, bool]] = []

    async def work() -> None:
        while True:
            said.append((asyncio.get_running_loop().time(), leaving.is_set()))
            await asyncio.sleep(1)

    working = asyncio.create_task(work())
    assert await told_to_stop_after(2.5, working, leaving) == LAME_DUCK_S
    assert not working.done(), "whoever waited for it ends it"
    assert [time for time, is_leaving in said if not is_leaving] == [0, 1, 2]
    assert [time for time, is_leaving in said if is_leaving] == [3, 4, 5, 6, 7, 8, 9, 10]
    working.cancel()


@pytest.mark.looptime
async def test_work_that_ends_meanwhile_is_not_waited_for():
    leaving = asyncio.Event()
    working = asyncio.create_task(asyncio.sleep(5))
    assert await told_to_stop_after(2, working, leaving) == 3


async def test_a_failure_of_the_work_is_its_caller_s():
    async def work() -> None:
        raise ValueError("broken")

    leaving = asyncio.Event()
    with pytest.raises(ValueError, match="broken"):
        await signals.work_on(asyncio.create_task(work()), LAME_DUCK_S, leaving)
    assert not leaving.is_set()
