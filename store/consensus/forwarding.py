"""Any member can be asked: followers pass proposals, reads and calls on to the leader.

Replaces the library's forwarding, whose lost messages never called back and whose failures said "not committed" of
commands that were. A proposal is answered with the place it got in the log, and whoever asked waits until its own
member has applied that entry: so it reads its own write there. What was sent and not answered when the leader is lost
has an outcome that is not known, and is told so; the request's id makes it safe to ask again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from store.consensus import installing
from store.consensus.consensus import CallFailed, LogIndex, NotLeader, OutcomeUnknown
from store.consensus.core import Asker, Origin, fail_all
from store.consensus.library import Peer
from store.consensus.membership import MembershipRefused
from store.consensus.transport import Message

log = logging.getLogger(__name__)

PROPOSALS_MAX = 65_536
"""Proposals waiting to be appended or answered; more are refused as NotLeader, for the caller to slow down."""
COMMAND_BYTES_MAX = 4 << 20
ANSWER_WITHIN_S = 5.0
"""A leader that takes longer to answer is taken for lost."""
ENTRY_BYTES_MAX = 512 << 10
"""A log entry takes no further command once it is this large (one command may be larger)."""
ENTRY_COMMANDS_MAX = 1024

OnCall = Callable[[bytes], Awaitable[bytes]]


@dataclass(slots=True)
class Passed:
    """What was passed on to the leader and is not answered."""

    proposals: dict[int, tuple[asyncio.Future[Any], float]] = field(default_factory=dict)
    reads: dict[int, tuple[list[asyncio.Future[LogIndex]], float]] = field(default_factory=dict)
    calls: dict[int, tuple[asyncio.Future[bytes], float]] = field(default_factory=dict)


class SyncObj(installing.SyncObj):
    """The questions of one member."""

    on_call: OnCall | None
    _passed: Passed
    _asking_reads: list[asyncio.Future[LogIndex]]
    _reads_at: list[tuple[int, list[asyncio.Future[LogIndex]]]]
    _number: int
    _tasks: set[asyncio.Task[None]]

    # -- asking the leader

    def _pass_on_proposals(self) -> None:
        """Send what was proposed since the last turn to the leader, or refuse it."""
        while self._proposals:
            batch: list[tuple[int, bytes]] = []
            size_bytes = 0
            deadline = self._clock.monotonic() + ANSWER_WITHIN_S
            while self._proposals and size_bytes < ENTRY_BYTES_MAX and len(batch) < ENTRY_COMMANDS_MAX:
                command, asker = self._proposals.popleft()
                if isinstance(asker, Origin):
                    self._refuse(asker)
                elif not asker.cancelled():
                    number = self._next_number()
                    self._passed.proposals[number] = (asker, deadline)
                    batch.append((number, command))
                    size_bytes += len(command)
            if batch and not self._send_to_leader({"type": "propose", "commands": batch}):
                fail_all((self._passed.proposals.pop(number)[0] for number, _ in batch), NotLeader(None))

    def _pass_on_reads(self) -> None:
        """Ask the leader once for all reads that came since the last turn."""
        if not self._asking_reads:
            return
        reads, self._asking_reads = self._asking_reads, []
        number = self._next_number()
        if self._send_to_leader({"type": "read", "number": number}):
            self._passed.reads[number] = (reads, self._clock.monotonic() + ANSWER_WITHIN_S)
        else:
            fail_all(reads, NotLeader(None))

    def call_leader(self, request: bytes) -> asyncio.Future[bytes]:
        """Have the leader's `on_call` answer."""
        future: asyncio.Future[bytes] = self._loop().create_future()
        if self._is_leader and not self._is_stopped:
            task = self._loop().create_task(self._answer_own_call(request, future))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return future
        number = self._next_number()
        if not self._is_stopped and self._send_to_leader({"type": "call", "number": number, "request": request}):
            self._passed.calls[number] = (future, self._clock.monotonic() + ANSWER_WITHIN_S)
        else:
            future.set_exception(NotLeader(self._leader_name()))
        return future

    def _send_to_leader(self, message: dict[str, Any]) -> bool:
        leader = self.__raftLeader
        if leader is None or leader.id == self._self or leader not in self.__connectedNodes:
            return False
        return self.peers.send(leader.id, message)

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _on_leader_lost(self) -> None:
        super()._on_leader_lost()
        unknown = OutcomeUnknown("the leader was lost before it answered")
        passed, self._passed = self._passed, Passed()
        fail_all((future for future, _ in passed.proposals.values()), unknown)
        fail_all((future for future, _ in passed.calls.values()), unknown)
        for reads, _ in passed.reads.values():
            fail_all(reads, NotLeader(None))  # a read may always be asked again

    def _give_up_waiting(self, now: float) -> None:
        """Fail what the leader has not answered in time."""
        if not (self._passed.proposals or self._passed.calls or self._passed.reads):
            return  # as at almost every turn
        unknown = OutcomeUnknown(f"the leader did not answer in {ANSWER_WITHIN_S:g} s")
        for table in (self._passed.proposals, self._passed.calls):
            late = [number for number, (_, deadline) in table.items() if deadline < now]
            fail_all((table.pop(number)[0] for number in late), unknown)
        for number in [number for number, (_, deadline) in self._passed.reads.items() if deadline < now]:
            fail_all(self._passed.reads.pop(number)[0], NotLeader(None))

    # -- the leader's answers

    def _on_proposed(self, peer: Peer, message: Message, now: float) -> None:
        """Wait for the entry in which the leader put our commands; it is sent after this, on the same connection."""
        index, term = message["index"], message["term"]
        waiting = [
            (position, self._passed.proposals.pop(number)[0])
            for number, position in message["places"]
            if number in self._passed.proposals
        ]
        if index <= self.__raftLastApplied:
            fail_all((future for _, future in waiting), OutcomeUnknown("it was applied before its place was known"))
            return
        before, others = self._waiting.pop(index, (term, []))
        if before != term:
            fail_all((future for _, future in others), OutcomeUnknown("another leader's entry took its place"))
            others = []
        self._waiting[index] = (term, others + waiting)

    def _on_refused_proposals(self, peer: Peer, message: Message, now: float) -> None:
        numbers = [number for number in message["numbers"] if number in self._passed.proposals]
        fail_all((self._passed.proposals.pop(number)[0] for number in numbers), NotLeader(None))

    def _on_read_ready(self, peer: Peer, message: Message, now: float) -> None:
        reads, _ = self._passed.reads.pop(message["number"], ([], 0))
        if message["index"] < 0:
            fail_all(reads, NotLeader(None))
        elif reads:
            self._reads_at.append((message["index"], reads))
            self._kick()

    def _serve_reads(self) -> None:
        """Let reads go whose index is applied here."""
        if self._reads_at:
            applied = self.__raftLastApplied
            for _, reads in (each for each in self._reads_at if each[0] <= applied):
                for future in reads:
                    if not future.done():
                        future.set_result(LogIndex(applied))
            self._reads_at = [each for each in self._reads_at if each[0] > applied]

    def _on_answer(self, peer: Peer, message: Message, now: float) -> None:
        future, _ = self._passed.calls.pop(message["number"], (None, 0))
        if future is None or future.done():
            return
        match message["kind"]:
            case "ok":
                future.set_result(message["answer"])
            case "not-leader":
                future.set_exception(NotLeader(None))
            case "unknown":
                future.set_exception(OutcomeUnknown(message["text"]))
            case kind:
                future.set_exception(CallFailed(kind, message["text"]))

    # -- answering followers

    def _on_propose(self, peer: Peer, message: Message, now: float) -> None:
        refused = [number for number, command in message["commands"] if len(command) > COMMAND_BYTES_MAX]
        for number, command in message["commands"]:
            if len(self._proposals) >= PROPOSALS_MAX or not self._is_leader:
                refused.append(number)
            elif len(command) <= COMMAND_BYTES_MAX:
                self._proposals.append((command, Origin(peer.id, number)))
        if refused:
            self.peers.send(peer.id, {"type": "refused_proposals", "numbers": refused})
        self._kick()

    def _on_read(self, peer: Peer, message: Message, now: float) -> None:
        asker = Origin(peer.id, message["number"])
        if self._is_leader:
            self._add_read(asker)
        else:
            self._fail_read(asker)

    def _add_read(self, asker: Asker) -> None:
        # What earlier leaders committed is known here once an entry of our own term is (section 6.4).
        self._reads.add(asker, self.__raftCurrentTerm, max(self.__raftCommitIndex, self.__noopIDx))
        self._kick()

    def _fail_read(self, asker: Asker) -> None:
        if isinstance(asker, Origin):
            self.peers.send(asker.peer, {"type": "read_ready", "number": asker.number, "index": -1})
        else:
            fail_all([asker], NotLeader(self._leader_name()))

    def _settle_reads(self) -> None:
        """Answer the reads whose leadership is confirmed."""
        if not len(self._reads):
            return
        term = self.__raftCurrentTerm if self._is_leader else -1
        ready, failed = self._reads.take_ready(term, self.__raftLastApplied, self._is_confirmed)
        for asker, index in ready:
            if isinstance(asker, Origin):
                self.peers.send(asker.peer, {"type": "read_ready", "number": asker.number, "index": index})
            elif not asker.done():
                asker.set_result(LogIndex(index))
        for asker in failed:
            self._fail_read(asker)

    def _refuse(self, asker: Origin) -> None:
        self.peers.send(asker.peer, {"type": "refused_proposals", "numbers": [asker.number]})

    def _append_proposals(self) -> bool:
        """Put everything proposed since the last turn into as few entries as may be; replaces the library's queue."""
        has_appended = bool(self._proposals)
        while self._proposals:
            commands: list[bytes] = []
            own: list[tuple[int, asyncio.Future[Any]]] = []
            places: dict[str, list[tuple[int, int]]] = {}
            size_bytes = 0
            while self._proposals and size_bytes < ENTRY_BYTES_MAX and len(commands) < ENTRY_COMMANDS_MAX:
                command, asker = self._proposals.popleft()
                if isinstance(asker, Origin):
                    places.setdefault(asker.peer, []).append((asker.number, len(commands)))
                elif asker.cancelled():
                    continue  # nobody has been told that it was taken, and it was not
                else:
                    own.append((len(commands), asker))
                commands.append(command)
                size_bytes += len(command)
            if commands:
                index, term = self._journal.last_index + 1, self.__raftCurrentTerm
                self._journal.append(b"\x00" + self._encode_entry(commands), index, term)
                self._waiting[index] = (term, own)
                for peer, taken in places.items():
                    # Before the entry itself, which goes the same way.
                    self.peers.send(peer, {"type": "proposed", "index": index, "term": term, "places": taken})
        return has_appended

    # -- calls

    def _on_call(self, peer: Peer, message: Message, now: float) -> None:
        if len(self._tasks) >= PROPOSALS_MAX:
            self.peers.send(peer.id, {"type": "answer", "number": message["number"], "kind": "not-leader", "text": ""})
            return
        task = self._loop().create_task(self._answer_call(peer.id, message["number"], message["request"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_call(self, peer: str, number: int, request: bytes) -> None:
        kind, text, answer = "ok", "", b""
        try:
            if not self._is_leader or self.on_call is None:
                raise NotLeader(None)
            answer = await self.on_call(request)
        except NotLeader:
            kind = "not-leader"
        except OutcomeUnknown as error:
            kind, text = "unknown", str(error)
        except CallFailed as error:
            kind, text = error.kind, error.message
        except MembershipRefused as error:
            kind, text = f"membership/{error.code}", str(error)
        except Exception as error:
            log.exception("a call of another member failed")
            kind, text = "internal", f"{type(error).__name__}: {error}"
        self.peers.send(peer, {"type": "answer", "number": number, "kind": kind, "text": text, "answer": answer})

    async def _answer_own_call(self, request: bytes, future: asyncio.Future[bytes]) -> None:
        try:
            if self.on_call is None:
                raise NotLeader(None)
            answer = await self.on_call(request)
        except Exception as error:
            fail_all([future], error)
        else:
            if not future.done():
                future.set_result(answer)

    # -- stopping

    def _abandon(self) -> None:
        super()._abandon()
        self._on_leader_lost()
        fail_all(self._asking_reads, NotLeader(None))
        for _, reads in self._reads_at:
            fail_all(reads, NotLeader(None))
        self._asking_reads, self._reads_at = [], []
        for task in self._tasks:
            task.cancel()
