"""What one scheduling cycle sees: the nodes and the pods on them, as immutable values.

`PodView` and `NodeView` hold, beside the object itself, what plugins would otherwise work out again for every pair of
pod and node: resource requests as integers, host ports in use, sums. A changed node is a new `NodeView`; a snapshot
is never written to, so taking one is copying references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Never

from api.core.containers import Container
from api.core.host_ports import HostPort, host_ports
from api.core.namespace import Namespace
from api.core.node import Node
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.core.volume_matching import claims_of
from api.lister import Lister
from api.policy.poddisruptionbudget import PodDisruptionBudget
from api.quantity import millis, units
from api.resource import ObjectKey
from api.storage.storageclass import StorageClass
from scheduler.promises import Promises

CPU, MEMORY, EPHEMERAL_STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"

Amounts = Mapping[str, int]
"""How much of each resource by name: CPU in thousandths of a core, all else in whole units (bytes, pods)."""

NOTHING: Amounts = MappingProxyType({})

SCORED_WHEN_UNSET: Amounts = MappingProxyType({CPU: 100, MEMORY: 200 * 1024 * 1024})
"""What a container that requests nothing counts as when nodes are scored, so that such pods still spread."""


@dataclass(frozen=True, eq=False)
class PodView:
    """A pod, and what scheduling derives from its spec."""

    pod: Pod

    @property
    def uid(self) -> str:
        """The pod's UID: two pods of one name are two pods."""
        return self.pod.metadata.uid

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.pod.metadata.namespace, self.pod.metadata.name)

    @property
    def priority(self) -> int:
        """Higher goes first; 0 when unset."""
        return self.pod.spec.priority or 0

    @cached_property
    def requests(self) -> Amounts:
        """What a node must have free for this pod."""
        return compute_requests(self.pod)

    @cached_property
    def scored_requests(self) -> Amounts:
        """The same with `SCORED_WHEN_UNSET` for containers that name no CPU or memory."""
        return compute_requests(self.pod, when_unset=SCORED_WHEN_UNSET)

    @cached_property
    def host_ports(self) -> tuple[HostPort, ...]:
        """The node's ports this pod takes."""
        return host_ports(self.pod.spec)

    @cached_property
    def claims(self) -> tuple[ObjectKey, ...]:
        """The claims this pod mentions."""
        return tuple(ObjectKey(self.pod.metadata.namespace, name) for name in claims_of(self.pod).values())

    @cached_property
    def owner_uid(self) -> str:
        """The UID of the controller that made this pod; empty for a pod of its own."""
        return next((owner.uid for owner in self.pod.metadata.owner_references if owner.controller), "")

    @cached_property
    def has_pod_affinity(self) -> bool:
        """Whether the pod wants to be near other pods, or far from them."""
        affinity = self.pod.spec.affinity
        return affinity is not None and (affinity.pod_affinity is not None or affinity.pod_anti_affinity is not None)

    @cached_property
    def keeps_others_away(self) -> bool:
        """Whether the pod has required anti-affinity."""
        affinity = self.pod.spec.affinity
        away = affinity.pod_anti_affinity if affinity else None
        return away is not None and bool(away.required_during_scheduling_ignored_during_execution)


@dataclass(frozen=True, eq=False)
class NodeView:
    """A node, the pods assigned to it (also those only assumed to be), and their sums."""

    node: Node
    allocatable: Amounts
    pods: Mapping[str, PodView]
    """By UID."""
    requested: Amounts
    scored_requested: Amounts
    host_ports: tuple[HostPort, ...]

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.metadata.name

    @cached_property
    def pods_with_affinity(self) -> tuple[PodView, ...]:
        """The pods with any affinity to other pods, or any aversion."""
        return tuple(pod for pod in self.pods.values() if pod.has_pod_affinity)

    @cached_property
    def pods_that_keep_others_away(self) -> tuple[PodView, ...]:
        """The pods with required anti-affinity."""
        return tuple(pod for pod in self.pods_with_affinity if pod.keeps_others_away)

    def with_pod(self, pod: PodView) -> NodeView:
        """Return this node with `pod` on it, in place of an older view of the same pod."""
        base = self.without_pod(pod.uid) if pod.uid in self.pods else self
        return replace(
            base,
            pods={**base.pods, pod.uid: pod},
            requested=add(base.requested, pod.requests),
            scored_requested=add(base.scored_requested, pod.scored_requests),
            host_ports=base.host_ports + pod.host_ports,
        )

    def without_pod(self, uid: str) -> NodeView:
        """Return this node without the pod; itself if the pod is not there."""
        if uid not in self.pods:
            return self
        gone = self.pods[uid]
        rest = {other: pod for other, pod in self.pods.items() if other != uid}
        return replace(
            self,
            pods=rest,
            requested=subtract(self.requested, gone.requests),
            scored_requested=subtract(self.scored_requested, gone.scored_requests),
            host_ports=tuple(port for pod in rest.values() for port in pod.host_ports),
        )

    def without_pods(self, uids: Set[str]) -> NodeView:
        """Return this node without several pods at once."""
        rest = {uid: pod for uid, pod in self.pods.items() if uid not in uids}
        requested, scored = dict(self.requested), dict(self.scored_requested)
        for uid in uids & self.pods.keys():
            requested = dict(subtract(requested, self.pods[uid].requests))
            scored = dict(subtract(scored, self.pods[uid].scored_requests))
        ports = tuple(port for pod in rest.values() for port in pod.host_ports)
        return replace(self, pods=rest, requested=requested, scored_requested=scored, host_ports=ports)

    def with_node(self, node: Node) -> NodeView:
        """Return the same pods on a newer state of the node."""
        return replace(self, node=node, allocatable=_amounts(node.status.allocatable))


class Nothing:
    """A cache without anything in it."""

    def get(self, key: ObjectKey) -> None:
        """Return None."""

    def list(self, namespace: str | None = None) -> Sequence[Never]:
        """Return no objects."""
        return ()


@dataclass(frozen=True)
class Surroundings:
    """What else matters to scheduling, as caches show it. One cycle awaits nothing, so they stand still meanwhile."""

    budgets: Lister[PodDisruptionBudget] = Nothing()
    namespaces: Lister[Namespace] = Nothing()
    claims: Lister[PersistentVolumeClaim] = Nothing()
    volumes: Lister[PersistentVolume] = Nothing()
    classes: Lister[StorageClass] = Nothing()
    promises: Promises = field(default_factory=Promises)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The cluster as one cycle sees it; nodes in order of their names."""

    nodes: Mapping[str, NodeView]
    nominated: Mapping[str, tuple[PodView, ...]] = field(default_factory=dict)
    """Pods without a node for which room is being made, by the name of the node."""
    around: Surroundings = Surroundings()

    def nominated_node(self, pod: PodView) -> str:
        """Return where room is being made for `pod`; empty for nowhere."""
        for name, pods in self.nominated.items():
            if any(each.uid == pod.uid for each in pods):
                return name
        return ""


def node_view(node: Node, pods: Mapping[str, PodView] | None = None) -> NodeView:
    """Return the view of `node` with `pods` on it."""
    view = NodeView(node, _amounts(node.status.allocatable), {}, NOTHING, NOTHING, ())
    for pod in (pods or {}).values():
        view = view.with_pod(pod)
    return view


def snapshot_of(*nodes: NodeView) -> Snapshot:
    """Return a snapshot of these nodes."""
    return Snapshot({view.name: view for view in sorted(nodes, key=lambda view: view.name)})


def compute_requests(pod: Pod, *, when_unset: Amounts = NOTHING) -> Amounts:
    """Return what the pod requests at its hungriest moment.

    Containers run together, so they add up. Init containers run one after the other before them, each beside the
    sidecars (init containers with restartPolicy Always, KEP-753) started so far; sidecars stay. Overhead is on top.
    """
    running: Amounts = NOTHING
    for container in pod.spec.containers:
        running = add(running, _requests(container, when_unset))
    sidecars: Amounts = NOTHING
    starting: Amounts = NOTHING
    for container in pod.spec.init_containers:
        wanted = _requests(container, when_unset)
        if container.restart_policy == "Always":
            sidecars = add(sidecars, wanted)
            starting = _largest(starting, sidecars)
        else:
            starting = _largest(starting, add(sidecars, wanted))
    total = _largest(add(running, sidecars), starting)
    total = add(total, _amounts(pod.spec.overhead))
    return add(total, {PODS: 1})


def add(left: Amounts, right: Amounts) -> Amounts:
    """Return the sum, resource by resource."""
    total = dict(left)
    for name, amount in right.items():
        total[name] = total.get(name, 0) + amount
    return total


def subtract(left: Amounts, right: Amounts) -> Amounts:
    """Return the difference, resource by resource, without what reaches zero."""
    rest = dict(left)
    for name, amount in right.items():
        rest[name] = rest.get(name, 0) - amount
        if not rest[name]:
            del rest[name]
    return rest


def _largest(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in {**left, **right}}


def _requests(container: Container, when_unset: Amounts) -> Amounts:
    named = _amounts(container.resources.requests)
    return {**when_unset, **named} if when_unset else named


def _amounts(quantities: Mapping[str, str]) -> Amounts:
    return {name: millis(text) if name == CPU else units(text) for name, text in quantities.items()}
