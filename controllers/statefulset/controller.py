"""Decides the next step of a StatefulSet: its revision, then its pods and their claims, then what the status says.

Reads the StatefulSet, its pods, its revisions and the claims of its namespace; creates and deletes pods, creates
claims and says who owns them, and keeps revisions. Names of everything it makes follow from the set's, so a repeated
create meets AlreadyExists. Pods are never changed but for the labels that say which one they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from api import selectors
from api.apps import controllerrevision as controllerrevisions
from api.apps import statefulset as statefulsets
from api.apps.controllerrevision import ControllerRevision
from api.apps.statefulset import StatefulSet, StatefulSetStatus
from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.resource import ObjectKey
from controllers import revisions
from controllers.actions import NOTHING, Plan, update_status
from controllers.ownership import (
    candidates,
    claim,
    controller_of,
)
from controllers.pods import available_in_s
from controllers.runner import Controller, Listers, Watch, watch_owned
from controllers.statefulset import storage
from controllers.statefulset.identity import ordinal_of, ordinals, revision_of, wanted
from controllers.statefulset.ordering import Situation, is_available, is_running_and_ready, plan_steps

HASH_LABEL = "controller.kubernetes.io/hash"
"""On revisions; pods carry the revision's whole name."""
CLAIM_RETRY_S = 1.0
"""How soon to look again for a claim that must go before a pod can come."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A StatefulSet and what matters to it."""

    sts: StatefulSet
    pods: Sequence[Pod]
    """Pods it controls, and orphans of its namespace that have a name of its pods."""
    revisions: Sequence[ControllerRevision]
    """Revisions it controls, and orphans of its namespace."""
    name_holder: ControllerRevision | None
    """Who has the name that a new revision would get."""
    claims: Mapping[str, PersistentVolumeClaim]
    """Claims of its pods, by name."""


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the StatefulSet, its pods, its revisions and its claims."""
    sts = listers[statefulsets.RESOURCE].get(key)
    if sts is None:
        return None
    store = listers[controllerrevisions.RESOURCE]
    found = [
        pod
        for pod in candidates(listers[pods.RESOURCE], sts)
        if ordinal_of(sts, pod) is not None or controller_of(pod) is not None
    ]
    numbers = {*ordinals(sts), *(ordinal_of(sts, pod) for pod in found)} - {None}
    names = [name for number in numbers if number is not None for name in storage.names_of(sts, number)]
    present = {name: listers[claims.RESOURCE].get(ObjectKey(key.namespace, name)) for name in names}
    return Observed(
        sts,
        found,
        candidates(store, sts),
        store.get(ObjectKey(key.namespace, revisions.name_of(sts))),
        {name: each for name, each in present.items() if each is not None},
    )


def reconcile(observed: Observed, now: float) -> Plan:
    """Decide one step."""
    sts = observed.sts
    selector = selectors.of_label_selector(sts.spec.selector)
    if selector.matches_everything or selector.matches_nothing or sts.metadata.deletion_timestamp:
        return NOTHING
    ours = claim(statefulsets.RESOURCE, sts, selector, controllerrevisions.RESOURCE, observed.revisions)
    if ours.patches:
        return Plan(tuple(ours.patches))
    history = revisions.settle(sts, ours.owned, observed.name_holder, lambda hash: {HASH_LABEL: hash})
    if history.is_name_taken:
        status = msgspec.structs.replace(sts.status, collision_count=(sts.status.collision_count or 0) + 1)
        return Plan(status=update_status(statefulsets.RESOURCE, sts, status, checked=True))
    update = history.current
    if update is None:
        return Plan((history.step,) if history.step is not None else ())
    claimed = claim(statefulsets.RESOURCE, sts, selector, pods.RESOURCE, observed.pods)
    if claimed.patches:
        return Plan(tuple(claimed.patches))
    current = next((each for each in ours.owned if each.metadata.name == sts.status.current_revision), update)
    at = Situation(sts, current, update, claimed.owned, observed.claims, now)
    steps = plan_steps(at)
    live = {current.metadata.name, update.metadata.name, *map(revision_of, claimed.owned)}
    unused = [each for each in history.others if each.metadata.name not in live]
    limit = 10 if sts.spec.revision_history_limit is None else sts.spec.revision_history_limit
    surplus = len(unused) - limit if limit >= 0 else 0  # Less than none is no limit.
    delays = [available_in_s(pod, sts.spec.min_ready_seconds, now) for pod in claimed.owned]
    # Timestamps are whole seconds: look just after, not just before.
    waits = [delay + 0.1 for delay in delays if delay] + [CLAIM_RETRY_S] * steps.waits_for_claim
    return Plan(
        (*steps.actions(), *revisions.forget(unused, surplus)),
        status=update_status(statefulsets.RESOURCE, sts, compute_status(at)),
        requeue_after_s=min(waits, default=None),
    )


def compute_status(at: Situation) -> StatefulSetStatus:
    """Return what the status should say; an update that has reached every pod becomes the current version."""
    sts, total = at.sts, wanted(at.sts)
    current, update = at.current.metadata.name, at.update.metadata.name
    living = [revision_of(pod) for pod in at.pods if not pod.metadata.deletion_timestamp]
    ready = sum(map(is_running_and_ready, at.pods))
    status = msgspec.structs.replace(
        sts.status,
        observed_generation=sts.metadata.generation,
        replicas=len(at.pods),
        ready_replicas=ready,
        available_replicas=sum(is_available(sts, pod, at.now) for pod in at.pods),
        current_replicas=living.count(current),
        updated_replicas=living.count(update),
        current_revision=current,
        update_revision=update,
        collision_count=sts.status.collision_count or 0,
    )
    is_rolling = sts.spec.update_strategy.type == "RollingUpdate"
    if is_rolling and status.updated_replicas == status.ready_replicas == status.replicas == total:
        status.current_replicas, status.current_revision = status.updated_replicas, update
    return status


CONTROLLER: Controller[StatefulSet, Observed] = Controller(
    name="statefulset-controller",
    resource=statefulsets.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    watches=(
        watch_owned(pods.RESOURCE, statefulsets.RESOURCE),
        watch_owned(controllerrevisions.RESOURCE, statefulsets.RESOURCE),
        Watch(resource=claims.RESOURCE),
    ),
)
