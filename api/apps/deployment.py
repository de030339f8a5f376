"""Deployment: pods of one template, brought from one version to the next step by step.

It owns one ReplicaSet a version of its template; `rollout undo` goes back to an older one.
"""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.apps.workloads import check_observed, check_replica_counts, check_selector_and_template
from api.columns import AGE, workload_columns
from api.core import gated
from api.core.pod import PodTemplateSpec
from api.core.pod_defaults import default_template
from api.core.pod_warnings import warn_of_workload
from api.go_types import int_or_string
from api.meta import KindCondition, LabelSelector, ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Int64, IntOrString, Struct, Time, always, field, wire


class DeploymentCondition(KindCondition):
    """One question about a Deployment (`type`), its answer, and since when.

    Attributes:
        last_update_time: When the condition was last written, even with the same answer.
    """

    last_update_time: Annotated[Time, wire(6)] = ""
    last_transition_time: Annotated[Time, wire(7)] = ""


class DeploymentStatus(Struct):
    """How far a Deployment is with bringing its pods to the present template.

    Attributes:
        observed_generation: The metadata.generation that these numbers belong to.
        replicas: How many pods there are, of all revisions.
        updated_replicas: How many are of the present template.
        ready_replicas: How many are ready.
        available_replicas: How many have been ready for minReadySeconds.
        unavailable_replicas: How many are still missing until all that are wanted are available.
        conditions: Available (enough pods are), Progressing (the rollout goes on or is done) and ReplicaFailure.
        collision_count: How often the name for a new ReplicaSet was taken; makes the next one different.
    """

    observed_generation: Annotated[Int64, wire(1)] = 0
    replicas: Annotated[Int32, wire(2)] = 0
    updated_replicas: Annotated[Int32, wire(3)] = 0
    ready_replicas: Annotated[Int32, wire(7)] = 0
    available_replicas: Annotated[Int32, wire(4)] = 0
    unavailable_replicas: Annotated[Int32, wire(5)] = 0
    conditions: Annotated[
        list[DeploymentCondition], wire(6, merge_key="type", list_type="map", list_keys=("type",))
    ] = []
    collision_count: Annotated[Int32 | None, wire(8)] = None


class RollingUpdateDeployment(Struct):
    """How many pods may be missing, and how many too many, while old ones are replaced.

    Attributes:
        max_unavailable: How many pods may be missing: a number, or a share such as 25% (the default), rounded down. Not
            0 if maxSurge is 0.
        max_surge: How many pods there may be beyond replicas: a number, or a share such as 25% (the default), rounded
            up. Not 0 if maxUnavailable is 0.
    """

    max_unavailable: Annotated[IntOrString | None, wire(1)] = None
    max_surge: Annotated[IntOrString | None, wire(2)] = None


class DeploymentStrategy(Struct):
    """How old pods give way to new ones.

    Attributes:
        type: RollingUpdate (the default) replaces pods a few at a time; Recreate first ends all old ones.
        rolling_update: How many at a time; only with RollingUpdate.
    """

    type: Annotated[str, wire(1)] = ""
    rolling_update: Annotated[RollingUpdateDeployment | None, wire(2)] = None


class DeploymentSpec(Struct):
    """What a Deployment's pods shall be, how many, and how they are replaced.

    Attributes:
        replicas: How many pods there shall be; 1 by default.
        selector: Which pods are its own; the template's labels must match it. Never changes.
        template: What the pods shall be; a change begins a rollout. The restartPolicy must be Always.
        strategy: How old pods give way to new ones.
        min_ready_seconds: For how many seconds a pod must be ready to count as available; 0 by default.
        revision_history_limit: How many old ReplicaSets are kept for `kubectl rollout undo`; 10 by default.
        paused: Whether a change of the template waits instead of beginning a rollout; false by default. Scaling still
            works.
        progress_deadline_seconds: After how many seconds without progress a rollout is called failed (Progressing is
            False); 600 by default. It goes on trying.
    """

    replicas: Annotated[Int32 | None, wire(1)] = None
    selector: Annotated[LabelSelector | None, wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec, wire(3, required=True)] = field(default_factory=PodTemplateSpec)
    strategy: Annotated[DeploymentStrategy, wire(4, patch="retainKeys")] = field(default_factory=DeploymentStrategy)
    min_ready_seconds: Annotated[Int32, wire(5)] = 0
    revision_history_limit: Annotated[Int32 | None, wire(6)] = None
    paused: Annotated[bool, wire(7)] = False
    progress_deadline_seconds: Annotated[Int32 | None, wire(9)] = None


class Deployment(Struct):
    """Pods of one template, brought from one version to the next step by step."""

    api_version: str = always("apps/v1")
    kind: str = always("Deployment")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[DeploymentSpec, wire(2)] = field(default_factory=DeploymentSpec)
    status: Annotated[DeploymentStatus, wire(3)] = field(default_factory=DeploymentStatus)


def default(deployment: Deployment) -> None:
    """One replica, replaced by rolling updates of a quarter at a time; ten old versions are kept."""
    spec = deployment.spec
    if spec.replicas is None:
        spec.replicas = 1
    if spec.revision_history_limit is None:
        spec.revision_history_limit = 10
    if spec.progress_deadline_seconds is None:
        spec.progress_deadline_seconds = 600
    spec.strategy.type = spec.strategy.type or "RollingUpdate"
    if spec.strategy.type == "RollingUpdate":
        rolling = spec.strategy.rolling_update = spec.strategy.rolling_update or RollingUpdateDeployment()
        if rolling.max_unavailable is None:
            rolling.max_unavailable = "25%"
        if rolling.max_surge is None:
            rolling.max_surge = "25%"
    default_template(spec.template)


def validate(new: Deployment, old: Deployment | None) -> v.Errors:
    """Check numbers, selector, template and strategy; the selector never changes."""
    spec = new.spec
    yield from v.check_not_negative("spec.replicas", spec.replicas)
    yield from check_selector_and_template(spec.selector, spec.template, "Deployment")
    yield from _check_strategy("spec.strategy", spec.strategy)
    yield from v.check_not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    yield from v.check_not_negative("spec.revisionHistoryLimit", spec.revision_history_limit)
    deadline = spec.progress_deadline_seconds
    yield from v.check_not_negative("spec.progressDeadlineSeconds", deadline)
    if deadline is not None and deadline <= spec.min_ready_seconds:
        yield v.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
    if old is not None:
        yield from v.check_immutable("spec.selector", spec.selector, old.spec.selector)


def _check_strategy(path: str, strategy: DeploymentStrategy) -> v.Errors:
    if strategy.type not in ("Recreate", "RollingUpdate"):
        yield v.not_supported(path, strategy, ("Recreate", "RollingUpdate"))
    rolling, where = strategy.rolling_update, f"{path}.rollingUpdate"
    if strategy.type == "Recreate" and rolling is not None:
        yield v.forbidden(where, "may not be specified when strategy `type` is 'Recreate'")
    if strategy.type != "RollingUpdate":
        return
    if rolling is None:
        yield v.required(where, "this should be defaulted and never be nil")
        return
    yield from v.check_share(f"{where}.maxUnavailable", rolling.max_unavailable)
    yield from v.check_share(f"{where}.maxSurge", rolling.max_surge)
    if rolling.max_unavailable in (0, "0%") and rolling.max_surge in (0, "0%"):
        yield v.invalid(
            f"{where}.maxUnavailable", int_or_string(rolling.max_unavailable), "may not be 0 when `maxSurge` is 0"
        )
    if isinstance(rolling.max_unavailable, str) and v.percent(rolling.max_unavailable) > 100:
        yield v.invalid(
            f"{where}.maxUnavailable", int_or_string(rolling.max_unavailable), "must not be greater than 100%"
        )


def validate_status(new: Deployment, old: Deployment) -> v.Errors:
    """Check that the counts make sense together."""
    status = new.status
    counts = {
        "replicas": status.replicas,
        "updatedReplicas": status.updated_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
    }
    yield from check_replica_counts(counts)
    yield from v.check_not_negative("status.unavailableReplicas", status.unavailable_replicas)
    yield from check_observed(status, old.status)


def _ready(deployment: Deployment, now: float) -> str:
    return f"{deployment.status.ready_replicas}/{deployment.spec.replicas or 0}"


def prepare_for_status_update(new: Deployment, old: Deployment) -> None:
    """Keep the spec, and the labels, by which others find it."""
    new.spec = old.spec
    new.metadata.labels = old.metadata.labels


RESOURCE: Final[Resource[Deployment]] = Resource(
    type=Deployment,
    group="apps",
    version="v1",
    kind="Deployment",
    plural="deployments",
    namespaced=True,
    short_names=("deploy",),
    categories=("all",),
    subresources=("scale", "status"),
    default=default,
    drop_gated=gated.drop_of_template,
    validate=validate,
    warn=warn_of_workload,
    prepare_for_status_update=prepare_for_status_update,
    validate_status=validate_status,
    generation=True,
    counts_annotations=True,
    columns=(
        Column("Ready", "string", _ready, "How many pods are ready, of how many there should be."),
        Column("Up-to-date", "string", lambda d, now: d.status.updated_replicas, "How many pods have this version."),
        Column("Available", "string", lambda d, now: d.status.available_replicas, "How many pods can be counted on."),
        AGE,
        *workload_columns(),
    ),
)
