"""A node should not run out of one resource while another lies idle."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.framework import SCORE_MAX, ClusterEvent, CycleState
from scheduler.snapshot import CPU, MEMORY, NodeView, PodView


class NodeResourcesBalancedAllocation:
    """Ranks nodes by how alike the used shares of CPU and memory would be with the pod on it."""

    name = "NodeResourcesBalancedAllocation"
    helped_by = ClusterEvent(0)

    def score(self, state: CycleState, pod: PodView, node: NodeView) -> int:
        """Return SCORE_MAX less the standard deviation of the two shares, which for two is half their distance."""
        shares = []
        for name in (CPU, MEMORY):
            capacity = node.allocatable.get(name, 0)
            if capacity:
                shares.append(min(1.0, (node.requested.get(name, 0) + pod.requests.get(name, 0)) / capacity))
        deviation = abs(shares[0] - shares[1]) / 2 if len(shares) == 2 else 0.0
        return int((1 - deviation) * SCORE_MAX)

    def normalize(self, state: CycleState, scores: Mapping[str, int]) -> Mapping[str, int]:
        return scores
