"""Where blocking work goes: one thread each for the log, for reading snapshots and for taking them in.

It is handed in, like clocks and randomness, so that a simulation can let a sync take its time, or never return.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol


class Disk(Protocol):
    """Does one piece of work after the other, off the event loop."""

    def run(self, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Return a future of what `work(*arguments)` returns or raises."""
        ...

    def close(self) -> None:
        """Take no more work; what is queued is done first."""
        ...


class DiskThread:
    """A thread of its own."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)

    def run(self, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Do the work in the thread."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def close(self) -> None:
        """Let the thread end."""
        self._pool.shutdown(wait=False)
