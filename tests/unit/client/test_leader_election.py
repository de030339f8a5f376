from __future__ import annotations

import asyncio
import random

import pytest

from api.errors import ServiceUnavailable
from api.resource import ObjectKey
from client.leader_election import Election, LeaderElector, LeadershipLost
from client.verbs import Client
from component import flags
from component.clock import LoopClock
from tests.unit.client.memory_api import MemoryApi

pytestmark = [pytest.mark.looptime]
KEY = ObjectKey("kube-system", "steer-controllers")


def elector(api: MemoryApi, identity: str) -> LeaderElector:
    return LeaderElector(Client(api), KEY, identity, clock=LoopClock(), rng=random.Random(identity))


async def forever() -> None:
    await asyncio.Event().wait()


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_only_one_of_two_leads_and_the_other_follows_when_the_first_gives_up():
    api = MemoryApi()
    one, two = elector(api, "one"), elector(api, "two")
    first = asyncio.ensure_future(one.run(forever))
    await asyncio.sleep(1)
    second = asyncio.ensure_future(two.run(forever))
    await asyncio.sleep(100)
    assert (one.is_leader, two.is_leader) == (True, False)
    await stop(first)
    await asyncio.sleep(5)
    assert (one.is_leader, two.is_leader) == (False, True)
    await stop(second)


async def test_a_leader_that_vanished_is_replaced_after_its_lease_ran_out_and_not_before():
    api = MemoryApi()
    one, two = elector(api, "one"), elector(api, "two")
    first = asyncio.ensure_future(one.run(forever))
    second = asyncio.ensure_future(two.run(forever))
    await asyncio.sleep(30)
    leader, other = (one, two) if one.is_leader else (two, one)
    gone = leader._identity
    api.fail = lambda verb, address: None
    task = first if leader is one else second
    leader._release = forever  # type: ignore[method-assign]
    task.cancel()
    await asyncio.sleep(12)
    assert not other.is_leader
    await asyncio.sleep(10)
    assert other.is_leader and other.holder != gone
    await stop(first, second)


async def test_a_leader_that_cannot_renew_stops_its_work_before_anyone_else_may_start():
    api = MemoryApi()
    one = elector(api, "one")
    stopped: list[float] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            stopped.append(asyncio.get_running_loop().time())

    task = asyncio.ensure_future(one.run(work))
    await asyncio.sleep(1)
    failed_at = asyncio.get_running_loop().time()
    api.fail = lambda verb, address: ServiceUnavailable("down")
    with pytest.raises(LeadershipLost):
        await task
    assert stopped and stopped[0] - failed_at < 15
    assert not one.is_leader


def test_times_that_do_not_go_together_are_refused_as_flags(capsys):
    with pytest.raises(SystemExit):
        flags.parse(Election, ["--leader-elect-lease-duration-s", "9"], prog="steer-x")
    said = capsys.readouterr().err
    assert "want retry period 2 s * 1.2 < renew deadline 10 s < lease duration 9 s" in said
