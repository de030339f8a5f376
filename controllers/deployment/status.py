"""How a rollout is getting on: counts, and the conditions Available, Progressing and ReplicaFailure.

Progressing is what `kubectl rollout status` waits on. It is True while counts move and once all is done
(NewReplicaSetAvailable), and False when nothing has moved for progressDeadlineSeconds. Its lastUpdateTime is the last
time anything moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from api import timestamps
from api.apps.deployment import Deployment, DeploymentCondition, DeploymentStatus
from api.apps.replicaset import ReplicaSet
from controllers.deployment.rolling import max_unavailable, replicas_of

NO_DEADLINE = 2**31 - 1

FOUND = "FoundNewReplicaSet"
CREATED = "NewReplicaSetCreated"
CREATE_FAILED = "ReplicaSetCreateError"
UPDATED = "ReplicaSetUpdated"
COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"


@dataclass(frozen=True, slots=True)
class Progress:
    """Something worth saying in the Progressing condition."""

    status: str
    reason: str
    message: str


def has_deadline(deployment: Deployment) -> bool:
    """Return whether progress is asked for."""
    return deployment.spec.progress_deadline_seconds not in (None, NO_DEADLINE)


def condition_of(status: DeploymentStatus, type: str) -> DeploymentCondition | None:
    """Return the condition of that type, or None."""
    return next((condition for condition in status.conditions if condition.type == type), None)


def compute_counts(
    deployment: Deployment, new: ReplicaSet | None, everything: Sequence[ReplicaSet], now: float
) -> DeploymentStatus:
    """Return the status with its counts and Available renewed, and its other conditions as they are."""
    available = sum(rs.status.available_replicas for rs in everything)
    status = DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=sum(rs.status.replicas for rs in everything),
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(rs.status.ready_replicas for rs in everything),
        available_replicas=available,
        unavailable_replicas=max(0, sum(map(replicas_of, everything)) - available),
        conditions=list(deployment.status.conditions),
        collision_count=deployment.status.collision_count,
    )
    if available >= replicas_of(deployment) - max_unavailable(deployment):
        found = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        found = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    set_condition(status, "Available", *found, now)
    return status


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Return whether all pods wanted are new and available, and no others are left."""
    wanted = replicas_of(deployment)
    return (
        status.updated_replicas == status.replicas == status.available_replicas == wanted
        and status.observed_generation >= deployment.metadata.generation
    )


def add_progress(
    deployment: Deployment,
    status: DeploymentStatus,
    new: ReplicaSet | None,
    everything: Sequence[ReplicaSet],
    progress: Progress | None,
    now: float,
) -> None:
    """Set Progressing and ReplicaFailure in `status`; `progress` is what this turn itself did."""
    if not has_deadline(deployment):
        status.conditions = [condition for condition in status.conditions if condition.type != "Progressing"]
    else:
        if progress is not None:
            set_condition(status, "Progressing", progress.status, progress.reason, progress.message, now)
        current = condition_of(status, "Progressing")
        settled = (
            status.replicas == status.updated_replicas and current is not None and current.reason == COMPLETE
        )  # Whatever becomes of pods after the rollout is not the rollout's matter.
        if not settled:
            _judge(deployment, status, new, now)
    failures = [
        condition
        for rs in [*([new] if new is not None else []), *everything]
        for condition in rs.status.conditions
        if condition.type == "ReplicaFailure"
    ]
    if failures:
        first = failures[0]
        set_condition(status, "ReplicaFailure", first.status, first.reason, first.message, now)
    else:
        status.conditions = [condition for condition in status.conditions if condition.type != "ReplicaFailure"]


def _judge(deployment: Deployment, status: DeploymentStatus, new: ReplicaSet | None, now: float) -> None:
    name = f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{deployment.metadata.name}"'
    if is_complete(deployment, status):
        set_condition(status, "Progressing", "True", COMPLETE, f"{name} has successfully progressed.", now)
    elif _has_moved(deployment.status, status):
        set_condition(status, "Progressing", "True", UPDATED, f"{name} is progressing.", now, renew=True)
    elif _deadline_in_s(deployment, status, now) == 0.0:
        set_condition(status, "Progressing", "False", TIMED_OUT, f"{name} has timed out progressing.", now)


def _has_moved(old: DeploymentStatus, new: DeploymentStatus) -> bool:
    return (
        new.updated_replicas > old.updated_replicas
        or new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        or new.ready_replicas > old.ready_replicas
        or new.available_replicas > old.available_replicas
    )


def _deadline_in_s(deployment: Deployment, status: DeploymentStatus, now: float) -> float | None:
    """Return in how many seconds the rollout times out; 0 if it has, None if it cannot."""
    condition = condition_of(status, "Progressing")
    if not has_deadline(deployment) or condition is None or condition.reason in (COMPLETE, PAUSED):
        return None
    if condition.reason == TIMED_OUT:
        return 0.0
    since = timestamps.parse(condition.last_update_time) if condition.last_update_time else now
    assert deployment.spec.progress_deadline_seconds is not None
    return max(0.0, since + deployment.spec.progress_deadline_seconds - now)


def next_look_s(deployment: Deployment, status: DeploymentStatus, now: float) -> float | None:
    """Return when to look again lest the deadline pass unnoticed."""
    left_s = _deadline_in_s(deployment, status, now)
    return left_s + 1.0 if left_s else None


def pause_progress(deployment: Deployment) -> Progress | None:
    """Return what to say about a pause that began or ended and was not told yet."""
    current = condition_of(deployment.status, "Progressing")
    if not has_deadline(deployment) or (current is not None and current.reason == TIMED_OUT):
        return None
    told = current is not None and current.reason == PAUSED
    if deployment.spec.paused and not told:
        return Progress("Unknown", PAUSED, "Deployment is paused")
    if not deployment.spec.paused and told:
        return Progress("Unknown", RESUMED, "Deployment is resumed")
    return None


def set_condition(
    status: DeploymentStatus,
    type: str,
    value: str,
    reason: str,
    message: str,
    now: float,
    *,
    renew: bool = False,
) -> None:
    """Set a condition in a status of our own making; one of the same status and reason stays, unless `renew`."""
    current = condition_of(status, type)
    if current is not None and (current.status, current.reason) == (value, reason) and not renew:
        return
    stamp = timestamps.render(now)
    made = DeploymentCondition(
        type=type,
        status=value,
        last_update_time=stamp,
        last_transition_time=stamp,
        reason=reason,
        message=message,
    )
    if current is not None and current.status == value:
        made = msgspec.structs.replace(made, last_transition_time=current.last_transition_time)
    status.conditions = [*(known for known in status.conditions if known.type != type), made]
