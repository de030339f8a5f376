"""Pods choose to be near other pods, or far from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from api.core.namespace import Namespace
from api.core.placement import PodAffinityTerm
from api.core.pod import Pod
from api.lister import Lister
from api.resource import ObjectKey
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

_Domain = tuple[str, str]
"""A topology key and one of its values."""


@dataclass(frozen=True, slots=True)
class _Term:
    """One affinity term of one pod: which pods it means, and how near is near."""

    topology_key: str
    means: Callable[[Pod], bool]
    weight: int = 0


@dataclass(frozen=True, slots=True)
class _Required:
    namespaces: Lister[Namespace]
    near: Sequence[_Term] = ()
    far: Sequence[_Term] = ()
    near_counts: Counter[_Domain] = field(default_factory=Counter)
    """How many pods that all `near` terms mean are in each domain."""
    far_counts: Counter[_Domain] = field(default_factory=Counter)
    forbidden: Counter[_Domain] = field(default_factory=Counter)
    """How many terms of pods in each domain want this one to be far."""

    def tally(self, pod: PodView, node: NodeView, sign: int = 1) -> None:
        """Count the pods of a node in, or with `sign` -1 out."""
        labels = node.node.metadata.labels
        for other in node.pods.values() if self.near or self.far else ():
            if self.near and all(term.means(other.pod) for term in self.near):
                for domain in _domains(self.near, labels):
                    self.near_counts[domain] += sign
            for domain in _domains([term for term in self.far if term.means(other.pod)], labels):
                self.far_counts[domain] += sign
        for other in node.pods_that_keep_others_away:
            terms = (_term(other.pod, term, self.namespaces) for term in _required(other.pod, "far"))
            for domain in _domains([term for term in terms if term.means(pod.pod)], labels):
                self.forbidden[domain] += sign


@dataclass(frozen=True, slots=True)
class _Preferred:
    worth: Mapping[_Domain, int]


class InterPodAffinity:
    """Honours podAffinity and podAntiAffinity of Pod spec.affinity, of this pod and of those that run already."""

    name = "InterPodAffinity"
    helped_by = (
        ClusterEvent.NODE_ADDED
        | ClusterEvent.NODE_LABELS
        | ClusterEvent.POD_ASSIGNED
        | ClusterEvent.POD_GONE
        | ClusterEvent.NAMESPACE_LABELS
    )

    def pre_filter(self, state: CycleState, pod: PodView, snapshot: Snapshot) -> Status:
        namespaces = snapshot.around.namespaces
        near, far = (
            [_term(pod.pod, term, namespaces) for term in _required(pod.pod, side)] for side in ("near", "far")
        )
        note = _Required(namespaces, near, far)
        for node in snapshot.nodes.values():
            note.tally(pod, node)
        state.put(note)
        return SUCCESS if near or far or note.forbidden else SKIP

    def recount(self, state: CycleState, pod: PodView, before: NodeView, after: NodeView) -> Status:
        old = state.get(_Required)
        note = replace(
            old,
            near_counts=Counter(old.near_counts),
            far_counts=Counter(old.far_counts),
            forbidden=Counter(old.forbidden),
        )
        note.tally(pod, before, -1)
        note.tally(pod, after)
        state.put(note)
        return SUCCESS if note.near or note.far or any(note.forbidden.values()) else SKIP

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        required = state.get(_Required)
        labels = node.node.metadata.labels
        if not _is_near(required, pod, labels):
            return unresolvable("node(s) didn't match pod affinity rules")
        if any(required.far_counts.get(domain) for domain in _domains(required.far, labels)):
            return unschedulable("node(s) didn't match pod anti-affinity rules")
        if any(required.forbidden[domain] for domain in labels.items() if domain in required.forbidden):
            return unschedulable("node(s) didn't satisfy existing pods anti-affinity rules")
        return SUCCESS

    def pre_score(
        self, state: CycleState, pod: PodView, snapshot: Snapshot, feasible: Mapping[str, NodeView]
    ) -> Status:
        namespaces = snapshot.around.namespaces
        wishes = list(_wishes(pod.pod, namespaces))
        worth: Counter[_Domain] = Counter()
        for node in snapshot.nodes.values():
            labels = node.node.metadata.labels
            for other in node.pods.values() if wishes else node.pods_with_affinity:
                met = [term for term in wishes if term.means(other.pod)]
                met += [term for term in _wishes(other.pod, namespaces, or_required=True) if term.means(pod.pod)]
                for term in met:
                    if term.topology_key in labels:
                        worth[term.topology_key, labels[term.topology_key]] += term.weight
        if not worth:
            return SKIP
        state.put(_Preferred(worth))
        return SUCCESS

    def score(self, state: CycleState, pod: PodView, node: NodeView) -> int:
        labels = node.node.metadata.labels
        return sum(weight for (key, value), weight in state.get(_Preferred).worth.items() if labels.get(key) == value)

    def normalize(self, state: CycleState, scores: Mapping[str, int]) -> Mapping[str, int]:
        most, least = max(scores.values(), default=0), min(scores.values(), default=0)
        if most == least:
            return dict.fromkeys(scores, 0)
        return {name: SCORE_MAX * (score - least) // (most - least) for name, score in scores.items()}


def _is_near(required: _Required, pod: PodView, labels: Mapping[str, str]) -> bool:
    """Return whether every term has a pod in the node's domain.

    The first of a group that wants to be near itself may go anywhere its topology keys exist: there is no other yet.
    """
    domains = list(_domains(required.near, labels))
    if len(domains) < len(required.near):
        return False
    if all(required.near_counts.get(domain) for domain in domains):
        return True
    return not any(required.near_counts.values()) and all(term.means(pod.pod) for term in required.near)


def _domains(terms: Sequence[_Term], labels: Mapping[str, str]) -> Iterator[_Domain]:
    for term in terms:
        if term.topology_key in labels:
            yield term.topology_key, labels[term.topology_key]


def _required(pod: Pod, side: str) -> Sequence[PodAffinityTerm]:
    affinity = pod.spec.affinity
    if affinity is None:
        return ()
    chosen = affinity.pod_affinity if side == "near" else affinity.pod_anti_affinity
    return chosen.required_during_scheduling_ignored_during_execution if chosen else ()


def _wishes(pod: Pod, namespaces: Lister[Namespace], *, or_required: bool = False) -> Iterator[_Term]:
    """Yield preferred terms, those of anti-affinity with negative weight; a required one weighs 1, if asked for."""
    affinity = pod.spec.affinity
    if affinity is None:
        return
    for chosen, sign in ((affinity.pod_affinity, 1), (affinity.pod_anti_affinity, -1)):
        for wish in chosen.preferred_during_scheduling_ignored_during_execution if chosen else ():
            yield _term(pod, wish.pod_affinity_term, namespaces, sign * wish.weight)
    if or_required:
        for term in _required(pod, "near"):
            yield _term(pod, term, namespaces, 1)


def _term(owner: Pod, term: PodAffinityTerm, namespaces: Lister[Namespace], weight: int = 0) -> _Term:
    """Return `term` of `owner`, ready to be asked.

    It means pods in the namespaces it lists and in those whose labels it selects; with neither, in the owner's.
    """
    selector = of_label_selector(term.label_selector)
    labels = owner.metadata.labels
    same = {key: labels[key] for key in term.match_label_keys if key in labels}
    other = {key: labels[key] for key in term.mismatch_label_keys if key in labels}
    listed = set(term.namespaces)
    chosen = of_label_selector(term.namespace_selector)
    if not listed and term.namespace_selector is None:
        listed = {owner.metadata.namespace}

    def is_meant(namespace: str) -> bool:
        if namespace in listed:
            return True
        found = namespaces.get(ObjectKey("", namespace)) if term.namespace_selector is not None else None
        return found is not None and chosen.matches(found.metadata.labels)

    def means(pod: Pod) -> bool:
        meta = pod.metadata
        return (
            all(meta.labels.get(key) == value for key, value in same.items())
            and all(meta.labels.get(key) != value for key, value in other.items())
            and selector.matches(meta.labels)
            and is_meant(meta.namespace)
        )

    return _Term(term.topology_key, means, weight)
