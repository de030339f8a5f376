"""Who leads: votes, and what keeps elections from being held for nothing.

Keeps the library's terms, timeouts and what happens on winning. Replaces how votes are asked for and given:

- before standing, a member asks whether it would be voted for, which changes nobody's term (pre-vote, Raft thesis
  section 9.6); a member cut off for a while used to come back with a higher term and depose the leader;
- who hears from a leader gives no vote (section 4.2.3), unless that leader hands over;
- a vote is given again to whom it was given, and each voter is counted once;
- a vote leaves only when it is on disk, and so does a request for one: `held`;
- only voters stand, and only voters are counted.
"""

from __future__ import annotations

import logging

from store.consensus import replication
from store.consensus.library import CANDIDATE, LEADER, Peer
from store.consensus.transport import Message

log = logging.getLogger(__name__)


class SyncObj(replication.SyncObj):
    """The elections of one member."""

    _pre_votes: frozenset[str] = frozenset()
    _pre_vote_term = 0
    _votes: frozenset[str] = frozenset()

    def _hold_election(self, now: float) -> None:
        """Stand if no leader was heard of for the election timeout; call every turn."""
        if self._is_leader or now < self.__raftElectionDeadline or not self._is_voter:
            return
        if not self.__otherNodes:
            self._stand(now, is_handed_over=False)
            return
        self.__raftElectionDeadline = now + self.__generateRaftTimeout()
        if self.__raftLeader is not None:
            log.info("the leader is silent", extra={"leader": self._leader_name(), "term": self.__raftCurrentTerm})
            self.__raftLeader = None
            self._on_leader_lost()
        self._pre_votes, self._pre_vote_term = frozenset(), self.__raftCurrentTerm + 1
        for peer in self.__otherNodes:
            self.peers.send(peer.id, {"type": "pre_vote", "term": self._pre_vote_term, **self._log_end()})

    def _log_end(self) -> dict[str, int]:
        return {"last_log_index": self._journal.last_index, "last_log_term": self._journal.entries[-1][2]}

    def _is_up_to_date(self, message: Message) -> bool:
        """Whether the asker's log is at least as new as ours (Raft thesis section 3.6.1)."""
        theirs = (message["last_log_term"], message["last_log_index"])
        return bool(theirs >= (self._journal.entries[-1][2], self._journal.last_index))

    def _hears_leader(self, now: float) -> bool:
        return self._is_leader or (
            self.__raftLeader is not None and now - self._heard_leader_at < self._timing.election_min_s
        )

    def _on_pre_vote(self, peer: Peer, message: Message, now: float) -> None:
        term = message["term"]
        granted = term > self.__raftCurrentTerm and not self._hears_leader(now) and self._is_up_to_date(message)
        answer = {"type": "pre_vote_answer", "granted": granted, "asked": term, "term": self.__raftCurrentTerm}
        if granted and (self._pre_vote_term != term or peer.number > self._id):
            # Of two that ask at about the same time one gives way, or both would stand, and neither win.
            self._pre_vote_term = 0
            self.__raftElectionDeadline = max(self.__raftElectionDeadline, now + self._timing.election_min_s / 2)
        self.held.append((peer.id, answer))  # held: our term is a promise too
        self._kick()

    def _on_pre_vote_answer(self, peer: Peer, message: Message, now: float) -> None:
        if message["term"] > self.__raftCurrentTerm:
            self._step_down(message["term"])
            return
        if not message["granted"] or message["asked"] != self.__raftCurrentTerm + 1 or self._hears_leader(now):
            return
        if message["asked"] != self._pre_vote_term or peer not in self.__otherNodes or not self._is_voter:
            return
        self._pre_votes |= {peer.id}
        if len(self._pre_votes) + 1 >= self.members.quorum:
            self._pre_vote_term = 0
            self._stand(now, is_handed_over=False)

    def _stand(self, now: float, *, is_handed_over: bool) -> None:
        """Begin a term as its candidate; replaces the library's, which asked before its own vote was synced."""
        self.__raftElectionDeadline = now + self.__generateRaftTimeout()
        self.__raftLeader = None
        self._on_leader_lost()
        self.__setState(CANDIDATE)
        self.__setCurrentTerm(self.__raftCurrentTerm + 1, self._self)
        self.__votesCount, self._votes = 1, frozenset()
        request = {"type": "request_vote", "term": self.__raftCurrentTerm, "transfer": is_handed_over}
        self.held += [(peer.id, request | self._log_end()) for peer in self.__otherNodes]
        if not self.__otherNodes:
            self.__onBecomeLeader()
        self._kick()

    def _on_request_vote(self, peer: Peer, message: Message, now: float) -> None:
        """Vote; replaces the library's, which dropped its leader for any higher term."""
        term = message["term"]
        if term < self.__raftCurrentTerm:
            self.held.append((peer.id, {"type": "next_node_idx", "term": self.__raftCurrentTerm, "hb": 0}))
            self._kick()
            return
        if not message["transfer"] and self._hears_leader(now):
            return
        if term > self.__raftCurrentTerm:
            self._step_down(term)
        if self.__raftState == LEADER or not self._is_up_to_date(message):
            return
        if self.__votedForNodeId not in (None, peer.id):
            return
        if self.__votedForNodeId is None:
            self.__setCurrentTerm(term, peer.id)
        self.__raftElectionDeadline = now + self.__generateRaftTimeout()
        self.held.append((peer.id, {"type": "response_vote", "term": term}))
        self._kick()

    def _on_response_vote(self, peer: Peer, message: Message, now: float) -> None:
        """Count a vote once, then let the library see whether that is enough."""
        if peer in self.__otherNodes and peer.id not in self._votes and message["term"] == self.__raftCurrentTerm:
            self._votes |= {peer.id}
            super()._SyncObj__onMessageReceived(peer, message)

    def __onBecomeLeader(self) -> None:
        """Begin to lead as the library does, with a log that followers are asked about first."""
        now = self._clock.monotonic()
        self._reads_confirmed, self._commit_sent = {}, {}
        self._heard_at = {peer.id: now for peer in self.__otherNodes | self.__readonlyNodes}
        self._probing = set(self.__otherNodes | self.__readonlyNodes)
        self._leaving, self._transferring_to = {}, None
        log.info("leading", extra={"member": self._name, "term": self.__raftCurrentTerm})
        super()._SyncObj__onBecomeLeader()
        self._kick()

    def _on_timeout_now(self, peer: Peer, message: Message, now: float) -> None:
        """Stand at once: the leader hands over (Raft thesis section 3.10)."""
        if message["term"] == self.__raftCurrentTerm and peer == self.__raftLeader and self._is_voter:
            self._stand(now, is_handed_over=True)

    def on_connected(self, peer: str) -> None:
        """A peer can be sent to."""
        self._enter()
        node = Peer(peer)
        self.__onNodeConnected(node)
        if node in self.__raftNextIndex:
            # What was on its way may be lost.
            self._probing.add(node)
            if self._is_leader:
                self.__newAppendEntriesTime = 0
        if self.__raftLeader is None and self._heard_leader_at == float("-inf"):
            # After a start of all there is nobody to wait for. Where somebody leads, asking harms nobody (pre-vote).
            self._ask_soon(self._timing.heartbeat_s / 2, 0.7 * self._timing.election_min_s)
        self._kick()

    def _ask_soon(self, seconds_min: float, seconds_max: float) -> None:
        """Ask to be elected within so many seconds, if nothing is heard of a leader until then."""
        soon = self._clock.monotonic() + self._rng.uniform(seconds_min, seconds_max)
        self.__raftElectionDeadline = min(self.__raftElectionDeadline, soon)

    def on_disconnected(self, peer: str) -> None:
        """A peer is out of reach. If it led, ask soon whether the others have lost it too."""
        self._enter()
        node = Peer(peer)
        self.__onNodeDisconnected(node)
        if node == self.__raftLeader and not self._is_stopped:
            self._heard_leader_at = float("-inf")
            self._ask_soon(0, self._timing.election_min_s / 2)
            self._on_leader_lost()
