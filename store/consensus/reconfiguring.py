"""Changing members, one at a time, through the log.

Replaces the library's membership: it tested for a change under way without ever noting one, so that two changes could
make two majorities; it applied changes at start only when they were committed, dropped them with the dump, and took
commands of anybody. Here an entry holds the whole next membership, is in force as soon as it is in the log, and goes
out of force with it (Raft thesis section 4.1); a second change waits until the first is committed and the leader has
committed in its own term ("bug in single-server membership changes", raft-dev, 2015).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from store.consensus import durability
from store.consensus.consensus import LogIndex, MemberRemoved, NotLeader, OutcomeUnknown, Term
from store.consensus.library import Peer
from store.consensus.membership import ChangeUnderWay, Members, MembershipChange, MembershipRefused

log = logging.getLogger(__name__)

MEMBERSHIP = 2
"""First byte of an entry that holds a membership (a number the library has for its own)."""
LEAVING_S = 2.0
"""How long a removed member is still sent the log, so that it learns of its removal."""
IN_SYNC_ENTRIES = 1000
"""A learner this close to the leader's log may be promoted."""


TRANSFER_ELECTIONS_MAX = 3
"""Handing over is given up after this many election timeouts; no proposal is taken meanwhile."""


class SyncObj(durability.SyncObj):
    """The membership of one member."""

    # -- what is in force

    def _adopt(self) -> None:
        """Make the newest membership in the log the one in force: whom to count, and whom to talk to."""
        members, now = self.members, self._clock.monotonic()
        self._leaving = {id: until for id, until in self._leaving.items() if until > now and not members.get(id)}
        voters = {Peer(f"{id:x}") for id in members.voters if id != self._id}
        # What the library calls read-only nodes: sent everything, never counted.
        others = {Peer(f"{id:x}") for id in (*members.learners, *self._leaving) if id != self._id}
        before = self.__otherNodes | self.__readonlyNodes
        for peer in voters | others:
            record = members.get(peer.number)
            if record is not None:
                self.peers.add_peer(peer.id, record.name, record.address)
            if peer not in before:
                self.__raftNextIndex[peer] = self._journal.last_index + 1
                self.__raftMatchIndex[peer] = 0
                self._probing.add(peer)
                self._heard_at[peer.id] = now
        for peer in before - voters - others:
            self.__raftNextIndex.pop(peer, None)
            self.__raftMatchIndex.pop(peer, None)
            self.__connectedNodes.discard(peer)
            self._probing.discard(peer)
            self._pins.pop(peer.number, None)
            if peer.number not in members.removed:
                self.peers.drop_peer(peer.id)  # it was added by an entry that was cut off
        for id in members.removed:
            if id not in self._leaving:
                self.peers.drop_peer(f"{id:x}")
        self.__otherNodes, self.__readonlyNodes = voters, others

    @property
    def _is_voter(self) -> bool:
        return self._id in self.members.voters

    def _note_appended(self, command: bytes, index: int) -> None:
        """Call for every entry put into the log: a membership is in force from then on."""
        if command[0] == MEMBERSHIP:
            self._members_log.append((index, Members.decode(command[1:])))
            self._adopt()

    def _note_cut(self, index: int) -> None:
        super()._note_cut(index)
        if self._members_log[-1][0] >= index:
            while self._members_log[-1][0] >= index:
                self._members_log.pop()
            self._adopt()

    def _read_members_back(self) -> None:
        """At start: find the memberships in the log that the state machine has not applied."""
        for command, index, _ in self._journal.entries:
            if command[0] == MEMBERSHIP and index > self.__raftLastApplied:
                self._members_log.append((index, Members.decode(command[1:])))
        self._adopt()

    def _apply_members(self, raw: bytes, index: int, term: int) -> Members:
        """Apply a committed membership: it will be in snapshots, and there is no way back behind it."""
        self._machine.apply_members(LogIndex(index), Term(term), raw)
        members = Members.decode(raw)
        self._members_log = [(index, members), *(each for each in self._members_log if each[0] > index)]
        if self._id in members.removed:
            raise MemberRemoved("the cluster removed this member: delete its data directory before adding it again")
        return members

    # -- changing it

    def _change_as_leader(self, change: MembershipChange) -> asyncio.Future[Any]:
        """Append the entry of a change; return a future of the membership after it.

        Raises:
            MembershipRefused, NotLeader.
        """
        if not self._is_leader or self._transferring_to:
            raise NotLeader(self._leader_name())
        if self.__raftLastApplied < self.__noopIDx:
            raise NotLeader(None)  # the next moment it will do
        if self._members_log[-1][0] > self.__raftLastApplied:
            raise ChangeUnderWay
        if change.kind == "remove" and change.id == self._id:
            raise MembershipRefused("the leader can't remove itself: it hands over first")
        members = self.members.after(change)
        self._check_quorum_survives(change, members)
        if change.kind == "remove":
            self._leaving[change.id] = self._clock.monotonic() + LEAVING_S
        index = self._journal.last_index + 1
        command = bytes([MEMBERSHIP]) + members.encode()
        self._journal.append(command, index, self.__raftCurrentTerm)
        self._note_appended(command, index)
        future: asyncio.Future[Any] = self._loop().create_future()
        self._waiting[index] = (self.__raftCurrentTerm, [(0, future)])
        log.info("changing members", extra={"change": change.kind, "changed": f"{change.id:x}", "entry": index})
        self.__newAppendEntriesTime = 0
        self._kick()
        return future

    def _check_quorum_survives(self, change: MembershipChange, after: Members) -> None:
        """Refuse a change that would leave too few voters that answer (etcd's strict reconfiguration check)."""
        if change.kind == "promote" and not self._is_in_sync(change.id):
            raise MembershipRefused("can only promote a learner member which is in sync with leader")
        if change.kind not in ("promote", "remove"):
            return
        active = [id for id in after.voters if id == self._id or self._is_active(id)]
        if len(active) < after.quorum:
            raise MembershipRefused("re-configuration failed due to not enough started members")

    def _is_active(self, id: int) -> bool:
        heard_at = self._heard_at.get(f"{id:x}", float("-inf"))
        return self._clock.monotonic() - heard_at < self._timing.election_max_s

    def _is_in_sync(self, id: int) -> bool:
        matched = self.__raftMatchIndex.get(Peer(f"{id:x}"), 0)
        return bool(matched and matched + IN_SYNC_ENTRIES >= self._journal.last_index and self._is_active(id))

    def _promote_and_forget(self, now: float) -> None:
        """Promote learners that were added to vote, and stop sending to those that left; a leader's duty."""
        if self._leaving and min(self._leaving.values()) <= now:
            self._adopt()
        if self._members_log[-1][0] > self.__raftLastApplied or self.__raftLastApplied < self.__noopIDx:
            return
        for record in self.members.records:
            if record.is_learner and record.wants_vote and self._is_in_sync(record.id) and not self._transferring_to:
                promoted = self._change_as_leader(MembershipChange("promote", record.id))
                promoted.add_done_callback(_forget_outcome)
                return

    # -- handing leadership over (Raft thesis section 3.10)

    async def transfer_leadership(self, to: int) -> None:
        """Bring `to` up to date, tell it to stand, and wait until it leads."""
        if not self._is_leader:
            raise NotLeader(self._leader_name())
        if to == self._id:
            return
        if to not in self.members.voters:
            raise MembershipRefused("bad leader transferee")
        if self._transferring_to:
            raise MembershipRefused("leadership is being handed over already", "UNAVAILABLE")
        term = self.__raftCurrentTerm
        self._transferring_to = f"{to:x}"
        self._transfer_ends_at = self._clock.monotonic() + TRANSFER_ELECTIONS_MAX * self._timing.election_max_s
        self._has_told_transferee = False
        log.info("handing leadership over", extra={"to": self._transferring_to, "term": term})
        self._kick()
        while self._transferring_to and not self._is_stopped:
            await self._clock.sleep(self._timing.heartbeat_s / 10)
        while self.__raftLeader is None and self._clock.monotonic() < self._transfer_ends_at + 2:
            await self._clock.sleep(self._timing.heartbeat_s / 10)
        if self.__raftLeader is None or self.__raftLeader.number != to:
            raise MembershipRefused("request timed out, leader transfer took too long", "UNAVAILABLE")

    _has_told_transferee = False

    def _pursue_transfer(self, now: float) -> None:
        """Tell the successor once its log is whole; give up when that takes longer than an election would."""
        if not self._transferring_to:
            return
        if not self._is_leader or now >= self._transfer_ends_at:
            self._transferring_to = None
            return
        matched = self.__raftMatchIndex.get(Peer(self._transferring_to), 0)
        if matched == self._journal.last_index and not self._has_told_transferee:
            self._has_told_transferee = True
            self.peers.send(self._transferring_to, {"type": "timeout_now", "term": self.__raftCurrentTerm})

    def _best_successor(self) -> int | None:
        """Return the voter that has most of the log and answers, or None."""
        candidates = [peer for peer in self.__otherNodes if self._is_active(peer.number)]
        return max(candidates, key=lambda peer: self.__raftMatchIndex.get(peer, 0)).number if candidates else None


def _forget_outcome(done: asyncio.Future[Any]) -> None:
    if not done.cancelled() and isinstance(done.exception(), (NotLeader, OutcomeUnknown)):
        log.info("a promotion was cut short; the next leader sees to it")
