"""A pod's requests must fit into what the node has left."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.framework import SCORE_MAX, SUCCESS, ClusterEvent, CycleState, Status, unresolvable, unschedulable
from scheduler.snapshot import CPU, MEMORY, PODS, NodeView, PodView


class NodeResourcesFit:
    """Honours requests of Pod spec.containers, init containers and overhead against Node status.allocatable.

    Scores by the least allocated: the node with the largest share of CPU and memory left is the best.
    """

    name = "NodeResourcesFit"
    helped_by = ClusterEvent.NODE_ADDED | ClusterEvent.NODE_ALLOCATABLE | ClusterEvent.POD_GONE

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        lacking = [
            name
            for name, wanted in pod.requests.items()
            if wanted and wanted > node.allocatable.get(name, 0) - node.requested.get(name, 0)
        ]
        if not lacking:
            return SUCCESS
        reasons = ["Too many pods" if name == PODS else f"Insufficient {name}" for name in sorted(lacking, key=_order)]
        if any(pod.requests[name] > node.allocatable.get(name, 0) for name in lacking):
            return unresolvable(*reasons)
        return unschedulable(*reasons)

    def score(self, state: CycleState, pod: PodView, node: NodeView) -> int:
        shares = []
        for name in (CPU, MEMORY):
            capacity = node.allocatable.get(name, 0)
            if capacity:
                used = node.scored_requested.get(name, 0) + pod.scored_requests.get(name, 0)
                shares.append(max(0, (capacity - used) * SCORE_MAX // capacity))
        return sum(shares) // len(shares) if shares else 0

    def normalize(self, state: CycleState, scores: Mapping[str, int]) -> Mapping[str, int]:
        return scores


def _order(name: str) -> tuple[bool, str]:
    """Pods first: a full node is the plainest of reasons."""
    return name != PODS, name
