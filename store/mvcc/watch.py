"""Who hears of what: watchers, in step with the store or catching up from its history. Pure; no tasks, no awaits.

Watchers that ask for the same thing (keys, filters, prev_kv) form a group, and a group is handed one shared `Batch` per
publication: its events are chosen once, and whoever sends them may cache their encoding on it. A watcher in step has
batches pushed to it. One that starts in the past, or that let too much pile up, is *behind*: it pulls its history
chunk by chunk as fast as it can send, and is back in step when nothing is left. So a slow reader costs bounded
memory, never an event. Batches hold whole revisions only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from store.mvcc.index import FROM_KEY
from store.mvcc.kv import Mvcc
from store.mvcc.revision import Change, Event

BACKLOG_EVENTS_MAX = 4096
"""Events a watcher in step may leave unread before it must read them back from history."""
CHUNK_EVENTS = 512
CHUNK_BYTES = 1 << 20
"""Where a chunk of history ends, at the next whole revision."""


class Interest(NamedTuple):
    """What a watch asks for; equal interests share their batches."""

    key: bytes
    range_end: bytes = b""
    prev_kv: bool = False
    no_put: bool = False
    no_delete: bool = False

    def wants(self, change: Change) -> bool:
        """Whether the change is one of those asked for."""
        key = change.kv.key
        if not self.range_end:
            hit = key == self.key
        else:
            hit = self.key <= key and (self.range_end == FROM_KEY or key < self.range_end)
        return hit and not (self.no_delete if change.is_delete else self.no_put)

    def misses(self, lowest: bytes, highest: bytes) -> bool:
        """Whether no key from `lowest` to `highest`, both included, is asked for."""
        if self.key > highest:
            return True
        return self.key < lowest and self.range_end <= lowest and self.range_end != FROM_KEY


class Batch:
    """Events to hand over together: all that the interest has between `first` and `last`, both included."""

    __slots__ = ("encoded", "events", "first", "last")

    def __init__(self, first: int, last: int, events: tuple[Event, ...]) -> None:
        self.first = first
        self.last = last
        self.events = events
        self.encoded: bytes | None = None
        """For whoever sends it to many: the events' wire form, once made."""


class Watcher:
    """One watch. `next_revision` is the lowest revision of which it may not have been given every event."""

    __slots__ = ("_wake", "interest", "is_behind", "next_revision", "pending", "pending_events")

    def __init__(self, interest: Interest, next_revision: int, is_behind: bool, wake: Callable[[], None]) -> None:
        self.interest = interest
        self.next_revision = next_revision
        self.is_behind = is_behind
        self.pending: deque[Batch] = deque()
        self.pending_events = 0
        self._wake = wake

    def push(self, batch: Batch) -> None:
        """Take a batch (in step only); wakes the reader, or falls behind when too much is unread."""
        if batch.first < self.next_revision:
            late = tuple(event for event in batch.events if event.kv.mod_revision >= self.next_revision)
            if not late:
                return
            batch = Batch(self.next_revision, batch.last, late)
        self.pending_events += len(batch.events)
        if self.pending_events > BACKLOG_EVENTS_MAX and self.pending:
            self.is_behind = True
            # All before the oldest unread batch was handed over, though nothing may have matched for long.
            self.next_revision = max(self.next_revision, self.pending[0].first)
            self.pending.clear()
            self.pending_events = 0
        else:
            self.pending.append(batch)
        self._wake()


class Watchers:
    """All watches on one `Mvcc`."""

    def __init__(self, mvcc: Mvcc) -> None:
        self._mvcc = mvcc
        self._groups: dict[Interest, list[Watcher]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    @property
    def behind(self) -> int:
        """How many catch up from history."""
        return sum(watcher.is_behind for group in self._groups.values() for watcher in group)

    @property
    def pending_events(self) -> int:
        """How many events wait to be read by those in step."""
        return sum(watcher.pending_events for group in self._groups.values() for watcher in group)

    def add(self, interest: Interest, start_revision: int, wake: Callable[[], None]) -> Watcher:
        """Start a watch from `start_revision` on; 0 means from the next revision, one ahead of the store waits.

        `wake` is called, from within `publish`, when there may be something for `next`; call `next` until it is None.
        """
        current = self._mvcc.revision
        watcher = Watcher(interest, start_revision or current + 1, 0 < start_revision <= current, wake)
        self._groups.setdefault(interest, []).append(watcher)
        return watcher

    def remove(self, watcher: Watcher) -> None:
        """End a watch; safe to call twice."""
        group = self._groups.get(watcher.interest, [])
        if watcher in group:
            group.remove(watcher)
            if not group:
                del self._groups[watcher.interest]

    def publish(self, first: int, last: int, changes: list[Change]) -> None:
        """Tell those in step of all the changes of the revisions from `first` to `last`, the store's newest."""
        keys = [change.kv.key for change in changes]
        lowest, highest = min(keys), max(keys)
        for interest, group in self._groups.items():
            if interest.misses(lowest, highest):
                continue  # most of them: an API server watches each kind by itself
            in_step = [watcher for watcher in group if not watcher.is_behind]
            if not in_step:
                continue
            events = self._events(interest, changes)
            if events:
                batch = Batch(first, last, events)
                for watcher in in_step:
                    watcher.push(batch)

    def next(self, watcher: Watcher) -> Batch | None:
        """Return what to send next, or None when the watcher is in step and has been given everything.

        Raises:
            Compacted: the history it needs is forgotten; the watch is over.
        """
        if watcher.pending:
            batch = watcher.pending.popleft()
            watcher.pending_events -= len(batch.events)
            watcher.next_revision = max(watcher.next_revision, batch.last + 1)
            return batch
        if watcher.is_behind:
            batch = self._read_history(watcher)
            if batch.events:
                return batch
        return None

    def progress(self, watcher: Watcher) -> int | None:
        """Return the revision up to which the watcher has been given everything, or None while it has not."""
        if watcher.is_behind or watcher.pending or watcher.next_revision > self._mvcc.revision + 1:
            return None
        return self._mvcc.revision

    def _read_history(self, watcher: Watcher) -> Batch:
        first = watcher.next_revision
        chunk: list[Change] = []
        size_bytes = 0
        last: int = self._mvcc.revision
        for change in self._mvcc.history(first):
            is_full = len(chunk) >= CHUNK_EVENTS or size_bytes >= CHUNK_BYTES
            if is_full and change.kv.mod_revision != chunk[-1].kv.mod_revision:
                last = chunk[-1].kv.mod_revision
                break
            if watcher.interest.wants(change):
                chunk.append(change)
                size_bytes += len(change.kv.value)
        watcher.next_revision = last + 1
        watcher.is_behind = last < self._mvcc.revision
        return Batch(first, last, self._events(watcher.interest, chunk))

    def _events(self, interest: Interest, changes: Iterable[Change]) -> tuple[Event, ...]:
        if interest.prev_kv:
            return tuple(Event(change.kv, self._mvcc.previous(change)) for change in changes if interest.wants(change))
        return tuple(Event(change.kv) for change in changes if interest.wants(change))
