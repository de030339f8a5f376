"""One member of the cluster: PySyncObj's raft with its unsafe parts replaced, all in this file.

PySyncObj keeps its elections, its nextIndex and matchIndex bookkeeping and its commit rule (only entries of the
current term are counted, Raft thesis section 3.6.2). `SyncObj` below replaces the rest, one override after the other,
each saying what it replaces and why. It bears the library's own class name so that `self.__x` in it means the
library's private `_SyncObj__x`: that is the whole trick, and why exactly one version of the library is accepted.

Everything runs on the event loop but the log's writes and syncs. A turn (`_onTick`) does whatever is due: hold an
election, count what is durable, apply what is committed, append what was proposed, hand the log's new records to the
disk. Whatever goes wrong in the middle of a turn stops the member: half a step of raft must not be carried on from.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from component.clock import Clock
from store.consensus.consensus import (
    ConsensusStatus,
    LogIndex,
    MembershipChange,
    MembershipRefused,
    NotLeader,
    OutcomeUnknown,
    StateMachine,
    Term,
)
from store.consensus.journal import EMPTY, Journal, JournalDamaged
from store.consensus.read_index import ReadQueue
from store.consensus.transport import Message, PeerTransport

# The library would import `cryptography` for its own encryption, which is not used here: 9 MB saved.
_absent = object()
_present = sys.modules.get("cryptography", _absent)
sys.modules["cryptography"] = None  # type: ignore[assignment]
try:
    from pysyncobj import SyncObjConf, syncobj
    from pysyncobj.journal import Journal as LibraryJournal
    from pysyncobj.node import Node
    from pysyncobj.transport import Transport as LibraryTransport
finally:
    if _present is _absent:
        del sys.modules["cryptography"]
    else:
        sys.modules["cryptography"] = _present  # type: ignore[assignment]

log = logging.getLogger(__name__)

LIBRARY_VERSION = "0.3.17"
"""The one version of PySyncObj whose private parts are known to be what this file takes them for."""

ENTRY_BYTES_MAX = 512 << 10
"""A log entry takes no further command once it is this large (one command may be larger)."""
ENTRY_COMMANDS_MAX = 1024
LOG_KEPT_BYTES = 16 << 20
"""How much of the log is kept in memory beyond what the state machine has on disk, for members that lag."""
TRIM_BYTES = 1 << 20
"""How much more than that collects before any of it is forgotten."""
PROPOSALS_MAX = 65_536
"""Proposals waiting to be appended; more are refused as NotLeader, for the caller to slow down."""

_FOLLOWER, _CANDIDATE, _LEADER = 0, 1, 2
_ROLES: dict[int, Any] = {_FOLLOWER: "follower", _CANDIDATE: "candidate", _LEADER: "leader"}


@dataclass(frozen=True, slots=True)
class Timing:
    """Raft's timeouts, in seconds."""

    heartbeat_s: float = 0.1
    election_min_s: float = 0.5
    election_max_s: float = 1.0


class _NoPickle:
    """Stands where the library has `pickle`: nothing it would pickle or unpickle is used here."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"pickle.{name} must not be reached")


class _Seams:
    """What the library takes from its module's globals, handed in: set before every entry into it."""

    clock: Clock
    random: random.Random
    journal: LibraryJournal

    def monotonic(self) -> float:
        """Stand for the library's monotonic clock."""
        return self.clock.monotonic()


class _NoPoller:
    """Stands for the library's socket poller: the event loop polls."""

    def subscribe(self, *_: object) -> None:
        """Nothing to do."""

    def unsubscribe(self, *_: object) -> None:
        """Nothing to do."""

    def poll(self, timeout_s: float) -> None:
        """Nothing to do."""


_seams = _Seams()


def _install_seams() -> None:
    if syncobj.VERSION != LIBRARY_VERSION:
        raise RuntimeError(
            f"PySyncObj {syncobj.VERSION} is installed, and this store works with {LIBRARY_VERSION} only: "
            f"pip install pysyncobj=={LIBRARY_VERSION}"
        )
    syncobj.monotonicTime = _seams.monotonic
    syncobj.createJournal = lambda _: _seams.journal
    syncobj.createPoller = lambda _: _NoPoller()
    syncobj.pickle = _NoPickle()


_install_seams()


class _Log(LibraryJournal):  # type: ignore[misc]
    """Our journal under the names the library calls it by."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, command: bytes, index: int, term: int) -> None:
        self._journal.append(command, index, term)

    def clear(self) -> None:
        raise AssertionError("the log is never wiped: a state is installed by `Journal.set_base`")

    def deleteEntriesFrom(self, position: int) -> None:
        self._journal.truncate_from(position)

    def deleteEntriesTo(self, position: int) -> None:
        self._journal.forget_before(self._journal.first_index + position)

    def __getitem__(self, item: Any) -> Any:
        return self._journal.entries[item]

    def __len__(self) -> int:
        return len(self._journal.entries)

    def _destroy(self) -> None:
        pass

    def setRaftCommitIndex(self, index: int) -> None:
        pass  # not needed: the state machine keeps how far it has applied

    def getRaftCommitIndex(self) -> int:
        return 1

    def setCurrentTerm(self, term: int, vote: str | None) -> None:
        self._journal.set_vote(term, vote)

    def getCurrentTerm(self) -> int:
        return self._journal.term

    def getVotedForNodeId(self) -> str | None:
        return self._journal.vote


class _Wire(LibraryTransport):  # type: ignore[misc]
    """Our transport under the names the library calls it by; holds back what must wait for the disk."""

    def __init__(self, member: SyncObj, node: Node, others: object) -> None:
        super().__init__(member, node, others)
        self._member = member

    def send(self, node: Node, message: Message) -> bool:
        """Send at once what is safe before our own sync, and the rest after it.

        A leader's entries may leave early, since it counts itself only up to its durable index; votes, requests for
        votes and acknowledgements are promises, and a promise must be on disk first.
        """
        if message["type"] == "append_entries":
            return self._member.peers.send(node.id, message)
        self._member.held.append((node.id, message))
        return True

    def addNode(self, node: Node) -> None:
        self._member.peers.add_peer(node.id, node.address)

    def dropNode(self, node: Node) -> None:
        self._member.peers.drop_peer(node.id)


class _NoSerializer:
    """Stands for the library's pickled dumps made by fork."""

    def checkSerializing(self) -> tuple[int, None]:
        return 0, None

    def serialize(self, *_: object) -> None:
        pass

    def getTransmissionData(self, node: Node) -> None:
        return None

    def cancelTransmisstion(self, node: Node) -> None:
        pass

    def setTransmissionData(self, transmission: object) -> bool:
        return False


class SyncObj(syncobj.SyncObj):  # type: ignore[misc]
    """A `Consensus` made of the library's raft; see this file's beginning."""

    def __init__(
        self,
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
    ) -> None:
        """Recover from `journal` and `machine`; `start` begins to take part.

        Args:
            name: this member's name, the same for ever.
            journal: its log, read back.
            machine: what entries are applied to.
            peers: the way to the other members.
            clock: where time comes from.
            rng: where randomness comes from.
            on_fatal: called once, with what went wrong, when the member must stop.
            encode_entry: many commands to one entry's bytes.
            decode_entry: and back.
            timing: raft's timeouts.

        Raises:
            JournalDamaged: the log ends before, or begins after, what the state machine has.
        """
        self.peers = peers
        self.held: list[tuple[str, Message]] = []
        self._name = name
        self._journal = journal
        self._machine = machine
        self._clock = clock
        self._rng = rng
        self._on_fatal = on_fatal
        self._encode_entry = encode_entry
        self._decode_entry = decode_entry
        self._timing = timing or Timing()
        self._reads: ReadQueue[asyncio.Future[LogIndex]] = ReadQueue()
        self._proposals: deque[tuple[bytes, asyncio.Future[object]]] = deque()
        self._waiting: dict[int, tuple[int, list[asyncio.Future[object]]]] = {}
        self._led = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, "log")
        self._durable = 0
        self._is_syncing = False
        self._is_due = False
        self._is_stopped = False
        self._ticker: asyncio.Task[None] | None = None

        applied, applied_term = machine.applied
        if not journal.entries:
            journal.set_base(max(applied, 1), applied_term)
        elif journal.first_index > max(applied, 1):
            raise JournalDamaged(
                journal.directory, f"begins at entry {journal.first_index}; the state ends at {applied}"
            )
        elif journal.last_index < applied:
            raise JournalDamaged(journal.directory, f"ends at entry {journal.last_index}; the state is at {applied}")

        self._enter(_Log(journal))
        conf = SyncObjConf(
            autoTick=False,
            journalFile="handed in",
            appendEntriesUseBatch=True,
            appendEntriesPeriod=self._timing.heartbeat_s,
            raftMinTimeout=self._timing.election_min_s,
            raftMaxTimeout=self._timing.election_max_s,
            # Entries above this would be pickled; ours are refused far below it.
            appendEntriesBatchSizeBytes=8 << 20,
        )
        super().__init__(Node(name), [], conf, transportClass=_Wire)
        self.__serializer = _NoSerializer()
        self.__needLoadDumpFile = False
        self.__raftLastApplied = self.__raftCommitIndex = max(applied, 1)
        if not self.__otherNodes:
            self.__raftElectionDeadline: float = 0  # nobody else could be the leader

    # -- Consensus

    async def start(self) -> None:
        """Sync what recovery wrote, then take part."""
        await self._loop().run_in_executor(self._disk, self._sync_now)
        self._durable = self._journal.last_index
        await self.peers.start(self)
        self._ticker = self._loop().create_task(self._tick())
        self._kick()

    async def stop(self) -> None:
        """Write and sync what is staged, then stop."""
        if self._is_stopped:
            return
        self._is_stopped = True
        if self._ticker:
            self._ticker.cancel()
        await self.peers.stop()
        self._abandon()
        await self._loop().run_in_executor(self._disk, self._sync_now)
        self._disk.shutdown()
        self._journal.close()

    def propose(self, command: bytes) -> asyncio.Future[object]:
        """Propose a command."""
        future: asyncio.Future[object] = self._loop().create_future()
        if self._is_stopped or self.__raftState != _LEADER or len(self._proposals) >= PROPOSALS_MAX:
            future.set_exception(NotLeader(self._leader_name()))
        else:
            self._proposals.append((command, future))
            self._kick()
        return future

    def read_index(self) -> asyncio.Future[LogIndex]:
        """Return a future done once a local read is linearizable."""
        future: asyncio.Future[LogIndex] = self._loop().create_future()
        has_applied_own = self.__noopIDx is not None and self.__raftLastApplied >= self.__noopIDx
        if self._is_stopped or self.__raftState != _LEADER or not has_applied_own:
            future.set_exception(NotLeader(self._leader_name()))
        elif not self.__otherNodes:
            # A majority of one is confirmed by being asked, and has applied all it has committed.
            future.set_result(LogIndex(self.__raftLastApplied))
        else:
            self._reads.add(future, self.__raftCurrentTerm, self.__raftCommitIndex)
            self._kick()
        return future

    async def wait_leader(self) -> None:
        """Return when a leader is known and has applied the first entry of its term here."""
        await self._led.wait()

    async def change_membership(self, change: MembershipChange) -> None:
        """Refuse: clusters of one."""
        raise MembershipRefused("this store runs as a single member; its membership can't be changed")

    def status(self) -> ConsensusStatus:
        """Say how the member stands."""
        return ConsensusStatus(
            name=self._name,
            role=_ROLES[self.__raftState],
            leader=self._leader_name(),
            term=Term(self.__raftCurrentTerm),
            commit=LogIndex(self.__raftCommitIndex),
            applied=LogIndex(self.__raftLastApplied),
            durable=LogIndex(self._durable),
            last=LogIndex(self._journal.last_index),
        )

    # -- transport.Receiver

    def on_message(self, peer: str, message: Message) -> None:
        """Take a message of a peer; a cluster of one has none."""
        log.warning("message from a peer in a cluster of one", extra={"peer": peer, "type": message.get("type")})

    def on_connected(self, peer: str) -> None:
        """Tell the library."""
        self._enter()
        self.__onNodeConnected(Node(peer))
        self._kick()

    def on_disconnected(self, peer: str) -> None:
        """Tell the library."""
        self._enter()
        self.__onNodeDisconnected(Node(peer))

    # -- driving: replaces the library's 50 ms thread

    def _enter(self, journal: LibraryJournal | None = None) -> None:
        """Hand our clock and randomness to the library; before every call into it."""
        _seams.clock, _seams.random = self._clock, self._rng
        if journal is not None:
            _seams.journal = journal

    async def _tick(self) -> None:
        while True:
            # Alone there are no timeouts to watch: everything is driven by proposals and syncs.
            await self._clock.sleep(self._timing.heartbeat_s / 4 if self.__otherNodes else 1.0)
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

    def _onTick(self, timeToWait: float = 0.0) -> None:
        """Replace the library's tick: the same steps, but durable before counted, and no polling in the middle."""
        now = self._clock.monotonic()
        is_candidate_due = self.__raftState != _LEADER and self.__raftElectionDeadline < now
        if is_candidate_due and (self.__connectedNodes or not self.__otherNodes):
            self._stand_for_election(now)
        if self.__raftState == _LEADER:
            self._advance_commit()
        self._apply_committed()
        if self.__raftState == _LEADER:
            has_appended = self._append_proposals()
            if has_appended or now > self.__newAppendEntriesTime or self._reads.needs_heartbeat:
                self._reads.next_heartbeat()
                self.__sendAppendEntries()
        elif self._proposals:
            self._refuse_proposals()
        self._settle_reads()
        self._sync()

    def _stand_for_election(self, now: float) -> None:
        self.__raftElectionDeadline = now + self.__generateRaftTimeout()
        self.__transferInProgress = False
        self.__raftLeader = None
        self.__setState(_CANDIDATE)
        self.__setCurrentTerm(self.__raftCurrentTerm + 1, self.__selfNode.id)
        self.__votesCount = 1
        for node in self.__otherNodes:
            request = {"type": "request_vote", "term": self.__raftCurrentTerm}
            request |= {"last_log_index": self._journal.last_index, "last_log_term": self._journal.entries[-1][2]}
            self.__transport.send(node, request)
        if self.__votesCount > (len(self.__otherNodes) + 1) / 2:
            self.__onBecomeLeader()
            log.info("leading", extra={"member": self._name, "term": self.__raftCurrentTerm})

    def __generateRaftTimeout(self) -> float:
        """Replace the library's, which draws from the process-wide random source."""
        return _seams.random.uniform(self.__conf.raftMinTimeout, self.__conf.raftMaxTimeout)

    def __onLeaderChanged(self) -> None:
        """Replace the library's forwarding bookkeeping, which is not used: clients find the leader themselves."""

    def __tryLogCompaction(self) -> None:
        """Replace the library's dump by fork: the log is trimmed when the state machine has flushed."""

    def _advance_commit(self) -> None:
        """Commit what a majority has on disk: the library would count our own entries before they are synced."""
        members = len(self.__otherNodes) + 1
        matched = [self.__raftMatchIndex.get(node, 0) for node in self.__otherNodes]
        matched = sorted([*matched, min(self._durable, self._journal.last_index)], reverse=True)
        agreed = matched[members // 2]
        if agreed <= self.__raftCommitIndex:
            return
        # Only an entry of the current term is committed by counting (Raft thesis section 3.6.2).
        if self._journal.entries[agreed - self._journal.first_index][2] == self.__raftCurrentTerm:
            self.__raftCommitIndex = agreed

    def _apply_committed(self) -> None:
        """Apply what is committed and answer who proposed it; replaces unpickling and swallowed exceptions."""
        commit, applied, first = self.__raftCommitIndex, self.__raftLastApplied, self._journal.first_index
        for command, index, term in self._journal.entries[applied + 1 - first : commit + 1 - first]:
            assert index == self.__raftLastApplied + 1, f"entry {index} after {self.__raftLastApplied}"
            commands = [] if command == EMPTY else self._decode_entry(command[1:])
            results = self._machine.apply(LogIndex(index), Term(term), commands)
            self.__raftLastApplied = index
            proposed_term, futures = self._waiting.pop(index, (term, []))
            if not futures:
                continue
            if proposed_term != term:
                _fail_all(futures, OutcomeUnknown("another leader's entry took its place"))
                continue
            for future, result in zip(futures, results, strict=True):
                if not future.done():
                    future.set_result(result)
        if not self._led.is_set() and self.__noopIDx is not None and self.__raftLastApplied >= self.__noopIDx:
            self._led.set()

    def _append_proposals(self) -> bool:
        """Put everything proposed since the last turn into as few entries as may be; replaces the library's queue."""
        has_appended = bool(self._proposals)
        while self._proposals:
            commands: list[bytes] = []
            futures: list[asyncio.Future[object]] = []
            size_bytes = 0
            while self._proposals and size_bytes < ENTRY_BYTES_MAX and len(commands) < ENTRY_COMMANDS_MAX:
                command, future = self._proposals.popleft()
                if future.cancelled():
                    continue  # nobody has been told that it was taken, and it was not
                commands.append(command)
                futures.append(future)
                size_bytes += len(command)
            if commands:
                index = self._journal.last_index + 1
                self._journal.append(b"\x00" + self._encode_entry(commands), index, self.__raftCurrentTerm)
                self._waiting[index] = (self.__raftCurrentTerm, futures)
        return has_appended

    def _refuse_proposals(self) -> None:
        while self._proposals:
            _fail_all([self._proposals.popleft()[1]], NotLeader(self._leader_name()))

    def _settle_reads(self) -> None:
        if not len(self._reads):
            return
        term = self.__raftCurrentTerm if self.__raftState == _LEADER else -1
        ready, failed = self._reads.take_ready(term, self.__raftLastApplied, lambda heartbeat: not self.__otherNodes)
        for future, index in ready:
            if not future.done():
                future.set_result(LogIndex(index))
        _fail_all(failed, NotLeader(self._leader_name()))

    # -- durability: one sync in flight; what is staged meanwhile goes with the next (group commit)

    def _sync(self) -> None:
        if self._is_syncing:
            return
        needed_from = min(self._machine.persisted, self.__raftLastApplied, self._journal.first_index)
        staged = self._journal.take(needed_from)
        held, self.held = self.held, []
        if staged is None:
            self._release(held)
            return
        self._is_syncing = True

        def synced(done: asyncio.Future[None]) -> None:
            self._is_syncing = False
            error = done.exception()
            if error is not None:
                self._fail(error)
                return
            self._durable = min(staged.last, self._journal.last_index)
            self._release(held)
            self._trim()
            self._machine.schedule_flush(LogIndex(self._durable))
            self._turn()

        self._loop().run_in_executor(self._disk, self._journal.write_and_sync, staged).add_done_callback(synced)

    def _sync_now(self) -> None:
        staged = self._journal.take()
        if staged is not None:
            self._journal.write_and_sync(staged)

    def _release(self, held: list[tuple[str, Message]]) -> None:
        for peer, message in held:
            self.peers.send(peer, message)

    def _trim(self) -> None:
        """Forget entries that the state machine has on disk, but for some megabytes for members that lag."""
        journal = self._journal
        kept_bytes = LOG_KEPT_BYTES if self.__otherNodes else 0
        persisted = min(self._machine.persisted, self.__raftLastApplied)
        # In large steps: forgetting moves the whole list, so it must not be done for every entry.
        if journal.size_bytes > kept_bytes + TRIM_BYTES and persisted > journal.first_index:
            excess_bytes, position = journal.size_bytes - kept_bytes, 0
            while excess_bytes > 0 and journal.entries[position][1] < persisted:
                excess_bytes -= len(journal.entries[position][0])
                position += 1
            journal.forget_before(journal.entries[position][1])

    # -- stopping

    def _fail(self, error: BaseException) -> None:
        """Stop for good: acknowledge nothing more, and let the process end."""
        if not self._is_stopped:
            self._is_stopped = True
            log.critical("member stops: %s", error, exc_info=error)
            self._abandon()
            self._on_fatal(error)

    def _abandon(self) -> None:
        self._refuse_proposals()
        for _, futures in self._waiting.values():
            _fail_all(futures, OutcomeUnknown("this member stopped before it knew"))
        self._waiting.clear()
        _, failed = self._reads.take_ready(-1, 0, lambda _: False)
        _fail_all(failed, NotLeader(None))

    def _leader_name(self) -> str | None:
        leader = self.__raftLeader
        return leader.id if leader is not None else None

    @staticmethod
    def _loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


Member = SyncObj
"""The name the rest of the store knows it by."""


def _fail_all(futures: list[Any], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
