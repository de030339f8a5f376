"""Which pods of a Job come and go: as many at once as it wants, lowest index first, slower after each failure. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from api import timestamps
from api.batch.job import Job
from api.core.containers import Container, EnvVar, EnvVarSource
from api.core.pod import Pod, PodSpec
from api.core.references import ObjectFieldSelector
from controllers.job.counting import (
    FINALIZER,
    INDEX_FAILURES,
    INDEX_IGNORED,
    Counts,
    completions_of,
    failures_before,
    has_failed,
    is_indexed,
    matching_rule,
)
from controllers.job.indexes import INDEX, index_of
from controllers.pod_making import pod_of
from controllers.pods import is_ready

BACKOFF_S = 10.0
BACKOFF_S_MAX = 600.0
BURST_MAX = 500
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


@dataclass(frozen=True, slots=True)
class Change:
    """Pods to make and to remove."""

    made: Sequence[Pod] = ()
    removed: Sequence[Pod] = ()
    wait_s: float | None = None
    """When more may be made."""


def plan_pods(job: Job, counts: Counts, pods: Sequence[Pod], now: float) -> Change:
    """Return what is missing or too much."""
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
    if not is_indexed(job):
        wait_s = _wait_s(pods, job, now)
        return Change((), removed, wait_s) if wait_s > 0 else Change([_pod(job)] * missing, removed)
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
    everything_s = 0.0 if per_index else _wait_s(pods, job, now)
    if everything_s > 0:
        return [], [everything_s]
    for index in range(completions_of(job)):
        if len(made) == missing:
            break
        if index in taken:
            continue
        before = by_index.get(index, [])
        wait_s = _wait_s(before, job, now) if per_index else 0.0
        if wait_s > 0:
            waits.append(wait_s)
        else:
            made.append(_indexed_pod(job, index, before))
    return made, waits


def _wait_s(pods: Sequence[Pod], job: Job, now: float) -> float:
    """Return how long to wait after failures since the last success: 10 s, then twice as long each time."""
    ended = [(_ended_at(pod), pod) for pod in pods]
    last_success = max((at for at, pod in ended if pod.status.phase == "Succeeded"), default=0.0)
    failures = [
        at
        for at, pod in ended
        if pod.status.phase == "Failed" and has_failed(job, pod) and at > last_success and not _is_ignored(job, pod)
    ]
    if not failures:
        return 0.0
    delay_s = min(BACKOFF_S * (1 << min(len(failures) - 1, 10)), BACKOFF_S_MAX)
    return max(failures) + delay_s - now


def _is_ignored(job: Job, pod: Pod) -> bool:
    rule, _ = matching_rule(job, pod)
    return rule is not None and rule.action == "Ignore"


def _ended_at(pod: Pod) -> float:
    """Return when the last container ended; where that is not known, when the pod stopped being ready."""
    statuses = (*pod.status.container_statuses, *pod.status.init_container_statuses)
    times = [one.state.terminated.finished_at for one in statuses if one.state.terminated is not None]
    times = [at for at in times if at] or [pod.metadata.deletion_timestamp]
    times = [at for at in times if at] or [pod.metadata.creation_timestamp]
    return max(timestamps.parse(at) for at in times) if times[0] else 0.0


def _cost(pod: Pod) -> tuple[object, ...]:
    """Return what removing a pod costs, cheapest least: not bound, not running, not ready, youngest."""
    phase = {"Pending": 0, "Unknown": 1}.get(pod.status.phase or "Pending", 2)
    age = [-ord(char) for char in pod.metadata.creation_timestamp]
    return (bool(pod.spec.node_name), phase, is_ready(pod), age, pod.metadata.uid)


def _pod(job: Job) -> Pod:
    made = pod_of(job, job.spec.template)
    made.metadata.finalizers.append(FINALIZER)
    return made


def _indexed_pod(job: Job, index: int, before: Sequence[Pod]) -> Pod:
    made = _pod(job)
    metadata = made.metadata
    metadata.generate_name = f"{job.metadata.name}-{index}-"
    metadata.labels[INDEX] = metadata.annotations[INDEX] = str(index)
    if job.spec.backoff_limit_per_index is not None:
        ended = [pod for pod in before if has_failed(job, pod)]
        last = max(ended, key=lambda pod: (failures_before(pod), _ended_at(pod)), default=None)
        ignored = last is not None and _is_ignored(job, last)
        counted = failures_before(last) + (not ignored) if last is not None else 0
        metadata.annotations[INDEX_FAILURES] = str(counted)
        if last is not None and ignored:
            text = last.metadata.annotations.get(INDEX_IGNORED, "0")
            metadata.annotations[INDEX_IGNORED] = str(int(text) + 1 if text.isdecimal() else 1)
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
