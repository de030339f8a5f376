"""The store's present revision, read once for all who ask at the same time."""

from __future__ import annotations

import asyncio

from store.client import Store

_ANY_KEY = b"/registry/"
JOIN_S = 1.0
"""A read that takes longer than this is not waited for by the next one: both would have to be waited for in turn."""


class RevisionReader:
    """Linearizable reads of the store's revision, batched: a caller may join a read that has not begun yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None
        self._trusts_progress: bool | None = None

    async def trusts_progress(self) -> bool:
        """Whether the store's watches say truly how far they are; older etcd may be ahead of its own events."""
        if self._trusts_progress is None:
            self._trusts_progress = (await self._store.status()).has_trusted_progress
        return self._trusts_progress

    async def read(self) -> int:
        """Return a revision not before any write that ended before this call; raises Unavailable."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._read_after(self._running))
        return await asyncio.shield(self._next)

    async def _read_after(self, previous: asyncio.Task[int] | None) -> int:
        if previous is not None:
            await asyncio.wait([previous], timeout=JOIN_S)
        self._running, self._next = self._next, None
        result = await self._store.range(_ANY_KEY, count_only=True)
        return result.revision
