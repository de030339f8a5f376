"""Works out how many pods of each PodDisruptionBudget may be taken away now.

What should be there comes from the pods' owners (their `scale`, so custom kinds count, too), what is there from the
pods. Evictions spend what stands in the status, and note there whom they took; such a pod counts as gone from that
moment, and comes off the list when it is gone, or when it still is not after two minutes. A dialogue with the server,
for the scale of owners that no cache shows. When it cannot be found how many pods there should be, none may be taken
away.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from api import timestamps
from api.apiextensions import customresourcedefinition as crds
from api.apps import deployment as deployments
from api.apps import replicaset as replicasets
from api.apps import statefulset as statefulsets
from api.autoscaling.scale import Scale
from api.core import pod as pods
from api.core import replicationcontroller as replicationcontrollers
from api.core.pod import Pod
from api.discover import by_kind
from api.errors import ApiError, MethodNotAllowed, NotFound
from api.meta import Condition, OwnerReference
from api.policy import poddisruptionbudget as budgets
from api.policy.poddisruptionbudget import PodDisruptionBudget, PodDisruptionBudgetStatus
from api.resource import ObjectKey, Resource
from api.selectors import BadSelector, go_string, of_label_selector
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import Emit, update_status
from controllers.conditions import with_condition
from controllers.custom_kinds import handles_of
from controllers.ownership import controller_of
from controllers.pods import is_ready
from controllers.runner import Context, Dialogue, Listers, Watch
from controllers.shares import resolve

DELETION_S: Final = 120.0
"""How long a pod that was evicted may take to start going."""
LOOK_AGAIN_S: Final = 10.0
"""When owners could not be read."""
ALLOWED: Final = "DisruptionAllowed"

_CACHED: Final[Mapping[tuple[str, str], Resource[Any]]] = {
    (kind.api_version, kind.kind): kind
    for kind in (
        deployments.RESOURCE,
        replicasets.RESOURCE,
        replicationcontrollers.RESOURCE,
        statefulsets.RESOURCE,
    )
}


_SOURCE: Final = "controllermanager"
"""Who budgets' events come from: this controller has no name of its own there (as upstream)."""
_UNMANAGED: Final = (
    "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the "
    "status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these "
    'pods please set ".spec.minAvailable" field of the PDB to an integer value.'
)


class NoScale(Exception):
    """It cannot be found how many pods there should be."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A budget, its pods, and how many there should be."""

    budget: PodDisruptionBudget
    pods: Sequence[Pod]
    scale: int
    """Of the pods' owners, in all."""


def compute_status(counted: Counted, now: float) -> PodDisruptionBudgetStatus:
    """Return what the budget's status should say."""
    budget, spec = counted.budget, counted.budget.spec
    if spec.max_unavailable is not None:
        expected = counted.scale
        desired = max(0, expected - resolve(spec.max_unavailable, expected, round_up=True))
    elif isinstance(spec.min_available, str):
        expected = counted.scale
        desired = resolve(spec.min_available, expected, round_up=True)
    else:
        expected, desired = len(counted.pods), spec.min_available or 0
    disrupted = still_disrupted(budget, counted.pods, now)
    healthy = sum(
        is_ready(pod) and not pod.metadata.deletion_timestamp and pod.metadata.name not in disrupted
        for pod in counted.pods
    )
    allowed = max(0, healthy - desired) if expected > 0 else 0
    return PodDisruptionBudgetStatus(
        observed_generation=budget.metadata.generation,
        disrupted_pods=disrupted,
        disruptions_allowed=allowed,
        current_healthy=healthy,
        desired_healthy=desired,
        expected_pods=expected,
        conditions=_told(budget, allowed > 0, "SufficientPods" if allowed > 0 else "InsufficientPods", "", now),
    )


def still_disrupted(budget: PodDisruptionBudget, found: Sequence[Pod], now: float) -> dict[str, str]:
    """Return who was evicted, is there, and has not begun to go."""
    staying = {pod.metadata.name for pod in found if not pod.metadata.deletion_timestamp}
    return {
        name: since
        for name, since in budget.status.disrupted_pods.items()
        if name in staying and timestamps.parse(since) + DELETION_S > now
    }


def refused_status(budget: PodDisruptionBudget, why: str, now: float) -> PodDisruptionBudgetStatus:
    """Return the status that lets nothing go, since it is not known how much may."""
    conditions = _told(budget, False, "SyncFailed", why, now)
    return msgspec.structs.replace(budget.status, disruptions_allowed=0, conditions=conditions)


def _told(budget: PodDisruptionBudget, allowed: bool, reason: str, message: str, now: float) -> list[Condition]:
    condition = Condition(
        type=ALLOWED,
        status="True" if allowed else "False",
        reason=reason,
        message=message,
        observed_generation=budget.metadata.generation,
    )
    return with_condition(budget.status.conditions, condition, now)


async def reconcile(key: ObjectKey, context: Context) -> float | None:
    """Count, and write down what may go."""
    budget = context.listers[budgets.RESOURCE].get(key)
    if budget is None:
        return None
    now = context.clock.now()
    found = pods_of(budget, context.listers)
    if not found:
        context.emit(Emit(budget, NORMAL, "NoPods", "No matching pods found", _SOURCE))
    requeue_s: float | None = None
    if _needs_scale(budget) and any(controller_of(pod) is None for pod in found):
        context.emit(
            Emit(budget, WARNING, "UnmanagedPods", _UNMANAGED.format(selector=go_string(budget.spec.selector)), _SOURCE)
        )
    try:
        scale = await _scale_of(budget, found, context) if _needs_scale(budget) else 0
        status = compute_status(Counted(budget, found, scale), now)
        requeue_s = _recheck_s(status, now)
        for name in sorted(budget.status.disrupted_pods.keys() - status.disrupted_pods.keys()):
            if any(pod.metadata.name == name and not pod.metadata.deletion_timestamp for pod in found):
                why = f"Pod was expected by PDB {key} to be deleted but it wasn't"
                about = next(pod for pod in found if pod.metadata.name == name)
                context.emit(Emit(about, WARNING, "NotDeleted", why, _SOURCE))
    except NoScale as error:
        why = f"Failed to calculate the number of expected pods: {error}"
        context.emit(Emit(budget, WARNING, "CalculateExpectedPodCountFailed", why, _SOURCE))
        status, requeue_s = refused_status(budget, str(error), now), LOOK_AGAIN_S
    # Evictions write the status as well: what we saw must still be what is there.
    patch = update_status(budgets.RESOURCE, budget, status, checked=True)
    if patch is not None:
        try:
            await context.client.patch(patch.resource, patch.key, patch.patch, subresource=patch.subresource)
        except NotFound:
            return None
    return requeue_s


def pods_of(budget: PodDisruptionBudget, listers: Listers) -> list[Pod]:
    """Return the pods that a budget is about."""
    try:
        selector = of_label_selector(budget.spec.selector)
    except BadSelector:
        return []
    return [
        pod for pod in listers[pods.RESOURCE].list(budget.metadata.namespace) if selector.matches(pod.metadata.labels)
    ]


def _needs_scale(budget: PodDisruptionBudget) -> bool:
    return budget.spec.max_unavailable is not None or isinstance(budget.spec.min_available, str)


def _recheck_s(status: PodDisruptionBudgetStatus, now: float) -> float | None:
    waits = (timestamps.parse(since) + DELETION_S - now for since in status.disrupted_pods.values())
    return min(waits, default=None)


async def _scale_of(budget: PodDisruptionBudget, found: Sequence[Pod], context: Context) -> int:
    """Return how many pods their owners want in all; pods without owner count for nothing.

    Raises:
        NoScale: an owner does not say.
    """
    owners: dict[str, tuple[OwnerReference, str]] = {}
    for pod in found:
        owner = controller_of(pod)
        if owner is not None:
            owners.setdefault(owner.uid, (owner, pod.metadata.name))
    total, seen = 0, set[str]()
    for owner, pod_name in owners.values():
        uid, replicas = await _find_scale(owner, pod_name, budget.metadata.namespace, context)
        if uid not in seen:
            seen.add(uid)
            total += replicas
    return total


async def _find_scale(owner: OwnerReference, pod_name: str, namespace: str, context: Context) -> tuple[str, int]:
    """Return the uid and size of whoever decides how many pods there are: a ReplicaSet's Deployment, if it has one."""
    key = ObjectKey(namespace, owner.name)
    cached = _CACHED.get((owner.api_version, owner.kind))
    if cached is not None:
        obj: Any = context.listers[cached].get(key)
        if obj is None or obj.metadata.uid != owner.uid:
            return owner.uid, 0  # It has gone, and its pods are about to.
        above = controller_of(obj)
        if above is not None and cached is replicasets.RESOURCE and above.kind == "Deployment":
            return await _find_scale(above, pod_name, namespace, context)
        return owner.uid, 1 if obj.spec.replicas is None else int(obj.spec.replicas)
    kind: Resource[Any] | None = by_kind(owner.api_version, owner.kind) or next(
        (
            one
            for crd in context.listers[crds.RESOURCE].list()
            for one in handles_of(crd)
            if (one.api_version, one.kind) == (owner.api_version, owner.kind)
        ),
        None,
    )
    if kind is None:
        raise NoScale(f'found no controllers for pod "{pod_name}"')
    try:
        scale = await context.client.get(dataclasses.replace(kind, type=Scale), key, subresource="scale")
    except (NotFound, MethodNotAllowed):
        raise NoScale(f"{kind} does not implement the scale subresource") from None
    except ApiError as error:
        raise NoScale(error.message) from error
    return owner.uid, scale.spec.replicas


def keys_of_pod(pod: Pod, listers: Listers) -> Iterable[ObjectKey]:
    """Map a pod to the budgets that are about it."""
    for budget in listers[budgets.RESOURCE].list(pod.metadata.namespace):
        try:
            if of_label_selector(budget.spec.selector).matches(pod.metadata.labels):
                yield key_of(budget)
        except BadSelector:
            continue


def keys_of_owner(owner: Any, listers: Listers) -> Iterable[ObjectKey]:
    """Map what makes pods to the budgets of its namespace that count what it wants."""
    for budget in listers[budgets.RESOURCE].list(owner.metadata.namespace):
        if _needs_scale(budget):
            yield key_of(budget)


CONTROLLER: Dialogue[PodDisruptionBudget] = Dialogue(
    name="disruption-controller",
    resource=budgets.RESOURCE,
    reconcile=reconcile,
    watches=(
        Watch(resource=pods.RESOURCE, keys=keys_of_pod),
        Watch(resource=crds.RESOURCE),
        *(Watch(resource=kind, keys=keys_of_owner) for kind in _CACHED.values()),
    ),
)
