"""A store that is not waited for once it is known that it does not answer.

A request to a store without a quorum is answered by nobody. Whoever sends it would learn so when its own patience is
over, one request at a time; that all of them are lost is known much sooner (`apiserver.store_health`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from apiserver.registry.layer import Ask, StoreLayer
from store.client import Store, Unavailable

T = TypeVar("T")


class NotAsked(Unavailable):
    """The store was known not to answer: the request was not sent, and did nothing."""


class PromptStore(StoreLayer):
    """`store.client.Store` over another one.

    Args:
        inner: does the work.
        problem: why the store does not answer now, or None; asked before each request.
    """

    def __init__(self, inner: Store, problem: Callable[[], str | None]) -> None:
        super().__init__(inner)
        self._problem = problem
        self._under_way: set[asyncio.Timeout] = set()

    def give_up(self) -> None:
        """End what is under way in Unavailable: `problem` now says why. What a write did is not known then."""
        now = asyncio.get_running_loop().time()
        for request in self._under_way:
            request.reschedule(now)

    async def around(self, operation: str, key: bytes, ask: Ask[T]) -> T:
        """Do a request, unless nobody will answer it."""
        why = self._problem()
        if why is not None:
            raise NotAsked(why)
        request = asyncio.timeout(None)
        try:
            async with request:
                self._under_way.add(request)
                try:
                    return await ask()
                finally:
                    self._under_way.discard(request)
        except TimeoutError:
            if not request.expired():
                raise
            raise Unavailable(self._problem() or "the store did not answer") from None
