"""Members of the store's consensus on virtual time: what is simulated is the wire, the disk and the state machine.

The network delays, cuts and silently drops; a disk takes its time to sync, and a crash loses all that it has not.
The members are the real ones. `World` checks all the time that no two lead in one term and that all apply the same.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from component.clock import LoopClock
from store.consensus.consensus import LogIndex, MemberRemoved, SnapshotInstalled, Term
from store.consensus.journal import _HEADER, Journal, Staged, _Segment
from store.consensus.member import Member
from store.consensus.membership import MemberRecord, Members
from store.consensus.snapshot import SnapshotDamaged, Unframer, frame
from store.consensus.transport import Message, Receiver
from store.recovery import continue_from


class MemoryJournal(Journal):
    """A log whose disk is a list: what was synced, and nothing else, is there after a crash."""

    def __init__(self, durable: list[bytes]) -> None:
        self.durable = durable
        super().__init__(Path("memory"))

    def __post_init__(self) -> None:
        for record in self.durable:
            _, _, kind, index, term = _HEADER.unpack_from(record)
            self._recover(_Segment(Path("memory"), 0), kind, index, term, record[_HEADER.size :], 0)

    def write_and_sync(self, staged: Staged) -> None:
        self.durable.extend(staged.records)
        self.syncs += 1

    def close(self) -> None:
        pass


@dataclass
class State:
    """What a state machine has come to."""

    applied: tuple[LogIndex, Term] = (LogIndex(0), Term(0))
    commands: tuple[bytes, ...] = ()
    members: bytes = b""

    def encode(self) -> bytes:
        commands = [command.decode() for command in self.commands]
        return json.dumps([self.applied, commands, self.members.decode()]).encode()

    @staticmethod
    def decode(raw: bytes) -> State:
        applied, commands, members = json.loads(raw)
        return State(tuple(applied), tuple(command.encode() for command in commands), members.encode())


@dataclass
class Disk:
    """What survives a crash."""

    log: list[bytes] = field(default_factory=list)
    state: State = field(default_factory=State)
    installed: State | None = None


class Machine:
    """A state machine that remembers every command; its disk may lag behind."""

    def __init__(self, world: World, id: int, disk: Disk) -> None:
        self._world, self._id, self._disk = world, id, disk
        self.state = State(disk.state.applied, disk.state.commands, disk.state.members)

    @property
    def applied(self) -> tuple[LogIndex, Term]:
        return self.state.applied

    @property
    def persisted(self) -> LogIndex:
        return self._disk.state.applied[0]

    @property
    def members(self) -> bytes:
        return self.state.members

    def apply(self, index: LogIndex, term: Term, commands: list[bytes]) -> list[object]:
        self._world.check_applied(index, term, tuple(commands))
        self.state = State((index, term), self.state.commands + tuple(commands), self.state.members)
        return [len(self.state.commands)] * len(commands)

    def apply_members(self, index: LogIndex, term: Term, members: bytes) -> None:
        self._world.check_applied(index, term, (members,))
        self.state = State((index, term), self.state.commands, members)

    def schedule_flush(self, durable: LogIndex) -> None:
        if self.state.applied[0] <= durable and self._world.rng.random() < 0.3:
            self._disk.state = self.state

    def snapshot(self) -> _Source:
        return _Source(self._disk.state)

    def installer(self) -> _Installer:
        return _Installer(self._disk)


class _Source:
    def __init__(self, state: State) -> None:
        self._state = state
        self.index = state.applied[0]

    def chunks(self) -> Iterator[bytes]:
        raw = self._state.encode()
        return frame((raw[at : at + 200] for at in range(0, len(raw), 200)), *self._state.applied)

    def hurry(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Installer:
    def __init__(self, disk: Disk) -> None:
        self._disk, self._unframer, self._raw = disk, Unframer(), b""

    def write(self, chunk: bytes) -> None:
        self._raw += self._unframer.take(chunk)

    def finish(self) -> tuple[int, int]:
        if self._unframer.end is None:
            raise SnapshotDamaged("cut short")
        self._disk.installed = State.decode(self._raw)
        return self._unframer.end

    def abort(self) -> None:
        pass


class SlowDisk:
    """Work is done in order, each after a while; nothing more is once the member has crashed."""

    def __init__(self, world: World, id: int) -> None:
        self._world, self._id = world, id
        self._free_at = 0.0
        self.is_dead = False

    def run(self, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        fast, slow = self._world.slow.get(self._id, (0.0001, self._world.sync_s_max))
        self._free_at = max(self._free_at, loop.time()) + self._world.rng.uniform(fast, slow)

        def do() -> None:
            if self.is_dead:
                future.cancel()  # a crash: nothing waits for it any more
            if future.cancelled():
                return
            try:
                future.set_result(work(*arguments))
            except Exception as error:
                future.set_exception(error)

        loop.call_at(self._free_at, do)
        return future

    def close(self) -> None:
        pass


class Wire:
    """`PeerTransport` of one member in one life."""

    def __init__(self, world: World, id: str) -> None:
        self._world, self.id = world, id
        self.receiver: Receiver | None = None
        self._peers: dict[str, float] = {}
        self.connected: set[str] = set()

    async def start(self, receiver: Receiver) -> None:
        self.receiver = receiver
        for peer in self._peers:
            self._connect_soon(peer)

    async def stop(self) -> None:
        self.receiver = None

    def add_peer(self, peer: str, name: str, address: str) -> None:
        if peer not in self._peers and peer != self.id:
            self._peers[peer] = 0.0
            if self.receiver is not None:
                self._connect_soon(peer)

    def drop_peer(self, peer: str) -> None:
        self._peers.pop(peer, None)
        self.connected.discard(peer)

    def has_room(self, peer: str) -> bool:
        return peer in self.connected

    def send(self, peer: str, message: Message) -> bool:
        if peer not in self.connected or self.receiver is None:
            return False
        loop, world = asyncio.get_running_loop(), self._world
        world.messages += 1
        if (self.id, peer) in world.cut or world.rng.random() < world.loss:
            return True
        at = max(self._peers[peer], loop.time() + world.rng.uniform(0.0005, world.delay_s_max)) + 1e-7
        self._peers[peer] = at
        to = world.wires.get(peer)
        loop.call_at(at, self._deliver, to, peer, dict(message))
        return True

    def _deliver(self, to: Wire | None, peer: str, message: Message) -> None:
        world = self._world
        if to is None or to is not world.wires.get(peer) or to.receiver is None or (self.id, peer) in world.cut:
            return
        if self.receiver is None and world.rng.random() < 0.5:
            return  # the sender died; some of what it sent had arrived
        to.add_peer(self.id, "", "")
        to.receiver.on_message(self.id, message)
        world.check_leaders()
        world.on_delivery(int(self.id, 16), int(peer, 16), message)

    def _connect_soon(self, peer: str) -> None:
        world = self._world
        asyncio.get_running_loop().call_later(world.rng.uniform(0.001, 0.1), self._connect, peer)

    def _connect(self, peer: str) -> None:
        if self.receiver is None or peer not in self._peers or peer in self.connected:
            return
        if peer in self._world.wires and (self.id, peer) not in self._world.cut:
            self.connected.add(peer)
            self.receiver.on_connected(peer)
        else:
            self._connect_soon(peer)

    def lose(self, peer: str) -> None:
        """The connection breaks, and is made again when it can be."""
        if peer in self.connected:
            self.connected.discard(peer)
            if self.receiver is not None:
                self.receiver.on_disconnected(peer)
                self._connect_soon(peer)


class World:
    """The members, their disks and the network between them."""

    def __init__(self, rng: random.Random, size: int) -> None:
        self.rng = rng
        self.clock = LoopClock()
        self.delay_s_max, self.sync_s_max, self.loss = 0.01, 0.01, 0.0
        self.slow: dict[int, tuple[float, float]] = {}
        """Members whose syncs take another time than the others': between so many seconds and so many."""
        self.cut: set[tuple[str, str]] = set()
        self.on_delivery: Callable[[int, int, Message], None] = lambda sender, receiver, message: None
        """Called after each message was taken, so that a schedule can strike at the worst moment."""
        self.wires: dict[str, Wire] = {}
        self.members: dict[int, Member] = {}
        self.machines: dict[int, Machine] = {}
        records = tuple(MemberRecord(id, (f"https://10.0.0.{id}:2380",), f"s{id}") for id in range(1, size + 1))
        self.initial = Members(records)
        self.disks = {id: Disk(state=State(members=self.initial.encode())) for id in self.initial.voters}
        self.leaders: dict[int, int] = {}
        self.history: dict[int, tuple[int, tuple[bytes, ...]]] = {}
        self.fatal: list[BaseException] = []
        self.messages = 0
        self.installed = 0
        self.acknowledged: list[bytes] = []

    async def start(self, id: int) -> None:
        """Bring a member up from its disk."""
        disk = self.disks.get(id)
        if disk is None:
            return  # it was removed meanwhile
        journal = MemoryJournal(disk.log)
        if disk.installed is not None:
            continue_from(journal, *disk.installed.applied)
            staged = journal.take()
            if staged is not None:
                journal.write_and_sync(staged)  # before the state takes the old one's place, as in `take_over`
            disk.state, disk.installed = disk.installed, None
        wire = Wire(self, f"{id:x}")
        machine = Machine(self, id, disk)
        slow: list[SlowDisk] = []

        def new_disk(name: str) -> SlowDisk:
            slow.append(SlowDisk(self, id))
            return slow[-1]

        def on_fatal(error: BaseException) -> None:
            if isinstance(error, SnapshotInstalled):
                self.installed += 1
            elif isinstance(error, MemberRemoved):
                self.disks.pop(id, None)
            else:
                self.fatal.append(error)
            self.crash(id)
            if isinstance(error, SnapshotInstalled):
                self._restarts.append(asyncio.get_running_loop().create_task(self.start(id)))

        member = Member(
            id, f"s{id}", journal, machine, wire, self.clock, random.Random(self.rng.getrandbits(64)), on_fatal,
            encode_entry=b"\n".join, decode_entry=lambda entry: entry.split(b"\n"), new_disk=new_disk,
        )  # fmt: skip
        member._slow_disks = slow
        self.members[id], self.machines[id], self.wires[f"{id:x}"] = member, machine, wire
        try:
            await member.start()
        except asyncio.CancelledError:
            if self.members.get(id) is member:
                raise

    _restarts: list[asyncio.Task[None]] = []

    def crash(self, id: int) -> None:
        """kill -9: what was not synced is lost, and connections break."""
        member = self.members.pop(id, None)
        if member is None:
            return
        wire = self.wires.pop(f"{id:x}")
        wire.receiver = None
        for disk in member._slow_disks:
            disk.is_dead = True
        if member._ticker is not None:
            member._ticker.cancel()
        member._is_stopped = True
        member._abandon()
        for other in self.wires.values():
            other.lose(wire.id)

    def partition(self, *sides: set[int]) -> None:
        """Let members of one side hear nothing of the others; connections seem to stand."""
        everyone = {int(id, 16) for id in self.wires} | set(self.disks)
        self.cut = {
            (f"{a:x}", f"{b:x}")
            for a in everyone
            for b in everyone
            if a != b and not any(a in side and b in side for side in sides)
        }

    def heal(self) -> None:
        """Let everybody hear everybody."""
        self.cut = set()

    def leader(self) -> Member | None:
        """Return the leader of the newest term, if any leads."""
        leading = [member for member in self.members.values() if member.status().role == "leader"]
        return max(leading, key=lambda member: member.status().term, default=None)

    async def wait_leader(self, seconds: float = 10.0) -> Member:
        """Return a leader that the others follow."""
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            leader = self.leader()
            if leader is not None:
                following = [m for m in self.members.values() if m.status().leader_id == leader.status().id]
                if len(following) >= leader.members.quorum and leader.status().applied >= leader._SyncObj__noopIDx:
                    return leader
            await asyncio.sleep(0.01)
        assert not self.fatal, self.fatal
        raise AssertionError(f"no leader: {[member.status() for member in self.members.values()]}")

    # -- checkers

    def check_leaders(self) -> None:
        """No two members ever lead in one term."""
        for id, member in self.members.items():
            if member._is_leader and not member._is_stopped:
                term = member.status().term
                first = self.leaders.setdefault(term, id)
                assert first == id, f"members {first} and {id} both lead in term {term}"

    def check_applied(self, index: int, term: int, commands: tuple[bytes, ...]) -> None:
        """All members apply the same at each index."""
        first = self.history.setdefault(index, (term, commands))
        assert first == (term, commands), f"entry {index} is {first} somewhere, and {(term, commands)} elsewhere"

    async def converge(self, seconds: float = 60.0) -> None:
        """With every fault gone, all members come to the same end, which has all that was acknowledged, once."""
        self.heal()
        self.loss, self.delay_s_max, self.sync_s_max = 0.0, 0.01, 0.01
        until = self.clock.monotonic() + seconds
        while True:
            for id in list(self.disks):
                if id not in self.members:
                    await self.start(id)
            leader = self.leader()
            members = {record.id for record in leader.members.records} if leader is not None else set()
            ends = {machine.state.applied for id, machine in self.machines.items() if id in members}
            if len(ends) == 1 and leader is not None and leader.status().last == next(iter(ends))[0]:
                break
            assert not self.fatal, self.fatal
            assert self.clock.monotonic() < until, [member.status() for member in self.members.values()]
            await asyncio.sleep(0.05)
        for id, machine in self.machines.items():
            if id not in members:
                continue
            commands = machine.state.commands
            assert len(set(commands)) == len(commands), "something was applied twice"
            missing = set(self.acknowledged) - set(commands)
            assert not missing, f"acknowledged and lost: {sorted(missing)[:5]}"
