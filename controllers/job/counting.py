"""What has become of a Job's pods: each is counted once, though pods and the controller may vanish at any time. Pure.

A pod carries a finalizer until its end is written down. First its uid is put into `uncountedTerminatedPods` in the
Job's status, then its finalizer is taken off, then, once the pod is seen without it, the uid becomes a number
(KEP-2307). Pods of an indexed Job that succeeded are known by their index, which needs no such list.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from api import timestamps
from api.batch.job import Job, UncountedTerminatedPods
from api.batch.job_policies import PodFailurePolicyRule
from api.core.pod import Pod
from api.core.pod_status import ContainerStatus
from controllers.job.indexes import index_of, parse
from controllers.pods import is_finished

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
UNCOUNTED_MAX = 500
"""How many pods are counted in one turn at most: the status has a limited size."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is, and what has been."""

    active: Sequence[Pod]
    """Running or about to, and not being deleted."""
    terminating: int
    """Being deleted, and still running."""
    succeeded: int
    failed: int
    """All that ever were, counted or about to be."""
    completed: frozenset[int]
    failed_indexes: frozenset[int]
    uncounted: UncountedTerminatedPods
    counted_succeeded: int
    counted_failed: int
    """Those that are numbers by now."""
    releasable: Sequence[Pod]
    """Pods whose end is written down, or is once `uncounted` is, and which still have the finalizer."""
    is_settled: bool
    """Whether nothing is left to be counted or released."""
    failing: str
    """Why a pod that failed makes the whole Job fail, or empty."""


def is_indexed(job: Job) -> bool:
    """Return whether each pod has a number."""
    return job.spec.completion_mode == "Indexed"


def completions_of(job: Job) -> int:
    """Return how many pods must succeed; 0 where one that does is enough."""
    return job.spec.completions or 0


def has_failed(job: Job, pod: Pod) -> bool:
    """Return whether a pod counts as failed: those being deleted do at once, unless they shall end first."""
    if pod.status.phase == "Failed":
        return True
    if job.spec.pod_replacement_policy == "Failed":
        return False
    return bool(pod.metadata.deletion_timestamp) and pod.status.phase != "Succeeded"


def count(job: Job, pods: Sequence[Pod], *, is_over: bool = False) -> Counts:
    """Count what the Job's pods are and were; of one that `is_over`, no pod is kept for another to follow it."""
    indexed, limit = is_indexed(job), completions_of(job)
    known = job.status.uncounted_terminated_pods or UncountedTerminatedPods()
    held = {pod.metadata.uid for pod in pods if FINALIZER in pod.metadata.finalizers}
    waiting_succeeded = [uid for uid in known.succeeded if uid in held]
    waiting_failed = [uid for uid in known.failed if uid in held]
    completed = parse(job.status.completed_indexes, limit) if indexed else set[int]()
    failed_indexes = parse(job.status.failed_indexes, limit) if indexed else set[int]()
    counted_succeeded = (
        len(completed) if indexed else job.status.succeeded + len(known.succeeded) - len(waiting_succeeded)
    )
    counted_failed = job.status.failed + len(known.failed) - len(waiting_failed)
    releasable: list[Pod] = []
    kept = set[str]() if is_over or job.metadata.deletion_timestamp else _kept(job, pods, completed, failed_indexes)
    failing, failed_and_kept, room = "", 0, UNCOUNTED_MAX - len(waiting_succeeded) - len(waiting_failed)
    for pod in sorted(pods, key=lambda pod: pod.metadata.uid):
        uid, index = pod.metadata.uid, index_of(pod)
        succeeded, failed = pod.status.phase == "Succeeded", has_failed(job, pod)
        if not succeeded and not failed:
            continue
        if indexed and (index is None or index >= limit):
            releasable += [pod] if uid in held else []
            continue
        is_new = uid in held and uid not in waiting_succeeded and uid not in waiting_failed
        if is_new and room <= 0:
            continue
        if succeeded:
            if indexed and index is not None:
                completed.add(index)
            elif is_new:
                waiting_succeeded.append(uid)
                room -= 1
        elif uid in held:  # else it was counted, or was taken away on purpose
            rule, why = matching_rule(job, pod)
            action = rule.action if rule is not None else "Count"
            if action == "FailJob" and not failing:
                failing = why
            if index is not None and _fails_index(job, pod, action):
                failed_indexes.add(index)
            if uid in kept:
                failed_and_kept += action != "Ignore"
                continue
            if is_new and action != "Ignore":
                waiting_failed.append(uid)
                room -= 1
        if uid in held:
            releasable.append(pod)
    active = [pod for pod in pods if is_active(pod)]
    terminating = sum(bool(pod.metadata.deletion_timestamp) and not is_finished(pod) for pod in pods)
    done = len(completed) if indexed else counted_succeeded
    return Counts(
        active=active,
        terminating=terminating,
        succeeded=done + len(waiting_succeeded),
        failed=counted_failed + len(waiting_failed) + failed_and_kept,
        completed=frozenset(completed),
        failed_indexes=frozenset(failed_indexes - completed),
        uncounted=UncountedTerminatedPods(succeeded=waiting_succeeded, failed=waiting_failed),
        counted_succeeded=done,
        counted_failed=counted_failed,
        releasable=releasable,
        is_settled=not held and not waiting_succeeded and not waiting_failed,
        failing=failing,
    )


def _kept(job: Job, pods: Sequence[Pod], completed: Set[int], failed: Set[int]) -> set[str]:
    """Return the uids of pods to be counted only when another stands in their place.

    Of each index with a limit of its own it is the pod that failed last: it says how often others had before.
    """
    if job.spec.backoff_limit_per_index is None:
        return set()
    held = [pod for pod in pods if FINALIZER in pod.metadata.finalizers]
    ended = {index_of(pod) for pod in held if pod.status.phase == "Succeeded"} | completed | failed
    running = {index_of(pod) for pod in pods if is_active(pod)}
    last: dict[int, Pod] = {}
    for pod in held:
        index = index_of(pod)
        if index is None or index >= completions_of(job) or index in ended | running or not has_failed(job, pod):
            continue
        rule, _ = matching_rule(job, pod)
        if _fails_index(job, pod, rule.action if rule is not None else "Count"):
            ended.add(index)
            last.pop(index, None)
            continue
        last[index] = max(last.get(index, pod), pod, key=lambda one: (all_failures_before(one), ended_at(one)))
    return {pod.metadata.uid for pod in last.values()}


def _fails_index(job: Job, pod: Pod, action: str) -> bool:
    limit = job.spec.backoff_limit_per_index
    if limit is None:
        return False
    return action == "FailIndex" or (action != "Ignore" and failures_before(pod) >= limit)


def is_active(pod: Pod) -> bool:
    """Return whether a pod runs or is about to, and is not being deleted."""
    return not is_finished(pod) and not pod.metadata.deletion_timestamp


def failures_before(pod: Pod) -> int:
    """Return how often pods of the same index had failed when this one was made, ignored failures left out."""
    return _number(pod, INDEX_FAILURES)


def ignored_before(pod: Pod) -> int:
    """Return how many failures of the same index had been ignored when this pod was made."""
    return _number(pod, INDEX_IGNORED)


def all_failures_before(pod: Pod) -> int:
    """Return how often pods of the same index had failed when this one was made, in whatever way."""
    return failures_before(pod) + ignored_before(pod)


def _number(pod: Pod, annotation: str) -> int:
    text = pod.metadata.annotations.get(annotation, "0")
    return int(text) if text.isdecimal() else 0


def ended_at(pod: Pod) -> float:
    """Return when a pod ended: when its last container did, or it stopped being ready, or was told to go, or was made.

    Init containers count where they run beside the others.
    """
    beside = {one.name for one in pod.spec.init_containers if one.restart_policy == "Always"}
    statuses = [*pod.status.container_statuses]
    statuses += [one for one in pod.status.init_container_statuses if one.name in beside]
    ends = [one.state.terminated.finished_at if one.state.terminated is not None else "" for one in statuses]
    if ends and all(ends):
        return max(timestamps.parse(at) for at in ends)
    for one in pod.status.conditions:
        if one.type == "Ready" and one.status == "False" and one.last_transition_time:
            return timestamps.parse(one.last_transition_time)
    metadata = pod.metadata
    if metadata.deletion_timestamp:
        return timestamps.parse(metadata.deletion_timestamp) - (metadata.deletion_grace_period_seconds or 0)
    return timestamps.parse(metadata.creation_timestamp) if metadata.creation_timestamp else 0.0


def matching_rule(job: Job, pod: Pod) -> tuple[PodFailurePolicyRule | None, str]:
    """Return the first rule of the failure policy that a failed pod matches, and in what it does (KEP-3329)."""
    policy = job.spec.pod_failure_policy
    if policy is None or pod.status.phase != "Failed":
        return None, ""
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    for number, rule in enumerate(policy.rules):
        codes = rule.on_exit_codes
        if codes is not None:
            for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
                if codes.container_name not in (None, status.name):
                    continue
                code = _exit_code(status)
                if code and (code in codes.values) is (codes.operator == "In"):
                    why = f"Container {status.name} for pod {name} failed with exit code {code}"
                    return rule, f"{why} matching {rule.action} rule at index {number}"
        for pattern in rule.on_pod_conditions:
            if any((one.type, one.status) == (pattern.type, pattern.status) for one in pod.status.conditions):
                why = f"Pod {name} has condition {pattern.type} matching {rule.action} rule at index {number}"
                return rule, why
    return None, ""


def _exit_code(status: ContainerStatus) -> int:
    ended = status.state.terminated or status.last_state.terminated
    return ended.exit_code if ended is not None else 0
