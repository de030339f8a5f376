"""Job: pods that run to completion, so many times.

The server writes the selector itself, from the Job's uid, so that no two Jobs ever claim each other's pods;
`manualSelector` opts out (KEP-3329 for the failure policy, KEP-3998 for the success policy).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from api import names, timestamps
from api import validation as v
from api.batch.job_policies import PodFailurePolicy, SuccessPolicy
from api.batch.job_rules import check_failure_policy, check_manager, check_mode, check_success_policy
from api.batch.job_status_rules import check_status, has_condition
from api.columns import AGE, workload_columns
from api.core import gated
from api.core.pod import PodTemplateSpec
from api.core.pod_defaults import default_template
from api.core.pod_validation import check_template
from api.core.pod_warnings import Warnings, has_changed, warn_of_pods_name, warnings_of_template
from api.meta import LabelSelector, ObjectMeta, ProbedCondition
from api.resource import Column, Resource
from api.schema import Int32, Int64, Struct, Time, always, field, wire
from api.selectors import of_label_selector

_INT32_MAX: Final = 2**31 - 1
_PREFIX: Final = "batch.kubernetes.io/"
_TERMINAL: Final = ("Complete", "Failed")
_COMPLETIONS_MANY: Final = 100_000
_PARALLELISM_MANY: Final = 10_000


class UncountedTerminatedPods(Struct):
    """Pods that have ended but are not in the Job's numbers yet, by uid: they still carry its finalizer.

    Attributes:
        succeeded: Uids of those that ended well.
        failed: Uids of those that did not.
    """

    succeeded: Annotated[list[str], wire(1, list_type="set")] = []
    failed: Annotated[list[str], wire(2, list_type="set")] = []


class JobCondition(ProbedCondition):
    """One question about a Job (`type`), its answer, and since when."""


class JobStatus(Struct):
    """How far a Job is: which pods run, which have ended, and how.

    Attributes:
        conditions: Complete, Failed or Suspended, and before an end SuccessCriteriaMet or FailureTarget. Complete and
            Failed are for ever.
        start_time: When the Job was taken up; anew when it is resumed after a suspension.
        completion_time: When the Job completed; unset if it failed.
        active: How many pods run or wait to, and are not being deleted.
        succeeded: How many pods have succeeded; for an indexed Job, how many indexes.
        failed: How many pods have failed.
        terminating: How many pods are being deleted but have not ended yet.
        completed_indexes: Which indexes succeeded, as numbers and ranges such as 1,3-5,7; for indexed Jobs.
        failed_indexes: Which indexes failed for good, written likewise; only with backoffLimitPerIndex.
        uncounted_terminated_pods: Pods on their way into the numbers above; empty most of the time.
        ready: How many of the active pods are ready.
    """

    conditions: Annotated[list[JobCondition], wire(1, merge_key="type", list_type="atomic")] = []
    start_time: Annotated[Time, wire(2)] = ""
    completion_time: Annotated[Time, wire(3)] = ""
    active: Annotated[Int32, wire(4)] = 0
    succeeded: Annotated[Int32, wire(5)] = 0
    failed: Annotated[Int32, wire(6)] = 0
    terminating: Annotated[Int32 | None, wire(11)] = None
    completed_indexes: Annotated[str, wire(7)] = ""
    failed_indexes: Annotated[str | None, wire(10)] = None
    uncounted_terminated_pods: Annotated[UncountedTerminatedPods | None, wire(8)] = None
    ready: Annotated[Int32 | None, wire(9)] = None


class JobSpec(Struct):
    """What the pods shall be, how often they must succeed, and what is done about failures.

    Attributes:
        parallelism: How many pods may run at once; 1 by default. 0 lets none run.
        completions: How many pods must succeed; unset, one that does is enough, and no more are begun. For indexed Jobs
            the number of indexes.
        active_deadline_seconds: After how many seconds the Job is failed and its pods are ended; unset, it may take for
            ever. Suspended time does not count.
        pod_failure_policy: What a failed pod means; by default it counts towards backoffLimit.
        success_policy: When an indexed Job has succeeded early; by default all indexes must succeed.
        backoff_limit: After how many failed pods the Job is failed; 6 by default. Until then pods are replaced after
            ever longer delays (10s, 20s, up to 6 minutes).
        backoff_limit_per_index: How many failures of one index are borne before that index fails; unset, only
            backoffLimit counts. Never changes.
        max_failed_indexes: How many failed indexes make the whole Job fail; unset, it goes on with the others and fails
            at the end.
        selector: Which pods are its own; mostly left out, and the server writes one with the Job's uid.
        manual_selector: Whether you wrote the selector, and take care that no other Job's pods match it; false by
            default.
        template: What the pods shall be; the restartPolicy is OnFailure or Never.
        ttl_seconds_after_finished: How many seconds after its end the Job is deleted with its pods; unset, it stays.
        completion_mode: NonIndexed (the default), where pods are all alike, or Indexed: each has a number from 0 to
            completions - 1, and all must succeed. Never changes.
        suspend: Whether it is held back: no pods run, and those that do are deleted. False by default.
        pod_replacement_policy: When a pod is replaced: TerminatingOrFailed (the default) as soon as it is being
            deleted, Failed only when it has ended. Failed by default with a podFailurePolicy.
        managed_by: Who acts on the Job, as DOMAIN/PATH; unset, or kubernetes.io/job-controller, the cluster's own
            controller. Beta. Never changes.
    """

    parallelism: Annotated[Int32 | None, wire(1)] = None
    completions: Annotated[Int32 | None, wire(2)] = None
    active_deadline_seconds: Annotated[Int64 | None, wire(3)] = None
    pod_failure_policy: Annotated[PodFailurePolicy | None, wire(11)] = None
    success_policy: Annotated[SuccessPolicy | None, wire(16)] = None
    backoff_limit: Annotated[Int32 | None, wire(7)] = None
    backoff_limit_per_index: Annotated[Int32 | None, wire(12)] = None
    max_failed_indexes: Annotated[Int32 | None, wire(13)] = None
    selector: Annotated[LabelSelector | None, wire(4)] = None
    manual_selector: Annotated[bool | None, wire(5)] = None
    template: Annotated[PodTemplateSpec, wire(6, required=True)] = field(default_factory=PodTemplateSpec)
    ttl_seconds_after_finished: Annotated[Int32 | None, wire(8)] = None
    completion_mode: Annotated[str | None, wire(9)] = None
    suspend: Annotated[bool | None, wire(10)] = None
    pod_replacement_policy: Annotated[str | None, wire(14)] = None
    managed_by: Annotated[str | None, wire(15)] = None


class Job(Struct):
    """Pods that run until so many of them have succeeded."""

    api_version: str = always("batch/v1")
    kind: str = always("Job")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[JobSpec, wire(2)] = field(default_factory=JobSpec)
    status: Annotated[JobStatus, wire(3)] = field(default_factory=JobStatus)


def default(job: Job) -> None:
    """One pod, once, tried again six times."""
    spec = job.spec
    if spec.completions is None and spec.parallelism is None:
        spec.completions = 1
    if spec.parallelism is None:
        spec.parallelism = 1
    if spec.backoff_limit is None:
        spec.backoff_limit = 6 if spec.backoff_limit_per_index is None else _INT32_MAX
    if spec.template.metadata.labels and not job.metadata.labels:
        job.metadata.labels = dict(spec.template.metadata.labels)
    if spec.completion_mode is None:
        spec.completion_mode = "NonIndexed"
    if spec.suspend is None:
        spec.suspend = False
    if spec.pod_replacement_policy is None:
        spec.pod_replacement_policy = "TerminatingOrFailed" if spec.pod_failure_policy is None else "Failed"
    if spec.manual_selector is None:
        spec.manual_selector = False
    default_spec(spec)


def default_spec(spec: JobSpec) -> None:
    """Default what is the same in a Job and in a CronJob's template of one."""
    if spec.pod_failure_policy is not None:
        for rule in spec.pod_failure_policy.rules:
            for pattern in rule.on_pod_conditions:
                pattern.status = pattern.status or "True"
    default_template(spec.template)


def validate(new: Job, old: Job | None) -> v.Errors:
    """Check numbers, policies, selector and template; what a running Job is made of never changes."""
    spec = new.spec
    yield from _check_written(new, old)
    yield from check_spec("spec", spec)
    if spec.selector is None:
        yield v.required("spec.selector")
    wrong = list(v.check_label_selector("spec.selector", spec.selector))
    yield from wrong
    labels = spec.template.metadata.labels
    if not wrong and not of_label_selector(spec.selector).matches(labels):
        yield v.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    if old is None:
        yield from _check_name(new)
    else:
        yield from _check_update(new, old)


def _check_written(job: Job, old: Job | None) -> v.Errors:
    """Check that the labels and the selector are those that the server writes, where it was to write them."""
    metadata, spec = job.metadata, job.spec
    if spec.manual_selector or spec.selector is None or not metadata.uid:
        return
    wanted = {"controller-uid": metadata.uid, "job-name": metadata.name}
    prefixed = {f"{_PREFIX}{key}": value for key, value in wanted.items()}
    if old is None or prefixed.keys() <= old.spec.template.metadata.labels.keys():  # Jobs of old had none.
        wanted |= prefixed
    labels = spec.template.metadata.labels
    for key, value in wanted.items():
        if key not in labels:
            yield v.required(f"spec.template.metadata.labels[{key}]", f"must be '{value}'")
        elif labels[key] != value:
            yield v.invalid(f"spec.template.metadata.labels[{key}]", labels, f"must be '{value}'")
    if not any(v.check_label_selector("", spec.selector)) and not of_label_selector(spec.selector).matches(wanted):
        yield v.invalid("spec.selector", spec.selector, "`selector` not auto-generated")


def _check_name(job: Job) -> v.Errors:
    # The name becomes a pod's host name and a label's value, so it is short where pods have names of their own.
    if job.spec.completion_mode == "Indexed":
        hostname = f"{job.metadata.name}-{max((job.spec.completions or 0) - 1, 0)}"
        for message in names.check_label(hostname):
            yield v.invalid(
                "metadata.name",
                job.metadata.name,
                f'will not able to create pod with invalid DNS label "{hostname}": {message}',
            )


def check_spec(path: str, spec: JobSpec) -> v.Errors:
    """Check the spec of a Job, or of a template of one."""
    for label, value in (
        ("parallelism", spec.parallelism),
        ("completions", spec.completions),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index),
        ("maxFailedIndexes", spec.max_failed_indexes),
    ):
        yield from v.check_not_negative(f"{path}.{label}", value)
    if spec.max_failed_indexes is not None and spec.backoff_limit_per_index is None:
        yield v.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    yield from check_mode(path, spec)
    if spec.managed_by is not None:
        yield from check_manager(f"{path}.managedBy", spec.managed_by)
    if spec.pod_replacement_policy is not None:
        supported = ("Failed",) if spec.pod_failure_policy is not None else ("Failed", "TerminatingOrFailed")
        yield from v.check_supported(f"{path}.podReplacementPolicy", spec.pod_replacement_policy, supported)
    yield from check_template(f"{path}.template", spec.template)
    restart, where = spec.template.spec.restart_policy, f"{path}.template.spec.restartPolicy"
    if restart in ("", "Always"):
        yield v.required(where, 'valid values: "OnFailure", "Never"')
    elif restart not in ("OnFailure", "Never"):
        yield v.not_supported(where, restart, ("OnFailure", "Never"), in_order=True)
    elif restart == "OnFailure" and spec.pod_failure_policy is not None:
        yield v.invalid(where, restart, 'only "Never" is supported when podFailurePolicy is specified')
    if spec.pod_failure_policy is not None:
        yield from check_failure_policy(f"{path}.podFailurePolicy", spec)
    if spec.success_policy is not None:
        yield from check_success_policy(f"{path}.successPolicy", spec)


def _check_update(new: Job, old: Job) -> v.Errors:
    now, before = new.spec, old.spec
    if now.completion_mode != "Indexed":
        yield from v.check_immutable("spec.completions", now.completions, before.completions)
    elif now.completions not in (None, before.completions, now.parallelism):
        # An indexed Job may grow or shrink, if both numbers go together (KEP-3715).
        why = "can only be modified in tandem with spec.parallelism"
        yield v.invalid("spec.completions", now.completions, why)
    yield from v.check_immutable("spec.selector", now.selector, before.selector)
    # A suspended Job that never ran may still be told where to run (KEP-2926).
    template = before.template
    if before.suspend and not old.status.start_time:
        template = msgspec.structs.replace(
            template,
            metadata=msgspec.structs.replace(
                template.metadata,
                labels=now.template.metadata.labels,
                annotations=now.template.metadata.annotations,
            ),
            spec=msgspec.structs.replace(
                template.spec,
                node_selector=now.template.spec.node_selector,
                affinity=now.template.spec.affinity,
                tolerations=now.template.spec.tolerations,
                scheduling_gates=now.template.spec.scheduling_gates,
            ),
        )
    yield from v.check_immutable("spec.template", now.template, template)
    for label, value, was in (
        ("completionMode", now.completion_mode, before.completion_mode),
        ("podFailurePolicy", now.pod_failure_policy, before.pod_failure_policy),
        ("backoffLimitPerIndex", now.backoff_limit_per_index, before.backoff_limit_per_index),
        ("managedBy", now.managed_by, before.managed_by),
        ("successPolicy", now.success_policy, before.success_policy),
    ):
        yield from v.check_immutable(f"spec.{label}", value, was)


def prepare_for_create(job: Job) -> None:
    """Begin with nothing observed, and select the pods by the Job's uid."""
    job.status = JobStatus()
    if job.spec.manual_selector or not job.metadata.uid:
        return
    labels = job.spec.template.metadata.labels
    has_labels_of_its_own = bool(job.metadata.labels) and job.metadata.labels != labels
    for prefix in ("", _PREFIX):
        labels.setdefault(f"{prefix}job-name", job.metadata.name)
        labels.setdefault(f"{prefix}controller-uid", job.metadata.uid)
    if job.spec.selector is None:
        job.spec.selector = LabelSelector()
    job.spec.selector.match_labels.setdefault(f"{_PREFIX}controller-uid", job.metadata.uid)
    if not has_labels_of_its_own:
        # A Job has its template's labels by default, and these are all of them only now.
        job.metadata.labels = dict(labels)


def _state(job: Job, now: float) -> str:
    for kind in _TERMINAL:
        if has_condition(job, kind):
            return kind
    if job.metadata.deletion_timestamp:
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if has_condition(job, kind):
            return kind
    return "Running"


def _completions(job: Job, now: float) -> str:
    done, parallelism = job.status.succeeded, job.spec.parallelism or 0
    if job.spec.completions is not None:
        return f"{done}/{job.spec.completions}"
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _duration(job: Job, now: float) -> str:
    if not job.status.start_time:
        return ""
    end = timestamps.parse(job.status.completion_time) if job.status.completion_time else now
    return timestamps.human_duration(end - timestamps.parse(job.status.start_time))


def warn(new: Job, old: Job | None) -> Warnings:
    """Warn of a job's name, which its pods' begin with, and of what it asks for."""
    if old is None:
        yield from warn_of_pods_name(new.metadata.name)
    if has_changed(new, old):
        yield from warn_of_spec("spec", new.spec)


def warn_of_spec(path: str, spec: JobSpec) -> Warnings:
    """Warn of what a job at `path` asks for: more indexes than can be told apart, and its template."""
    many = (spec.completions or 0) > _COMPLETIONS_MANY and (spec.parallelism or 0) > _PARALLELISM_MANY
    if spec.completion_mode == "Indexed" and many:
        yield (
            f"{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4,"
            " Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    yield from warnings_of_template(f"{path}.template", spec.template)


RESOURCE: Final[Resource[Job]] = Resource(
    type=Job,
    group="batch",
    version="v1",
    kind="Job",
    plural="jobs",
    namespaced=True,
    categories=("all",),
    subresources=("status",),
    default=default,
    drop_gated=gated.drop_of_template,
    validate=validate,
    warn=warn,
    prepare_for_create=prepare_for_create,
    validate_status=check_status,
    orphans_by_default=True,
    generation=True,
    columns=(
        Column("Status", "string", _state, "Whether it runs, and how it ended."),
        Column("Completions", "string", _completions, "How many pods have succeeded, of how many."),
        Column("Duration", "string", _duration, "How long it took, or has taken yet."),
        AGE,
        *workload_columns(),
    ),
    selectable_fields={"status.successful": lambda job: str(job.status.succeeded)},
)
