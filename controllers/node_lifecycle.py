"""Notices nodes that fell silent, and moves what ran there elsewhere.

Reads Nodes, their Leases and their pods. A node whose Lease and status have not changed for the grace period gets its
conditions set to Unknown; a node that is not ready gets taints, NoSchedule at once and NoExecute unless most of the
cluster seems gone (then it is more likely we who are cut off); its pods are marked not ready, so that Services leave
them out; and pods that do not tolerate a NoExecute taint are deleted when their toleration runs out. Eviction looks
only at the taint and its age, so that a restart loses nothing.

Silence is measured from when we heard the last sign of life, by our own clock, and only while we could hear at all:
a controller that was cut off cannot say who was silent. Those who wait for their turn to lead listen as well, so that
a node lost together with the leader is noticed no later. Upstream: nodelifecycle and tainteviction.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from api import timestamps
from api.coordination import lease as leases
from api.coordination.lease import Lease
from api.core import node as nodes
from api.core import pod as pods
from api.core.node import Node, NodeCondition, Taint
from api.core.node_matching import matches_taint
from api.core.pod import Pod
from api.core.pod_status import PodCondition
from api.core.references import ObjectReference
from api.resource import ObjectKey
from client.events import NORMAL, WARNING
from client.informer import Change, Informers
from client.verbs import key_of
from component.clock import Clock
from controllers.actions import Action, Burst, Delete, Emit, Patch, Plan
from controllers.pods import BY_NODE, condition_of, index_by_node, is_finished
from controllers.runner import Controller, Listers, Watch

LEASE_NAMESPACE = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_BY_CONDITION = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = frozenset((NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_BY_CONDITION.values()))
_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
UNHEALTHY_FRACTION_MAX = 0.55
"""With this many nodes not ready, and more than two of them, no pod is evicted."""
STARTUP_GRACE_S = 60.0
GAPS_REMEMBERED = 4
HABIT_S_MAX = 20.0
LULL_S_MIN = 5.0
HABIT_FACTOR = 1.5
"""A short grace must not lose a node that speaks every ten seconds when one word of it comes late."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A node, and what tells of its life."""

    node: Node
    pods: Sequence[Pod]
    """On the node; read only when it is not ready or has a NoExecute taint."""
    silent_s: float
    """Since the last sign of life, or since we began to listen."""
    grace_s: float
    eviction_after_s: float
    """How long pods that say nothing about it stay on a lost node."""
    may_evict: bool
    """Whether enough of the other nodes are well."""
    is_new: bool = False
    """Whether this controller meets the node for the first time."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A node that was met and is there no more."""

    name: str
    uid: str


class Leaving:
    """Which pods are to leave their node later: remembered only to tell when that is called off."""

    def __init__(self) -> None:
        self._pods: dict[str, dict[str, Pod]] = {}

    def note(self, node_name: str, later: Sequence[Pod], now: Sequence[Pod]) -> list[Pod]:
        """Note who leaves the node later, and who now; return those that were to leave and do neither."""
        before = self._pods.pop(node_name, {})
        if later:
            self._pods[node_name] = {pod.metadata.uid: pod for pod in later}
        told = {pod.metadata.uid for pod in (*later, *now)}
        return [pod for uid, pod in before.items() if uid not in told]


def reconcile(observed: Observed, now: float, leaving: Leaving) -> Plan:
    """Judge the node by its silence, then taint it, mark its pods, and evict those whose time is up."""
    node = observed.node
    if node.metadata.deletion_timestamp:
        return Plan()
    name = node.metadata.name
    actions: list[Action] = []
    if observed.is_new:
        actions.append(Emit(node, NORMAL, "RegisteredNode", f"Node {name} event: Registered Node {name} in Controller"))
    conditions = compute_conditions(node, observed.silent_s, observed.grace_s, now)
    if conditions != node.status.conditions:
        # Checked against the version: the kubelet writes the same list.
        actions.append(
            Patch(
                nodes.RESOURCE,
                key_of(node),
                {
                    "metadata": {"resourceVersion": node.metadata.resource_version},
                    "status": {"conditions": msgspec.to_builtins(conditions)},
                },
                "status",
                done=Emit(node, NORMAL, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
                if is_ready(node)
                else None,
            )
        )
        # The next turn sees what was written.
        return Plan(tuple(actions))
    taints = compute_taints(node, observed.may_evict, now)
    if taints != node.spec.taints:
        actions.append(
            Patch(
                nodes.RESOURCE,
                key_of(node),
                {
                    "metadata": {"resourceVersion": node.metadata.resource_version},
                    "spec": {"taints": msgspec.to_builtins(taints) or None},
                },
            )
        )
    if _status(node, "Ready") == "Unknown":
        # A node that says itself that it is not ready tells about its pods, too; a silent one cannot.
        marks = [mark for pod in observed.pods if (mark := _mark_not_ready(pod, now)) is not None]
        if marks:
            actions.append(Burst(marks))
    evictions, next_s = _evict(observed, [taint for taint in taints if taint.effect == "NoExecute"], now, leaving)
    actions += evictions
    waits = [wait for wait in (next_s, _grace_left_s(observed)) if wait is not None]
    return Plan(tuple(actions), requeue_after_s=min(waits) + 0.1 if waits else None)


def tell_removal(removed: Removed) -> Plan:
    """Tell of a node that is gone."""
    node = ObjectReference(kind="Node", api_version="v1", name=removed.name, uid=removed.uid)
    text = f"Node {removed.name} event: Removing Node {removed.name} from Controller"
    return Plan((Emit(node, NORMAL, "RemovingNode", text),))


def is_ready(node: Node) -> bool:
    """Return whether the node's Ready condition is True."""
    return _status(node, "Ready") == "True"


def _status(node: Node, type: str) -> str:
    return next((condition.status for condition in node.status.conditions if condition.type == type), "")


def _grace_left_s(observed: Observed) -> float | None:
    left_s = _grace_s(observed.node, observed.grace_s) - observed.silent_s
    return left_s if left_s > 0 else None


def _grace_s(node: Node, grace_s: float) -> float:
    """Return how long the node may be silent: longer while its kubelet has never posted status."""
    return grace_s if _status(node, "Ready") else max(grace_s, STARTUP_GRACE_S)


def compute_conditions(node: Node, silent_s: float, grace_s: float, now: float) -> list[NodeCondition]:
    """Return the node's conditions as they should be: Unknown once it was silent for too long."""
    if silent_s < _grace_s(node, grace_s):
        return node.status.conditions
    stamp = timestamps.render(now)
    present = {condition.type: condition for condition in node.status.conditions}
    for type in _WATCHED:
        current = present.get(type)
        if current is None:
            present[type] = NodeCondition(
                type=type,
                status="Unknown",
                last_heartbeat_time=node.metadata.creation_timestamp,
                last_transition_time=stamp,
                reason="NodeStatusNeverUpdated",
                message="Kubelet never posted node status.",
            )
        elif current.status != "Unknown":
            present[type] = msgspec.structs.replace(
                current,
                status="Unknown",
                last_transition_time=stamp,
                reason="NodeStatusUnknown",
                message="Kubelet stopped posting node status.",
            )
    return list(present.values())


def compute_taints(node: Node, may_evict: bool, now: float) -> list[Taint]:
    """Return the node's taints as they should be; those of others stay, in their order."""
    wanted: list[tuple[str, str]] = []
    ready = _status(node, "Ready")
    if ready != "True":
        key = NOT_READY if ready == "False" else UNREACHABLE
        # A node that never said anything is not ready rather than unreachable.
        key = key if ready else NOT_READY
        wanted.append((key, "NoSchedule"))
        if may_evict and ready:
            wanted.append((key, "NoExecute"))
    wanted += [(key, "NoSchedule") for type, key in _BY_CONDITION.items() if _status(node, type) == "True"]
    if node.spec.unschedulable:
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    taints = [taint for taint in node.spec.taints if taint.key not in _OURS or (taint.key, taint.effect) in wanted]
    present = {(taint.key, taint.effect) for taint in taints}
    stamp = timestamps.render(now)
    # Tolerations run from when a taint was added, and kubectl does not say when that was.
    taints = [
        msgspec.structs.replace(taint, time_added=stamp)
        if taint.effect == "NoExecute" and not taint.time_added
        else taint
        for taint in taints
    ]
    return taints + [
        Taint(key=key, effect=effect, time_added=stamp) for key, effect in wanted if (key, effect) not in present
    ]


def tolerated_until(pod: Pod, taints: Sequence[Taint], eviction_after_s: float, now: float) -> float | None:
    """Return when a pod must leave because of NoExecute taints: None for never; not after `now` for at once.

    Each taint must be tolerated; the shortest toleration of those that match counts, from when its taint was added.
    That is known to the second only, rounded down, so its end is what counts: nobody leaves before the time is over.
    A lost node is tolerated for `eviction_after_s` by pods that say nothing about it; admission usually makes them.
    """
    until: float | None = None
    for taint in taints:
        matching = [toleration for toleration in pod.spec.tolerations if matches_taint(toleration, taint)]
        limits = [each.toleration_seconds for each in matching if each.toleration_seconds is not None]
        if matching and not limits:
            continue
        since = timestamps.parse(taint.time_added) + 1 if taint.time_added else now
        if limits:
            end = since + min(limits) if min(limits) > 0 else now
        elif taint.key in (NOT_READY, UNREACHABLE):
            end = since + eviction_after_s
        else:
            return now
        until = end if until is None else min(until, end)
    return until


def _evict(
    observed: Observed, taints: Sequence[Taint], now: float, leaving: Leaving
) -> tuple[list[Action], float | None]:
    """Return the deletions that are due, and in how many seconds the next one is."""
    doomed: list[Pod] = []
    later: list[Pod] = []
    next_s: float | None = None
    for pod in observed.pods if taints else ():
        if is_finished(pod) or pod.metadata.deletion_timestamp:
            continue
        until = tolerated_until(pod, taints, observed.eviction_after_s, now)
        if until is None:
            continue
        if until <= now:
            doomed.append(pod)
        else:
            later.append(pod)
            next_s = until - now if next_s is None else min(next_s, until - now)
    stay = leaving.note(observed.node.metadata.name, later, doomed)
    actions: list[Action] = [_told(pod, f"Cancelling deletion of Pod {key_of(pod)}") for pod in stay]
    if doomed:
        actions += [Burst([_mark_disrupted(pod, now) for pod in doomed]), Burst([_deletion(pod) for pod in doomed])]
    return actions, next_s


def _deletion(pod: Pod) -> Delete:
    told = _told(pod, f"Marking for deletion Pod {key_of(pod)}")
    return Delete(pods.RESOURCE, key_of(pod), pod.metadata.uid, done=told)


def _told(pod: Pod, message: str) -> Emit:
    """Return an event under the name that upstream's controller of evictions has to itself (KEP-3902)."""
    return Emit(pod, NORMAL, "TaintManagerEviction", message, component="taint-eviction-controller")


def _mark_disrupted(pod: Pod, now: float) -> Patch:
    return _set_condition(
        pod,
        PodCondition(
            type="DisruptionTarget",
            status="True",
            last_transition_time=timestamps.render(now),
            reason="DeletionByTaintManager",
            message="Taint manager: deleting due to NoExecute taint",
        ),
    )


def _mark_not_ready(pod: Pod, now: float) -> Patch | None:
    ready = condition_of(pod, "Ready")
    if ready is None or ready.status == "False":
        return None
    changed = msgspec.structs.replace(ready, status="False", last_transition_time=timestamps.render(now))
    told = Emit(pod, WARNING, "NodeNotReady", "Node is not ready")
    return dataclasses.replace(_set_condition(pod, changed), done=told)


def _set_condition(pod: Pod, condition: PodCondition) -> Patch:
    conditions = [known for known in pod.status.conditions if known.type != condition.type]
    patch = {
        # Checked against the version: the kubelet writes the same list.
        "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
        "status": {"conditions": msgspec.to_builtins([*conditions, condition])},
    }
    return Patch(pods.RESOURCE, key_of(pod), patch, "status")


@dataclass(slots=True)
class _Pulse:
    sign: str
    at: float
    gaps_s: deque[float]
    """Between the last few signs."""


@dataclass(slots=True)
class Heartbeats:
    """When each node was last heard from, and how often it speaks, by our own monotonic clock.

    That we can hear is shown by hearing anything: somebody's Lease changes every few seconds while a leader renews its
    own. After a lull everybody is given time anew, since the store may have taken no writes.
    """

    clock: Clock
    lull_s: float = math.inf
    """Silence of everybody for longer than this says nothing about anyone; inf where nothing speaks that often."""
    _pulses: dict[str, _Pulse] = field(default_factory=dict)
    _met: dict[str, str] = field(default_factory=dict)
    """Their uids, by name."""
    _heard_at: float = field(init=False)
    _listening_since: float = field(init=False)

    def __post_init__(self) -> None:
        self._heard_at = self._listening_since = self.clock.monotonic()

    def hear(self) -> None:
        """Note that a Lease, whoever's, has just changed."""
        now = self.clock.monotonic()
        if now - self._heard_at > self.lull_s:
            self._listening_since = now
        self._heard_at = now

    def silent_s(self, name: str, sign: str, connected_since: float) -> float:
        """Return for how long `sign`, which changes with every heartbeat, has been the same while we listened.

        `connected_since`, when the watch was last opened, counts where no lull could tell that it was closed.
        """
        now = self.clock.monotonic()
        pulse = self._pulses.get(name)
        if pulse is None:
            pulse = self._pulses[name] = _Pulse(sign, now, deque(maxlen=GAPS_REMEMBERED))
        elif pulse.sign != sign:
            pulse.gaps_s.append(now - pulse.at)
            pulse.sign, pulse.at = sign, now
        if math.isinf(self.lull_s):
            return now - max(pulse.at, connected_since)
        return max(0.0, min(now, self._heard_at + self.lull_s) - max(pulse.at, self._listening_since))

    def grace_s(self, name: str, wanted_s: float) -> float:
        """Return how long a node may be silent: at least `wanted_s`, and longer than it is silent as a habit."""
        pulse = self._pulses.get(name)
        habit_s = min(HABIT_S_MAX, max(pulse.gaps_s, default=0.0)) if pulse else 0.0
        return max(wanted_s, HABIT_FACTOR * habit_s)

    def meet(self, name: str, uid: str) -> bool:
        """Return whether the node is met for the first time, or was removed since; being heard is not being met."""
        is_new = name not in self._met
        self._met[name] = uid
        return is_new

    def forget(self, name: str) -> None:
        """Forget when a node that is gone was heard."""
        self._pulses.pop(name, None)

    def remove(self, name: str) -> Removed | None:
        """Forget all of a node that is gone; return it if it was ever met."""
        self.forget(name)
        uid = self._met.pop(name, None)
        return Removed(name, uid) if uid is not None else None


def enough_are_well(everything: Sequence[Node]) -> bool:
    """Return whether so few nodes are silent that it must be they who failed, not we."""
    unready = sum(_status(node, "Ready") != "True" for node in everything)
    if unready == len(everything):
        return False
    return unready <= 2 or unready / len(everything) < UNHEALTHY_FRACTION_MAX


def listen(informers: Informers, heartbeats: Heartbeats) -> None:
    """Have `heartbeats` hear every node from when `informers` run, whether or not we lead."""
    known, spoken = informers.of(nodes.RESOURCE), informers.of(leases.RESOURCE)

    def hear(key: ObjectKey) -> None:
        node = known.store.get(key)
        if node is None:
            heartbeats.forget(key.name)
        else:
            lease = spoken.store.get(ObjectKey(LEASE_NAMESPACE, key.name))
            heartbeats.silent_s(key.name, _sign_of(node, lease), spoken.connected_since)

    def lease_changed(change: Change[Lease]) -> None:
        heartbeats.hear()
        for node in keys_of_lease(change.object):
            hear(node)

    spoken.add_handler(lease_changed)
    known.add_handler(lambda change: hear(key_of(change.object)))


def _sign_of(node: Node, lease: Lease | None) -> str:
    """Return what changes with every heartbeat: the kubelet's words, not ours, which keep its heartbeat time."""
    ready = next((each for each in node.status.conditions if each.type == "Ready"), None)
    return f"{lease.spec.renew_time if lease else ''} {ready.last_heartbeat_time if ready else ''}"


def controller(heartbeats: Heartbeats, grace_s: float, eviction_after_s: float) -> Controller[Node, Observed | Removed]:
    """Return the controller that allows each node `grace_s` of silence, and its pods `eviction_after_s` more."""

    def observe(key: ObjectKey, listers: Listers) -> Observed | Removed | None:
        node = listers[nodes.RESOURCE].get(key)
        if node is None:
            return heartbeats.remove(key.name)
        is_new = heartbeats.meet(key.name, node.metadata.uid)
        lease = listers[leases.RESOURCE].get(ObjectKey(LEASE_NAMESPACE, key.name))
        ready = next((each for each in node.status.conditions if each.type == "Ready"), None)
        wanted = ready is None or ready.status != "True" or any(t.effect == "NoExecute" for t in node.spec.taints)
        silent_s = heartbeats.silent_s(key.name, _sign_of(node, lease), listers.connected_since(leases.RESOURCE))
        allowed_s = heartbeats.grace_s(key.name, grace_s)
        wanted = wanted or silent_s >= allowed_s
        return Observed(
            node,
            listers[pods.RESOURCE].by_index(BY_NODE, key.name) if wanted else (),
            silent_s,
            allowed_s,
            eviction_after_s,
            enough_are_well(listers[nodes.RESOURCE].list()) if wanted else True,
            is_new,
        )

    leaving = Leaving()

    def decide(observed: Observed | Removed, now: float) -> Plan:
        return tell_removal(observed) if isinstance(observed, Removed) else reconcile(observed, now, leaving)

    return Controller(
        name="node-controller",
        resource=nodes.RESOURCE,
        observe=observe,
        reconcile=decide,
        watches=(
            Watch(resource=leases.RESOURCE, keys=keys_of_lease),
            Watch(resource=pods.RESOURCE, keys=keys_of_pod, indexes={BY_NODE: index_by_node}),
        ),
    )


def keys_of_lease(lease: Lease, listers: Listers | None = None) -> Iterable[ObjectKey]:
    """Map a node's Lease to the node."""
    if lease.metadata.namespace == LEASE_NAMESPACE:
        yield ObjectKey("", lease.metadata.name)


def keys_of_pod(pod: Pod, listers: Listers) -> Iterable[ObjectKey]:
    """Map a pod to its node, if that is in a state that concerns pods."""
    node = listers[nodes.RESOURCE].get(ObjectKey("", pod.spec.node_name)) if pod.spec.node_name else None
    if node is not None and (not is_ready(node) or any(taint.effect == "NoExecute" for taint in node.spec.taints)):
        yield key_of(node)
