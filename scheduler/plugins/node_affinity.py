"""A pod chooses nodes by their labels."""

from __future__ import annotations

from collections.abc import Mapping

from api.core.node import Node
from api.core.pod import Pod
from api.core.references import NodeSelectorRequirement, NodeSelectorTerm
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
        if not selects(pod.pod, node.node):
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
            if _matches_term(term.preference, node.node)
        )

    def normalize(self, state: CycleState, scores: Mapping[str, int]) -> Mapping[str, int]:
        return scale_scores(scores)


def selects(pod: Pod, node: Node) -> bool:
    """Return whether the pod's node selector and its required node affinity both take `node`."""
    labels = node.metadata.labels
    if any(labels.get(key) != value for key, value in pod.spec.node_selector.items()):
        return False
    terms = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = terms.required_during_scheduling_ignored_during_execution if terms else None
    if required is None:
        return True
    return any(_matches_term(term, node) for term in required.node_selector_terms)


def _matches_term(term: NodeSelectorTerm, node: Node) -> bool:
    """Return whether all requirements of `term` hold; a term without any matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(_holds(each, node.metadata.labels) for each in term.match_expressions) and all(
        _holds(each, fields) for each in term.match_fields
    )


def _holds(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                ours, theirs = int(value or ""), int(requirement.values[0])
            except (ValueError, IndexError):
                return False
            return ours > theirs if requirement.operator == "Gt" else ours < theirs
        case _:
            return False
