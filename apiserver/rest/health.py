"""/healthz, /livez and /readyz with their checks, worded as upstream's.

A check is asked when somebody asks. What is wrong is told to those who show a client certificate; to others, who may be
anybody, only that something is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from component import slis

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[str | None]]
"""Returns None when well, or a sentence saying what is wrong."""
NAMES: Final = ("healthz", "livez", "readyz")
CHECK_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Report:
    """What is answered."""

    status: int
    text: str


class Health:
    """The checks of one server.

    Args:
        live: whether the process does its work, by name in the order shown.
        ready: whether it should be given work, beside those.
    """

    def __init__(self, live: Mapping[str, Check], ready: Mapping[str, Check]) -> None:
        self._live = {"ping": _well, "log": _well, **live}
        self._ready = {**self._live, **ready, "shutdown": self._not_stopping}
        self._failing: dict[str, frozenset[str]] = {}
        """Which checks failed when they were last asked, by what was asked."""
        self.stopping = asyncio.Event()
        """Set before the server stops, so that it is given no more work."""

    def checks(self, name: str) -> Mapping[str, Check]:
        """Return the checks behind /healthz, /livez or /readyz."""
        return self._ready if name == "readyz" else self._live

    async def report(
        self, name: str, *, excluded: Sequence[str] = (), is_verbose: bool = False, tells_why: bool = False
    ) -> Report:
        """Run the checks of `name` and say how they went."""
        checks = self.checks(name)
        results = await asyncio.gather(*(_run(check) for key, check in checks.items() if key not in excluded))
        found = dict(zip((key for key in checks if key not in excluded), results, strict=True))
        for key, problem in found.items():
            slis.note(key, name, problem is None)
        lines: list[str] = []
        for key in checks:
            if key in excluded:
                lines.append(f"[+]{key} excluded: ok")
            elif found[key] is None:
                lines.append(f"[+]{key} ok")
            else:
                lines.append(f"[-]{key} failed: {found[key] if tells_why else 'reason withheld'}")
        unknown = [key for key in excluded if key not in checks]
        if unknown:
            quoted = ", ".join(f'"{key}"' for key in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        failed = {key: why for key, why in found.items() if why is not None}
        self._note(name, frozenset(failed), failed)
        if failed:
            return Report(500, "\n".join([*lines, f"{name} check failed", ""]))
        return Report(200, "\n".join([*lines, f"{name} check passed", ""]) if is_verbose else "ok")

    def _note(self, name: str, failing: frozenset[str], why: Mapping[str, str]) -> None:
        """Log which checks fail, each time that this has changed: probes ask many times a second."""
        before = self._failing.get(name, frozenset())
        self._failing[name] = failing
        if failing and failing != before:
            log.info("health checks fail", extra={"asked": name, "failed": dict(why)})
        elif before and not failing:
            log.info("health checks pass again", extra={"asked": name, "failed_before": sorted(before)})

    async def report_one(self, name: str, key: str, *, tells_why: bool = False) -> Report | None:
        """Run one check; None when there is none of that name."""
        check = self.checks(name).get(key)
        if check is None:
            return None
        problem = await _run(check)
        if problem is None:
            return Report(200, "ok")
        return Report(500, f"internal server error: {problem if tells_why else 'reason withheld'}\n")

    def paths(self) -> list[str]:
        """Return every path that is answered."""
        return [f"/{name}{'/' + key if key else ''}" for name in NAMES for key in ("", *self.checks(name))]

    async def _not_stopping(self) -> str | None:
        return "process is shutting down" if self.stopping.is_set() else None


async def _well() -> str | None:
    return None


async def _run(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return f"no answer in {CHECK_TIMEOUT_S:g} s"
