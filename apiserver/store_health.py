"""Whether the store answers: asked every second, told to whoever must know.

While it does not, this apiserver is not ready, says so to our own processes' connections (`grpc/health.py`), and every
failure names the reason. Watches are ended when that begins: nothing would come on them, and another
apiserver may still reach the store. What is in the caches goes on being answered.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from api.errors import ServiceUnavailable
from apiserver.registry.registries import Registries
from component.clock import Clock
from store.client import Refused, Store, Unavailable

log = logging.getLogger(__name__)

KEY: Final = b"/registry/health"
"""Read to see whether the store answers; nothing is ever there (etcd's own clients ask for a key named health)."""
ASK_EVERY_S: Final = 1.0
ASK_AGAIN_S: Final = 0.25
ANSWER_WITHIN_S: Final = 2.0
FAILURES: Final = 2
"""So many questions in a row must go unanswered: one member may just have handed over to another."""


class StoreHealth:
    """Follows the store; `run` must be running."""

    def __init__(self, store: Store, clock: Clock, registries: Registries) -> None:
        """Prepare to ask `store`; the watches of `registries` are ended when it is lost."""
        self._store = store
        self._clock = clock
        self._registries = registries
        self._problem: str | None = None
        self.changed = asyncio.Event()
        """Set, and replaced by another, when the answer of `check` changes between None and not."""

    def check(self) -> str | None:
        """Return what is wrong with the store, or None."""
        return self._problem

    async def run(self) -> None:
        """Ask again and again until cancelled."""
        failures = 0
        while True:
            problem = await self._ask()
            failures = failures + 1 if problem else 0
            if problem is None or failures >= FAILURES:
                was, self._problem = self._problem, problem
                if (was is None) != (problem is None):
                    self._tell()
            await self._clock.sleep(ASK_AGAIN_S if problem else ASK_EVERY_S)

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()
        if self._problem is None:
            log.info("the store answers again")
            return
        log.error("the store does not answer", extra={"error": self._problem})
        for registry in self._registries:
            registry.cache.end(ServiceUnavailable(self._problem, retry_after_s=1))

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._store.range(KEY, limit=1)
                return None
        except (Unavailable, Refused, TimeoutError) as error:
            return await self._diagnose(error)

    async def _diagnose(self, error: Exception) -> str | None:
        """Return why the store does not answer, as far as any member can tell."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                status = await self._store.status()
        except (Unavailable, Refused, TimeoutError):
            return "the store cannot be reached: no member answers"
        if not status.leader:
            return "the store has lost its quorum: fewer than half of its members can be reached, and none leads"
        return f"the store does not answer in time: {error}" if str(error) else "the store does not answer in time"
