"""Members of the store agree whatever the network and the disks do to them; seeds replay."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from store.consensus import durability
from store.consensus.consensus import NotLeader, OutcomeUnknown
from store.consensus.membership import MembershipChange, MembershipRefused
from tests.simulation.consensus import Disk, World
from tests.simulation.loop import run


@pytest.fixture(autouse=True)
def short_logs(monkeypatch):
    """Members that lag need a snapshot soon."""
    monkeypatch.setattr(durability, "LOG_KEPT_BYTES", 400)
    monkeypatch.setattr(durability, "TRIM_BYTES", 100)


async def started(rng: random.Random, size: int = 3) -> World:
    world = World(rng, size)
    for id in world.initial.voters:
        await world.start(id)
    await world.wait_leader()
    return world


async def clients(world: World, rng: random.Random, until: float, number: int) -> None:
    """Propose unique commands at any member, and read; note what was acknowledged."""
    count = 0
    while world.clock.monotonic() < until:
        await asyncio.sleep(rng.uniform(0, 0.05))
        member = rng.choice(list(world.members.values())) if world.members else None
        if member is None:
            continue
        try:
            async with asyncio.timeout(3):
                if rng.random() < 0.3:
                    before = list(world.acknowledged)
                    machine = world.machines[member.status().id]
                    await member.read_index()
                    missing = set(before) - set(machine.state.commands)
                    assert not missing, f"a read missed {sorted(missing)[:3]}"
                else:
                    count += 1
                    command = b"%d-%d" % (number, count)
                    await member.propose(command)
                    world.acknowledged.append(command)
        except (NotLeader, OutcomeUnknown, TimeoutError):
            pass


async def faults(world: World, rng: random.Random, until: float) -> None:
    """One fault after the other."""
    while world.clock.monotonic() < until:
        await asyncio.sleep(rng.uniform(0.05, 1.0))
        everyone = sorted(world.disks)
        match rng.randrange(9):
            case 0:
                world.crash(rng.choice(everyone))
            case 1:
                for id in everyone if rng.random() < 0.3 else rng.sample(everyone, len(everyone) // 2):
                    world.crash(id)
            case 2 | 3 | 4:
                for id in everyone:
                    if id not in world.members:
                        await world.start(id)
            case 5:
                leader = world.leader()
                alone = leader.status().id if leader else rng.choice(everyone)
                world.partition({alone}, set(everyone) - {alone})
            case 6:
                world.cut = {(f"{a:x}", f"{b:x}") for a in everyone for b in everyone if a != b and rng.random() < 0.3}
            case 7:
                world.loss, world.delay_s_max = rng.choice([0, 0, 0.05, 0.2]), rng.choice([0.005, 0.02, 0.1, 0.4])
                world.sync_s_max = rng.choice([0.002, 0.01, 0.05, 0.5])
            case _:
                world.heal()
                leader = world.leader()
                if leader is not None and rng.random() < 0.5:
                    with contextlib.suppress(MembershipRefused, NotLeader):
                        await leader.transfer_leadership(rng.choice(everyone))


@pytest.mark.parametrize("seed", range(24))
def test_nothing_acknowledged_is_lost_and_nobody_disagrees_whatever_fails(seed):
    async def main(rng: random.Random) -> None:
        world = await started(rng, 3 if seed % 3 else 5)
        until = world.clock.monotonic() + 20
        busy = [clients(world, random.Random(rng.getrandbits(64)), until, number) for number in range(3)]
        await asyncio.gather(*busy, faults(world, rng, until))
        assert not world.fatal, world.fatal
        await world.converge()
        assert world.acknowledged

    run(seed, main)


async def churn(world: World, rng: random.Random, until: float) -> None:
    """Add members, remove members, hand leadership around; the cluster is never smaller than three."""
    newest = max(world.disks)
    while world.clock.monotonic() < until:
        await asyncio.sleep(rng.uniform(0.1, 1.5))
        leader = world.leader()
        if leader is None:
            continue
        voters = leader.members.voters
        with contextlib.suppress(MembershipRefused, NotLeader, OutcomeUnknown, TimeoutError):
            async with asyncio.timeout(4):
                match rng.randrange(4):
                    case 0 if len(leader.members.records) < 6:
                        newest += 1
                        urls = (f"https://10.0.0.{newest}:2380",)
                        change = MembershipChange("add", newest, f"s{newest}", urls, wants_vote=rng.random() < 0.8)
                        world.disks[newest] = Disk()
                        await world.start(newest)
                        await leader.change_membership(change)
                    case 1 if len(voters) > 3:
                        away = rng.choice(voters)
                        if away == leader.status().id:
                            await leader.hand_over()
                        else:
                            await leader.change_membership(MembershipChange("remove", away))
                    case 2 if leader.members.learners:
                        id = rng.choice(leader.members.learners)
                        await leader.change_membership(MembershipChange(rng.choice(["remove", "promote"]), id))
                    case _:
                        await leader.transfer_leadership(rng.choice(voters))


@pytest.mark.parametrize("seed", range(100, 116))
def test_members_come_and_go_and_nothing_acknowledged_is_lost(seed):
    async def main(rng: random.Random) -> None:
        world = await started(rng)
        until = world.clock.monotonic() + 25
        busy = [clients(world, random.Random(rng.getrandbits(64)), until, number) for number in range(3)]
        changes = churn(world, random.Random(rng.getrandbits(64)), until)
        await asyncio.gather(*busy, changes, faults(world, rng, until))
        assert not world.fatal, world.fatal
        await world.converge()
        assert world.acknowledged

    run(seed, main)
