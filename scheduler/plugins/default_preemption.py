"""Makes room for a pod that fits nowhere by having pods of lower priority leave."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

from scheduler.framework import ClusterEvent, Code, Remedy, Status, count_reasons, unresolvable
from scheduler.preemption import Candidate, select_candidate, select_victims
from scheduler.snapshot import NodeView, PodView, Snapshot

CANDIDATES_MIN = 100
CANDIDATES_FRACTION = 10
"""One in so many nodes is tried, and no fewer than CANDIDATES_MIN: enough to find a good one among thousands."""
PREEMPTED = "PreemptionByScheduler"
"""The reason in the DisruptionTarget condition of pods that were made to leave."""
_NOT_HELPFUL = unresolvable("Preemption is not helpful for scheduling")


class DefaultPreemption:
    """Honours Pod spec.priority and spec.preemptionPolicy, and PodDisruptionBudgets as far as others can leave."""

    name = "DefaultPreemption"
    helped_by = ClusterEvent(0)

    def post_filter(
        self, pod: PodView, snapshot: Snapshot, rejected: Mapping[str, Status], try_on: Callable[[NodeView], Status]
    ) -> Remedy:
        why_not = _why_not_eligible(pod, snapshot, rejected)
        if why_not:
            return Remedy(f"preemption: {why_not}")
        hopeful = [name for name, status in rejected.items() if status.code is Code.UNSCHEDULABLE]
        verdicts = dict.fromkeys(snapshot.nodes, _NOT_HELPFUL)
        candidates: list[Candidate] = []
        wanted = max(CANDIDATES_MIN, len(snapshot.nodes) // CANDIDATES_FRACTION)
        # From a place that differs from pod to pod, so that not always the same nodes are asked.
        first = zlib.crc32(pod.uid.encode()) % len(hopeful) if len(hopeful) > wanted else 0
        budgets = snapshot.around.budgets.list()
        for name in hopeful[first:] + hopeful[:first]:
            found = select_victims(pod, snapshot.nodes[name], budgets, try_on)
            if isinstance(found, Status):
                verdicts[name] = found
            elif found.victims:
                candidates.append(found)
            if len(candidates) >= wanted:
                break
        if not candidates:
            counted = count_reasons(verdicts.values())
            return Remedy(f"preemption: 0/{len(snapshot.nodes)} nodes are available: {counted}.", nominated="")
        chosen = select_candidate(candidates)
        return Remedy(nominated=chosen.node_name, victims=chosen.victims)


def _why_not_eligible(pod: PodView, snapshot: Snapshot, rejected: Mapping[str, Status]) -> str:
    """Return why the pod may drive out nobody, or nobody more just now; empty if it may."""
    if pod.pod.spec.preemption_policy == "Never":
        return "not eligible due to preemptionPolicy=Never."
    nominated = snapshot.nodes.get(snapshot.nominated_node(pod))
    if nominated is None or rejected[nominated.name].code is Code.UNRESOLVABLE:
        return ""
    if any(other.priority < pod.priority and _is_leaving(other) for other in nominated.pods.values()):
        return "not eligible due to a terminating pod on the nominated node."
    return ""


def _is_leaving(pod: PodView) -> bool:
    """Return whether the pod was told to leave by a preemption and has not gone yet."""
    return bool(pod.pod.metadata.deletion_timestamp) and any(
        (each.type, each.status, each.reason) == ("DisruptionTarget", "True", PREEMPTED)
        for each in pod.pod.status.conditions
    )
