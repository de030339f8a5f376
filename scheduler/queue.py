"""Which pod is next, and when a rejected one is worth another try.

Three places, as upstream: *active* (to be tried now, by priority, then by age), *backoff* (to be tried soon: 1 s, 2 s,
up to 10 s by the number of attempts) and *unschedulable* (waiting for an event that could help). A pod leaves
unschedulable when something happens that a plugin which rejected it waits for, or after five minutes. Events that
happen while a pod is being tried count when it comes back rejected. Pure: time is an argument.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Final

from client.backoff import Backoff
from scheduler.framework import ANY_EVENT, ClusterEvent
from scheduler.snapshot import PodView

_BACKOFF = Backoff(1.0, 10.0)
UNSCHEDULABLE_S_MAX = 300.0
_EVENT_NAMES: Final = {
    ClusterEvent.NODE_ADDED: "NodeAdd",
    ClusterEvent.NODE_ALLOCATABLE: "NodeAllocatableChange",
    ClusterEvent.NODE_LABELS: "NodeLabelChange",
    ClusterEvent.NODE_TAINTS: "NodeTaintChange",
    ClusterEvent.POD_ASSIGNED: "AssignedPodAdd",
    ClusterEvent.POD_GONE: "AssignedPodDelete",
    ClusterEvent.NAMESPACE_LABELS: "NamespaceUpdate",
    ClusterEvent.CLAIM: "PvcAdd",
    ClusterEvent.VOLUME: "PvAdd",
    ClusterEvent.STORAGE_CLASS: "StorageClassAdd",
}
"""As metrics call them."""
_FAILED: Final = "ScheduleAttemptFailure"


@dataclass(slots=True)
class QueuedPod:
    """A pod without a node, and what became of it so far."""

    view: PodView
    added_at: float
    """When the pod was first seen."""
    attempts: int = 0
    waits_for: ClusterEvent = ANY_EVENT
    """What could help, said by the plugins that rejected it."""
    tried_at: float = 0.0
    """When it was last found unschedulable."""
    missed: ClusterEvent = ClusterEvent(0)
    """What happened while it was being tried."""

    @property
    def ready_at(self) -> float:
        """When its backoff ends."""
        if not self.attempts:
            return self.added_at
        return self.tried_at + _BACKOFF.delay_s(self.attempts)


class SchedulingQueue:
    """The pods that have no node, each in one place; keyed by UID."""

    def __init__(self) -> None:
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[int, float, int, str]] = []
        self._backoff: list[tuple[float, int, str]] = []
        self._unschedulable: dict[str, QueuedPod] = {}
        self._in_flight: dict[str, QueuedPod] = {}
        self._entries: dict[str, int] = {}
        """The number of each pod's entry in a heap; others found there are stale."""
        self._gated: dict[str, PodView] = {}
        self._sequence = 0
        self.incoming: Counter[tuple[str, str]] = Counter()
        """How many pods came to each place, and what brought them there, by upstream's names."""

    def add(self, pod: PodView, now: float) -> None:
        """Take a pod that has no node: a new one, or a new state of one already here."""
        if pod.pod.spec.scheduling_gates:
            self._discard(pod.uid)
            self._gated[pod.uid] = pod
            return
        self._gated.pop(pod.uid, None)
        known = self._pods.get(pod.uid)
        if known is None:
            queued = self._pods[pod.uid] = QueuedPod(pod, now)
            self._activate(queued, "PodAdd")
            return
        changed = _schedules_differently(known.view, pod)
        known.view = pod
        if not changed:
            return
        if pod.uid in self._in_flight:
            known.missed = ANY_EVENT
        elif pod.uid in self._unschedulable:
            del self._unschedulable[pod.uid]
            self._later(known, now, "PodUpdate")

    def remove(self, uid: str) -> None:
        """Forget a pod that was deleted, or has a node."""
        self._gated.pop(uid, None)
        self._discard(uid)

    def pop(self, now: float) -> QueuedPod | None:
        """Take the next pod to try, or None; it stays known until `remove` or one of the `put_back` calls."""
        self._wake(now)
        while self._active:
            *_, number, uid = heapq.heappop(self._active)
            if self._entries.get(uid) != number:
                continue
            del self._entries[uid]
            queued = self._pods[uid]
            queued.attempts += 1
            self._in_flight[uid] = queued
            queued.missed = ClusterEvent(0)
            return queued
        return None

    def put_back_unschedulable(self, queued: QueuedPod, waits_for: ClusterEvent, now: float) -> None:
        """Return a pod that fits nowhere: it waits for one of `waits_for`, unless that has just happened."""
        if not self._land(queued, now):
            return
        queued.waits_for = waits_for
        if queued.missed & waits_for:
            self._later(queued, now, _FAILED)
        else:
            self._unschedulable[queued.view.uid] = queued
            self.incoming["unschedulable", _FAILED] += 1

    def put_back_failed(self, queued: QueuedPod, now: float) -> None:
        """Return a pod whose placement could not be carried out: it is tried again after its backoff."""
        if self._land(queued, now):
            self._later(queued, now, _FAILED)

    def happened(self, event: ClusterEvent, now: float) -> None:
        """Move the pods that `event` could help out of unschedulable."""
        for queued in self._in_flight.values():
            queued.missed |= event
        for uid, queued in list(self._unschedulable.items()):
            helpful = queued.waits_for & event
            if helpful:
                del self._unschedulable[uid]
                self._later(queued, now, next(name for each, name in _EVENT_NAMES.items() if each & helpful))

    def find(self, uid: str) -> PodView | None:
        """Return the newest state of a pod that waits or is being tried."""
        known = self._pods.get(uid)
        return known.view if known else None

    def flush(self, now: float) -> None:
        """Give pods that waited too long another try: an event may have been judged wrongly."""
        for uid, queued in list(self._unschedulable.items()):
            if now - queued.tried_at >= UNSCHEDULABLE_S_MAX:
                del self._unschedulable[uid]
                self._later(queued, now, "UnschedulableTimeout")

    def next_wake(self) -> float | None:
        """Return when the next backoff ends; None if no pod is in backoff."""
        while self._backoff and self._entries.get(self._backoff[0][2]) != self._backoff[0][1]:
            heapq.heappop(self._backoff)
        return self._backoff[0][0] if self._backoff else None

    def lengths(self) -> dict[str, int]:
        """Return how many pods are in each place, by upstream's names."""
        backing_off = sum(self._entries.get(uid) == number for _, number, uid in self._backoff)
        return {
            "active": len(self._entries) - backing_off,
            "backoff": backing_off,
            "unschedulable": len(self._unschedulable),
            "gated": len(self._gated),
        }

    def _land(self, queued: QueuedPod, now: float) -> bool:
        """Note that a try ended; return whether the pod is still wanted."""
        if self._in_flight.get(queued.view.uid) is queued:
            del self._in_flight[queued.view.uid]
        queued.tried_at = now
        return self._pods.get(queued.view.uid) is queued

    def _later(self, queued: QueuedPod, now: float, event: str) -> None:
        """Put a pod into backoff, or straight into active if its backoff is over."""
        if queued.ready_at <= now:
            self._activate(queued, event)
            return
        self.incoming["backoff", event] += 1
        number = self._enter(queued)
        heapq.heappush(self._backoff, (queued.ready_at, number, queued.view.uid))

    def _wake(self, now: float) -> None:
        while (due := self.next_wake()) is not None and due <= now:
            _, _, uid = heapq.heappop(self._backoff)
            self._activate(self._pods[uid], "BackoffComplete")

    def _activate(self, queued: QueuedPod, event: str) -> None:
        self.incoming["active", event] += 1
        number = self._enter(queued)
        heapq.heappush(self._active, (-queued.view.priority, queued.added_at, number, queued.view.uid))

    def _enter(self, queued: QueuedPod) -> int:
        self._sequence += 1
        self._entries[queued.view.uid] = self._sequence
        return self._sequence

    def _discard(self, uid: str) -> None:
        self._pods.pop(uid, None)
        self._in_flight.pop(uid, None)
        self._unschedulable.pop(uid, None)
        self._entries.pop(uid, None)


def _schedules_differently(old: PodView, new: PodView) -> bool:
    """Return whether an update could change the outcome: status and annotations, our own writes among them, cannot."""
    return old.pod.spec != new.pod.spec or old.pod.metadata.labels != new.pod.metadata.labels
