"""The store's face over MVCC in memory: no gRPC, no disk, no log.

For simulations and for tests of what stands on the store. Requests are checked and answered by the same code as in
the real one, at once and in the order of the calls. Nothing outlives the object.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from store.client import (
    Compare,
    Conflict,
    Op,
    Range,
    RangeResult,
    Refused,
    Revision,
    StoreStatus,
    Txn,
    TxnResult,
    WatchBatch,
    prefix_end,
)
from store.face import delete_if_txn, put_if_txn, revision_or_conflict
from store.mvcc.check import InvalidRequest, check_range, check_txn
from store.mvcc.kv import LeaseNotFound, Mvcc
from store.mvcc.revision import Compacted
from store.mvcc.watch import Interest, Watchers

__all__ = ["Conflict", "LocalStore", "LocalWatch"]


class LocalStore:
    """`store.client.Store` over `store.mvcc`, in this process."""

    def __init__(self, mvcc: Mvcc | None = None) -> None:
        """Begin with what `mvcc` holds, which is this store's alone from then on; without one, empty."""
        self._mvcc = Mvcc() if mvcc is None else mvcc
        self._watchers = Watchers(self._mvcc)
        self._open: set[LocalWatch] = set()

    async def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
    ) -> RangeResult:
        """Read one key or a range; there is one member, so every read is linearizable."""
        query = Range(key, range_end, limit=limit, revision=revision, keys_only=keys_only, count_only=count_only)
        try:
            check_range(query)
        except InvalidRequest as error:
            raise Refused("INVALID_ARGUMENT", f"etcdserver: {error}") from None
        return self._mvcc.range(query)

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Do a transaction."""
        return self._txn(Txn(tuple(compares), tuple(success), tuple(failure)))

    async def put_if(self, key: bytes, value: bytes, mod_revision: int, *, lease: int = 0) -> Revision:
        """Write `key` if it is at `mod_revision`, else raise Conflict."""
        return revision_or_conflict(key, self._txn(put_if_txn(key, value, mod_revision, lease)))

    async def delete_if(self, key: bytes, mod_revision: int) -> Revision:
        """Delete `key` if it is at `mod_revision`, else raise Conflict."""
        return revision_or_conflict(key, self._txn(delete_if_txn(key, mod_revision)))

    def watch(
        self, prefix: bytes, start_revision: int = 0, *, prev_kv: bool = True, progress: bool = True
    ) -> LocalWatch:
        """Watch every key under `prefix`; progress is sent on request only."""
        watch = LocalWatch(self._watchers, Interest(prefix, prefix_end(prefix), prev_kv), start_revision)
        self._open.add(watch)
        return watch

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`."""
        self._mvcc.compact(revision)

    async def status(self) -> StoreStatus:
        """Answer as a lone leader."""
        return StoreStatus("local", self._mvcc.revision, 0, 1, 1, self._mvcc.revision, True)

    async def close(self) -> None:
        """End every watch."""
        for watch in list(self._open):
            await watch.close()
        self._open.clear()

    def _txn(self, txn: Txn) -> TxnResult:
        try:
            check_txn(txn)
            result, changes = self._mvcc.txn(txn)
        except InvalidRequest as error:
            raise Refused("INVALID_ARGUMENT", f"etcdserver: {error}") from None
        except LeaseNotFound:
            raise Refused("NOT_FOUND", "etcdserver: requested lease not found") from None
        if changes:
            self._watchers.publish(result.revision, result.revision, changes)
        return result


class LocalWatch:
    """A watch on a `LocalStore`."""

    def __init__(self, watchers: Watchers, interest: Interest, start_revision: int) -> None:
        self._watchers = watchers
        self._wakened = asyncio.Event()
        self._wakened.set()
        self._watcher = watchers.add(interest, start_revision, self._wakened.set)
        self._wants_progress = False
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[WatchBatch]:
        """Yield batches until closed."""
        while not self._is_closed:
            self._wakened.clear()
            try:
                batch = self._watchers.next(self._watcher)
            except Compacted:
                await self.close()
                raise
            if batch is not None:
                yield WatchBatch(batch.events, Revision(batch.last))
                self._wakened.set()
                continue
            revision = self._watchers.progress(self._watcher)
            if self._wants_progress and revision is not None:
                self._wants_progress = False
                yield WatchBatch((), Revision(revision))
                self._wakened.set()
                continue
            await self._wakened.wait()

    async def request_progress(self) -> None:
        """Ask for a batch without events as soon as everything before it is handed over."""
        self._wants_progress = True
        self._wakened.set()

    async def close(self) -> None:
        """End the watch; the iteration ends after the batch at hand."""
        self._is_closed = True
        self._watchers.remove(self._watcher)
        self._wakened.set()

    async def __aenter__(self) -> LocalWatch:
        """Return self."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()
