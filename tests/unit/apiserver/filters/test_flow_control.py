from __future__ import annotations

import asyncio
import random

import pytest

from api.errors import TooManyRequests
from apiserver.filters import flow_control
from apiserver.filters.flow_control import with_flow_control
from apiserver.filters.watch_limit import with_watch_limit
from apiserver.flowcontrol import defaults
from apiserver.flowcontrol.levels import FlowControl
from apiserver.flowcontrol.width import Width
from apiserver.request import Call, RequestInfo, User
from component.clock import LoopClock, RealClock

NOISY = User("noisy", groups=("system:authenticated",))
NODE = User("system:node:n1", groups=("system:nodes", "system:authenticated"))


def control(seats: int = 24) -> FlowControl:
    made = FlowControl(seats, 0.0)
    made.configure(0.0, defaults.flow_schemas(), defaults.priority_levels())
    return made


def noise() -> Call:
    return Call(RequestInfo("get", "", "", "v1", "pods", "", "shop", "a"), user=NOISY)


def heartbeat() -> Call:
    info = RequestInfo("update", "", "coordination.k8s.io", "v1", "leases", "", "kube-node-lease", "n1")
    return Call(info, user=NODE)


class Gate:
    """A handler that holds every request until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.running = 0

    async def __call__(self, call: Call) -> str:
        self.running += 1
        if call.user is NOISY:
            await self.open.wait()
        self.running -= 1
        return "done"


async def test_a_heartbeat_runs_at_once_while_a_noisy_client_has_filled_its_level() -> None:
    levels, gate = control(), Gate()
    handle = with_flow_control(gate, levels, RealClock(), lambda: None, lambda call, most: Width())
    tasks = [asyncio.create_task(handle(noise())) for _ in range(200)]
    await asyncio.sleep(0)
    level = levels.levels["global-default"]
    assert gate.running == level.bounds.nominal == 2
    async with asyncio.timeout(0.5):
        assert await handle(heartbeat()) == "done"
    gate.open.set()
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert level.queues.executing == level.queues.waiting == 0
    assert all(result == "done" or isinstance(result, TooManyRequests) for result in results)


async def test_a_request_that_finds_its_queues_full_is_told_to_come_again() -> None:
    levels, gate = control(), Gate()
    handle = with_flow_control(gate, levels, RealClock(), lambda: None, lambda call, most: Width())
    tasks = [asyncio.create_task(handle(noise())) for _ in range(400)]
    await asyncio.sleep(0)
    gate.open.set()
    refused = [r for r in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(r, TooManyRequests)]
    # Six queues of fifty, and two that run.
    assert len(refused) == 400 - 6 * 50 - 2
    assert refused[0].retry_after_s == 1
    assert levels.metrics["global-default", "global-default"].refused == {"queue-full": len(refused)}


@pytest.mark.looptime
async def test_a_request_waits_only_so_long() -> None:
    levels, gate = control(), Gate()
    handle = with_flow_control(gate, levels, LoopClock(), lambda: None, lambda call, most: Width())
    running = [asyncio.create_task(handle(noise())) for _ in range(2)]
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    with pytest.raises(TooManyRequests):
        await handle(noise())
    assert asyncio.get_running_loop().time() - began == pytest.approx(flow_control.WAIT_MAX_S)
    gate.open.set()
    await asyncio.gather(*running)


async def test_requests_that_are_given_up_leave_nothing_behind() -> None:
    rng = random.Random(3)
    levels, gate = control(), Gate()
    handle = with_flow_control(gate, levels, RealClock(), lambda: None, lambda call, most: Width())
    tasks = [asyncio.create_task(handle(noise())) for _ in range(100)]
    await asyncio.sleep(0)
    for task in rng.sample(tasks, 60):
        task.cancel()
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    queues = levels.levels["global-default"].queues
    assert (queues.executing, queues.waiting, queues.seats_in_use, queues.active_queues) == (0, 0, 0, 0)


async def test_seats_of_a_write_stay_taken_while_its_watchers_are_told() -> None:
    levels = control(600)

    async def answer(call: Call) -> str:
        return "done"

    wide = Width(1, 4, 0.02)
    handle = with_flow_control(answer, levels, RealClock(), lambda: None, lambda call, most: wide)
    await handle(noise())
    queues = levels.levels["global-default"].queues
    assert queues.seats_in_use == 4
    async with asyncio.timeout(2):
        while queues.seats_in_use:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_user_holds_only_so_many_watches() -> None:
    async def answer(call: Call) -> str:
        return "watching"

    handle = with_watch_limit(answer, 2)
    calls = [Call(RequestInfo("watch", "", "", "v1", "pods"), user=NOISY) for _ in range(3)]
    for one in calls[:2]:
        await handle(one)
    with pytest.raises(TooManyRequests):
        await handle(calls[2])
    calls[0].finish()
    assert await handle(calls[2]) == "watching"
