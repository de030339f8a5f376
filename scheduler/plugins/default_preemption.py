"""Ends a rejected pod's message with what removing pods could do for it."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.framework import ClusterEvent, Code, CycleState, Status, count_reasons, unresolvable, unschedulable
from scheduler.snapshot import PodView, Snapshot


class DefaultPreemption:
    """Honours Pod spec.preemptionPolicy, and tells whether pods of lower priority stand in the way.

    It evicts nobody: a pod waits until others leave by themselves. What it says is upstream's wording, so that users
    find it in the documentation they know.
    """

    name = "DefaultPreemption"
    helped_by = ClusterEvent(0)

    def post_filter(
        self, state: CycleState, pod: PodView, snapshot: Snapshot, rejected: Mapping[str, Status]
    ) -> Status:
        if pod.pod.spec.preemption_policy == "Never":
            return unresolvable("preemption: not eligible due to preemptionPolicy=Never.")
        verdicts = []
        for name, status in rejected.items():
            if status.code is Code.UNRESOLVABLE:
                verdicts.append(unresolvable("Preemption is not helpful for scheduling"))
            elif any(other.priority < pod.priority for other in snapshot.nodes[name].pods.values()):
                verdicts.append(unschedulable("Preemption of lower-priority pods is not supported"))
            else:
                verdicts.append(unschedulable("No preemption victims found for incoming pod"))
        return unresolvable(f"preemption: 0/{len(snapshot.nodes)} nodes are available: {count_reasons(verdicts)}.")
