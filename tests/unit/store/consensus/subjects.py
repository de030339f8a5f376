"""What the library's faults are shown on: one member of three, ours or the library's own, driven by the same test.

A `Subject` is member 1; members 2 and 3 are what the test says in their names. Time is virtual, the log is real files,
and `PowerCut` knows what of them was synced. `stock.py` has the library's subject, as it ships.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from component.clock import LoopClock
from store.consensus.consensus import LogIndex, OutcomeUnknown
from store.consensus.journal import Journal, JournalDamaged
from store.consensus.member import Member
from store.consensus.membership import ChangeUnderWay, MemberRecord, Members, MembershipChange
from store.consensus.reconfiguring import MEMBERSHIP
from store.consensus.snapshot import frame
from tests.simulation.consensus import Disk, Machine, State, World

Entry = tuple[str, int, int]
"""A command (empty for none), index and term."""


@dataclass(frozen=True)
class Answer:
    """What a member answered a leader."""

    success: bool | None
    """None: it said nothing about its log."""
    has_up_to: int
    """The last entry it says it has, for a success."""
    term: int | None
    """None: the answer does not say."""


class DoesNotStart(Exception):
    """The member refuses its own files; the message says why."""


class PowerCut:
    """The files of a member, and what would be left of them: what was synced, or written back by luck."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._safe: dict[Path, bytes] = {}
        self.syncs = 0
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._noting(getattr(os, name)))

    def _noting(self, really: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            really(descriptor)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.is_file() and self._directory in path.parents:
                self.syncs += 1
                self._safe[path] = path.read_bytes()

        return sync

    def write_back(self, pattern: str) -> None:
        """The kernel happens to write some files to the disk, as they are now."""
        for path in self._directory.glob(pattern):
            self._safe[path] = path.read_bytes()

    def happens(self) -> None:
        """The power goes: nobody wrote the rest."""
        for path in self._directory.rglob("*"):
            if path.is_file():
                path.write_bytes(self._safe.get(path, b""))


class Subject(Protocol):
    """Member 1 of 1, 2 and 3."""

    def __init__(self, directory: Path, *, dumps_to_file: bool = True, takes: Callable[[str], None]) -> None: ...

    async def start(self) -> None:
        """Start, or start again from its files; raise `DoesNotStart`, or take part."""

    async def kill(self) -> None:
        """As `kill -9`; what was written to files stays in the page cache."""

    async def wait(self, seconds: float) -> None: ...

    async def take_entries(
        self, *entries: Entry, before: tuple[int, int], commit: int, term: int = 1, leader: str = "2"
    ) -> list[Answer]: ...

    async def vote(self, candidate: str, term: int) -> bool:
        """Whether it votes for a candidate whose log is newer."""

    async def take_damaged_snapshot(self, index: int, term: int) -> list[Answer]: ...

    async def begin_snapshot(self, index: int, term: int, commit: int) -> None:
        """Hear the first chunk of one from member 2, which leads in `term`."""

    async def lead(self) -> None:
        """Let it win an election."""

    async def propose(self, command: str) -> list[bool]:
        """Propose; the list has True once the proposer was told of success, False once of anything else."""

    async def change_twice(self) -> None:
        """Add member 4 and remove member 2, without waiting."""

    async def take_membership(self, index: int, before: tuple[int, int]) -> None:
        """Hear an entry that adds member 4, and is not committed."""

    def dump(self) -> None:
        """Put what is applied on disk, so that the log before it could go."""

    def trim_and_die(self) -> None:
        """Forget the log before what was dumped, and die at the second step of that."""

    @property
    def log(self) -> list[tuple[str, int]]:
        """The entries in memory: what they command, and their index."""

    @property
    def applied(self) -> list[str]: ...
    @property
    def commit(self) -> int: ...
    @property
    def term(self) -> int: ...
    @property
    def voters(self) -> set[str]: ...
    @property
    def changes_not_committed(self) -> int: ...


class KeptWire:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    async def start(self, receiver: Any) -> None:
        receiver.on_connected("2")
        receiver.on_connected("3")

    async def stop(self) -> None: ...

    def send(self, peer: str, message: Any) -> bool:
        self.sent.append((peer, dict(message)))
        return True

    def has_room(self, peer: str) -> bool:
        return True

    def add_peer(self, peer: str, name: str, address: str) -> None: ...

    def drop_peer(self, peer: str) -> None: ...


class HeldDisk:
    """Does what it is given when told to."""

    def __init__(self) -> None:
        self.is_held = False
        self._queue: list[Any] = []

    def run(self, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self._queue.append((future, work, arguments))
        if not self.is_held:
            self.release()
        return future

    def release(self) -> None:
        self.is_held = False
        for future, work, arguments in self._queue:
            try:
                future.set_result(work(*arguments))
            except Exception as error:
                future.set_exception(error)
        self._queue.clear()

    def close(self) -> None: ...


@dataclass
class _Taking(Machine):
    """A machine whose state is on disk only when told, and which lets the test see each command."""

    takes: Callable[[str], None]
    world: World
    disk: Disk = field(default_factory=Disk)

    def __post_init__(self) -> None:
        Machine.__init__(self, self.world, 1, self.disk)

    def apply(self, index, term, commands):
        for command in commands:
            self.takes(command.decode())
        return super().apply(index, term, commands)

    def schedule_flush(self, durable: LogIndex) -> None: ...


class Ours:
    """`store.consensus`, as `Subject` has it."""

    def __init__(self, directory: Path, *, dumps_to_file: bool = True, takes: Callable[[str], None]) -> None:
        self._directory = directory
        self._takes = takes
        self._rng = random.Random(1)
        self._world = World(self._rng, 3)
        self._disk = self._world.disks[1]

    async def start(self) -> None:
        self._fatal: list[BaseException] = []
        try:
            self._journal = Journal(self._directory / "log", segment_bytes=300)
        except JournalDamaged as error:
            raise DoesNotStart(str(error)) from error
        self._wire, self._machine = KeptWire(), _Taking(self._takes, World(self._rng, 3), self._disk)
        self._member = Member(
            1, "s1", self._journal, self._machine, self._wire, LoopClock(), self._rng, self._fatal.append,
            encode_entry=b"\n".join, decode_entry=lambda entry: entry.split(b"\n"), new_disk=lambda _: HeldDisk(),
        )  # fmt: skip
        await self._member.start()

    async def kill(self) -> None:
        self._member._ticker.cancel()
        self._member._is_stopped = True
        self._member._abandon()
        self._journal.close()

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _hear(self, peer: str, **message: Any) -> list[dict[str, Any]]:
        before = len(self._wire.sent)
        self._member.on_message(peer, message)
        for _ in range(8):
            await asyncio.sleep(0)
        return [sent for to, sent in self._wire.sent[before:] if to == peer]

    def _answers(self, sent: list[dict[str, Any]]) -> list[Answer]:
        return [
            Answer(message.get("success"), message.get("next_node_idx", 0) - 1, message["term"])
            for message in sent
            if message["type"] == "next_node_idx"
        ]

    async def take_entries(
        self, *entries: Entry, before: tuple[int, int], commit: int, term: int = 1, leader: str = "2"
    ) -> list[Answer]:
        encoded = [(b"\x00" + command.encode() if command else b"\x01", index, of) for command, index, of in entries]
        sent = await self._hear(
            leader, type="append_entries", term=term, hb=1, confirm=False, quiet=False, commit_index=commit,
            prevLogIdx=before[0], prevLogTerm=before[1], entries=encoded,
        )  # fmt: skip
        return self._answers(sent)

    async def vote(self, candidate: str, term: int) -> bool:
        ask = {"last_log_index": 99, "last_log_term": 99, "transfer": False}
        sent = await self._hear(candidate, type="request_vote", term=term, **ask)
        return any(message["type"] == "response_vote" for message in sent)

    async def _hear_snapshot(self, chunks: list[bytes], count: int, index: int, term: int) -> list[dict[str, Any]]:
        sent = []
        for number, chunk in enumerate(chunks[:count]):
            message = {"type": "snapshot", "term": term, "transfer": 7, "number": number, "index": index, "hb": 1}
            sent += await self._hear("2", **message, chunk=chunk, last=number == len(chunks) - 1)
        return sent

    async def take_damaged_snapshot(self, index: int, term: int) -> list[Answer]:
        chunks = list(frame([State((index, term), (b"x",)).encode()], index, term))
        chunks[0] = chunks[0][:-1] + b"?"
        return self._answers(await self._hear_snapshot(chunks, len(chunks), index, term))

    async def begin_snapshot(self, index: int, term: int, commit: int) -> None:
        await self._hear_snapshot(list(frame([State((index, term), (b"x",)).encode()], index, term)), 1, index, term)

    async def lead(self) -> None:
        await asyncio.sleep(1.1)
        assert {message["type"] for _, message in self._wire.sent} == {"pre_vote"}
        answer = {"type": "pre_vote_answer", "granted": True, "asked": self.term + 1, "term": self.term}
        await self._hear("2", **answer)
        await self._hear("2", type="response_vote", term=self.term)
        assert self._member.status().role == "leader"
        following = self._journal.last_index + 1
        for peer in ("2", "3"):
            await self._hear(peer, type="next_node_idx", term=self.term, hb=0, success=True, next_node_idx=following)

    async def propose(self, command: str) -> list[bool]:
        outcome: list[bool] = []
        future = self._member.propose(command.encode())
        future.add_done_callback(lambda done: outcome.append(done.exception() is None))
        await asyncio.sleep(0)
        return outcome

    async def change_twice(self) -> None:
        first = self._member._change_as_leader(MembershipChange("add", 4, peer_urls=("https://10.0.0.4:1",)))
        first.add_done_callback(lambda done: isinstance(done.exception(), OutcomeUnknown))
        with suppress(ChangeUnderWay):
            self._member._change_as_leader(MembershipChange("remove", 2))

    async def take_membership(self, index: int, before: tuple[int, int]) -> None:
        four = MemberRecord(4, ("https://10.0.0.4:2380",), "s4")
        members = Members((*self._world.initial.records, four))
        await self._hear(
            "2", type="append_entries", term=1, hb=1, confirm=False, quiet=False, commit_index=1,
            prevLogIdx=before[0], prevLogTerm=before[1], entries=[(bytes([MEMBERSHIP]) + members.encode(), index, 1)],
        )  # fmt: skip

    def dump(self) -> None:
        self._disk.state = self._machine.state

    def trim_and_die(self) -> None:
        self._journal.set_vote(self._journal.term, self._journal.vote)
        deaths = iter([False, True])
        unlink = Path.unlink

        def dying(path: Path) -> None:
            if next(deaths):
                raise Killed
            unlink(path)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Path, "unlink", dying)
            self._journal.write_and_sync(self._journal.take(needed_from=self._machine.persisted))

    @property
    def log(self) -> list[tuple[str, int]]:
        return [(command[1:].decode(errors="replace"), index) for command, index, _ in self._journal.entries]

    @property
    def applied(self) -> list[str]:
        return [command.decode() for command in self._machine.state.commands]

    @property
    def commit(self) -> int:
        return self._member.status().commit

    @property
    def term(self) -> int:
        return self._member.status().term

    @property
    def voters(self) -> set[str]:
        return {f"{id:x}" for id in self._member.members.voters}

    @property
    def changes_not_committed(self) -> int:
        return sum(command[0] == MEMBERSHIP and index > self.commit for command, index, _ in self._journal.entries)


class Killed(BaseException):
    """The process dies here."""
