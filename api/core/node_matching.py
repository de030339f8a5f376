"""Whether a node suits a pod: node selectors, node affinity and taints, for the scheduler and for controllers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api.core.node import Node, Taint
from api.core.placement import Toleration
from api.core.pod import PodSpec
from api.core.references import NodeSelectorRequirement, NodeSelectorTerm


def selects(spec: PodSpec, node: Node) -> bool:
    """Return whether a pod's node selector and its required node affinity both take `node`."""
    labels = node.metadata.labels
    if any(labels.get(key) != value for key, value in spec.node_selector.items()):
        return False
    terms = spec.affinity.node_affinity if spec.affinity else None
    required = terms.required_during_scheduling_ignored_during_execution if terms else None
    if required is None:
        return True
    return any(matches_term(term, node) for term in required.node_selector_terms)


def matches_term(term: NodeSelectorTerm, node: Node) -> bool:
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


def tolerates(tolerations: Sequence[Toleration], taint: Taint) -> bool:
    """Return whether any of `tolerations` matches `taint`."""
    return any(matches_taint(toleration, taint) for toleration in tolerations)


def matches_taint(toleration: Toleration, taint: Taint) -> bool:
    """Return whether a toleration is about `taint`; an empty key with Exists is about every taint."""
    if toleration.effect not in ("", taint.effect):
        return False
    if toleration.operator == "Exists":
        return toleration.key in ("", taint.key)
    return toleration.key == taint.key and toleration.value == taint.value
