"""Bringing a member up to date with a state, when the log no longer reaches back to what it has.

Replaces the library's dumps: made by a forked child, pickled, swapped in without regard to a crash, and able to wipe a
log that held acknowledged writes. Here the leader reads its state in an LMDB read transaction, chunk by chunk in a
thread, a few chunks ahead of what the follower has written; the follower lays it beside its own, and when the last
chunk agrees with the whole, it is synced under a name that the next start takes over at once or not at all
(`store.recovery`). Then the member starts again from it: a process that changes its whole state under its feet is one
bug away from serving half of each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from store.consensus import election
from store.consensus.consensus import Installer, SnapshotInstalled
from store.consensus.durability import LOG_PINNED_BYTES_MAX
from store.consensus.library import Peer
from store.consensus.snapshot import SnapshotDamaged
from store.consensus.transport import Message

log = logging.getLogger(__name__)

CHUNKS_AHEAD = 8
"""Chunks sent and not yet written by the follower."""
STALLED_S = 10.0
"""A transfer without an answer for so long is given up; the next heartbeat may begin another."""
PINNED_S = 60.0
"""How long the log is kept for a member after it was sent a state: it has to start again first."""


@dataclass(slots=True)
class _Sending:
    """A state on its way to a follower."""

    task: asyncio.Task[None]
    transfer: int
    acknowledged: int = 0
    progress: asyncio.Event | None = None


@dataclass(slots=True)
class _Receiving:
    """A state coming in."""

    transfer: int
    installer: Installer
    taken: int = 0


class SyncObj(election.SyncObj):
    """The snapshots of one member."""

    _sending: dict[str, _Sending]
    _receiving: _Receiving | None

    snapshots_sent = 0
    snapshots_received = 0

    # -- the leader's side

    def _offer_snapshot(self, peer: Peer) -> None:
        sending = self._sending.get(peer.id)
        if sending is not None and not sending.task.done():
            return
        transfer = self._rng.getrandbits(48)
        task = self._loop().create_task(self._send_snapshot(peer, transfer))
        self._sending[peer.id] = _Sending(task, transfer, 0, asyncio.Event())
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._fail(task.exception() or AssertionError("unreachable"))

    async def _send_snapshot(self, peer: Peer, transfer: int) -> None:
        term, number = self.__raftCurrentTerm, 0
        source = self._machine.snapshot()
        index, chunks = source.index, source.chunks()
        self._pin(peer.number, index, PINNED_S)
        log.info("sending a snapshot", extra={"to": self._name_of(peer), "entry": index})
        try:
            chunk = await self._snapshot_reader.run(_next_chunk, chunks)
            while chunk is not None:
                following = await self._snapshot_reader.run(_next_chunk, chunks)
                if not await self._may_send(peer, transfer, number, term):
                    log.warning("a snapshot was given up", extra={"to": self._name_of(peer), "chunk": number})
                    return
                message = {"type": "snapshot", "term": term, "transfer": transfer, "number": number}
                message |= {"index": index, "chunk": chunk, "last": following is None, "hb": self._reads.heartbeat}
                self.peers.send(peer.id, message)
                self._pin(peer.number, index, PINNED_S)
                if self._journal.size_bytes > LOG_PINNED_BYTES_MAX // 4:
                    source.hurry()
                number, chunk = number + 1, following
            self.snapshots_sent += 1
            log.info("sent a snapshot", extra={"to": self._name_of(peer), "chunks": number})
            # It starts again with the state's end as its log's; until it has said so, no other is begun.
            until = self._clock.monotonic() + STALLED_S
            while self._clock.monotonic() < until and peer.number in self._pins and self._is_leader:
                if peer in self._probing:
                    self.__raftNextIndex[peer] = max(self.__raftNextIndex[peer], self._journal.first_index + 1)
                await self._clock.sleep(self._timing.heartbeat_s)
        finally:
            source.close()

    async def _may_send(self, peer: Peer, transfer: int, number: int, term: int) -> bool:
        """Wait until the follower has written all but a few chunks; False when it is no longer to be sent any."""
        until = self._clock.monotonic() + STALLED_S
        acknowledged = -1
        while True:
            sending = self._sending.get(peer.id)
            if sending is None or sending.transfer != transfer or self._is_stopped:
                return False
            if not self._is_leader or self.__raftCurrentTerm != term or peer not in self.__connectedNodes:
                return False
            if number < sending.acknowledged + CHUNKS_AHEAD and self.peers.has_room(peer.id):
                return True
            now = self._clock.monotonic()
            if sending.acknowledged > acknowledged:
                acknowledged, until = sending.acknowledged, now + STALLED_S
            if now > until:
                return False
            await self._clock.sleep(self._timing.heartbeat_s / 20)

    def _on_snapshot_taken(self, peer: Peer, message: Message, now: float) -> None:
        sending = self._sending.get(peer.id)
        if self._is_leader and peer in self.__raftNextIndex:
            self._heard_at[peer.id] = now
        if sending is not None and sending.transfer == message["transfer"]:
            sending.acknowledged = max(sending.acknowledged, message["number"])

    # -- the follower's side

    def _on_snapshot(self, peer: Peer, message: Message, now: float) -> None:
        """Take a chunk; replaces the library's, which applied its own log instead (and answered success)."""
        if not self._hear(peer, message, now):
            return
        if message["index"] <= self.__raftCommitIndex:
            # We have all of it. What is committed is the same everywhere.
            answer = {"type": "next_node_idx", "term": self.__raftCurrentTerm, "hb": message["hb"]}
            self.held.append((peer.id, answer | {"success": True, "next_node_idx": self.__raftCommitIndex + 1}))
            self._kick()
            return
        receiving = self._receiving
        if message["number"] == 0:
            if receiving is not None:
                self._snapshot_writer.run(receiving.installer.abort)
            receiving = self._receiving = _Receiving(message["transfer"], self._machine.installer())
            log.info("taking in a snapshot", extra={"from": self._name_of(peer), "entry": message["index"]})
        if receiving is None or receiving.transfer != message["transfer"] or receiving.taken != message["number"]:
            return  # a piece is missing: the sender will give up and begin again
        receiving.taken += 1
        written = self._snapshot_writer.run(receiving.installer.write, message["chunk"])
        number, is_last = message["number"] + 1, message["last"]
        written.add_done_callback(lambda done: self._chunk_written(done, peer, receiving, number, is_last))

    def _chunk_written(
        self, done: asyncio.Future[Any], peer: Peer, receiving: _Receiving, number: int, is_last: bool
    ) -> None:
        if self._is_stopped or receiving is not self._receiving:
            return
        if not self._is_good(done, receiving):
            return
        answer = {"type": "snapshot_taken", "term": self.__raftCurrentTerm}
        self.peers.send(peer.id, answer | {"transfer": receiving.transfer, "number": number})
        if is_last:
            finished = self._snapshot_writer.run(receiving.installer.finish)
            finished.add_done_callback(lambda done: self._snapshot_finished(done, receiving))

    def _snapshot_finished(self, done: asyncio.Future[Any], receiving: _Receiving) -> None:
        if self._is_stopped or not self._is_good(done, receiving):
            return
        index, term = done.result()
        self.snapshots_received += 1
        self._fail(SnapshotInstalled(f"the state of entry {index} (term {term}) was taken over"))

    def _is_good(self, done: asyncio.Future[Any], receiving: _Receiving) -> bool:
        error = done.exception()
        if isinstance(error, SnapshotDamaged):
            log.error("a snapshot came in damaged, and is thrown away", extra={"why": str(error)})
            self._receiving = None
            self._snapshot_writer.run(receiving.installer.abort)
            return False
        if error is not None:
            self._fail(error)
            return False
        return True


def _next_chunk(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)
