"""CronJob: a Job made at the times of a schedule."""

from __future__ import annotations

import zoneinfo
from typing import Annotated, Final

from api import timestamps
from api import validation as v
from api.batch.job import JobSpec, check_spec, default_spec, warn_of_spec
from api.batch.schedule import check_schedule
from api.columns import AGE, NONE, workload_columns
from api.core import gated
from api.core.pod_warnings import Warnings, has_changed, warn_of_pods_name
from api.core.references import ObjectReference
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Int64, Struct, Time, always, field, wire

_NAME_BYTES_MAX: Final = 52
"""Jobs are named after it, with eleven characters more."""


class CronJobStatus(Struct):
    """Which Jobs of a CronJob run, and when one was last made.

    Attributes:
        active: The Jobs that have not finished yet.
        last_schedule_time: The time of the schedule for which a Job was last made.
        last_successful_time: When a Job last finished well.
    """

    active: Annotated[list[ObjectReference], wire(1, list_type="atomic")] = []
    last_schedule_time: Annotated[Time, wire(4)] = ""
    last_successful_time: Annotated[Time, wire(5)] = ""


class JobTemplateSpec(Struct):
    """What the Jobs that are made shall be.

    Attributes:
        metadata: Labels and annotations of the Jobs; the name is up to the controller.
        spec: What the Jobs shall do, as in a Job.
    """

    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[JobSpec, wire(2)] = field(default_factory=JobSpec)


class CronJobSpec(Struct):
    """When Jobs are made, and what of.

    Attributes:
        schedule: Minute, hour, day of month, month and day of week, as in crontab(5), or @hourly, @daily and the like.
        time_zone: Where the schedule is to be read, such as Europe/Berlin; by default the time zone of the controller
            manager.
        starting_deadline_seconds: How many seconds late a Job may still be made, for example after a downtime; unset,
            however late. Below 10 it may never be.
        concurrency_policy: What happens if a Job still runs when the next is due: Allow (the default) makes the next
            beside it, Forbid leaves the next out, Replace ends the old one.
        suspend: Whether no further Jobs are made; false by default. Those that run go on.
        job_template: What the Jobs shall be.
        successful_jobs_history_limit: How many Jobs that succeeded are kept; 3 by default.
        failed_jobs_history_limit: How many Jobs that failed are kept; 1 by default.
    """

    schedule: Annotated[str, wire(1, required=True)] = always("")
    time_zone: Annotated[str | None, wire(8)] = None
    starting_deadline_seconds: Annotated[Int64 | None, wire(2)] = None
    concurrency_policy: Annotated[str, wire(3)] = ""
    suspend: Annotated[bool | None, wire(4)] = None
    job_template: Annotated[JobTemplateSpec, wire(5, required=True)] = field(default_factory=JobTemplateSpec)
    successful_jobs_history_limit: Annotated[Int32 | None, wire(6)] = None
    failed_jobs_history_limit: Annotated[Int32 | None, wire(7)] = None


class CronJob(Struct):
    """Jobs made at the times of a schedule."""

    api_version: str = always("batch/v1")
    kind: str = always("CronJob")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[CronJobSpec, wire(2)] = field(default_factory=CronJobSpec)
    status: Annotated[CronJobStatus, wire(3)] = field(default_factory=CronJobStatus)


def default(cron_job: CronJob) -> None:
    """Runs may overlap; three good ones and a bad one are kept."""
    spec = cron_job.spec
    spec.concurrency_policy = spec.concurrency_policy or "Allow"
    if spec.suspend is None:
        spec.suspend = False
    if spec.successful_jobs_history_limit is None:
        spec.successful_jobs_history_limit = 3
    if spec.failed_jobs_history_limit is None:
        spec.failed_jobs_history_limit = 1
    default_spec(spec.job_template.spec)


def validate(new: CronJob, old: CronJob | None) -> v.Errors:
    """Check when it runs, and what."""
    spec = new.spec
    if old is None and len(new.metadata.name) > _NAME_BYTES_MAX:
        why = f"must be no more than {_NAME_BYTES_MAX} characters"
        yield v.invalid("metadata.name", new.metadata.name, why)
    if not spec.schedule:
        yield v.required("spec.schedule")
    else:
        wrong = check_schedule(spec.schedule)
        if wrong:
            yield v.invalid("spec.schedule", spec.schedule, wrong)
    if "TZ" in spec.schedule:
        yield v.invalid(
            "spec.schedule", spec.schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        )
    yield from _check_zone("spec.timeZone", spec.time_zone)
    yield from v.check_not_negative("spec.startingDeadlineSeconds", spec.starting_deadline_seconds)
    yield from v.check_supported("spec.concurrencyPolicy", spec.concurrency_policy, ("Allow", "Forbid", "Replace"))
    where = "spec.jobTemplate.spec"
    yield from check_spec(where, spec.job_template.spec)
    if spec.job_template.spec.selector is not None:
        yield v.invalid(f"{where}.selector", spec.job_template.spec.selector, "`selector` will be auto-generated")
    if spec.job_template.spec.manual_selector:
        yield v.not_supported(f"{where}.manualSelector", True, ("nil", "false"), in_order=True)
    yield from v.check_labels("spec.jobTemplate.metadata.labels", spec.job_template.metadata.labels)
    yield from v.check_not_negative("spec.successfulJobsHistoryLimit", spec.successful_jobs_history_limit)
    yield from v.check_not_negative("spec.failedJobsHistoryLimit", spec.failed_jobs_history_limit)


def _check_zone(path: str, zone: str | None) -> v.Errors:
    if zone is None:
        return
    if not zone:
        yield v.invalid(path, zone, "timeZone must be nil or non-empty string")
    elif zone.lower() == "local":
        yield v.invalid(
            path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
    else:
        try:
            zoneinfo.ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            yield v.invalid(path, zone, f"unknown time zone {zone}")


def drop_gated(new: CronJob, old: CronJob | None) -> None:
    """Drop what the pod template of its jobs may not say."""
    gated.drop_of_template(new.spec.job_template, old.spec.job_template if old is not None else None)


def _last(cron_job: CronJob, now: float) -> str:
    last = cron_job.status.last_schedule_time
    return timestamps.age(last, now) if last else NONE


def warn(new: CronJob, old: CronJob | None) -> Warnings:
    """Warn of its name, which its pods' begin with, and of what its jobs ask for."""
    if old is None:
        yield from warn_of_pods_name(new.metadata.name)
    if has_changed(new, old):
        yield from warn_of_spec("spec.jobTemplate.spec", new.spec.job_template.spec)


RESOURCE: Final[Resource[CronJob]] = Resource(
    type=CronJob,
    group="batch",
    version="v1",
    kind="CronJob",
    plural="cronjobs",
    namespaced=True,
    short_names=("cj",),
    categories=("all",),
    subresources=("status",),
    default=default,
    drop_gated=drop_gated,
    validate=validate,
    warn=warn,
    generation=True,
    columns=(
        Column("Schedule", "string", lambda cj, now: cj.spec.schedule, "When it runs."),
        Column("Timezone", "string", lambda cj, now: cj.spec.time_zone or NONE, "Where the schedule is to be read."),
        Column("Suspend", "boolean", lambda cj, now: str(bool(cj.spec.suspend)), "Whether it is held back."),
        Column("Active", "integer", lambda cj, now: len(cj.status.active), "How many of its Jobs run."),
        Column("Last Schedule", "string", _last, "How long ago a Job was due."),
        AGE,
        *workload_columns(spec_of=lambda cj: cj.spec.job_template.spec),
    ),
)
