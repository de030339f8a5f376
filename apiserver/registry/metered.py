"""A store whose requests are counted and timed, by what they do and to which kind of object."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from component.metrics import Spread, Tally
from store.client import (
    Compacted,
    Compare,
    Conflict,
    FutureRevision,
    Op,
    RangeResult,
    Revision,
    Store,
    StoreStatus,
    TxnResult,
    Watch,
)

T = TypeVar("T")


class MeteredStore:
    """`store.client.Store` over another one.

    Args:
        inner: does the work.
        durations: how long it took, by operation and kind.
        requests: how many there were.
        errors: how many of them failed; what was refused because an object had changed counts as done.
        monotonic: the time.
    """

    def __init__(
        self,
        inner: Store,
        durations: Spread,
        requests: Tally,
        errors: Tally,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._durations = durations
        self._requests = requests
        self._errors = errors
        self._monotonic = monotonic

    async def _timed(self, operation: str, key: bytes, work: Awaitable[T]) -> T:
        labels = (operation, _kind(key))
        began = self._monotonic()
        try:
            return await work
        except (Compacted, Conflict, FutureRevision):
            raise
        except Exception:
            self._errors.add(labels)
            raise
        finally:
            self._requests.add(labels)
            self._durations.of(labels).observe(self._monotonic() - began)

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
        """Read; see `Store.range`."""
        work = self._inner.range(
            key, range_end, limit=limit, revision=revision, keys_only=keys_only, count_only=count_only,
            serializable=serializable,
        )  # fmt: skip
        return await self._timed("list" if range_end else "get", key, work)

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Do a transaction; see `Store.txn`."""
        return await self._timed("txn", b"", self._inner.txn(compares, success, failure))

    async def put_if(self, key: bytes, value: bytes, mod_revision: int, *, lease: int = 0) -> Revision:
        """Write; see `Store.put_if`."""
        work = self._inner.put_if(key, value, mod_revision, lease=lease)
        return await self._timed("update" if mod_revision else "create", key, work)

    async def delete_if(self, key: bytes, mod_revision: int) -> Revision:
        """Delete; see `Store.delete_if`."""
        return await self._timed("delete", key, self._inner.delete_if(key, mod_revision))

    def watch(self, prefix: bytes, start_revision: int = 0, *, prev_kv: bool = True, progress: bool = True) -> Watch:
        """Watch; see `Store.watch`."""
        return self._inner.watch(prefix, start_revision, prev_kv=prev_kv, progress=progress)

    async def compact(self, revision: int) -> None:
        """Forget history; see `Store.compact`."""
        await self._inner.compact(revision)

    async def status(self) -> StoreStatus:
        """Ask how it is doing; see `Store.status`."""
        return await self._inner.status()

    async def close(self) -> None:
        """Release connections."""
        await self._inner.close()


def _kind(key: bytes) -> str:
    """Return the kind of object that a key is about, as metrics name it: `pods`, `deployments.apps`."""
    parts = key.split(b"/", 4)
    if len(parts) < 4:
        return "other"
    group, plural = parts[2].decode(errors="replace"), parts[3].decode(errors="replace")
    return plural if group == "core" else f"{plural}.{group}"
