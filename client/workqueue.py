"""A queue of keys to work on: no key twice, and never the same key at two workers at once.

A key added while it waits is one entry; added while a worker has it, it comes again after `done`. First come, first
served, so a busy key goes to the end and starves nobody. The loop of a worker:

    while True:
        key = await queue.get()
        try:
            work(key)
            queue.forget(key)
        except ApiError:
            queue.add_rate_limited(key)
        finally:
            queue.done(key)
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from client.backoff import QUEUE, Backoff
from component.clock import Clock

K = TypeVar("K", bound=Hashable)

ROUNDING_S = 1e-4


class WorkQueue(Generic[K]):
    """Keys, in the order they came, now or later."""

    def __init__(self, clock: Clock, *, backoff: Backoff = QUEUE, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._backoff = backoff
        self._rng = rng
        self._ready: deque[K] = deque()
        self._waiting: dict[K, float] = {}
        """Keys in `_ready`, and since when (monotonic)."""
        self._working: dict[K, float] = {}
        """Keys that workers have, and since when."""
        self._again: set[K] = set()
        """Keys added while a worker has them."""
        self._failures: dict[K, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        """When each delayed key is due; entries of `_later` that disagree are stale."""
        self.added_count = 0
        """How many keys were made ready."""
        self.retried_count = 0
        """How many were asked for again because they had failed."""
        self._sequence = 0
        self._timer: asyncio.Task[None] | None = None
        self._timer_due = float("inf")

    def __len__(self) -> int:
        """Return how many keys could be worked on now."""
        return len(self._ready)

    @property
    def busy(self) -> bool:
        """Whether any key is ready, at a worker, or due later."""
        return bool(self._ready or self._working or self._due)

    def add(self, key: K) -> None:
        """Ask for `key` to be worked on, now."""
        if key in self._working:
            self._again.add(key)
            return
        if key in self._waiting:
            return
        self._waiting[key] = self._clock.monotonic()
        self._ready.append(key)
        self.added_count += 1
        self._wake_one()

    def add_after(self, key: K, delay_s: float) -> None:
        """Ask for `key` in `delay_s`; the earliest of several such wishes counts."""
        if delay_s <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + delay_s
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._later, (due, self._sequence, key))
        if due < self._timer_due:
            self._start_timer(due)

    def add_rate_limited(self, key: K, delay_s_max: float = float("inf")) -> None:
        """Ask for `key` again after it failed: later with every failure since `forget`."""
        self.retried_count += 1
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.add_after(key, min(delay_s_max, self._backoff.delay_s(failures, self._rng)))

    def forget(self, key: K) -> None:
        """Note that `key` succeeded: its next failure counts as the first."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Return how often `key` failed in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """Wait for a key and take it; the caller owes a `done`."""
        return (await self.get_with_wait())[0]

    async def get_with_wait(self) -> tuple[K, float]:
        """Like `get`, and say for how many seconds the key was ready before it was taken."""
        while not self._ready:
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter in self._getters:
                    self._getters.remove(getter)
                elif self._ready:
                    self._wake_one()
                raise
        key = self._ready.popleft()
        since = self._waiting.pop(key)
        now = self._working[key] = self._clock.monotonic()
        return key, now - since

    def working_s(self) -> list[float]:
        """Return for how many seconds each key that was not given back has been worked on."""
        now = self._clock.monotonic()
        return [now - since for since in self._working.values()]

    def done(self, key: K) -> None:
        """Give back a key that was taken; if it was added meanwhile, it is ready again."""
        self._working.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Stop the timer of delayed keys. The queue may still be read."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_due = float("inf")

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _start_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().create_task(self._wait_and_add(due), name="workqueue timer")

    async def _wait_and_add(self, due: float) -> None:
        while True:
            await self._clock.sleep(due - self._clock.monotonic())
            # A clock may stop a rounding error short of what was asked for: waiting again for that could be for ever.
            now = self._clock.monotonic() + ROUNDING_S
            while self._later and self._later[0][0] <= now:
                moment, _, key = heapq.heappop(self._later)
                if self._due.get(key) == moment:
                    del self._due[key]
                    self.add(key)
            while self._later and self._due.get(self._later[0][2]) != self._later[0][0]:
                heapq.heappop(self._later)
            if not self._later:
                self._timer, self._timer_due = None, float("inf")
                return
            due = self._timer_due = self._later[0][0]
