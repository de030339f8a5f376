"""Taints keep pods away that do not tolerate them."""

from __future__ import annotations

from collections.abc import Mapping

from api.core.node_matching import tolerates
from scheduler.framework import SUCCESS, ClusterEvent, CycleState, Status, scale_scores, unresolvable
from scheduler.snapshot import NodeView, PodView


class TaintToleration:
    """Honours Node spec.taints and Pod spec.tolerations: NoSchedule and NoExecute reject, PreferNoSchedule costs."""

    name = "TaintToleration"
    helped_by = ClusterEvent.NODE_ADDED | ClusterEvent.NODE_TAINTS

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        for taint in node.node.spec.taints:
            if taint.effect in ("NoSchedule", "NoExecute") and not tolerates(pod.pod.spec.tolerations, taint):
                return unresolvable(f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}")
        return SUCCESS

    def score(self, state: CycleState, pod: PodView, node: NodeView) -> int:
        """Return the number of PreferNoSchedule taints that the pod does not tolerate."""
        return sum(
            taint.effect == "PreferNoSchedule" and not tolerates(pod.pod.spec.tolerations, taint)
            for taint in node.node.spec.taints
        )

    def normalize(self, state: CycleState, scores: Mapping[str, int]) -> Mapping[str, int]:
        return scale_scores(scores, reverse=True)
