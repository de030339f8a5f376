"""A clock for promises about how soon something is done, which a machine too busy to run it cannot break."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path


class UnstarvedClock:
    """Seconds that stand still while a process that a measurement goes through waits for a CPU.

    What the kernel says of its run queues is taken off (`/proc/PID/schedstat`: how long the main thread was ready to
    run and did not), and what the host took from the whole machine. Sleeping, waiting for others and computing all
    count: a client that holds its own loop up, or that backs off too long, is as late here as by any clock.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        """Those that run now, besides this process; others may have come in their places."""
        self._first: dict[int, float] = {}
        self._waited: dict[int, float] = {}

    def now(self) -> float:
        """Return seconds since no time in particular; only differences mean something."""
        for pid in (os.getpid(), *self._pids()):
            waited = waited_s(pid)
            if waited is not None:
                self._first.setdefault(pid, waited)
                self._waited[pid] = waited
        starved = sum(self._waited.values()) - sum(self._first.values())
        return time.monotonic() - starved - stolen_s()


def waited_s(pid: int) -> float | None:
    """Return how long the main thread has been ready to run and did not; None if there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return None


def stolen_s() -> float:
    """Return how long CPUs of this machine ran others' on its host."""
    total = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(total[8]) / os.sysconf("SC_CLK_TCK")
