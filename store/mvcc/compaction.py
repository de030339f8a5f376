"""Which revisions may be forgotten: a queue of garbage in the order it came to be.

A stamp is garbage once something newer covers it: a value when its key was written or deleted again, a tombstone
as soon as the revision after it. Compacting at C may drop a value covered at or before C and a tombstone from
before C; the tombstone *at* C stays, for a watcher starting at C must still hear of the delete. So compaction costs
what it frees, never a walk over all keys, and a restart rebuilds the queue from the records it reads anyway.
Values and tombstones queue apart, so that a tombstone that must stay holds up no value of the same revision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from store.mvcc.revision import Stamp


class Garbage:
    """Stamps no longer needed, oldest first."""

    def __init__(self) -> None:
        self._values: deque[tuple[int, bytes, Stamp]] = deque()
        self._tombstones: deque[tuple[int, bytes, Stamp]] = deque()

    def __len__(self) -> int:
        return len(self._values) + len(self._tombstones)

    def covered(self, at: int, key: bytes, stamp: Stamp) -> None:
        """Note that `stamp` of `key` is covered by the change at revision `at`; `at` never goes down."""
        (self._values if stamp.version else self._tombstones).append((at, key, stamp))

    def take(self, compact_revision: int) -> Iterator[tuple[bytes, Stamp]]:
        """Yield, oldest first, and forget, what a compaction at `compact_revision` may drop."""
        values, tombstones = self._values, self._tombstones
        while values and values[0][0] <= compact_revision:
            at, key, stamp = values.popleft()
            # A key's older tombstones first: it was put again after them, and its history goes in order.
            while tombstones and tombstones[0][0] < at:
                yield tombstones.popleft()[1:]
            yield key, stamp
        while tombstones and tombstones[0][0] < compact_revision:
            yield tombstones.popleft()[1:]
