"""A pod chooses nodes by their labels."""

from __future__ import annotations

from collections.abc import Mapping

from api.core.node_matching import matches_term, selects
from scheduler.framework import SKIP, SUCCESS, ClusterEvent, CycleState, Status, scale_scores, unresolvable
from scheduler.snapshot import NodeView, PodView, Snapshot


class NodeAffinity:
    """Honours Pod spec.nodeSelector and spec.affinity.nodeAffinity, both required and preferred terms."""

    name = "NodeAffinity"
    helped_by = ClusterEvent.NODE_ADDED | ClusterEvent.NODE_LABELS

    def pre_filter(self, state: CycleState, pod: PodView, snapshot: Snapshot) -> Status:
        affinity = pod.pod.spec.affinity
        has_terms = affinity is not None and affinity.node_affinity is not None
        return SUCCESS if pod.pod.spec.node_selector or has_terms else SKIP

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        if not selects(pod.pod.spec, node.node):
            return unresolvable("node(s) didn't match Pod's node affinity/selector")
        return SUCCESS

    def pre_score(
        self, state: CycleState, pod: PodView, snapshot: Snapshot, feasible: Mapping[str, NodeView]
    ) -> Status:
        affinity = pod.pod.spec.affinity
        terms = affinity.node_affinity if affinity else None
        return SUCCESS if terms and terms.preferred_during_scheduling_ignored_during_execution else SKIP

    def score(self, state: CycleState, pod: PodView, node: NodeView) -> int:
        """Return the sum of the weights of the preferred terms that the node matches."""
        affinity = pod.pod.spec.affinity
        terms = affinity.node_affinity if affinity else None
        if terms is None:
            return 0
        return sum(
            term.weight
            for term in terms.preferred_during_scheduling_ignored_during_execution
            if matches_term(term.preference, node.node)
        )

    def normalize(self, state: CycleState, scores: Mapping[str, int]) -> Mapping[str, int]:
        return scale_scores(scores)
