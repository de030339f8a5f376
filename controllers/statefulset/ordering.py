"""The next step of a StatefulSet: which pods are made, replaced or removed now, and which must wait for others. Pure.

OrderedReady does one thing at a time: pods come up in the order of their numbers, each once those before it are
available, and go in the reverse order; one that is not well stops everything behind it. Parallel starts and stops all
at once. Updates are in order either way, from the highest number down to the partition, each pod after the last one is
well again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from api.apps.controllerrevision import ControllerRevision
from api.apps.statefulset import StatefulSet
from api.core import pod as pods
from api.core.pod import Pod
from api.errors import ApiError
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import Action, Burst, Create, Delete, Emit, Patch
from controllers.pods import available_in_s, is_finished, is_ready
from controllers.revisions import template_of
from controllers.statefulset import storage
from controllers.statefulset.identity import (
    first_ordinal,
    identity_labels,
    make_pod,
    ordinal_of,
    ordinals,
    revision_of,
)
from controllers.statefulset.storage import Claims


@dataclass(frozen=True, slots=True)
class Situation:
    """A StatefulSet in the middle of its life."""

    sts: StatefulSet
    current: ControllerRevision
    """What pods below the partition are made from."""
    update: ControllerRevision
    """What the template is now."""
    pods: Sequence[Pod]
    claims: Claims
    now: float


@dataclass(slots=True)
class Steps:
    """What to do now, in this order."""

    events: list[Emit] = field(default_factory=list)
    fixes: list[Patch] = field(default_factory=list)
    claims: list[Create] = field(default_factory=list)
    creations: list[Create] = field(default_factory=list)
    deletions: list[Delete] = field(default_factory=list)
    waits_for_claim: bool = False

    def actions(self) -> list[Action]:
        """Return them as actions; pods are made once their claims are, and the lowest first."""
        bursts = [
            Burst(self.fixes),
            Burst(self.claims),
            Burst(self.creations, slow_start=True),
            Burst(self.deletions),
        ]
        return [*self.events, *(burst for burst in bursts if burst.steps)]


def is_running_and_ready(pod: Pod) -> bool:
    """Return whether a pod runs and its Ready condition is True."""
    return pod.status.phase == "Running" and is_ready(pod)


def is_available(sts: StatefulSet, pod: Pod, now: float) -> bool:
    """Return whether a pod has been ready for long enough."""
    return pod.status.phase == "Running" and available_in_s(pod, sts.spec.min_ready_seconds, now) == 0.0


def _is_healthy(pod: Pod) -> bool:
    return is_running_and_ready(pod) and not pod.metadata.deletion_timestamp


def plan_steps(at: Situation) -> Steps:
    """Decide what to do now."""
    steps = Steps()
    is_ordered = at.sts.spec.pod_management_policy != "Parallel"
    numbered = {number: pod for pod in at.pods if (number := ordinal_of(at.sts, pod)) is not None}
    for ordinal in ordinals(at.sts):
        if _bring_up(at, steps, ordinal, numbered.get(ordinal), is_ordered=is_ordered) and is_ordered:
            return steps
    condemned = sorted((number for number in numbered if number not in ordinals(at.sts)), reverse=True)
    for ordinal in condemned:
        pod = numbered[ordinal]
        steps.fixes += storage.retention(at.sts, ordinal, pod, at.claims, is_condemned=True)
    if _take_down(at, steps, [numbered[ordinal] for ordinal in condemned], is_ordered=is_ordered):
        return steps
    if at.sts.spec.update_strategy.type == "RollingUpdate":
        _update(at, steps, numbered)
    return steps


def _bring_up(at: Situation, steps: Steps, ordinal: int, pod: Pod | None, *, is_ordered: bool) -> bool:
    """See to one pod there should be; return whether those behind it must wait."""
    sts = at.sts
    if pod is None:
        if storage.is_leaving(sts, ordinal, at.claims):
            steps.waits_for_claim = True
            return True
        steps.claims += storage.missing(sts, ordinal, at.claims)
        steps.creations.append(_creation(sts, _versioned(at, ordinal)))
        return True
    if is_finished(pod):
        if not pod.metadata.deletion_timestamp:
            reason = "RecreatingFailedPod" if pod.status.phase == "Failed" else "RecreatingTerminatedPod"
            text = f"StatefulSet {sts.metadata.namespace}/{sts.metadata.name} is recreating {pod.status.phase.lower()}"
            steps.events.append(Emit(sts, WARNING, reason, f"{text} Pod {pod.metadata.name}"))
            steps.deletions.append(_deletion(sts, pod))
        return True
    if pod.status.phase == "Pending":
        steps.claims += storage.missing(sts, ordinal, at.claims)
    if is_ordered and (pod.metadata.deletion_timestamp or not is_available(sts, pod, at.now)):
        return True
    labels = identity_labels(sts, ordinal)
    if not labels.items() <= pod.metadata.labels.items():
        change = {"uid": pod.metadata.uid, "labels": labels}
        steps.fixes.append(Patch(pods.RESOURCE, key_of(pod), {"metadata": change}))
    steps.fixes += storage.retention(sts, ordinal, pod, at.claims, is_condemned=False)
    return False


def _take_down(at: Situation, steps: Steps, condemned: Sequence[Pod], *, is_ordered: bool) -> bool:
    """Remove pods there should not be, the highest first; return whether everything else must wait."""
    # The replicas are all well when it is their turn in order, so only a condemned pod can be the first that is not.
    first_unhealthy = next((pod for pod in reversed(condemned) if not _is_healthy(pod)), None)
    for pod in condemned:
        if pod.metadata.deletion_timestamp:
            if is_ordered:
                return True
            continue
        if is_ordered and not is_available(at.sts, pod, at.now) and pod is not first_unhealthy:
            return True
        steps.deletions.append(_deletion(at.sts, pod))
        if is_ordered:
            return True
    return False


def _update(at: Situation, steps: Steps, numbered: Mapping[int, Pod]) -> None:
    """Delete the highest pod that is not of the new version, unless one above it is still coming up."""
    leaving = {step.uid for step in steps.deletions}
    floor = first_ordinal(at.sts) + _partition(at.sts)
    for ordinal in reversed(ordinals(at.sts)):
        pod = numbered.get(ordinal)
        if ordinal < floor or pod is None or pod.metadata.uid in leaving:
            return
        if revision_of(pod) != at.update.metadata.name and not pod.metadata.deletion_timestamp:
            steps.deletions.append(_deletion(at.sts, pod))
            return
        if not _is_healthy(pod):
            return


def _partition(sts: StatefulSet) -> int:
    rolling = sts.spec.update_strategy.rolling_update
    return (rolling.partition or 0) if rolling is not None else 0


def _versioned(at: Situation, ordinal: int) -> Pod:
    """Return the pod of that number, of the version it shall have."""
    is_old = at.sts.spec.update_strategy.type == "RollingUpdate" and ordinal < first_ordinal(at.sts) + _partition(
        at.sts
    )
    revision = at.current if is_old else at.update
    template = template_of(at.current) if is_old else at.sts.spec.template
    return make_pod(at.sts, template, revision.metadata.name, ordinal)


def _creation(sts: StatefulSet, pod: Pod) -> Create:
    done, failed = _told(sts, "create", pod.metadata.name)
    return Create(pods.RESOURCE, pod, done=lambda made: done, failed=failed)


def _deletion(sts: StatefulSet, pod: Pod) -> Delete:
    done, failed = _told(sts, "delete", pod.metadata.name)
    return Delete(pods.RESOURCE, key_of(pod), pod.metadata.uid, done=done, failed=failed)


def _told(sts: StatefulSet, verb: str, name: str) -> tuple[Emit, Callable[[ApiError], Emit]]:
    """Return the event of a step that succeeded, and of one that failed."""
    text, reason = f"{verb} Pod {name} in StatefulSet {sts.metadata.name}", verb.capitalize()

    def failed(error: ApiError) -> Emit:
        return Emit(sts, WARNING, f"Failed{reason}", f"{text} failed error: {error.message}")

    return Emit(sts, NORMAL, f"Successful{reason}", f"{text} successful"), failed
