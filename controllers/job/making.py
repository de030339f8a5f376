"""Which pods of a Job come and go: as many at once as it wants, lowest index first, slower after each failure. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from api.batch.job import Job
from api.core.containers import Container, EnvVar, EnvVarSource
from api.core.pod import Pod, PodSpec
from api.core.references import ObjectFieldSelector
from controllers.job.backoff import Failures
from controllers.job.counting import (
    FINALIZER,
    INDEX_FAILURES,
    INDEX_IGNORED,
    Counts,
    all_failures_before,
    completions_of,
    ended_at,
    failures_before,
    has_failed,
    ignored_before,
    is_indexed,
    matching_rule,
)
from controllers.job.indexes import INDEX, index_of
from controllers.pod_making import pod_of
from controllers.pods import is_ready

BURST_MAX = 500
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


@dataclass(frozen=True, slots=True)
class Change:
    """Pods to make and to remove."""

    made: Sequence[Pod] = ()
    removed: Sequence[Pod] = ()
    wait_s: float | None = None
    """When more may be made."""


def plan_pods(job: Job, counts: Counts, pods: Sequence[Pod], failures: Failures, now: float) -> Change:
    """Return what is missing or too much; `failures` are those of all pods that ever were."""
    if job.spec.suspend:
        return Change(removed=counts.active)
    active = list(counts.active)
    removed: list[Pod] = []
    if is_indexed(job):
        removed = _superfluous(job, counts, active)
        active = [pod for pod in active if pod not in removed]
    wanted = _wanted(job, counts, len(active))
    if len(active) > wanted:
        removed += sorted(active, key=_cost)[: len(active) - wanted]
        return Change(removed=removed)
    missing = wanted - len(active)
    if job.spec.pod_replacement_policy == "Failed":
        missing -= counts.terminating
    missing = min(missing, BURST_MAX)
    if missing <= 0:
        return Change(removed=removed)
    wait_s = failures.wait_s(now) if job.spec.backoff_limit_per_index is None else 0.0
    if wait_s > 0:
        return Change((), removed, wait_s)
    if not is_indexed(job):
        return Change([_pod(job)] * missing, removed)
    made, waits = _missing_indexes(job, counts, pods, active, missing, now)
    return Change(made, removed, min(waits, default=None))


def _wanted(job: Job, counts: Counts, active: int) -> int:
    parallelism = 1 if job.spec.parallelism is None else job.spec.parallelism
    if job.spec.completions is None:
        # Once one has succeeded the others are let finish, and none is made.
        return min(active, parallelism) if counts.succeeded else parallelism
    left = job.spec.completions - counts.succeeded - len(counts.failed_indexes)
    return max(0, min(parallelism, left))


def _superfluous(job: Job, counts: Counts, active: Sequence[Pod]) -> list[Pod]:
    """Return pods whose index is done, failed, out of range, or another's as well."""
    seen: set[int] = set()
    found = []
    for pod in sorted(active, key=_cost, reverse=True):
        index = index_of(pod)
        is_wanted = index is not None and index < completions_of(job)
        if (
            not is_wanted
            or index is None
            or index in seen
            or index in counts.completed
            or index in counts.failed_indexes
        ):
            found.append(pod)
        else:
            seen.add(index)
    return found


def _missing_indexes(
    job: Job, counts: Counts, pods: Sequence[Pod], active: Iterable[Pod], missing: int, now: float
) -> tuple[list[Pod], list[float]]:
    taken = {index_of(pod) for pod in active} | counts.completed | counts.failed_indexes
    if job.spec.pod_replacement_policy == "Failed":
        taken |= {index_of(pod) for pod in pods if pod.metadata.deletion_timestamp and pod.status.phase == "Running"}
    made: list[Pod] = []
    waits: list[float] = []
    per_index = job.spec.backoff_limit_per_index is not None
    by_index: dict[int | None, list[Pod]] = {}
    for pod in pods if per_index else ():
        by_index.setdefault(index_of(pod), []).append(pod)
    for index in range(completions_of(job)):
        if len(made) == missing:
            break
        if index in taken:
            continue
        last = _last_failed(job, by_index.get(index, ()))
        wait_s = Failures(all_failures_before(last) + 1, ended_at(last)).wait_s(now) if last is not None else 0.0
        if wait_s > 0:
            waits.append(wait_s)
        else:
            made.append(_indexed_pod(job, index, last))
    return made, waits


def _last_failed(job: Job, pods: Iterable[Pod]) -> Pod | None:
    """Return which pod of an index failed last: what it says of failures before it, the next one goes on from."""
    failed = [pod for pod in pods if has_failed(job, pod)]
    return max(failed, key=lambda pod: (all_failures_before(pod), ended_at(pod)), default=None)


def _is_ignored(job: Job, pod: Pod) -> bool:
    rule, _ = matching_rule(job, pod)
    return rule is not None and rule.action == "Ignore"


def _cost(pod: Pod) -> tuple[object, ...]:
    """Return what removing a pod costs, cheapest least: not bound, not running, not ready, youngest."""
    phase = {"Pending": 0, "Unknown": 1}.get(pod.status.phase or "Pending", 2)
    age = [-ord(char) for char in pod.metadata.creation_timestamp]
    return (bool(pod.spec.node_name), phase, is_ready(pod), age, pod.metadata.uid)


def _pod(job: Job) -> Pod:
    made = pod_of(job, job.spec.template)
    made.metadata.finalizers.append(FINALIZER)
    return made


def _indexed_pod(job: Job, index: int, last: Pod | None) -> Pod:
    """Make the pod of an index; `last` is the one that failed before it, where failures are counted by index."""
    made = _pod(job)
    metadata = made.metadata
    metadata.generate_name = f"{job.metadata.name}-{index}-"
    metadata.labels[INDEX] = metadata.annotations[INDEX] = str(index)
    if job.spec.backoff_limit_per_index is not None:
        counted = ignored = 0
        if last is not None:
            is_ignored = _is_ignored(job, last)
            counted, ignored = failures_before(last) + (not is_ignored), ignored_before(last) + is_ignored
        metadata.annotations[INDEX_FAILURES] = str(counted)
        if ignored:
            metadata.annotations[INDEX_IGNORED] = str(ignored)
    spec: PodSpec = msgspec.structs.replace(made.spec, hostname=f"{job.metadata.name}-{index}")
    spec.containers = [_with_index(container) for container in spec.containers]
    spec.init_containers = [_with_index(container) for container in spec.init_containers]
    made.spec = spec
    return made


def _with_index(container: Container) -> Container:
    if any(variable.name == INDEX_VARIABLE for variable in container.env):
        return container
    source = EnvVarSource(field_ref=ObjectFieldSelector(api_version="v1", field_path=f"metadata.labels['{INDEX}']"))
    return msgspec.structs.replace(container, env=[*container.env, EnvVar(name=INDEX_VARIABLE, value_from=source)])
