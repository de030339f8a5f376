"""Whether a Job is over, and how: from its counts, limits and policies. Pure.

The decision is written first as SuccessCriteriaMet or FailureTarget; then what still runs is stopped; when all pods
have ended and been counted, the Job is Complete or Failed (KEP-3998).
"""

from __future__ import annotations

from dataclasses import dataclass

from api import timestamps
from api.batch.job import Job, JobCondition
from controllers.job.counting import Counts, completions_of, is_indexed
from controllers.job.indexes import parse

ENDED = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided, and why."""

    type: str
    """SuccessCriteriaMet or FailureTarget."""
    reason: str
    message: str


def condition_of(job: Job, *types: str) -> JobCondition | None:
    """Return the first condition of one of these types that is True, or None."""
    return next((one for one in job.status.conditions if one.type in types and one.status == "True"), None)


def decide(job: Job, counts: Counts, now: float) -> Outcome | None:
    """Return how the Job ends, or None while it goes on."""
    known = condition_of(job, *ENDED)
    if known is not None:
        return Outcome(known.type, known.reason, known.message)
    return _failure(job, counts, now) or _success(job, counts)


def _failure(job: Job, counts: Counts, now: float) -> Outcome | None:
    spec, started = job.spec, job.status.start_time
    if counts.failing:
        return Outcome("FailureTarget", "PodFailurePolicy", counts.failing)
    limit = 6 if spec.backoff_limit is None else spec.backoff_limit
    if counts.failed > limit or _restarts_too_often(job, counts, limit):
        why = "Job has reached the specified backoff limit"
        return Outcome("FailureTarget", "BackoffLimitExceeded", why)
    deadline_s = spec.active_deadline_seconds
    if deadline_s is not None and started and not spec.suspend and now - timestamps.parse(started) >= deadline_s:
        why = "Job was active longer than specified deadline"
        return Outcome("FailureTarget", "DeadlineExceeded", why)
    if spec.backoff_limit_per_index is not None and counts.failed_indexes:
        if spec.max_failed_indexes is not None and len(counts.failed_indexes) > spec.max_failed_indexes:
            why = "Job has exceeded the specified maximal number of failed indexes"
            return Outcome("FailureTarget", "MaxFailedIndexesExceeded", why)
        is_met = spec.success_policy is not None and _success(job, counts) is not None
        if len(counts.failed_indexes) + len(counts.completed) >= completions_of(job) and not is_met:
            return Outcome("FailureTarget", "FailedIndexes", "Job has failed indexes")
    return None


def _restarts_too_often(job: Job, counts: Counts, limit: int) -> bool:
    if job.spec.template.spec.restart_policy != "OnFailure":
        return False
    restarts = sum(
        status.restart_count
        for pod in counts.active
        for status in (*pod.status.init_container_statuses, *pod.status.container_statuses)
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def _success(job: Job, counts: Counts) -> Outcome | None:
    for number, rule in enumerate(job.spec.success_policy.rules if job.spec.success_policy is not None else ()):
        wanted = parse(rule.succeeded_indexes, completions_of(job)) if rule.succeeded_indexes else None
        done = counts.completed if wanted is None else counts.completed & wanted
        needed = rule.succeeded_count if rule.succeeded_count is not None else len(wanted or ())
        if len(done) >= needed:
            return Outcome("SuccessCriteriaMet", "SuccessPolicy", f"Matched rules at index {number}")
    if job.spec.completions is None:
        # A queue of work: once one has said that it is done, the others are let finish.
        is_done = counts.succeeded > 0 and not counts.active and not counts.terminating
    else:
        is_done = counts.succeeded >= job.spec.completions
    if not is_done or (is_indexed(job) and len(counts.completed) < completions_of(job)):
        return None
    return Outcome("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
