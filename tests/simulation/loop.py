"""An event loop on virtual time: idle waits advance the clock, real I/O is refused, order is drawn from a seed.

When nothing is ready, the selector that would sleep moves the clock instead, so an hour passes in a moment. Ready
callbacks are shuffled before each turn: what asyncio does in one order by habit, this does in any. Tasks and futures
are hashed by number, because asyncio keeps some in sets, whose order would else hang on addresses in memory.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import Context
from itertools import count
from sys import _getframe
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")

EPOCH_S = 1_700_000_000.0
"""The wall clock's reading when a simulation begins."""

OURS = frozenset(
    {"api", "apiserver", "client", "component", "controllers", "kubelet", "scheduler", "store", "clusterdns"}
)
"""Packages that must take time and randomness as arguments."""


class Leak(RuntimeError):
    """Simulated code reached for the real world."""


class Stalled(RuntimeError):
    """Everything waits for something that cannot come, or virtual time ran out."""


class _NoSelector(selectors.BaseSelector):
    """Waiting moves the clock. The loop's own self-pipe may be registered, and nothing else."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self._keys:
            raise Leak("simulated code opened a socket or a pipe")
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._keys[number] = selectors.SelectorKey(fileobj, number, events, data)
        return self._keys[number]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.popitem()[1]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stalled("nothing is ready and no timer is set")
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self._keys.clear()


class _NumberedTask(asyncio.Task[Any]):
    number = 0

    def __hash__(self) -> int:
        return self.number


class _NumberedFuture(asyncio.Future[Any]):
    number = 0

    def __hash__(self) -> int:
        return self.number


class SimulationLoop(asyncio.SelectorEventLoop):
    """The loop. `steps` counts its turns, as a fingerprint of the run."""

    def __init__(self, rng: random.Random) -> None:
        self._virtual = _NoSelector()
        self._rng = rng
        self._numbers = count(1)
        self.steps = 0
        super().__init__(self._virtual)
        self.set_task_factory(_number_tasks)
        # One turn never lasts, so a timer is due exactly when the clock says so.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return virtual seconds since the simulation began."""
        return self._virtual.now

    def next_number(self) -> int:
        """Return a number that no task or future has yet."""
        return next(self._numbers)

    def create_future(self) -> asyncio.Future[Any]:
        future = _NumberedFuture(loop=self)
        future.number = self.next_number()
        return future

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        raise Leak(f"simulated code started a thread for {func}")

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        if len(ready) > 1:
            callbacks = list(ready)
            self._rng.shuffle(callbacks)
            ready.clear()
            ready.extend(callbacks)
        self.steps += 1
        super()._run_once()  # type: ignore[misc]


def _number_tasks(
    loop: asyncio.AbstractEventLoop, coro: Any, *, name: str | None = None, context: Context | None = None
) -> _NumberedTask:
    assert isinstance(loop, SimulationLoop)
    task = _NumberedTask(coro, loop=loop, name=name, context=context)
    task.number = loop.next_number()
    return task


def run(seed: int, main: Callable[[random.Random], Coroutine[Any, Any, T]]) -> T:
    """Run `main(rng)` to its end on a loop of its own; `rng` and the order of callbacks come from `seed`.

    Raises:
        Leak: our code read a real clock, unseeded randomness, or opened something.
        Stalled: nothing could ever happen again.
    """
    order, world = random.Random(f"{seed}/order"), random.Random(f"{seed}/world")
    loop = SimulationLoop(order)
    asyncio.set_event_loop(loop)
    try:
        with sealed():
            return loop.run_until_complete(main(world))
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def fork(rng: random.Random, name: str) -> random.Random:
    """Return a stream of its own for `name`, so that what one part draws does not shift what another does."""
    return random.Random(f"{rng.getrandbits(64)}/{name}")


@contextmanager
def sealed() -> Iterator[None]:
    """While open, our packages get a `Leak` from the process's clock and global randomness. Others are left alone."""
    watched = [(time, name) for name in ("time", "time_ns", "monotonic")]
    watched += [(random, name) for name in ("random", "uniform", "choice", "choices", "randrange", "randint")]
    watched += [(random, "getrandbits"), (uuid, "uuid4")]
    with ExitStack() as guards:
        for module, name in watched:
            guards.enter_context(patch.object(module, name, _guard(module, name)))
        yield


def _guard(module: Any, name: str) -> Callable[..., Any]:
    real: Callable[..., Any] = getattr(module, name)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        caller = _getframe(1).f_globals.get("__name__", "")
        if caller.split(".", 1)[0] in OURS:
            raise Leak(f"{caller} called {module.__name__}.{name}")
        return real(*args, **kwargs)

    return guarded
