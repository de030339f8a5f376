"""Keeps as many pods running as a ReplicaSet says, or a ReplicationController, which is the same under an older name.

Reads the set and the pods it controls or could adopt; creates and deletes pods, adopts and releases them, and
writes status. It never changes a pod's spec, and leaves finished pods to the garbage collection of pods. Names of
pods are random, so the freshness gate is what prevents twins. Which pods go first when there are too many follows
upstream's ActivePodsWithRanks, with pod-deletion-cost (KEP-2255) and ages compared by magnitude (KEP-2185).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import msgspec

from api import selectors, timestamps
from api.apps import replicaset as replicasets
from api.apps.replicaset import ReplicaSet, ReplicaSetCondition, ReplicaSetStatus
from api.core import pod as pods
from api.core import replicationcontroller as replicationcontrollers
from api.core.pod import Pod, PodTemplateSpec
from api.core.replicationcontroller import (
    ReplicationController,
    ReplicationControllerCondition,
    ReplicationControllerStatus,
)
from api.errors import ApiError
from api.resource import ObjectKey, Resource
from controllers.actions import Action, Burst, Create, Delete, Patch, Plan, update_status
from controllers.ownership import (
    BY_CONTROLLER,
    candidates,
    claim,
    controller_of,
    index_by_controller,
    selector_of,
)
from controllers.pod_making import creation, deletion, pod_of
from controllers.pods import available_in_s, is_active, is_ready, ready_since
from controllers.runner import Controller, Listers, watch_owned

BURST_MAX = 500
"""How many pods are created or deleted in one turn at most."""
AnySet: TypeAlias = ReplicaSet | ReplicationController
AnyStatus: TypeAlias = ReplicaSetStatus | ReplicationControllerStatus
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class Observed:
    """A ReplicaSet or ReplicationController and the pods that matter to it."""

    rs: AnySet
    candidates: Sequence[Pod]
    """Pods it controls, and orphans of its namespace."""
    related_on_node: Counter[str]
    """How many active pods of ReplicaSets with the same owner are on each node; filled when pods must go."""


def observe(resource: Resource[Any], key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the set and its pods."""
    rs: AnySet | None = listers[resource].get(key)
    if rs is None:
        return None
    store = listers[pods.RESOURCE]
    mine = store.by_index(BY_CONTROLLER, rs.metadata.uid)
    related: Counter[str] = Counter()
    if sum(map(is_active, mine)) > _wanted(rs):
        owner = controller_of(rs)
        siblings = listers[resource].by_index(BY_CONTROLLER, owner.uid) if owner else [rs]
        for sibling in siblings:
            for pod in store.by_index(BY_CONTROLLER, sibling.metadata.uid):
                if is_active(pod) and pod.spec.node_name:
                    related[pod.spec.node_name] += 1
    return Observed(rs, candidates(store, rs), related)


def reconcile(observed: Observed, now: float) -> Plan:
    """Claim pods, then create or delete what is missing or too many, then tell in the status."""
    rs = observed.rs
    selector = selector_of(rs)
    if selector.matches_everything or selector.matches_nothing:
        return Plan()
    claimed = claim(_RESOURCES[rs.kind], rs, selector, pods.RESOURCE, observed.candidates)
    if any(patch.guard is not None for patch in claimed.patches):
        # Count again once the adopted are ours.
        return Plan(tuple(claimed.patches))
    active = [pod for pod in claimed.owned if is_active(pod)]
    actions: list[Action] = list(claimed.patches)
    if not rs.metadata.deletion_timestamp:
        missing = _wanted(rs) - len(active)
        if missing > 0:
            actions.append(Burst([creation(rs, pod_of(rs, _template(rs)))] * min(missing, BURST_MAX), slow_start=True))
        elif missing < 0:
            victims = select_victims(active, min(-missing, BURST_MAX), observed.related_on_node, now)
            actions.append(Burst([deletion(rs, pod) for pod in victims]))

    def after_failure(step: Create | Patch | Delete, error: ApiError) -> Patch | None:
        reason = {Create: "FailedCreate", Delete: "FailedDelete"}.get(type(step))
        return _update(rs, compute_status(rs, active, now, (reason, error.message) if reason else None))

    return Plan(
        tuple(actions),
        status=_update(rs, compute_status(rs, active, now)),
        status_after_failure=after_failure,
        requeue_after_s=_next_available_s(rs, active, now),
    )


def compute_status(rs: AnySet, active: Sequence[Pod], now: float, failure: tuple[str, str] | None = None) -> AnyStatus:
    """Return what the status should say; `failure` is (reason, message) of a step that failed."""
    template_labels = selectors.of_labels(_template(rs).metadata.labels)
    delays = [available_in_s(pod, rs.spec.min_ready_seconds, now) for pod in active]
    conditions: list[Any] = [condition for condition in rs.status.conditions if condition.type != "ReplicaFailure"]
    if failure is not None:
        reason, message = failure
        current = next((known for known in rs.status.conditions if known.type == "ReplicaFailure"), None)
        if current is None or (current.status, current.reason) != ("True", reason):
            since = timestamps.render(now)
            current = _CONDITIONS[rs.kind](
                type="ReplicaFailure", status="True", last_transition_time=since, reason=reason, message=message
            )
        conditions.append(current)
    return msgspec.structs.replace(
        rs.status,
        replicas=len(active),
        fully_labeled_replicas=sum(template_labels.matches(pod.metadata.labels) for pod in active),
        ready_replicas=sum(delay is not None for delay in delays),
        available_replicas=sum(delay == 0.0 for delay in delays),
        observed_generation=rs.metadata.generation,
        conditions=conditions,
    )


def select_victims(active: Sequence[Pod], count: int, related_on_node: Counter[str], now: float) -> list[Pod]:
    """Return the `count` pods whose loss costs least, cheapest first.

    In order: not bound before bound; Pending before Unknown before Running; not ready before ready; lower deletion
    cost; on a node with more related pods; ready for a shorter time; restarted more often; younger. Times are
    compared by their magnitude, so that among pods of about one age the choice is by uid, which is random.
    """

    def cost(pod: Pod) -> tuple[object, ...]:
        since = ready_since(pod)
        created = pod.metadata.creation_timestamp
        restarts = max((status.restart_count for status in pod.status.container_statuses), default=0)
        return (
            bool(pod.spec.node_name),
            {"Pending": 0, "Unknown": 1}.get(pod.status.phase or "Pending", 2),
            is_ready(pod),
            _deletion_cost(pod),
            -related_on_node[pod.spec.node_name],
            _magnitude(now - since) if since is not None else 0,
            -restarts,
            _magnitude(now - timestamps.parse(created)) if created else 0,
            pod.metadata.uid,
        )

    return sorted(active, key=cost)[:count]


def _magnitude(age_s: float) -> int:
    return math.frexp(age_s)[1] if age_s >= 1 else 0


def _deletion_cost(pod: Pod) -> int:
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _wanted(rs: AnySet) -> int:
    return 1 if rs.spec.replicas is None else rs.spec.replicas


def _template(rs: AnySet) -> PodTemplateSpec:
    template = rs.spec.template
    assert template is not None, "refused by validation"
    return template


def _update(rs: AnySet, status: AnyStatus) -> Patch | None:
    return update_status(_RESOURCES[rs.kind], rs, status)


def _next_available_s(rs: AnySet, active: Iterable[Pod], now: float) -> float | None:
    delays = (available_in_s(pod, rs.spec.min_ready_seconds, now) for pod in active)
    waits = [delay for delay in delays if delay]
    # Timestamps are whole seconds: look just after, not just before.
    return min(waits) + 0.1 if waits else None


_RESOURCES: dict[str, Resource[Any]] = {
    each.kind: each for each in (replicasets.RESOURCE, replicationcontrollers.RESOURCE)
}
_CONDITIONS: dict[str, Any] = {
    replicasets.RESOURCE.kind: ReplicaSetCondition,
    replicationcontrollers.RESOURCE.kind: ReplicationControllerCondition,
}


def _controller(name: str, resource: Resource[Any]) -> Controller[Any, Observed]:
    return Controller(
        name=name,
        resource=resource,
        observe=partial(observe, resource),
        reconcile=reconcile,
        indexes={BY_CONTROLLER: index_by_controller},
        watches=(watch_owned(pods.RESOURCE, resource),),
        workers=8,
    )


CONTROLLER = _controller("replicaset-controller", replicasets.RESOURCE)
REPLICATION_CONTROLLER = _controller("replication-controller", replicationcontrollers.RESOURCE)
