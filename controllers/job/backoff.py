"""How long a Job waits after failures: what failed is remembered while this process runs, also when its pods have gone.

The first wait is 10 s, and each failure since the last success doubles it. A controller that has just begun knows the
failures whose pods are still there. An index with a limit of its own has its failures on its pods (KEP-3850): the last
one that failed keeps its finalizer until another stands in its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from api.batch.job import Job
from api.core.pod import Pod
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.job.counting import FINALIZER, ended_at, has_failed

BACKOFF_S = 10.0
BACKOFF_S_MAX = 600.0
REMEMBERED_MAX = 32
"""Failures of one Job: far more than make the wait longer."""


@dataclass(frozen=True, slots=True)
class Failures:
    """How often pods have failed since the last success, and when the last did, in seconds since the epoch."""

    count: int = 0
    last_at: float = 0.0

    def wait_s(self, now: float) -> float:
        """Return how long to wait before there is another pod; 0 or less for not at all."""
        if not self.count:
            return 0.0
        return self.last_at + min(BACKOFF_S * (1 << min(self.count - 1, 10)), BACKOFF_S_MAX) - now


@dataclass(slots=True)
class _Past:
    job: str
    """Its uid: another of the same name has a past of its own."""
    succeeded_at: float = 0.0
    failed_at: dict[str, float] = field(default_factory=dict)
    """By the pod's uid, as it was when first seen."""


class Memory:
    """What is known of the failures of every Job that goes on."""

    def __init__(self) -> None:
        self._past: dict[ObjectKey, _Past] = {}

    def note(self, job: Job, pods: Iterable[Pod]) -> Failures:
        """Remember how a Job's pods ended, and return what that and everything before comes to."""
        past = self._past.get(key_of(job))
        if past is None or past.job != job.metadata.uid:
            past = self._past[key_of(job)] = _Past(job.metadata.uid)
        for pod in pods:
            if pod.status.phase == "Succeeded":
                past.succeeded_at = max(past.succeeded_at, ended_at(pod))
            elif _is_failure(job, pod):
                past.failed_at.setdefault(pod.metadata.uid, ended_at(pod))
        latest = sorted(past.failed_at.items(), key=lambda entry: entry[1])[-REMEMBERED_MAX:]
        past.failed_at = {uid: at for uid, at in latest if at > past.succeeded_at}
        return Failures(len(past.failed_at), max(past.failed_at.values(), default=0.0))

    def forget(self, key: ObjectKey) -> None:
        """Drop what is known of a Job that is over or has gone."""
        self._past.pop(key, None)


def _is_failure(job: Job, pod: Pod) -> bool:
    """Whether a pod failed by itself: those that the Job removed have lost their finalizer before."""
    if FINALIZER in pod.metadata.finalizers:
        return has_failed(job, pod)
    return pod.status.phase == "Failed" and not pod.metadata.deletion_timestamp
