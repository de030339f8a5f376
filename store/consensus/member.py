"""One member of the cluster: the face of raft (`Consensus`), and the turn that drives it.

What differs from PySyncObj is in the files below this one, a concern each; `library.py` says how they are stacked.
A turn does whatever is due: hold an election, count what is durable, apply what is committed, append or pass on what
was proposed, hand the log's new records to the disk.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from store.consensus import forwarding
from store.consensus.consensus import ConsensusStatus, LogIndex, NotLeader, Term
from store.consensus.core import Timing
from store.consensus.forwarding import COMMAND_BYTES_MAX, PROPOSALS_MAX, Passed
from store.consensus.library import CANDIDATE, FOLLOWER, LEADER, Peer
from store.consensus.membership import Members, MembershipChange
from store.consensus.transport import Message

log = logging.getLogger(__name__)

_ROLES: dict[int, Any] = {FOLLOWER: "follower", CANDIDATE: "candidate", LEADER: "leader"}

__all__ = ["Member", "Timing"]


class SyncObj(forwarding.SyncObj):
    """A `Consensus` made of the library's raft."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """See `core.SyncObj`."""
        self.on_call = None
        """Answers what other members ask of this one while it leads (`Consensus.call_leader`)."""
        super().__init__(*arguments, **named)
        self._passed = Passed()
        self._asking_reads, self._reads_at = [], []
        self._number = self._rng.getrandbits(48)
        self._tasks, self._sending, self._receiving = set(), {}, None
        self._read_members_back()
        if not self.__otherNodes:
            self.__raftElectionDeadline = 0  # nobody else could be the leader

    # -- Consensus

    async def start(self) -> None:
        """Sync what recovery wrote, then take part."""
        await self._disk.run(self._sync_now)
        self._durable = self._journal.last_index
        await self.peers.start(self)
        self._ticker = self._loop().create_task(self._tick())
        self._kick()

    async def stop(self) -> None:
        """Write and sync what is staged, then stop."""
        if self._ticker is None:
            return
        self._ticker.cancel()
        self._ticker = None
        was_stopped, self._is_stopped = self._is_stopped, True
        for sending in self._sending.values():
            sending.task.cancel()
        await self.peers.stop()
        self._abandon()
        if not was_stopped:
            await self._disk.run(self._sync_now)
        for disk in (self._disk, self._snapshot_reader, self._snapshot_writer):
            disk.close()
        self._journal.close()

    async def hand_over(self) -> None:
        """Before an orderly stop: let the best of the others lead, so that nobody has to miss us first."""
        successor = self._best_successor() if self._is_leader and not self._is_stopped else None
        if successor is not None:
            try:
                await self.transfer_leadership(successor)
            except Exception as error:
                log.info("nobody took leadership over", extra={"why": str(error)})

    def propose(self, command: bytes) -> asyncio.Future[object]:
        """Propose a command; a follower passes it on."""
        future: asyncio.Future[object] = self._loop().create_future()
        if self._is_stopped or self.__raftLeader is None or len(self._proposals) >= PROPOSALS_MAX:
            future.set_exception(NotLeader(self._leader_name()))
        else:
            assert len(command) <= COMMAND_BYTES_MAX, "a command this long must be refused before it is proposed"
            self._proposals.append((command, future))
            self._kick()
        return future

    def read_index(self) -> asyncio.Future[LogIndex]:
        """Return a future done once a local read is linearizable; a follower asks the leader."""
        future: asyncio.Future[LogIndex] = self._loop().create_future()
        if self._is_stopped or self.__raftLeader is None:
            future.set_exception(NotLeader(self._leader_name()))
        elif not self._is_leader:
            self._asking_reads.append(future)
            self._kick()
        elif not self.__otherNodes and self.__raftLastApplied >= self.__noopIDx:
            # A majority of one is confirmed by being asked, and has applied all it has committed.
            future.set_result(LogIndex(self.__raftLastApplied))
        else:
            self._add_read(future)
        return future

    async def wait_leader(self) -> None:
        """Return when a leader is known and an entry of its term is applied here."""
        await self._led.wait()

    async def change_membership(self, change: MembershipChange) -> Members:
        """Change one member; only the leader can."""
        members: Members = await self._change_as_leader(change)
        return members

    @property
    def term(self) -> Term:
        """The present term."""
        return Term(self.__raftCurrentTerm)

    def status(self) -> ConsensusStatus:
        """Say how the member stands."""
        leader = self.__raftLeader
        return ConsensusStatus(
            name=self._name,
            role=_ROLES[self.__raftState],
            leader=self._leader_name(),
            term=Term(self.__raftCurrentTerm),
            commit=LogIndex(self.__raftCommitIndex),
            applied=LogIndex(self.__raftLastApplied),
            durable=LogIndex(self._durable),
            last=LogIndex(self._journal.last_index),
            id=self._id,
            leader_id=0 if leader is None else leader.number,
            is_learner=self._id in self.members.learners,
        )

    # -- the turn

    def _onTick(self, timeToWait: float = 0.0) -> None:
        """Replace the library's tick: the same steps, but durable before counted, and no polling in the middle."""
        now = self._clock.monotonic()
        self._hold_election(now)
        if self._is_leader:
            self._check_quorum(now)
        if self._is_leader:
            self._advance_commit()
        self._apply_committed()
        if self._is_leader:
            self._promote_and_forget(now)
            self._pursue_transfer(now)
            if not self._transferring_to:
                self._append_proposals()
            if now >= self.__newAppendEntriesTime or self._reads.needs_heartbeat:
                self.__sendAppendEntries()
            self._send_new_entries()
        else:
            self._transferring_to = None
            self._pass_on_proposals()
            self._pass_on_reads()
        self._give_up_waiting(now)
        self._settle_reads()
        self._serve_reads()
        self._sync()

    def _on_message(self, peer: Peer, message: Message, now: float) -> None:
        """Replace the library's one long method by one each."""
        match message["type"]:
            case "append_entries":
                self._on_append_entries(peer, message, now)
            case "next_node_idx":
                self._on_next_node_idx(peer, message, now)
            case "pre_vote":
                self._on_pre_vote(peer, message, now)
            case "pre_vote_answer":
                self._on_pre_vote_answer(peer, message, now)
            case "request_vote":
                self._on_request_vote(peer, message, now)
            case "response_vote":
                self._on_response_vote(peer, message, now)
            case "timeout_now":
                self._on_timeout_now(peer, message, now)
            case "propose":
                self._on_propose(peer, message, now)
            case "proposed":
                self._on_proposed(peer, message, now)
            case "refused_proposals":
                self._on_refused_proposals(peer, message, now)
            case "read":
                self._on_read(peer, message, now)
            case "read_ready":
                self._on_read_ready(peer, message, now)
            case "call":
                self._on_call(peer, message, now)
            case "answer":
                self._on_answer(peer, message, now)
            case "snapshot":
                self._on_snapshot(peer, message, now)
            case "snapshot_taken":
                self._on_snapshot_taken(peer, message, now)
            case kind:
                # A newer member may know more; raft copes with any message being lost.
                log.warning("message of a kind this program does not know", extra={"kind": kind, "peer": peer.id})

    # -- what the library does that is done elsewhere, or not at all

    def __onLeaderChanged(self) -> None:
        """Replace the library's forwarding bookkeeping: see forwarding.py."""

    def __tryLogCompaction(self) -> None:
        """Replace the library's dump by fork: the log is trimmed when the state machine has flushed."""


Member = SyncObj
"""The name the rest of the store knows it by."""
