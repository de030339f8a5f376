"""Like pods are spread over nodes, zones, or whatever else a label divides the cluster into."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from api.core.node_matching import selects, tolerates
from api.core.placement import TopologySpreadConstraint
from api.core.pod import Pod
from api.selectors import of_label_selector
from scheduler.framework import (
    SCORE_MAX,
    SKIP,
    SUCCESS,
    ClusterEvent,
    CycleState,
    Status,
    unresolvable,
    unschedulable,
)
from scheduler.snapshot import NodeView, PodView, Snapshot

_HOSTNAME, _ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_MISMATCH = "node(s) didn't match pod topology spread constraints"


@dataclass(frozen=True, slots=True)
class _Rule:
    """One constraint, ready to be counted."""

    topology_key: str
    skew_max: int
    counts: Callable[[PodView], bool]
    """Whether a pod is one of those to spread."""
    admits: Callable[[NodeView], bool]
    """Whether a node takes part."""
    domains_min: int = 1


@dataclass(frozen=True, slots=True)
class _Hard:
    """What Filter needs: per rule, how many pods each domain has, and the least any has."""

    rules: Sequence[tuple[_Rule, Mapping[str, int], int]]


@dataclass(frozen=True, slots=True)
class _Soft:
    """What Score needs: per rule, how many pods each domain has, and what one of them weighs."""

    rules: Sequence[tuple[_Rule, Mapping[str, int], float]]
    ignored: frozenset[str]
    """Nodes without a label that a constraint names: they are the last choice."""


class PodTopologySpread:
    """Honours Pod spec.topologySpreadConstraints (KEP-895): DoNotSchedule filters, ScheduleAnyway scores.

    A pod without constraints that has a controller is spread softly from its siblings over nodes and zones (KEP-1258).
    Siblings are the pods of one controller; upstream also counts those behind a common Service.
    """

    name = "PodTopologySpread"
    helped_by = (
        ClusterEvent.NODE_ADDED
        | ClusterEvent.NODE_LABELS
        | ClusterEvent.NODE_TAINTS
        | ClusterEvent.POD_ASSIGNED
        | ClusterEvent.POD_GONE
    )

    def pre_filter(self, state: CycleState, pod: PodView, snapshot: Snapshot) -> Status:
        rules = _rules(pod, "DoNotSchedule")
        if not rules:
            return SKIP
        keys = [rule.topology_key for rule in rules]
        nodes = [node for node in snapshot.nodes.values() if all(key in node.node.metadata.labels for key in keys)]
        counted = []
        for rule in rules:
            counts = _count(rule, nodes)
            least = min(counts.values(), default=0) if len(counts) >= rule.domains_min else 0
            counted.append((rule, counts, least))
        state.put(_Hard(counted))
        return SUCCESS

    def recount(self, state: CycleState, pod: PodView, before: NodeView, after: NodeView) -> Status:
        note = state.find(_Hard)
        if note is None:
            return SKIP
        labels = before.node.metadata.labels
        if any(rule.topology_key not in labels for rule, _, _ in note.rules):
            return SUCCESS
        counted = []
        for rule, counts, least in note.rules:
            domain = labels[rule.topology_key]
            if rule.admits(before):
                change = sum(map(rule.counts, after.pods.values())) - sum(map(rule.counts, before.pods.values()))
                counts = {**counts, domain: counts.get(domain, 0) + change}
                least = min(counts.values()) if len(counts) >= rule.domains_min else 0
            counted.append((rule, counts, least))
        state.put(_Hard(counted))
        return SUCCESS

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        for rule, counts, least in state.get(_Hard).rules:
            domain = node.node.metadata.labels.get(rule.topology_key)
            if domain is None:
                return unresolvable(f"{_MISMATCH} (missing required label)")
            if counts.get(domain, 0) + rule.counts(pod) - least > rule.skew_max:
                return unschedulable(_MISMATCH)
        return SUCCESS

    def pre_score(
        self, state: CycleState, pod: PodView, snapshot: Snapshot, feasible: Mapping[str, NodeView]
    ) -> Status:
        named = bool(pod.pod.spec.topology_spread_constraints)
        rules = _rules(pod, "ScheduleAnyway") if named else _sibling_rules(pod)
        if not rules:
            return SKIP
        keys = [rule.topology_key for rule in rules]
        ignored = frozenset(
            name
            for name, node in feasible.items()
            if named and any(key not in node.node.metadata.labels for key in keys)
        )
        weighed = []
        for rule in rules:
            counts = _count(rule, snapshot.nodes.values())
            domains = {node.node.metadata.labels.get(rule.topology_key) for node in feasible.values()} - {None}
            weighed.append((rule, counts, math.log(len(domains) + 2)))
        state.put(_Soft(weighed, ignored))
        return SUCCESS

    def score(self, state: CycleState, pod: PodView, node: NodeView) -> int:
        """Return how crowded the node's domains are with like pods; -1 for a node that is ignored."""
        soft = state.get(_Soft)
        if node.name in soft.ignored:
            return -1
        crowd = 0.0
        for rule, counts, weight in soft.rules:
            domain = node.node.metadata.labels.get(rule.topology_key)
            if domain is not None:
                crowd += counts.get(domain, 0) * weight + rule.skew_max - 1
        return round(crowd)

    def normalize(self, state: CycleState, scores: Mapping[str, int]) -> Mapping[str, int]:
        crowds = [score for score in scores.values() if score >= 0]
        most, least = max(crowds, default=0), min(crowds, default=0)
        return {
            name: 0 if score < 0 else SCORE_MAX if most == 0 else SCORE_MAX * (most + least - score) // most
            for name, score in scores.items()
        }


def _rules(pod: PodView, when_unsatisfiable: str) -> list[_Rule]:
    return [
        _rule(pod.pod, constraint)
        for constraint in pod.pod.spec.topology_spread_constraints
        if constraint.when_unsatisfiable == when_unsatisfiable
    ]


def _rule(pod: Pod, constraint: TopologySpreadConstraint) -> _Rule:
    selector = of_label_selector(constraint.label_selector)
    same = {key: pod.metadata.labels[key] for key in constraint.match_label_keys if key in pod.metadata.labels}

    def counts(other: PodView) -> bool:
        meta = other.pod.metadata
        return (
            meta.namespace == pod.metadata.namespace
            and not meta.deletion_timestamp
            and all(meta.labels.get(key) == value for key, value in same.items())
            and selector.matches(meta.labels)
        )

    def admits(node: NodeView) -> bool:
        if constraint.node_affinity_policy != "Ignore" and not selects(pod.spec, node.node):
            return False
        return constraint.node_taints_policy != "Honor" or all(
            taint.effect == "PreferNoSchedule" or tolerates(pod.spec.tolerations, taint)
            for taint in node.node.spec.taints
        )

    return _Rule(constraint.topology_key, constraint.max_skew, counts, admits, constraint.min_domains or 1)


def _sibling_rules(pod: PodView) -> list[_Rule]:
    """Return upstream's default constraints, with its skews; none for a pod of its own."""
    if not pod.owner_uid:
        return []

    def counts(other: PodView) -> bool:
        return other.owner_uid == pod.owner_uid and not other.pod.metadata.deletion_timestamp

    def admits(node: NodeView) -> bool:
        return selects(pod.pod.spec, node.node)

    return [_Rule(_HOSTNAME, 3, counts, admits), _Rule(_ZONE, 5, counts, admits)]


def _count(rule: _Rule, nodes: Iterable[NodeView]) -> dict[str, int]:
    """Return the number of like pods in each domain that has a node taking part."""
    counts: dict[str, int] = {}
    for node in nodes:
        domain = node.node.metadata.labels.get(rule.topology_key)
        if domain is not None and rule.admits(node):
            counts[domain] = counts.get(domain, 0) + sum(map(rule.counts, node.pods.values()))
    return counts
