"""Nothing is promised before it is on disk: group commit, and how far the log may be forgotten.

Replaces the library's journal calls, which sync nothing. One sync is in flight at a time; what is staged meanwhile goes
with the next. Votes and acknowledgements wait in `held` for the sync that covers what they promise, and a leader
counts itself only up to `_durable` (Raft thesis section 10.2.1 lets it send entries before its own sync).
"""

from __future__ import annotations

import asyncio
import logging

from store.consensus import core
from store.consensus.consensus import LogIndex
from store.consensus.transport import Message

log = logging.getLogger(__name__)

LOG_KEPT_BYTES = 16 << 20
"""How much of the log is kept in memory beyond what the state machine has on disk, for members that lag."""
LOG_PINNED_BYTES_MAX = 512 << 20
"""How much may be kept for members that are being sent a snapshot, which they must be able to continue from."""
TRIM_BYTES = 1 << 20
"""How much more than that collects before any of it is forgotten."""
_FAR = 1 << 62


class SyncObj(core.SyncObj):
    """The durability of one member."""

    _durable = 0
    """Everything in the log up to this index is on disk."""
    _is_syncing = False
    _cut_in_flight = _FAR
    """Lowest index cut off the log while a sync was in flight, which then says nothing about what is there now."""

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
        self._cut_in_flight = _FAR

        def synced(done: asyncio.Future[None]) -> None:
            self._is_syncing = False
            if self._is_stopped:
                return
            error = done.exception()
            if error is not None:
                self._fail(error)
                return
            self._durable = min(staged.last, self._cut_in_flight - 1)
            self._release(held)
            self._trim()
            self._machine.schedule_flush(LogIndex(self._durable))
            self._turn()

        self._disk.run(self._journal.write_and_sync, staged).add_done_callback(synced)

    def _sync_now(self) -> None:
        staged = self._journal.take()
        if staged is not None:
            self._journal.write_and_sync(staged)

    def _release(self, held: list[tuple[str, Message]]) -> None:
        for peer, message in held:
            self.peers.send(peer, message)

    def _note_cut(self, index: int) -> None:
        """Take note that the entries from `index` on were cut off the log: they are not durable any more."""
        self._durable = min(self._durable, index - 1)
        self._cut_in_flight = min(self._cut_in_flight, index)

    def _pin(self, member: int, index: int, seconds: float) -> None:
        """Keep the log from `index` on for a while, for a member that will need it."""
        self._pins[member] = (index, self._clock.monotonic() + seconds)

    def _trim(self) -> None:
        """Forget entries that the state machine has on disk, but for some megabytes for members that lag.

        Replaces the library's trimming to what a forked child may have dumped, which a crash turned into lost writes.
        """
        journal = self._journal
        kept_bytes = LOG_KEPT_BYTES if len(self.members.records) > 1 else 0
        forgettable = min(self._machine.persisted, self.__raftLastApplied)
        # In large steps: forgetting moves the whole list, so it must not be done for every entry.
        if journal.size_bytes <= kept_bytes + TRIM_BYTES or forgettable <= journal.first_index:
            return
        now = self._clock.monotonic()
        self._pins = {member: pin for member, pin in self._pins.items() if pin[1] > now}
        if self._pins and journal.size_bytes < LOG_PINNED_BYTES_MAX:
            forgettable = min(forgettable, *(index for index, _ in self._pins.values()))
        excess_bytes, position = journal.size_bytes - kept_bytes, 0
        while excess_bytes > 0 and journal.entries[position][1] < forgettable:
            excess_bytes -= len(journal.entries[position][0])
            position += 1
        journal.forget_before(journal.entries[position][1])
