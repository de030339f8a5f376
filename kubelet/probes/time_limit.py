"""How long a probe may take, counted by what the kubelet could do itself.

A probe asks whether a container answers in time. On a crowded machine the kubelet waits for a processor, or is busy
with other pods, and finds an answer late that came early; one failed liveness probe can restart a container. So the
time in which this process could not listen is added to what the probe has, up to twice the probe's own time.
Where nothing is in the way it is the plain limit (upstream's `timeoutSeconds`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Final

_ADDED_MAX: Final = 2
_LATE_S: Final = 0.01
_NS: Final = 1e9
_SCHEDSTAT: Final = Path("/proc/thread-self/schedstat")


class TimeLimit:
    """`async with TimeLimit(seconds)`: as asyncio.timeout, and raises TimeoutError as that does."""

    def __init__(self, seconds: float) -> None:
        """Make it; it begins when it is entered."""
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(None)
        self._begun_at = 0.0
        self._deaf_s = 0.0
        self._was_late = False
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()
        self._begun_at = self._loop.time()
        self._deaf_s = _deaf_s()
        self._wait_until(self._begun_at + self._seconds)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._scope.__aexit__(kind, error, trace)

    def _wait_until(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._is_due, due)

    def _is_due(self, due: float) -> None:
        now = self._loop.time()
        late = now - due
        deaf = _deaf_s() - self._deaf_s
        ends_at = self._begun_at + self._seconds + min(deaf, _ADDED_MAX * self._seconds)
        if late > _LATE_S and not self._was_late:
            # A loop that was held up runs its timers before it looks what has come meanwhile: it looks once more.
            self._was_late = True
            ends_at = max(ends_at, now + min(late, self._seconds))
        if ends_at > now:
            self._wait_until(ends_at)
        else:
            self._scope.reschedule(now)


def _deaf_s() -> float:
    """Return how long this thread has computed, or was ready to and had no processor (proc(5), schedstat)."""
    try:
        computed, waited, _ = _SCHEDSTAT.read_bytes().split()
    except (OSError, ValueError):  # a kernel without it: what timers show by being late is left
        return 0.0
    return (int(computed) + int(waited)) / _NS
