"""What a write of a Job's status may do: controllers of others write it too (KEP-4368), and clients rely on its course.

A rule is looked at only where what it is about changes: a status that was odd before may still be mended elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api import validation as v
from api.batch.index_text import first_in_both, read_intervals
from api.resource import FieldError

if TYPE_CHECKING:
    from api.batch.job import Job, UncountedTerminatedPods

_FINAL: Final = ("Failed", "Complete", "FailureTarget")


def has_condition(job: Job, kind: str) -> bool:
    """Return whether a condition of that type is True."""
    return any(condition.type == kind and condition.status == "True" for condition in job.status.conditions)


def check_status(new: Job, old: Job) -> v.Errors:
    """Check a new status, given the old."""
    status = new.status
    counts = {
        "active": status.active,
        "succeeded": status.succeeded,
        "failed": status.failed,
        "ready": status.ready,
        "terminating": status.terminating,
    }
    yield from v.check_counts("status", counts)
    yield from _check_uncounted(status.uncounted_terminated_pods)
    yield from _check_counters(new, old)
    yield from _check_end(new, old)
    yield from _check_conditions(new, old)
    yield from _check_times(new, old)
    yield from _check_indexes(new, old)


def _check_uncounted(uncounted: UncountedTerminatedPods | None) -> v.Errors:
    seen: set[str] = set()
    for name in ("succeeded", "failed") if uncounted is not None else ():
        for i, uid in enumerate(getattr(uncounted, name)):
            path = f"status.uncountedTerminatedPods.{name}[{i}]"
            if not uid:
                yield v.invalid(path, uid, "must not be empty")
            elif uid in seen:
                yield v.duplicate(path, uid)
            seen.add(uid)


def _check_counters(new: Job, old: Job) -> v.Errors:
    now, before = new.status, old.status
    # An indexed Job whose numbers go together may shrink (KEP-3715).
    may_shrink = new.spec.completion_mode == "Indexed" and new.spec.completions == new.spec.parallelism
    if now.succeeded < before.succeeded and not may_shrink:
        yield v.invalid("status.succeeded", now.succeeded, "cannot decrease the succeeded counter")
    if now.failed < before.failed:
        yield v.invalid("status.failed", now.failed, "cannot decrease the failed counter")
    if (now.ready, now.active) != (before.ready, before.active) and now.ready is not None and now.ready > now.active:
        yield v.invalid("status.ready", now.ready, "cannot set more ready pods than active")


def _is_finished(job: Job) -> bool:
    return has_condition(job, "Complete") or has_condition(job, "Failed")


def _check_end(new: Job, old: Job) -> v.Errors:
    """Check what must hold once a Job is over."""
    now, before = new.status, old.status
    if not _is_finished(new):
        return
    is_new = not _is_finished(old)
    if now.active > 0 and (is_new or now.active != before.active):
        yield v.invalid("status.active", now.active, "active>0 is invalid for finished job")
    if (now.terminating or 0) > 0 and (is_new or now.terminating != before.terminating):
        yield v.invalid("status.terminating", now.terminating, "terminating>0 is invalid for finished job")
    if not now.start_time and (is_new or before.start_time):
        yield v.required("status.startTime", "startTime is required for finished job")
    uncounted = now.uncounted_terminated_pods
    if uncounted is None or not (is_new or uncounted != before.uncounted_terminated_pods):
        return
    if uncounted.succeeded or uncounted.failed:
        why = "uncountedTerminatedPods needs to be empty for finished job"
        yield v.invalid("status.uncountedTerminatedPods", uncounted, why)


def _check_conditions(new: Job, old: Job) -> v.Errors:
    is_true = {kind: has_condition(new, kind) for kind in (*_FINAL, "SuccessCriteriaMet")}
    was_true = {kind: has_condition(old, kind) for kind in is_true}
    changed = {kind for kind in is_true if is_true[kind] != was_true[kind]}
    is_met = is_true["SuccessCriteriaMet"]

    for first, second, why, is_always in (
        ("Complete", "Failed", "Complete=True and Failed=true", False),
        ("Complete", "FailureTarget", "Complete=True and FailureTarget=true", False),
        ("SuccessCriteriaMet", "Failed", "SuccessCriteriaMet=True and Failed=true", True),
        ("SuccessCriteriaMet", "FailureTarget", "SuccessCriteriaMet=True and FailureTarget=true", True),
    ):
        if is_true[first] and is_true[second] and (is_always or changed & {first, second}):
            yield _conditions(f"cannot set {why} conditions")
    if is_true["Failed"] and not is_true["FailureTarget"] and changed & {"Failed", "FailureTarget"}:
        yield _conditions("cannot set Failed=True condition without the FailureTarget=true condition")
    if is_true["Complete"] and not is_met and changed & {"Complete", "SuccessCriteriaMet"}:
        yield _conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    for kind in _FINAL:
        if was_true[kind] and not is_true[kind]:
            yield _conditions(f"cannot disable the terminal {kind}=True condition")
    if was_true["SuccessCriteriaMet"] and not is_met:
        yield _conditions("cannot disable the SuccessCriteriaMet=True condition")
    if was_true["Complete"] and not was_true["SuccessCriteriaMet"] and is_met:
        yield _conditions("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")


def _conditions(why: str) -> FieldError:
    return FieldError("status.conditions", "FieldValueInvalid", f"Invalid value: {why}")


def _check_times(new: Job, old: Job) -> v.Errors:
    now, before = new.status, old.status
    is_complete = has_condition(new, "Complete")
    path = "status.completionTime"
    if now.completion_time != before.completion_time or is_complete != has_condition(old, "Complete"):
        if now.completion_time and not is_complete:
            why = "cannot set completionTime when there is no Complete=True condition"
            yield v.invalid(path, now.completion_time, why)
        if is_complete and not now.completion_time:
            yield v.required(path, "completionTime is required for Complete jobs")
    if now.completion_time and before.completion_time and now.completion_time != before.completion_time:
        yield v.invalid(path, now.completion_time, "completionTime cannot be mutated")
    changed = (now.start_time, now.completion_time) != (before.start_time, before.completion_time)
    if changed and now.start_time and now.completion_time and now.completion_time < now.start_time:
        yield v.invalid(path, now.completion_time, "completionTime cannot be set before startTime")
    if before.start_time and now.start_time != before.start_time and not new.spec.suspend:
        yield v.required("status.startTime", "startTime cannot be removed for unsuspended job")


def _check_indexes(new: Job, old: Job) -> v.Errors:
    completed, failed = new.status.completed_indexes, new.status.failed_indexes
    completed_changed, failed_changed = completed != old.status.completed_indexes, failed != old.status.failed_indexes
    if completed_changed and completed and new.spec.completion_mode != "Indexed":
        why = "cannot set non-empty completedIndexes when non-indexed completion mode"
        yield v.invalid("status.completedIndexes", completed, why)
    if failed_changed and failed is not None and new.spec.backoff_limit_per_index is None:
        why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        yield v.invalid("status.failedIndexes", failed, why)
    if new.spec.completions is None:
        return
    read = {}
    for name, text, is_looked_at in (
        ("completedIndexes", completed, completed_changed),
        ("failedIndexes", failed or "", failed_changed and new.spec.backoff_limit_per_index is not None),
    ):
        try:
            read[name] = read_intervals(text, new.spec.completions)
        except ValueError as error:
            if is_looked_at:
                yield v.invalid(f"status.{name}", text, f"error parsing {name}: {error}")
    if len(read) == 2 and (completed_changed or failed_changed):
        index = first_in_both(read["completedIndexes"], read["failedIndexes"])
        if index is not None:
            why = f"failedIndexes and completedIndexes overlap at index: {index}"
            yield v.invalid("status.failedIndexes", failed, why)
