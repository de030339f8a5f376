"""Schedules that strike where raft is easiest to get wrong; random faults meet these moments too seldom.

Each drives a `World` through one round and may be repeated. What they force is the situation, not the outcome: a right
member comes through them, and `test_mutants.py` shows that a wrong one does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

from store.consensus.consensus import NotLeader, OutcomeUnknown
from store.consensus.member import Member
from tests.simulation.consensus import World


async def until(claim: Callable[[], bool], seconds: float) -> bool:
    """Wait for a claim to hold, looking every millisecond; False if it did not."""
    for _ in range(round(seconds * 1000)):
        if claim():
            return True
        await asyncio.sleep(0.001)
    return False


async def start_all(world: World, ids: set[int]) -> None:
    for id in sorted(ids):
        if id not in world.members:
            await world.start(id)


def leader_among(world: World, ids: set[int]) -> Member | None:
    return next((m for id, m in sorted(world.members.items()) if id in ids and m.status().role == "leader"), None)


async def figure_eight(world: World, rng: random.Random) -> bool:
    """An entry of an old term comes to be on a majority, and is overwritten all the same (Raft paper, figure 8).

    Five members. `first` leads and gets its entries to one other only, then dies. `second` is elected by the rest and
    dies before anybody hears of its first entry. `first` or its confidant is elected again, spreads the old entries and
    dies at once when it thinks anything committed, or soon after. `second` comes back, and those who lack the newest
    term's entries follow it: only an entry of its own term can have told the third leader what is committed.

    Returns whether it came to its end; elections may go another way.
    """
    everyone = set(world.disks)
    world.heal()
    await start_all(world, everyone)
    first = (await world.wait_leader(20)).status().id
    confidant = rng.choice(sorted(everyone - {first}))
    rest = everyone - {first, confidant}
    world.partition({first, confidant}, rest)
    wanted = world.members[first].status().last + 1
    for number in range(2):
        with contextlib.suppress(NotLeader, OutcomeUnknown):
            world.members[first].propose(b"old%d-%d" % (wanted, number)).add_done_callback(
                lambda done: done.exception()
            )
    if not await until(lambda: world.members[confidant].status().durable >= wanted, 0.4):
        return False
    world.crash(first)
    world.crash(confidant)

    # The second leader is cut off before its first entry leaves.
    def cut_off_when_leading(sender: int, receiver: int, message: dict) -> None:
        leader = leader_among(world, rest)
        if leader is not None:
            world.partition({leader.status().id})

    world.on_delivery = cut_off_when_leading
    try:
        if not await until(lambda: leader_among(world, rest) is not None, 10):
            return False
    finally:
        world.on_delivery = lambda *_: None
    leader = leader_among(world, rest)
    if leader is None:
        return False
    second = leader.status().id
    if not await until(lambda: leader.status().durable == leader.status().last, 1):
        return False
    world.crash(second)

    # The old entries spread under a third leader, which dies as soon as it has committed anything.
    world.heal()
    old = everyone - {second}
    if rng.random() < 0.5:
        world.partition({first, confidant, min(rest - {second})})  # a bare majority
    await start_all(world, old)
    if not await until(lambda: leader_among(world, old) is not None, 10):
        return False
    third = leader_among(world, old)
    assert third is not None
    before = third.status().commit

    def die_when_committed(sender: int, receiver: int, message: dict) -> None:
        for id in sorted(old):
            member = world.members.get(id)
            if member is not None and member.status().role == "leader" and member.status().commit > before:
                asyncio.get_running_loop().call_soon(world.crash, id)

    world.on_delivery = die_when_committed
    await asyncio.sleep(rng.uniform(0.02, 0.3))
    world.on_delivery = lambda *_: None
    for id in sorted(old):
        world.crash(id)

    # The second comes back, with the others of its side: theirs is the newest entry, if the third's did not spread.
    world.heal()
    await start_all(world, rest)
    await until(lambda: leader_among(world, rest) is not None, 5)
    await asyncio.sleep(0.3)
    return True


async def second_candidate(world: World, rng: random.Random) -> bool:
    """Two stand in one term; who voted for the first dies at once, and is asked by the second when it is back.

    Three members. Both candidates stand at the same moment, and the second has the slower disk, so its request leaves
    when the first has been elected already. The first is cut off before it is heard of again.

    Returns whether both stood in one term and the voter was asked by both.
    """
    everyone = sorted(world.disks)
    world.heal()
    await start_all(world, set(everyone))
    await world.wait_leader(20)
    first, voter, second = rng.sample(everyone, 3)
    world.partition()
    if not await until(lambda: all(member.status().leader_id == 0 for member in world.members.values()), 5):
        return False
    world.slow = {first: (0.0001, 0.002), voter: (0.0001, rng.choice([0.001, 0.01, 0.03])), second: (0.15, 0.2)}
    asked: list[int] = []
    back: list[asyncio.Task[None]] = []

    async def come_back() -> None:
        await asyncio.sleep(rng.uniform(0.0, 0.01))
        await world.start(voter)

    def strike(sender: int, receiver: int, message: dict) -> None:
        if message["type"] == "request_vote" and receiver == voter:
            asked.append(sender)
        if message["type"] == "response_vote" and sender == voter and receiver == first and not back:
            world.partition({first}, {voter, second})
            world.crash(voter)
            back.append(asyncio.get_running_loop().create_task(come_back()))

    world.on_delivery = strike
    world.heal()
    assert not world.fatal, world.fatal
    for id in (first, second):
        member = world.members[id]
        member._enter()
        member._stand(world.clock.monotonic(), is_handed_over=False)
    await asyncio.sleep(0.5)
    world.on_delivery = lambda *_: None
    await asyncio.gather(*back)
    world.slow = {}
    return asked == [first, second]
