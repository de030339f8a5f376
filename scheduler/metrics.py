"""The scheduler's metrics, under upstream's names where they mean the same."""

from __future__ import annotations

from collections.abc import Mapping

from component.metrics import Family, Level, Spread, Tally, exponential

_SECONDS = exponential(0.001, 2, 15)
_SECONDS_TO_PLACE = exponential(0.01, 2, 20)
_VICTIMS = exponential(1, 2, 7)
_ATTEMPTS = exponential(1, 2, 5)


class Metrics:
    """One scheduler's counters."""

    def __init__(self) -> None:
        labels = ("result", "profile")
        self._attempts = Tally("scheduler_schedule_attempts_total", "Attempts to schedule pods, by result.", labels)
        self._attempt_duration_s = Spread(
            "scheduler_scheduling_attempt_duration_seconds",
            "From taking a pod off the queue to its binding or rejection.",
            labels,
            _SECONDS,
        )
        self._algorithm_duration_s = Spread(
            "scheduler_scheduling_algorithm_duration_seconds", "Choosing a node, without binding.", bounds=_SECONDS
        )
        self._pod_duration_s = Spread(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "From a pod's first entry into the queue to its binding.",
            ("attempts",),
            _SECONDS_TO_PLACE,
        )
        self._pod_attempts = Spread("scheduler_pod_scheduling_attempts", "Attempts a pod needed.", bounds=_ATTEMPTS)
        self._preemptions = Tally("scheduler_preemption_attempts_total", "Times that pods had to leave for others.")
        self._victims = Spread("scheduler_preemption_victims", "Pods that had to leave for one other.", bounds=_VICTIMS)
        self._pending = Level("scheduler_pending_pods", "Pods without a node, by queue.", ("queue",))
        self._incoming = Tally(
            "scheduler_queue_incoming_pods_total",
            "Pods that came to a queue, by what brought them.",
            ("queue", "event"),
        )
        self._known = Level("scheduler_scheduler_cache_size", "What is known of, by kind.", ("type",))

    def families(self) -> list[Family]:
        """Return all, for a scrape."""
        return [
            self._attempts, self._attempt_duration_s, self._algorithm_duration_s, self._pod_duration_s,
            self._pod_attempts, self._preemptions, self._victims, self._pending, self._incoming, self._known,
        ]  # fmt: skip

    def chose(self, seconds: float) -> None:
        """Count one cycle's choosing."""
        self._algorithm_duration_s.of().observe(seconds)

    def scheduled(self, profile: str, *, attempt_s: float, since_added_s: float, attempts: int) -> None:
        """Count a pod that was bound."""
        self._attempts.add(("scheduled", profile))
        self._attempt_duration_s.of(("scheduled", profile)).observe(attempt_s)
        self._pod_duration_s.of((str(min(attempts, 16)),)).observe(since_added_s)
        self._pod_attempts.of().observe(attempts)

    def rejected(self, profile: str, *, attempt_s: float, error: bool = False) -> None:
        """Count a pod that fits nowhere, or one that could not be bound."""
        result = "error" if error else "unschedulable"
        self._attempts.add((result, profile))
        self._attempt_duration_s.of((result, profile)).observe(attempt_s)

    def preempted(self, victims: int) -> None:
        """Count a preemption."""
        self._preemptions.add()
        self._victims.of().observe(victims)

    def came(self, incoming: Mapping[tuple[str, str], int]) -> None:
        """Note how many pods came to each queue so far, by what brought them there."""
        for labels, count in incoming.items():
            self._incoming.values[labels] = count

    def pending(self, lengths: Mapping[str, int]) -> None:
        """Note how long the queues are."""
        for name, length in lengths.items():
            self._pending.set(length, (name,))

    def known(self, sizes: Mapping[str, int]) -> None:
        """Note of how many nodes, pods and assumed pods the cache knows."""
        for name, size in sizes.items():
            self._known.set(size, (name,))
