"""What all parts of a member share: its state, its turns, and how it stops.

Everything runs on the event loop but the disk's work. A turn does whatever is due, in `Member._onTick`; whatever goes
wrong in the middle of one stops the member, because half a step of raft must not be carried on from.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from component.clock import Clock
from store.consensus.consensus import LogIndex, NotLeader, OutcomeUnknown, StateMachine, Unsettled
from store.consensus.disk import Disk, DiskThread
from store.consensus.journal import Journal, JournalDamaged
from store.consensus.library import LEADER, Log, NoSerializer, Peer, SyncObjConf, Wire, seams, syncobj
from store.consensus.membership import Members
from store.consensus.read_index import ReadQueue
from store.consensus.transport import Message, PeerTransport

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Raft's timeouts, in seconds."""

    heartbeat_s: float = 0.1
    election_min_s: float = 0.5
    election_max_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a proposal or a read that a follower passed on came from, and the number it gave it."""

    peer: str
    number: int


Asker = asyncio.Future[Any] | Origin
"""Who is waiting for an answer: a caller on this member, or another member on behalf of one."""


class SyncObj(syncobj.SyncObj):  # type: ignore[misc]
    """State and turns; see `library.py` for why it is called that."""

    # The library's state, as far as our parts read or write it.
    __raftState: int
    __raftCurrentTerm: int
    __votedForNodeId: str | None
    __votesCount: int
    __raftLeader: Peer | None
    __raftElectionDeadline: float
    __newAppendEntriesTime: float
    __otherNodes: set[Peer]
    __readonlyNodes: set[Peer]
    __connectedNodes: set[Peer]
    __raftNextIndex: dict[Peer, int]
    __raftMatchIndex: dict[Peer, int]
    __raftCommitIndex: int
    __raftLastApplied: int
    __leaderCommitIndex: int
    __noopIDx: int

    def __init__(
        self,
        id: int,
        name: str,
        journal: Journal,
        machine: StateMachine,
        peers: PeerTransport,
        clock: Clock,
        rng: random.Random,
        on_fatal: Callable[[BaseException], None],
        *,
        encode_entry: Callable[[list[bytes]], bytes],
        decode_entry: Callable[[bytes], list[bytes]],
        timing: Timing | None = None,
        new_disk: Callable[[str], Disk] = DiskThread,
    ) -> None:
        """Recover from `journal` and `machine`; `start` begins to take part.

        Args:
            id: this member's id, the same for as long as it has this log.
            name: this member's name.
            journal: its log, read back.
            machine: what entries are applied to, with the membership as of what it has applied.
            peers: the way to the other members.
            clock: where time comes from.
            rng: where randomness comes from.
            on_fatal: called once, with what went wrong, when the member must stop.
            encode_entry: many commands to one entry's bytes.
            decode_entry: and back.
            timing: raft's timeouts.
            new_disk: makes the threads that blocking work is done in.

        Raises:
            JournalDamaged: the log ends before, or begins after, what the state machine has, or contradicts it.
        """
        self.peers = peers
        self.held: list[tuple[str, Message]] = []
        """Promises (votes, acknowledgements), sent once everything staged before them is synced."""
        self._id = id
        self._name = name
        self._self = f"{id:x}"
        self._journal = journal
        self._machine = machine
        self._clock = clock
        self._rng = rng
        self._on_fatal = on_fatal
        self._encode_entry = encode_entry
        self._decode_entry = decode_entry
        self._timing = timing or Timing()
        self._disk = new_disk("log")
        self._snapshot_reader = new_disk("snapshot-reader")
        self._snapshot_writer = new_disk("snapshot-writer")
        self._reads: ReadQueue[Asker] = ReadQueue()
        self._proposals: deque[tuple[bytes, Asker]] = deque()
        self._waiting: dict[int, tuple[int, list[tuple[int, asyncio.Future[Any]]]]] = {}
        """By entry: the term it was proposed in, and who waits for the answers to which of its commands."""
        self._led = asyncio.Event()
        self._heard_leader_at = float("-inf")
        self._heard_at: dict[str, float] = {}
        """When each peer last answered this leader."""
        self._commit_sent: dict[str, int] = {}
        """By peer, the newest commit index that was sent to it."""
        self._reads_confirmed: dict[str, int] = {}
        """By peer, the newest heartbeat that it has answered."""
        self._transferring_to: str | None = None
        self._transfer_ends_at = 0.0
        self._probing: set[Peer] = set()
        """Peers whose log may differ from what was assumed: they are sent one message at a time."""
        self._pins: dict[int, tuple[int, float]] = {}
        """By member: the entry it will continue from after a snapshot, and until when it is waited for."""
        self._leaving: dict[int, float] = {}
        """Members removed by this leader, and until when they are still sent the log."""
        self._is_due = False
        self._is_stopped = False
        self._ticker: asyncio.Task[None] | None = None

        _reconcile(journal, *machine.applied)
        applied = max(machine.applied[0], 1)
        self._members_log: list[tuple[int, Members]] = [(0, Members.decode(machine.members))]
        """The membership by the entry that made it, newest last; the first is as of what is applied."""
        self._enter(journal)
        conf = SyncObjConf(
            autoTick=False,
            journalFile="handed in",
            appendEntriesUseBatch=True,
            appendEntriesPeriod=self._timing.heartbeat_s,
            raftMinTimeout=self._timing.election_min_s,
            raftMaxTimeout=self._timing.election_max_s,
        )
        super().__init__(Peer(self._self), [], conf, transportClass=Wire)
        self.__serializer = NoSerializer()
        self.__needLoadDumpFile = False
        self.__raftLastApplied = self.__raftCommitIndex = applied

    # -- driving: replaces the library's 50 ms thread

    def _enter(self, journal: Journal | None = None) -> None:
        """Hand our clock and randomness to the library; before every call into it."""
        seams.clock, seams.random = self._clock, self._rng
        if journal is not None:
            seams.journal = Log(journal)

    async def _tick(self) -> None:
        while True:
            # Alone there are no timeouts to watch: everything is driven by proposals and syncs.
            alone = len(self.members.records) == 1
            await self._clock.sleep(1.0 if alone else self._timing.heartbeat_s / 4)
            self._kick()

    def _kick(self) -> None:
        """Have a turn soon; many kicks make one turn, so what comes together is appended and synced together."""
        if not self._is_due and not self._is_stopped:
            self._is_due = True
            self._loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_due = False
        if self._is_stopped:
            return
        self._enter()
        try:
            self._onTick()
        except Exception as error:
            self._fail(error)

    def on_message(self, peer: str, message: Message) -> None:
        """Take a message; one that can't be handled stops the member rather than being half done."""
        if self._is_stopped:
            return
        self._enter()
        try:
            self._on_message(Peer(peer), message, self._clock.monotonic())
        except Exception as error:
            self._fail(error)

    def _on_message(self, peer: Peer, message: Message, now: float) -> None:
        raise AssertionError(f"message of a kind this program does not know: {message.get('type')}")

    # -- what several parts ask

    @property
    def members(self) -> Members:
        """The membership as the log has it, committed or not: that is the one in force (Raft thesis section 4.1)."""
        return self._members_log[-1][1]

    @property
    def _is_leader(self) -> bool:
        return bool(self.__raftState == LEADER)

    def _leader_name(self) -> str | None:
        leader = self.__raftLeader
        if leader is None:
            return None
        record = self.members.get(leader.number)
        return record.name if record is not None and record.name else str(leader.id)

    def _term_at(self, index: int) -> int:
        """Return the term of an entry that is in memory."""
        return self._journal.entries[index - self._journal.first_index][2]

    # -- stopping

    def _fail(self, error: BaseException) -> None:
        """Stop for good: acknowledge nothing more, and let the process end."""
        if not self._is_stopped:
            self._is_stopped = True
            if not isinstance(error, Unsettled):
                log.critical("member stops: %s", error, exc_info=error)
            self._abandon()
            self._on_fatal(error)

    def _abandon(self) -> None:
        """Answer everybody who waits for something that this member will not see."""
        unknown = OutcomeUnknown("this member stopped before it knew")
        for _, waiting in self._waiting.values():
            fail_all((future for _, future in waiting), unknown)
        self._waiting.clear()
        fail_all((asker for _, asker in self._proposals), NotLeader(None))
        self._proposals.clear()
        _, failed = self._reads.take_ready(-1, 0, lambda _: False)
        fail_all(failed, NotLeader(None))

    @staticmethod
    def _loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


def _reconcile(journal: Journal, applied: LogIndex, applied_term: int) -> None:
    """Check that the log continues the state; begin it there where it is empty."""
    if not journal.entries:
        journal.set_base(max(applied, 1), applied_term)
    elif journal.first_index > max(applied, 1):
        raise JournalDamaged(journal.directory, f"begins at entry {journal.first_index}; the state ends at {applied}")
    elif journal.last_index < applied:
        raise JournalDamaged(journal.directory, f"ends at entry {journal.last_index}; the state is at {applied}")
    elif applied > 1 and journal.entries[applied - journal.first_index][2] != applied_term:
        found = journal.entries[applied - journal.first_index][2]
        raise JournalDamaged(journal.directory, f"entry {applied} is of term {found}; the state says {applied_term}")


def fail_all(askers: Iterable[Asker], error: Exception) -> None:
    """Fail the futures among `askers` that are not done."""
    for asker in askers:
        if isinstance(asker, asyncio.Future) and not asker.done():
            asker.set_exception(error)
