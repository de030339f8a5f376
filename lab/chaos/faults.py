"""How each fault of `schedule.FAULTS` is done, from its first blow until everything is mended and started again.

An injection returns what it saw happen with its own eyes: exit codes, states in /proc, counters of the packet filter.
What members and clients tell about it is added elsewhere. It leaves every member running.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from lab.chaos.arena import is_paused, is_waiting_for_disk
from lab.chaos.cluster import Cluster, ClusterFailed, Member
from lab.chaos.effects import Effect, Effects
from lab.chaos.schedule import Round
from proto.etcd import rpc_pb2

STOPS_WITHIN_S = 15.0
CLOCK_OFFSETS_S = (-3600, 86_400, 10 * 365 * 86_400)
FORCE_SNAPSHOT_TIMEOUT_S = 20.0
FAT_VALUE_BYTES = 512 << 10
FAT_BYTES = 40 << 20
"""More than members keep of their logs for those who are behind."""


@dataclass(slots=True)
class Scene:
    """What an injection has to work with."""

    cluster: Cluster
    round: Round
    rng: random.Random
    effects: Effects
    snapshots_taken_in: Callable[[], Awaitable[int]]
    """Counts, over all members, what their logs and metrics say."""

    @property
    def members(self) -> list[Member]:
        return self.cluster.members

    async def leader_and_others(self) -> tuple[Member, list[Member]]:
        leader = await self.cluster.leader()
        others = [member for member in self.members if member is not leader]
        self.rng.shuffle(others)
        return leader, others

    async def hold(self) -> None:
        await asyncio.sleep(self.round.hold_s)

    def kill(self, member: Member) -> None:
        if self.cluster.kill(member):
            self.effects[Effect.MEMBERS_DIED] += 1

    async def start(self, member: Member) -> None:
        """Start a member again, and wait until it answers."""
        self.cluster.start(member)
        await self.wait_serving([member])

    async def wait_serving(self, members: Sequence[Member], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        for member in members:
            while await self.cluster.sample(member) is None:
                if not member.is_running:
                    code = member.process.returncode if member.process else None
                    words = self.cluster.last_words(member)
                    raise ClusterFailed(f"{member.name} ended with {code} instead of serving: {words}")
                if time.monotonic() > deadline:
                    raise ClusterFailed(f"{member.name} does not answer {timeout_s:g} s after its start")
                await asyncio.sleep(0.05)


Injection = Callable[[Scene], Awaitable[None]]


# -- processes


async def _kill_leader(scene: Scene) -> None:
    leader = await scene.cluster.leader()
    scene.kill(leader)
    await scene.hold()
    await scene.start(leader)


async def _kill_follower(scene: Scene) -> None:
    _, others = await scene.leader_and_others()
    scene.kill(others[0])
    await scene.hold()
    await scene.start(others[0])


async def _kill_all(scene: Scene) -> None:
    for member in scene.members:
        scene.kill(member)
    await scene.hold()
    await _start_all(scene)


async def _pause_leader(scene: Scene) -> None:
    await _pause(scene, await scene.cluster.leader())


async def _pause_follower(scene: Scene) -> None:
    _, others = await scene.leader_and_others()
    await _pause(scene, others[0])


async def _pause(scene: Scene, member: Member) -> None:
    scene.cluster.signal(member, signal.SIGSTOP)
    try:
        await asyncio.sleep(scene.round.hold_s / 2)
        scene.effects[Effect.PAUSES_SEEN] += is_paused(member.pid)
        await asyncio.sleep(scene.round.hold_s / 2)
    finally:
        scene.cluster.signal(member, signal.SIGCONT)


async def _rolling_restart(scene: Scene) -> None:
    for member in scene.rng.sample(scene.members, len(scene.members)):
        code = await scene.cluster.stop(member)
        if code in (0, -signal.SIGTERM):
            scene.effects[Effect.MEMBERS_RESTARTED] += 1
        await scene.start(member)
        await scene.hold()


async def _clock_jump(scene: Scene) -> None:
    offsets = list(CLOCK_OFFSETS_S)
    scene.rng.shuffle(offsets)
    for number, member in enumerate(scene.members):
        uptime_s = int(time.clock_gettime(time.CLOCK_MONOTONIC))
        member.clock_offset_s = max(offsets[number % len(offsets)], 60 - uptime_s)
        scene.kill(member)
        await scene.start(member)
        scene.effects[Effect.CLOCKS_SHIFTED] = scene.cluster.shifted_clocks()
        await scene.hold()


async def _start_all(scene: Scene) -> None:
    for member in scene.members:
        scene.cluster.start(member)
    await scene.wait_serving(scene.members)


# -- networks


async def _cut_leader(scene: Scene) -> None:
    leader, others = await scene.leader_and_others()
    await _cut(scene, {pair for other in others for pair in ((leader.slot, other.slot), (other.slot, leader.slot))})


async def _cut_follower(scene: Scene) -> None:
    leader, others = await scene.leader_and_others()
    lonely, rest = others[0], [leader, *others[1:]]
    await _cut(scene, {pair for other in rest for pair in ((lonely.slot, other.slot), (other.slot, lonely.slot))})


async def _deafen_leader(scene: Scene) -> None:
    leader, others = await scene.leader_and_others()
    await _cut(scene, {(other.slot, leader.slot) for other in others})


async def _mute_follower(scene: Scene) -> None:
    leader, others = await scene.leader_and_others()
    muted, rest = others[0], [leader, *others[1:]]
    scene.rng.shuffle(rest)
    pairs = {(muted.slot, other.slot) for other in rest} | {(other.slot, muted.slot) for other in rest[1:]}
    await _cut(scene, pairs)


async def _part_two(scene: Scene) -> None:
    leader, others = await scene.leader_and_others()
    await _cut(scene, {(leader.slot, others[0].slot), (others[0].slot, leader.slot)})


async def _cut(scene: Scene, pairs: set[tuple[int, int]]) -> None:
    arena = scene.cluster.arena
    arena.cut(pairs)
    try:
        await scene.hold()
    finally:
        scene.effects[Effect.PACKETS_DROPPED] += arena.mend_network()


# -- disks


async def _slow_disk(scene: Scene) -> None:
    """The filesystem stands still for 50 to 400 ms, three times a second or so."""
    member = scene.rng.choice(scene.members)
    ends = time.monotonic() + scene.round.hold_s
    arena = scene.cluster.arena
    try:
        while time.monotonic() < ends:
            await asyncio.to_thread(arena.freeze, member.slot)
            await asyncio.sleep(scene.rng.uniform(0.05, 0.4))
            scene.effects[Effect.DISK_WAITS_SEEN] += is_waiting_for_disk(member.pid)
            arena.thaw(member.slot)
            await asyncio.sleep(scene.rng.uniform(0.05, 0.2))
    finally:
        arena.thaw(member.slot)


async def _full_disk(scene: Scene) -> None:
    member = scene.rng.choice(scene.members)
    await _break_disk(scene, member, scene.cluster.arena.fill)
    await scene.start(member)


async def _failing_disk(scene: Scene) -> None:
    member = scene.rng.choice(scene.members)
    await scene.cluster.sample(member)  # its id is asked for while it lives
    await _break_disk(scene, member, scene.cluster.arena.fail)
    await _replace(scene, member)


async def _break_disk(scene: Scene, member: Member, break_it: Callable[[int], None]) -> None:
    """Break a member's disk, see the member stop by itself and say why, and mend the disk."""
    await asyncio.to_thread(break_it, member.slot)
    try:
        code = await scene.cluster.wait_exit(member, STOPS_WITHIN_S)
        words = scene.cluster.last_words(member)
        if code > 0 and words:
            scene.effects[Effect.MEMBERS_STOPPED] += 1
        await scene.hold()
    finally:
        if member.is_running:
            scene.kill(member)  # it did not stop by itself: the effect is missing, and the run says so
        await asyncio.to_thread(scene.cluster.arena.mend_disk, member.slot)


# -- logs


async def _torn_tail(scene: Scene) -> None:
    member = scene.rng.choice(scene.members)
    scene.kill(member)
    tear(_log_files(scene, member), scene.rng)
    await scene.hold()
    await scene.start(member)


async def _torn_tails(scene: Scene) -> None:
    for member in scene.members:
        scene.kill(member)
    for member in scene.members:
        tear(_log_files(scene, member), scene.rng)
    await scene.hold()
    await _start_all(scene)


async def _flipped_bit(scene: Scene) -> None:
    _, others = await scene.leader_and_others()
    member = others[0]
    scene.kill(member)
    flip(_log_files(scene, member), scene.rng)
    scene.cluster.start(member)
    try:
        code = await scene.cluster.wait_exit(member, STOPS_WITHIN_S)
    except ClusterFailed:
        # It took the damaged log for good. That is what the missing effect will say; carry on with another member.
        scene.kill(member)
        code = 0
    words = scene.cluster.last_words(member)
    if code > 0 and words:
        scene.effects[Effect.MEMBERS_REFUSED_TO_START] += 1
    await scene.hold()
    await _replace(scene, member)


def tear(files: Sequence[Path], rng: random.Random) -> None:
    """Leave half a record at the end of a log: what was being written, and never synced, when the power went.

    Only bytes are added: all that is in the file may have been acknowledged.
    """
    newest = files[-1]
    content = newest.read_bytes()
    end = len(content)
    sample = content[max(0, end - 4096) : end]
    half = (
        sample[: rng.randrange(1, max(2, len(sample)))] if rng.random() < 0.5 else rng.randbytes(rng.randrange(1, 300))
    )
    with newest.open("ab") as file:
        file.write(half)


def flip(files: Sequence[Path], rng: random.Random) -> None:
    """Turn over one bit in the first half of the log's newest file: much was synced after it."""
    newest = files[-1]
    with newest.open("r+b") as file:
        size = len(file.read().rstrip(b"\0"))  # etcd allots its files in advance
        place = rng.randrange(size // 8, max(size // 2, size // 8 + 1))
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1 << rng.randrange(8)]))


def _log_files(scene: Scene, member: Member) -> list[Path]:
    files = scene.cluster.server.log_files(scene.cluster.arena.directory(member.slot))
    if not files:
        raise ClusterFailed(f"{member.name} has no log files in {scene.cluster.arena.directory(member.slot)}")
    return files


# -- members


async def _replace_member(scene: Scene) -> None:
    member = scene.rng.choice(scene.members)
    await scene.cluster.sample(member)  # its id is asked for while it lives
    scene.kill(member)
    await scene.hold()
    await _replace(scene, member)


async def _replace(scene: Scene, member: Member) -> None:
    newcomer = await scene.cluster.replace(member)
    await scene.wait_serving([newcomer])
    scene.effects[Effect.MEMBERS_REPLACED] += 1


async def _force_snapshot(scene: Scene) -> None:
    """Keep a follower down until the others have let go of what it lacks; it can only come back by a snapshot.

    What members let go of is measured in bytes by ours, in entries by etcd; few large values are the quickest for both
    that this can be, and for etcd not quick enough to be sure of it.
    """
    _, others = await scene.leader_and_others()
    member = others[0]
    before = await scene.snapshots_taken_in()
    scene.kill(member)
    rest = [each for each in scene.members if each is not member]
    put = rpc_pb2.PutRequest(key=b"/chaos/fat", value=bytes(FAT_VALUE_BYTES))
    deadline = time.monotonic() + FORCE_SNAPSHOT_TIMEOUT_S
    written_bytes = 0
    while written_bytes < FAT_BYTES and time.monotonic() < deadline:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await scene.cluster.ask(scene.rng.choice(rest), "KV/Put", put, rpc_pb2.PutResponse)
            written_bytes += FAT_VALUE_BYTES
    await scene.hold()
    await scene.start(member)
    for _ in range(50):
        if await scene.snapshots_taken_in() > before:
            return
        await asyncio.sleep(0.1)


INJECTIONS: dict[str, Injection] = {
    injection.__name__.lstrip("_").replace("_", "-"): injection
    for injection in (
        _kill_leader,
        _kill_follower,
        _kill_all,
        _pause_leader,
        _pause_follower,
        _cut_leader,
        _cut_follower,
        _deafen_leader,
        _mute_follower,
        _part_two,
        _slow_disk,
        _full_disk,
        _failing_disk,
        _torn_tail,
        _torn_tails,
        _flipped_bit,
        _clock_jump,
        _rolling_restart,
        _replace_member,
        _force_snapshot,
    )
}
