"""The log, from the leader to the others: what is sent, what is taken, what is committed.

Keeps the library's nextIndex and matchIndex and its rule that only entries of the current term are committed by
counting (Raft thesis section 3.6.2). Replaces how both ends use them:

- a follower shortens its log only where an entry conflicts; the library did for every message, so that a late one
  took back what had been acknowledged;
- it commits no further than the leader's log is known to match its own; the library went by its own last entry;
- a message of an old term is answered with ours, so that a deposed leader learns of it at once;
- heartbeats are numbered, and answers repeat the number and the term, for reads and against confusion;
- a leader that a majority does not answer for an election timeout steps down;
- a peer that refused is probed with one message at a time, at the place where its log may begin to match.
"""

from __future__ import annotations

import logging
from typing import Any

from store.consensus import reconfiguring
from store.consensus.consensus import LogIndex, OutcomeUnknown, Term
from store.consensus.core import fail_all
from store.consensus.journal import EMPTY, LogEntry
from store.consensus.library import FOLLOWER, LEADER, Peer
from store.consensus.reconfiguring import MEMBERSHIP
from store.consensus.transport import Message

log = logging.getLogger(__name__)

APPEND_BYTES = 1 << 20
"""About how many bytes of entries one message carries."""
APPLY_ENTRIES_MAX = 256
"""Entries applied in one turn: a member that catches up must go on answering."""


class SyncObj(reconfiguring.SyncObj):
    """The replication of one member."""

    # -- the leader's side

    def __sendAppendEntries(self) -> None:
        """Replace the library's heartbeat, which could pickle large entries and started dumps for those far behind."""
        self.__newAppendEntriesTime = self._clock.monotonic() + self._timing.heartbeat_s
        self._reads.next_heartbeat()
        for peer in self._replicated_to():
            self._send_entries(peer, is_heartbeat=True)

    def _send_new_entries(self) -> None:
        """Send what is new to everyone who keeps up: entries, or else how far they are committed.

        Whoever waits at a follower, for its own write or in a watch, must not wait for the next heartbeat.
        """
        for peer in self._replicated_to():
            if peer in self._probing:
                continue
            if self.__raftNextIndex[peer] <= self._journal.last_index:
                self._send_entries(peer, is_heartbeat=False)
            elif self._commit_sent.get(peer.id, 0) < self.__raftCommitIndex:
                self._send_entries(peer, is_heartbeat=True, is_quiet=True)

    def _replicated_to(self) -> list[Peer]:
        return [peer for peer in (*self.__otherNodes, *self.__readonlyNodes) if peer in self.__connectedNodes]

    def _send_entries(self, peer: Peer, *, is_heartbeat: bool, is_quiet: bool = False) -> None:
        """Send what the peer lacks; a heartbeat even if that is nothing. A quiet one needs no answer but a refusal."""
        journal, following = self._journal, self.__raftNextIndex[peer]
        message: dict[str, Any] = {"type": "append_entries", "term": self.__raftCurrentTerm}
        message |= {"hb": self._reads.heartbeat, "confirm": bool(len(self._reads))}
        message |= {"commit_index": self.__raftCommitIndex, "quiet": is_quiet}
        self._commit_sent[peer.id] = self.__raftCommitIndex
        if following <= journal.first_index:
            # What it lacks is no longer in memory. The message still says who leads.
            self._offer_snapshot(peer)
            self.peers.send(peer.id, message)
            return
        while self.peers.has_room(peer.id):
            entries = self._entries_from(following)
            if not entries and not is_heartbeat:
                return
            before = {"prevLogIdx": following - 1, "prevLogTerm": self._term_at(following - 1)}
            self.peers.send(peer.id, message | before | {"entries": entries})
            is_heartbeat = False
            if peer in self._probing:
                return  # nextIndex stays until it has answered
            if entries:
                following = self.__raftNextIndex[peer] = entries[-1][1] + 1

    def _entries_from(self, index: int) -> list[LogEntry]:
        entries, size_bytes = self._journal.entries, 0
        start = end = index - self._journal.first_index
        while end < len(entries) and size_bytes < APPEND_BYTES:
            size_bytes += len(entries[end][0])
            end += 1
        return entries[start:end]

    def _offer_snapshot(self, peer: Peer) -> None:
        raise NotImplementedError  # installing.py has it

    def _on_next_node_idx(self, peer: Peer, message: Message, now: float) -> None:
        """Take a follower's answer; replaces the library's, which believed answers of any term."""
        term = message["term"]
        if term > self.__raftCurrentTerm:
            self._step_down(term)
            return
        if term < self.__raftCurrentTerm or not self._is_leader or peer not in self.__raftNextIndex:
            return
        self._heard_at[peer.id] = now
        self._reads_confirmed[peer.id] = max(self._reads_confirmed.get(peer.id, 0), message["hb"])
        if "success" not in message:
            pass  # it only confirms that this member leads
        elif message["success"]:
            matched = message["next_node_idx"] - 1
            assert matched <= self._journal.last_index, f"{peer} has entry {matched}, and the leader has not"
            self.__raftMatchIndex[peer] = max(self.__raftMatchIndex[peer], matched)
            self.__raftNextIndex[peer] = max(self.__raftNextIndex[peer], matched + 1)
            self._probing.discard(peer)
            self._pins.pop(peer.number, None)
            if self.__raftNextIndex[peer] <= self._journal.last_index:
                self._send_entries(peer, is_heartbeat=False)
        else:
            self._on_refused(peer, message["rejected"], message["next_node_idx"])
        self._kick()

    def _on_refused(self, peer: Peer, rejected: int, following: int) -> None:
        """Go back to where the follower says that its log may match, unless the answer is a late one."""
        matched = self.__raftMatchIndex[peer]
        if rejected <= matched or (peer in self._probing and rejected != self.__raftNextIndex[peer] - 1):
            return
        self._probing.add(peer)
        self.__raftNextIndex[peer] = max(matched + 1, min(following, rejected))
        self._send_entries(peer, is_heartbeat=True)

    def _advance_commit(self) -> None:
        """Commit what a majority has on disk: the library would count our own entries before they are synced."""
        matched = [self.__raftMatchIndex.get(peer, 0) for peer in self.__otherNodes]
        matched = sorted([*matched, min(self._durable, self._journal.last_index)], reverse=True)
        agreed = matched[len(matched) // 2]
        if agreed > self.__raftCommitIndex and self._term_at(agreed) == self.__raftCurrentTerm:
            self.__raftCommitIndex = agreed

    def _check_quorum(self, now: float) -> None:
        """Step down when a majority has not answered for an election timeout; the library's default is 30 s."""
        answering = 1 + sum(now - self._heard_at[peer.id] < self._timing.election_max_s for peer in self.__otherNodes)
        if answering < self.members.quorum:
            log.warning("no majority answers: leading no longer", extra={"term": self.__raftCurrentTerm})
            self._step_down(self.__raftCurrentTerm)

    def _is_confirmed(self, heartbeat: int) -> bool:
        """Whether a majority has answered that heartbeat or a later one."""
        confirming = 1 + sum(self._reads_confirmed.get(peer.id, 0) >= heartbeat for peer in self.__otherNodes)
        return confirming >= self.members.quorum

    # -- terms

    def _step_down(self, term: int, leader: Peer | None = None) -> None:
        """Follow, in `term`; with `leader` it is known whom."""
        if self.__raftState == LEADER:
            log.info("leading no longer", extra={"term": term})
            self._heard_leader_at = float("-inf")
            self.__raftElectionDeadline = self._clock.monotonic() + self.__generateRaftTimeout()
        if term > self.__raftCurrentTerm:
            self.__setCurrentTerm(term, None)
        if leader is not None and leader != self.__raftLeader:
            log.info("following", extra={"leader": self._name_of(leader), "term": term})
        self.__setState(FOLLOWER)
        if self.__raftLeader != leader:
            self.__raftLeader = leader
            self._on_leader_lost()

    def _name_of(self, peer: Peer) -> str:
        record = self.members.get(peer.number)
        return record.name if record is not None and record.name else str(peer.id)

    def _on_leader_lost(self) -> None:
        """What was passed on to the leader before has an outcome that is not known; see forwarding.py."""

    def __generateRaftTimeout(self) -> float:
        """Replace the library's, which draws from the process-wide random source."""
        return self._rng.uniform(self._timing.election_min_s, self._timing.election_max_s)

    def _hear(self, peer: Peer, message: Message, now: float) -> bool:
        """Note that `peer` leads; False when its term is over, which it is told (the library left it guessing)."""
        if message["term"] < self.__raftCurrentTerm:
            stale = {"type": "next_node_idx", "term": self.__raftCurrentTerm, "hb": 0}
            self.held.append((peer.id, stale))
            self._kick()
            return False
        assert not (self._is_leader and message["term"] == self.__raftCurrentTerm), f"{peer} leads in our term"
        self._step_down(message["term"], peer)
        self._heard_leader_at = now
        self.__raftElectionDeadline = now + self.__generateRaftTimeout()
        return True

    # -- the follower's side

    def _on_append_entries(self, peer: Peer, message: Message, now: float) -> None:
        """Take entries; replaces the library's, which cut the log back to the message's beginning every time."""
        if not self._hear(peer, message, now):
            return
        answer = {"type": "next_node_idx", "term": self.__raftCurrentTerm, "hb": message["hb"]}
        if message["confirm"] or "prevLogIdx" not in message:
            # That it leads is no promise about the log, and need not wait for the disk.
            self.peers.send(peer.id, answer)
        if "prevLogIdx" not in message:
            return
        matched = self._take_entries(message["prevLogIdx"], message["prevLogTerm"], message["entries"])
        if matched < 0:
            answer |= {"success": False, "rejected": message["prevLogIdx"], "next_node_idx": -matched}
        else:
            answer |= {"success": True, "next_node_idx": matched + 1}
            self.__leaderCommitIndex = message["commit_index"]
            self.__raftCommitIndex = max(self.__raftCommitIndex, min(message["commit_index"], matched))
        if not (message["quiet"] and answer["success"]):
            self.held.append((peer.id, answer))
        self._kick()

    def _take_entries(self, before: int, before_term: int, entries: list[LogEntry]) -> int:
        """Return the last index known to match the leader's log; or minus the index that it should go on from."""
        journal = self._journal
        first, last = journal.first_index, journal.last_index
        if before > last:
            return -(last + 1)
        if before < first:
            # What the state stands for is committed, and so the same everywhere.
            entries = [entry for entry in entries if entry[1] > first]
            before = first
        elif self._term_at(before) != before_term:
            assert before > self.__raftCommitIndex, f"the leader has another entry {before} than was committed"
            return -self._start_of_term(before)
        for command, index, term in entries:
            if index <= journal.last_index:
                if self._term_at(index) == term:
                    continue
                self._cut_off(index)
            journal.append(command, index, term)
            self._note_appended(command, index)
        return entries[-1][1] if entries else before

    def _start_of_term(self, index: int) -> int:
        """Return the first entry of the term that the entry at `index` is of: all of them may conflict."""
        term = self._term_at(index)
        while index > self._journal.first_index + 1 and self._term_at(index - 1) == term:
            index -= 1
        return max(index, self.__raftCommitIndex + 1)

    def _cut_off(self, index: int) -> None:
        """Drop the entries from `index` on: another leader's are in their place."""
        assert index > self.__raftCommitIndex, f"entry {index} conflicts, and is committed"
        log.info("dropping entries that were never committed", extra={"from": index, "to": self._journal.last_index})
        self._journal.truncate_from(index - self._journal.first_index)
        for position in [position for position in self._waiting if position >= index]:
            _, waiting = self._waiting.pop(position)
            fail_all((future for _, future in waiting), OutcomeUnknown("another leader's entry took its place"))
        self._note_cut(index)

    # -- both

    def _apply_committed(self) -> None:
        """Apply what is committed and answer who proposed it; replaces unpickling and swallowed exceptions."""
        commit, applied, first = self.__raftCommitIndex, self.__raftLastApplied, self._journal.first_index
        end = min(commit, applied + APPLY_ENTRIES_MAX)
        for command, index, term in self._journal.entries[applied + 1 - first : end + 1 - first]:
            assert index == self.__raftLastApplied + 1, f"entry {index} after {self.__raftLastApplied}"
            if command[0] == MEMBERSHIP:
                results: Any = [self._apply_members(command[1:], index, term)]
            else:
                commands = [] if command == EMPTY else self._decode_entry(command[1:])
                results = self._machine.apply(LogIndex(index), Term(term), commands)
            self.__raftLastApplied = index
            proposed_term, waiting = self._waiting.pop(index, (term, []))
            if proposed_term != term:
                fail_all((future for _, future in waiting), OutcomeUnknown("another leader's entry took its place"))
                continue
            for position, future in waiting:
                if not future.done():
                    future.set_result(results[position])
        if end < commit:
            self._kick()
        # Applied by this process or one before it: a member that comes back to an idle cluster has nothing left to do.
        knows_leader = self._is_leader or self.__raftLeader is not None
        if knows_leader and self._term_at(self.__raftLastApplied) == self.__raftCurrentTerm:
            self._led.set()
