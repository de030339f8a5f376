"""Makes Jobs at the times of a schedule.

A Job is named after its time, so that none is made twice for it, whatever fails in between. Of times that were missed
only the last is made up for, and not if it is later than its deadline. Finished Jobs beyond a number are deleted,
oldest first. Upstream: cronjob controller v2.
"""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

import msgspec

from api import timestamps
from api.batch import cronjob as cronjobs
from api.batch import job as jobs
from api.batch.cronjob import CronJob, CronJobStatus
from api.batch.job import Job
from api.batch.schedule import Schedule, parse_schedule
from api.core.references import ObjectReference
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import Action, Burst, Create, Delete, Emit, Plan, update_status
from controllers.ownership import BY_CONTROLLER, controller_of, index_by_controller, reference_as_controller
from controllers.runner import Controller, Listers, Watch

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MISSED_MAX = 100
"""More missed times than this are worth a warning."""
DELAY_S = 0.1
"""How long after a time its Job is made, so that clocks which differ by little agree."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A CronJob and the Jobs it made."""

    cron: CronJob
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Due:
    """The last time that has come and has no Job yet."""

    at: float
    missed: int
    """How many times have come since the last Job, this one included."""


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the CronJob and its Jobs."""
    cron = listers[cronjobs.RESOURCE].get(key)
    if cron is None:
        return None
    return Observed(cron, listers[jobs.RESOURCE].by_index(BY_CONTROLLER, cron.metadata.uid))


def reconcile(observed: Observed, now: float) -> Plan:
    """Tell which Jobs run, sweep those that have ended, and make the one whose time has come."""
    cron = observed.cron
    actions: list[Action] = [*_told(observed), *_sweep(observed)]
    status, found = compute_status(observed), compute_status(observed)
    if cron.metadata.deletion_timestamp or cron.spec.suspend:
        return _plan(cron, actions, status)
    try:
        schedule = parse_schedule(cron.spec.schedule, zone_of(cron))
    except zoneinfo.ZoneInfoNotFoundError as error:
        why = f'invalid timeZone: "{cron.spec.time_zone}": {error}'
        return _plan(cron, [*actions, Emit(cron, WARNING, "UnknownTimeZone", why)], status)
    except ValueError as error:
        why = f'unparseable schedule: "{cron.spec.schedule}" : {error}'
        return _plan(cron, [*actions, Emit(cron, WARNING, "UnparseableSchedule", why)], status)
    due = find_due(cron, schedule, now)
    if due is not None:
        actions += _start(observed, due, status, now)
    next_at = schedule.after(now)
    plan = _plan(cron, actions, status, next_at - now + DELAY_S if next_at is not None else None)
    # A Job that could not be made is still due.
    return dataclasses.replace(
        plan, status_after_failure=lambda step, error: update_status(cronjobs.RESOURCE, cron, found)
    )


def _plan(cron: CronJob, actions: Sequence[Action], status: CronJobStatus, requeue_s: float | None = None) -> Plan:
    written = update_status(cronjobs.RESOURCE, cron, status)
    return Plan(tuple(actions), status=written, requeue_after_s=requeue_s)


def zone_of(cron: CronJob) -> tzinfo:
    """Return the time zone of a schedule; UTC where none is named. Raises ZoneInfoNotFoundError."""
    return zoneinfo.ZoneInfo(cron.spec.time_zone) if cron.spec.time_zone else UTC


def find_due(cron: CronJob, schedule: Schedule, now: float) -> Due | None:
    """Return the last time that has come since the last Job was made, or since the CronJob was."""
    last = cron.status.last_schedule_time or cron.metadata.creation_timestamp
    since = timestamps.parse(last) if last else now
    if cron.spec.starting_deadline_seconds is not None:
        since = max(since, now - cron.spec.starting_deadline_seconds)
    at, missed = schedule.after(since), 0
    if at is None or at > now:
        return None
    while (following := schedule.after(at)) is not None and following <= now:
        at, missed = following, missed + 1
        if missed > MISSED_MAX:
            at, missed = _skip(schedule, at, now), missed + 1
            break
    return Due(at, missed + 1)


def _skip(schedule: Schedule, at: float, now: float) -> float:
    """Return the last time before `now`, when there are many since `at`: look back from now, ever further."""
    reach_s = 60.0
    while reach_s < now - at:
        found = schedule.after(now - reach_s)
        if found is not None and found <= now:
            at = found
            break
        reach_s *= 4
    while (following := schedule.after(at)) is not None and following <= now:
        at = following
    return at


def _start(observed: Observed, due: Due, status: CronJobStatus, now: float) -> list[Action]:
    """Return what makes the Job of a time; notes in `status` that it was made."""
    cron, spec = observed.cron, observed.cron.spec
    actions: list[Action] = []
    if due.missed > MISSED_MAX:
        why = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        actions.append(Emit(cron, WARNING, "TooManyMissedTimes", why))
    if spec.starting_deadline_seconds is not None and due.at + spec.starting_deadline_seconds < now:
        moment = datetime.fromtimestamp(due.at, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        return [*actions, Emit(cron, WARNING, "MissSchedule", f"Missed scheduled time to start a job: {moment}")]
    name = f"{cron.metadata.name}-{int(due.at) // 60}"
    running = [job for job in observed.jobs if _ended(job) is None and _is_scheduled(cron, job)]
    if any(job.metadata.name == name for job in observed.jobs):
        status.last_schedule_time = timestamps.render(due.at)
        return actions  # It was made, and the note of it was lost.
    if running and spec.concurrency_policy == "Forbid":
        why = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return [*actions, Emit(cron, NORMAL, "JobAlreadyActive", why)]
    if running and spec.concurrency_policy == "Replace":
        actions.append(Burst([_deletion(cron, job) for job in running]))
        status.active = []
    actions.append(_creation(cron, name, due.at))
    status.last_schedule_time = timestamps.render(due.at)
    return actions


def _creation(cron: CronJob, name: str, at: float) -> Create:
    template = cron.spec.job_template
    moment = datetime.fromtimestamp(at, zone_of(cron)).isoformat().replace("+00:00", "Z")
    job = Job(
        metadata=ObjectMeta(
            name=name,
            namespace=cron.metadata.namespace,
            labels=dict(template.metadata.labels),
            annotations={**template.metadata.annotations, SCHEDULED_AT: moment},
            owner_references=[reference_as_controller(cron)],
        ),
        spec=template.spec,
    )
    return Create(
        jobs.RESOURCE,
        job,
        done=lambda made: Emit(cron, NORMAL, "SuccessfulCreate", f"Created job {made.metadata.name}"),
        failed=lambda error: Emit(cron, WARNING, "FailedCreate", f"Error creating job: {error.message}"),
    )


def _deletion(cron: CronJob, job: Job) -> Delete:
    told = Emit(cron, NORMAL, "SuccessfulDelete", f"Deleted job {job.metadata.name}")
    return Delete(jobs.RESOURCE, key_of(job), job.metadata.uid, propagation="Background", done=told)


def compute_status(observed: Observed) -> CronJobStatus:
    """Return which Jobs run, and when one last succeeded."""
    old = observed.cron.status
    active = [
        ObjectReference(
            api_version=job.api_version,
            kind=job.kind,
            namespace=job.metadata.namespace,
            name=job.metadata.name,
            uid=job.metadata.uid,
            resource_version=_known_version(old, job),
        )
        for job in observed.jobs
        if _ended(job) is None and _is_scheduled(observed.cron, job)
    ]
    successes = [job.status.completion_time for job in observed.jobs if _ended(job) == "Complete"]
    latest = max(filter(None, [old.last_successful_time, *successes]), default="")
    return msgspec.structs.replace(old, active=active, last_successful_time=latest)


def _known_version(old: CronJobStatus, job: Job) -> str:
    """Return the version of a Job as it was first listed: a Job that changes is still the same one."""
    known = next((one for one in old.active if one.uid == job.metadata.uid), None)
    return known.resource_version if known is not None else job.metadata.resource_version


def _is_scheduled(cron: CronJob, job: Job) -> bool:
    """Whether a Job was made for a time of the schedule; one made by hand (`kubectl create job --from`) blocks none."""
    return SCHEDULED_AT in job.metadata.annotations or any(one.uid == job.metadata.uid for one in cron.status.active)


def _told(observed: Observed) -> list[Action]:
    """Tell of Jobs that were running and have ended, or are not there any more, and of those that were not expected."""
    by_uid = {job.metadata.uid: job for job in observed.jobs}
    told: list[Action] = []
    for known in observed.cron.status.active:
        job = by_uid.get(known.uid)
        if job is None:
            told.append(Emit(observed.cron, NORMAL, "MissingJob", f"Active job went missing: {known.name}"))
        elif (ended := _ended(job)) is not None:
            why = f"Saw completed job: {known.name}, condition: {ended}"
            told.append(Emit(observed.cron, NORMAL, "SawCompletedJob", why))
    for job in observed.jobs:
        if _ended(job) is None and not _is_scheduled(observed.cron, job):
            why = f"Saw a job that the controller did not create or forgot: {job.metadata.name}"
            told.append(Emit(observed.cron, WARNING, "UnexpectedJob", why))
    return told


def _sweep(observed: Observed) -> list[Action]:
    """Delete finished Jobs beyond the numbers to keep, oldest first."""
    doomed: list[Job] = []
    for condition, limit in (
        ("Complete", observed.cron.spec.successful_jobs_history_limit),
        ("Failed", observed.cron.spec.failed_jobs_history_limit),
    ):
        ended = [job for job in observed.jobs if _ended(job) == condition and not job.metadata.deletion_timestamp]
        ended.sort(key=lambda job: (job.status.start_time, job.metadata.name))
        if limit is not None:
            doomed += ended[: max(0, len(ended) - limit)]
    return [Burst([_deletion(observed.cron, job) for job in doomed])] if doomed else []


def _ended(job: Job) -> str | None:
    """Return Complete or Failed, or None while a Job runs."""
    return next(
        (one.type for one in job.status.conditions if one.type in ("Complete", "Failed") and one.status == "True"), None
    )


def keys_of_job(job: Job, listers: Listers) -> Iterable[ObjectKey]:
    """Map a Job to the CronJob that made it."""
    owner = controller_of(job)
    if owner is not None and owner.kind == "CronJob":
        yield ObjectKey(job.metadata.namespace, owner.name)


CONTROLLER: Controller[CronJob, Observed] = Controller(
    name="cronjob-controller",
    resource=cronjobs.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    watches=(Watch(resource=jobs.RESOURCE, keys=keys_of_job, indexes={BY_CONTROLLER: index_by_controller}),),
)
