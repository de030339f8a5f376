"""Which revisions may be forgotten: a queue of garbage in the order it came to be.

A stamp is garbage once something newer covers it: a value when its key was written or deleted again, a tombstone
as soon as the revision after it. Compacting at C may drop a value covered at or before C and a tombstone from
before C; the tombstone *at* C stays, for a watcher starting at C must still hear of the delete. So compaction costs
what it frees, never a walk over all keys, and a restart rebuilds the queue from the records it reads anyway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from store.mvcc.revision import Stamp


class Garbage:
    """Stamps no longer needed, oldest first."""

    def __init__(self) -> None:
        self._queue: deque[tuple[int, bytes, Stamp]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def covered(self, at: int, key: bytes, stamp: Stamp) -> None:
        """Note that `stamp` of `key` is covered by the change at revision `at`; `at` never goes down."""
        self._queue.append((at, key, stamp))

    def take(self, compact_revision: int) -> Iterator[tuple[bytes, Stamp]]:
        """Yield, oldest first, and forget, what a compaction at `compact_revision` may drop."""
        while self._queue:
            at, key, stamp = self._queue[0]
            if at > compact_revision or (stamp.is_tombstone and at == compact_revision):
                return
            self._queue.popleft()
            yield key, stamp
