"""The scheduler's metrics, under upstream's names where they mean the same."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = [0.001 * 2**power for power in range(15)]
_SECONDS_TO_PLACE = [0.01 * 2**power for power in range(20)]


class Metrics:
    """One scheduler's counters, in a registry of the caller's choice."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["result", "profile"]
        self._attempts = Counter(
            "scheduler_schedule_attempts", "Attempts to schedule pods, by result.", labels, registry=registry
        )
        self._attempt_duration_s = Histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "From taking a pod off the queue to its binding or rejection.",
            labels,
            buckets=_SECONDS,
            registry=registry,
        )
        self._algorithm_duration_s = Histogram(
            "scheduler_scheduling_algorithm_duration_seconds",
            "Choosing a node, without binding.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._pod_duration_s = Histogram(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "From a pod's first entry into the queue to its binding.",
            ["attempts"],
            buckets=_SECONDS_TO_PLACE,
            registry=registry,
        )
        self._pod_attempts = Histogram(
            "scheduler_pod_scheduling_attempts",
            "Attempts a pod needed.",
            buckets=[1, 2, 4, 8, 16],
            registry=registry,
        )
        self._preemptions = Counter(
            "scheduler_preemption_attempts", "Times that pods had to leave for others.", registry=registry
        )
        self._victims = Histogram(
            "scheduler_preemption_victims",
            "Pods that had to leave for one other.",
            buckets=[1, 2, 4, 8, 16, 32, 64],
            registry=registry,
        )
        self._pending = Gauge("scheduler_pending_pods", "Pods without a node, by queue.", ["queue"], registry=registry)

    def chose(self, seconds: float) -> None:
        """Count one cycle's choosing."""
        self._algorithm_duration_s.observe(seconds)

    def scheduled(self, profile: str, *, attempt_s: float, since_added_s: float, attempts: int) -> None:
        """Count a pod that was bound."""
        self._attempts.labels("scheduled", profile).inc()
        self._attempt_duration_s.labels("scheduled", profile).observe(attempt_s)
        self._pod_duration_s.labels(str(min(attempts, 16))).observe(since_added_s)
        self._pod_attempts.observe(attempts)

    def rejected(self, profile: str, *, attempt_s: float, error: bool = False) -> None:
        """Count a pod that fits nowhere, or one that could not be bound."""
        result = "error" if error else "unschedulable"
        self._attempts.labels(result, profile).inc()
        self._attempt_duration_s.labels(result, profile).observe(attempt_s)

    def preempted(self, victims: int) -> None:
        """Count a preemption."""
        self._preemptions.inc()
        self._victims.observe(victims)

    def pending(self, lengths: Mapping[str, int]) -> None:
        """Note how long the queues are."""
        for name, length in lengths.items():
            self._pending.labels(name).set(length)
