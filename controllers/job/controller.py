"""Runs a Job: reads it and its pods, makes and removes pods, counts how they end, and says when it is over.

Pods keep a finalizer until their end is in the Job's status (see `counting.py`), so a pod that is deleted, even while
no controller runs, is counted all the same; the finalizer comes off pods whose Job has gone. Names of pods are random:
the freshness gate prevents twins. Jobs that say they are managed by somebody else are left alone (KEP-4368).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from api import selectors, timestamps
from api.batch import job as jobs
from api.batch.job import Job, JobCondition, JobStatus
from api.core import pod as pods
from api.core.pod import Pod
from api.resource import ObjectKey
from api.selectors import Selector
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import Action, Burst, Create, Delete, Emit, Patch, Plan, update_status
from controllers.conditions import with_condition
from controllers.job.backoff import Failures, Memory
from controllers.job.counting import FINALIZER, Counts, count, is_indexed
from controllers.job.indexes import render
from controllers.job.making import Change, plan_pods
from controllers.job.outcome import ENDED, Outcome, condition_of, decide
from controllers.ownership import (
    BY_CONTROLLER,
    ORPHANS,
    claim,
    controller_of,
    index_by_controller,
    index_orphans,
    keys_of_owned,
)
from controllers.pod_making import creation, deletion
from controllers.pods import is_ready
from controllers.runner import Controller, Listers, Watch

MANAGER = "kubernetes.io/job-controller"
BY_JOB_NAME = "job name"
_keys_of_owned = keys_of_owned(jobs.RESOURCE)


@dataclass(frozen=True, slots=True)
class Observed:
    """A Job, or none where it has gone, and the pods that matter to it."""

    job: Job | None
    candidates: Sequence[Pod]
    """Pods it controls, and orphans of its namespace; of a Job that has gone, those it left."""
    failures: Failures = Failures()
    """Of all pods that it has had."""


def observe(key: ObjectKey, listers: Listers, memory: Memory) -> Observed | None:
    """Read the Job and its pods, and remember how these ended."""
    job = listers[jobs.RESOURCE].get(key)
    store = listers[pods.RESOURCE]
    left = [pod for pod in store.by_index(BY_JOB_NAME, str(key)) if FINALIZER in pod.metadata.finalizers]
    if job is None or condition_of(job, *ENDED.values()) is not None:
        memory.forget(key)
    if job is None:
        return Observed(None, left) if left else None
    if job.spec.managed_by not in (None, MANAGER):
        return None
    mine = store.by_index(BY_CONTROLLER, job.metadata.uid)
    known = [*mine, *store.by_index(ORPHANS, key.namespace)]
    seen = {pod.metadata.uid for pod in known}
    everything = [*known, *(pod for pod in left if pod.metadata.uid not in seen)]
    if condition_of(job, *ENDED.values()) is not None:
        return Observed(job, everything)
    return Observed(job, everything, memory.note(job, mine))


def reconcile(observed: Observed, now: float) -> Plan:
    """Count, decide, make or remove pods, and tell in the status."""
    job = observed.job
    if job is None:
        return Plan((Burst(_releases(observed.candidates)),))
    selector = selectors.of_label_selector(job.spec.selector)
    claimed = claim(jobs.RESOURCE, job, selector, pods.RESOURCE, observed.candidates)
    if any(patch.guard is not None for patch in claimed.patches):
        return Plan(tuple(claimed.patches))  # Count again once the adopted are ours.
    strangers = [pod for pod in observed.candidates if _is_left_alone(job, selector, pod)]
    actions: list[Action] = [*claimed.patches]
    if condition_of(job, *ENDED.values()) is not None:
        strangers += [pod for pod in claimed.owned if FINALIZER in pod.metadata.finalizers]
        return Plan((*actions, *_burst(_releases(strangers))))
    actions += _burst(_releases(strangers))
    counts = count(job, claimed.owned)
    outcome = decide(job, counts, now)
    if outcome is not None:
        counts = count(job, claimed.owned, is_over=True)
    change = Change()
    if outcome is None and not job.metadata.deletion_timestamp:
        change = plan_pods(job, counts, claimed.owned, observed.failures, now)
    status = compute_status(job, counts, outcome, now)
    written = update_status(jobs.RESOURCE, job, status, checked=True)
    if counts.releasable:
        # What the pods were must be written down before they may go.
        actions += [written] if written is not None else []
        written = None
        actions.append(Burst(_releases(counts.releasable)))
    if outcome is not None:
        actions += _burst([deletion(job, pod) for pod in counts.active])
    removed = [*change.removed]
    actions += _burst(_releases(removed)) + _burst([deletion(job, pod) for pod in removed])
    if change.made:
        actions.append(Burst([creation(job, msgspec.structs.replace(pod)) for pod in change.made], slow_start=True))
    actions += _events(job, status)
    return Plan(tuple(actions), status=written, requeue_after_s=_next_look_s(job, change, now))


def compute_status(job: Job, counts: Counts, outcome: Outcome | None, now: float) -> JobStatus:
    """Return what the status should say."""
    old, moment = job.status, timestamps.render(now)
    conditions, started = list(old.conditions), old.start_time
    suspended = next((one for one in conditions if one.type == "Suspended"), None)
    if outcome is None and job.spec.suspend:
        conditions = _with(conditions, "Suspended", "True", "JobSuspended", "Job suspended", now)
        started = ""
    elif not started or (suspended is not None and suspended.status == "True" and outcome is None):
        if suspended is not None and suspended.status == "True":
            conditions = _with(conditions, "Suspended", "False", "JobResumed", "Job resumed", now)
        started = moment
    completed_at, uncounted = "", counts.uncounted
    if outcome is not None:
        conditions = _with(conditions, outcome.type, "True", outcome.reason, outcome.message, now)
        if counts.is_settled and not counts.active and not counts.terminating:
            ended = ENDED[outcome.type]
            conditions = _with(conditions, ended, "True", outcome.reason, outcome.message, now)
            # Never before its start, even if that was told by a clock ahead of ours: the server takes no such time.
            completed_at = max(moment, started) if ended == "Complete" else ""
    indexed = is_indexed(job)
    failed_indexes = None
    if indexed and job.spec.backoff_limit_per_index is not None:
        failed_indexes = render(counts.failed_indexes)
    return JobStatus(
        conditions=conditions,
        start_time=started,
        completion_time=completed_at,
        active=len(counts.active),
        ready=sum(map(is_ready, counts.active)),
        terminating=counts.terminating,
        succeeded=counts.counted_succeeded,
        failed=counts.counted_failed,
        completed_indexes=render(counts.completed) if indexed else "",
        failed_indexes=failed_indexes,
        uncounted_terminated_pods=uncounted,
    )


def _with(
    conditions: list[JobCondition], type: str, status: str, reason: str, message: str, now: float
) -> list[JobCondition]:
    known = next((one for one in conditions if one.type == type), None)
    if known is not None and known.status == status:
        return conditions
    wanted = JobCondition(
        type=type, status=status, reason=reason, message=message, last_probe_time=timestamps.render(now)
    )
    return with_condition(conditions, wanted, now)


def _events(job: Job, status: JobStatus) -> list[Action]:
    """Tell of every condition that is new."""
    told: list[Action] = []
    had = {(one.type, one.status) for one in job.status.conditions}
    for one in status.conditions:
        if (one.type, one.status) in had:
            continue
        match one.type:
            case "Complete":
                told.append(Emit(job, NORMAL, "Completed", "Job completed"))
            case "Failed":
                told.append(Emit(job, WARNING, one.reason, one.message))
            case "Suspended":
                told.append(Emit(job, NORMAL, "Suspended" if one.status == "True" else "Resumed", one.message))
    return told


def _next_look_s(job: Job, change: Change, now: float) -> float | None:
    waits = [change.wait_s] if change.wait_s is not None else []
    deadline_s = job.spec.active_deadline_seconds
    if deadline_s is not None and job.status.start_time and not job.spec.suspend:
        waits.append(max(0.0, timestamps.parse(job.status.start_time) + deadline_s - now))
    return min(waits) + 0.1 if waits else None


def _is_left_alone(job: Job, selector: Selector, pod: Pod) -> bool:
    """Whether nobody will count a pod: its Job has gone, or let go of it."""
    if FINALIZER not in pod.metadata.finalizers:
        return False
    owner = controller_of(pod)
    if owner is not None:
        return owner.kind == "Job" and owner.name == job.metadata.name and owner.uid != job.metadata.uid
    return _job_label(pod) == job.metadata.name and (
        bool(job.metadata.deletion_timestamp) or not selector.matches(pod.metadata.labels)
    )


def _job_label(pod: Pod) -> str:
    labels = pod.metadata.labels
    return labels.get("batch.kubernetes.io/job-name") or labels.get("job-name") or ""


def _burst(steps: Sequence[Create | Patch | Delete]) -> list[Action]:
    return [Burst(steps)] if steps else []


def _releases(found: Iterable[Pod]) -> list[Create | Patch | Delete]:
    steps: list[Create | Patch | Delete] = []
    for pod in found:
        rest = [name for name in pod.metadata.finalizers if name != FINALIZER]
        change: dict[str, Any] = {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version}
        if len(rest) < len(pod.metadata.finalizers):
            steps.append(Patch(pods.RESOURCE, key_of(pod), {"metadata": change | {"finalizers": rest or None}}))
    return steps


def index_by_job_name(pod: Pod) -> Iterable[str]:
    """Index pods by the name of the Job that controls them, or did before it let them go."""
    owner = controller_of(pod)
    if owner is not None:
        return (f"{pod.metadata.namespace}/{owner.name}",) if owner.kind == "Job" else ()
    return (f"{pod.metadata.namespace}/{_job_label(pod)}",) if FINALIZER in pod.metadata.finalizers else ()


def keys_of_pod(pod: Pod, listers: Listers) -> Iterable[ObjectKey]:
    """Map a pod to its Job, or an orphan to those that could adopt it, and to the one that must let it go."""
    if controller_of(pod) is None and FINALIZER in pod.metadata.finalizers:
        yield ObjectKey(pod.metadata.namespace, _job_label(pod))
    yield from _keys_of_owned(pod, listers)


def controller() -> Controller[Job, Observed]:
    """Return the controller, with a memory of its own."""
    memory = Memory()
    return Controller(
        name="job-controller",
        resource=jobs.RESOURCE,
        observe=lambda key, listers: observe(key, listers, memory),
        reconcile=reconcile,
        watches=(
            Watch(
                resource=pods.RESOURCE,
                keys=keys_of_pod,
                indexes={
                    BY_CONTROLLER: index_by_controller,
                    ORPHANS: index_orphans,
                    BY_JOB_NAME: index_by_job_name,
                },
            ),
        ),
        workers=8,
    )
