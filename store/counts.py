"""What is counted while the store runs, for `serve.metrics` to show. By hand: see decision 12 on memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192)
"""Bounds of buckets: etcd's for disks."""


class Histogram:
    """Observations, counted by bucket."""

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._sum += seconds

    def text(self, name: str, help: str) -> str:
        """Return the metric's lines."""
        lines, total = [f"# HELP {name} {help}", f"# TYPE {name} histogram"], 0
        for bound, count in zip((*SECONDS, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        lines += [f"{name}_sum {self._sum:.6f}", f"{name}_count {total}"]
        return "\n".join(lines) + "\n"


class Counts:
    """One member's, since it started."""

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        """Seconds since the epoch."""
        self.calls: Counter[tuple[str, str, str]] = Counter()
        """Calls answered, by service, method and code."""
        self.commits = Histogram()
        """How long writing the state took."""
        self.leader_changes = 0
        self._leader: str | None = None

    def see_leader(self, leader: str | None) -> None:
        """Count a leader that is not the one seen last."""
        if leader and leader != self._leader:
            self._leader, self.leader_changes = leader, self.leader_changes + 1
