"""Whether the store answers: asked every second, told to whoever must know.

While it does not, this apiserver is not ready, says so to our own processes' connections (`grpc/health.py`), and every
failure names the reason. Requests are not sent to it then, and those under way are given up (`registry/prompt.py`).
Watches are ended when that begins: nothing would come on them, and another apiserver may still reach the store. What
is in the caches goes on being answered.

A store that has no leader for a second or two is electing another, and is waited for. How long, depends on what its
members say meanwhile: one that has a leader may only be slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from component.clock import Clock
from store.client import Refused, Store, Unavailable

log = logging.getLogger(__name__)

KEY: Final = b"/registry/health"
"""Read to see whether the store answers; nothing is ever there (etcd's own clients ask for a key named health)."""
ASK_EVERY_S: Final = 1.0
ASK_AGAIN_S: Final = 0.25
DOUBT_AFTER_S: Final = 1.0
"""A question unanswered for so long makes us ask what is wrong."""
STATUS_WITHIN_S: Final = 1.0
MEASURE_EVERY_S: Final = 15.0
LOST_AFTER_S: Final = 3.0
"""How long a question may go unanswered while no member leads: elections take one second, or two."""
SLOW_AFTER_S: Final = 6.0
"""And while one does."""

OnChange = Callable[[str | None], None]
"""Told what is wrong when the store is lost, and None when it answers again."""


class StoreHealth:
    """Follows the store; `run` must be running."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Prepare to ask `store`."""
        self._store = store
        self._clock = clock
        self._problem: str | None = None
        self._told: list[OnChange] = []
        self._measure_at = 0.0
        self.size_bytes: int | None = None
        """Of the store's file, as a member said lately."""
        self.changed = asyncio.Event()
        """Set, and replaced by another, when the answer of `check` changes between None and not."""

    def check(self) -> str | None:
        """Return what is wrong with the store, or None."""
        return self._problem

    def tell(self, on_change: OnChange) -> None:
        """Have somebody told when the answer of `check` changes between None and not."""
        self._told.append(on_change)

    async def run(self) -> None:
        """Ask again and again until cancelled."""
        while True:
            problem = await self._ask()
            was, self._problem = self._problem, problem
            if (was is None) != (problem is None):
                self._tell()
            if problem is None and self._clock.monotonic() >= self._measure_at:
                await self._measure()
            await self._clock.sleep(ASK_AGAIN_S if problem else ASK_EVERY_S)

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()
        if self._problem is None:
            log.info("the store answers again")
        else:
            log.error("the store does not answer", extra={"error": self._problem})
        for on_change in self._told:
            on_change(self._problem)

    async def _ask(self) -> str | None:
        """Return None once the store has answered, or why it does not, once it has been waited for long enough."""
        began = self._clock.monotonic()
        question = asyncio.create_task(self._read())
        problem, patience_s = "the store does not answer in time", SLOW_AFTER_S
        try:
            await asyncio.wait([question], timeout=DOUBT_AFTER_S)
            while not question.done():
                if self._clock.monotonic() - began >= patience_s:
                    return problem
                problem, patience_s = await self._diagnose()
                await asyncio.wait([question], timeout=ASK_AGAIN_S)
            question.result()
            return None
        finally:
            question.cancel()

    async def _measure(self) -> None:
        self._measure_at = self._clock.monotonic() + MEASURE_EVERY_S
        with contextlib.suppress(Unavailable, Refused, TimeoutError):
            async with asyncio.timeout(STATUS_WITHIN_S):
                self.size_bytes = (await self._store.status()).db_size_bytes

    async def _read(self) -> None:
        """Return once the store has answered a linearizable read."""
        while True:
            try:
                await self._store.range(KEY, limit=1)
                return
            except (Unavailable, Refused):
                await self._clock.sleep(ASK_AGAIN_S)

    async def _diagnose(self) -> tuple[str, float]:
        """Return why the store does not answer, as far as any member can tell, and how long to wait all the same."""
        try:
            async with asyncio.timeout(STATUS_WITHIN_S):
                status = await self._store.status()
        except (Unavailable, Refused, TimeoutError):
            return "the store cannot be reached: no member answers", LOST_AFTER_S
        if not status.leader:
            why = "the store has lost its quorum: fewer than half of its members can be reached, and none leads"
            return why, LOST_AFTER_S
        return "the store does not answer in time", SLOW_AFTER_S
