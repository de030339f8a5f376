"""A store over another one, for what is to be done around every request alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from store.client import Compare, Op, RangeResult, Revision, Store, StoreStatus, TxnResult, Watch

T = TypeVar("T")
Ask = Callable[[], Awaitable[T]]
"""Sends a request to the store below."""


class StoreLayer:
    """`store.client.Store` over `inner`; every request but watches goes through `around`."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    async def around(self, operation: str, key: bytes, ask: Ask[T]) -> T:
        """Do a request by awaiting `ask()`.

        Args:
            operation: get, list, create, update, delete, txn, compact or status.
            key: what it is about; empty where that is not one thing.
            ask: does it.
        """
        return await ask()

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

        def ask() -> Awaitable[RangeResult]:
            return self._inner.range(
                key, range_end, limit=limit, revision=revision, keys_only=keys_only, count_only=count_only,
                serializable=serializable,
            )  # fmt: skip

        return await self.around("list" if range_end else "get", key, ask)

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Do a transaction; see `Store.txn`."""
        return await self.around("txn", b"", lambda: self._inner.txn(compares, success, failure))

    async def put_if(self, key: bytes, value: bytes, mod_revision: int, *, lease: int = 0) -> Revision:
        """Write; see `Store.put_if`."""
        operation = "update" if mod_revision else "create"
        return await self.around(operation, key, lambda: self._inner.put_if(key, value, mod_revision, lease=lease))

    async def delete_if(self, key: bytes, mod_revision: int) -> Revision:
        """Delete; see `Store.delete_if`."""
        return await self.around("delete", key, lambda: self._inner.delete_if(key, mod_revision))

    def watch(self, prefix: bytes, start_revision: int = 0, *, prev_kv: bool = True, progress: bool = True) -> Watch:
        """Watch; see `Store.watch`."""
        return self._inner.watch(prefix, start_revision, prev_kv=prev_kv, progress=progress)

    async def compact(self, revision: int) -> None:
        """Forget history; see `Store.compact`."""
        await self.around("compact", b"", lambda: self._inner.compact(revision))

    async def status(self) -> StoreStatus:
        """Ask how it is doing; see `Store.status`."""
        return await self.around("status", b"", self._inner.status)

    async def close(self) -> None:
        """Release connections."""
        await self._inner.close()
