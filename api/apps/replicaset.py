"""ReplicaSet: so many pods of one template, at all times."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.columns import AGE, workload_columns
from api.core.pod import PodTemplateSpec
from api.core.pod_defaults import default_template
from api.core.pod_validation import check_workload_template
from api.meta import LabelSelector, ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Int64, Struct, Time, always, field, wire
from api.selectors import of_label_selector


class ReplicaSetCondition(Struct):
    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    last_transition_time: Annotated[Time, wire(3)] = ""
    reason: Annotated[str, wire(4)] = ""
    message: Annotated[str, wire(5)] = ""


class ReplicaSetStatus(Struct):
    """How many pods a ReplicaSet has."""

    replicas: Annotated[Int32, wire(1, required=True)] = always(0)
    fully_labeled_replicas: Annotated[Int32, wire(2)] = 0
    ready_replicas: Annotated[Int32, wire(4)] = 0
    available_replicas: Annotated[Int32, wire(5)] = 0
    observed_generation: Annotated[Int64, wire(3)] = 0
    conditions: Annotated[
        list[ReplicaSetCondition], wire(6, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class ReplicaSetSpec(Struct):
    """What a ReplicaSet's pods shall be, and how many.

    Attributes:
        replicas: How many pods there shall be; 1 by default.
        min_ready_seconds: How long a pod must be ready to be counted on.
        selector: Which pods are its own; never changes.
        template: What the pods shall be.
    """

    replicas: Annotated[Int32 | None, wire(1)] = None
    min_ready_seconds: Annotated[Int32, wire(4)] = 0
    selector: Annotated[LabelSelector | None, wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec, wire(3)] = field(default_factory=PodTemplateSpec)


class ReplicaSet(Struct):
    """So many pods of one template, at all times."""

    api_version: str = always("apps/v1")
    kind: str = always("ReplicaSet")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[ReplicaSetSpec, wire(2)] = field(default_factory=ReplicaSetSpec)
    status: Annotated[ReplicaSetStatus, wire(3)] = field(default_factory=ReplicaSetStatus)


def default(replica_set: ReplicaSet) -> None:
    """One replica, and a pod's defaults in the template."""
    if replica_set.spec.replicas is None:
        replica_set.spec.replicas = 1
    default_template(replica_set.spec.template)


def validate(new: ReplicaSet, old: ReplicaSet | None) -> v.Errors:
    """Check numbers, selector and template; the selector never changes."""
    spec = new.spec
    yield from v.check_not_negative("spec.replicas", spec.replicas)
    yield from v.check_not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    yield from check_selector_and_template(spec.selector, spec.template, "ReplicaSet")
    if old is not None:
        yield from v.check_immutable("spec.selector", spec.selector, old.spec.selector)


def check_selector_and_template(selector: LabelSelector | None, template: PodTemplateSpec, kind: str) -> v.Errors:
    """Check the selector of a workload, the template of its pods, and that they belong together."""
    wrong = list(v.check_label_selector("spec.selector", selector))
    if selector is None:
        yield v.required("spec.selector")
    elif not selector.match_labels and not selector.match_expressions:
        yield v.invalid("spec.selector", selector, f"empty selector is invalid for {kind.lower()}")
    yield from wrong
    if not wrong:
        matches = of_label_selector(selector).matches(template.metadata.labels)
        yield from check_workload_template("spec.template", template, matches=matches, kind=kind)


def prepare_for_create(replica_set: ReplicaSet) -> None:
    """Begin with nothing observed."""
    replica_set.status = ReplicaSetStatus()


def prepare_for_update(new: ReplicaSet, old: ReplicaSet) -> None:
    """Keep what was observed."""
    new.status = old.status


def validate_status(new: ReplicaSet, old: ReplicaSet) -> v.Errors:
    """Check that the counts make sense together."""
    status = new.status
    for counter, count in (
        ("replicas", status.replicas),
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ):
        yield from v.check_not_negative(f"status.{counter}", count)
        if count > status.replicas:
            yield v.invalid(f"status.{counter}", count, "cannot be greater than status.replicas")
    if status.available_replicas > status.ready_replicas:
        yield v.invalid("status.availableReplicas", status.available_replicas, "cannot be greater than readyReplicas")


RESOURCE: Final[Resource[ReplicaSet]] = Resource(
    type=ReplicaSet,
    group="apps",
    version="v1",
    kind="ReplicaSet",
    plural="replicasets",
    namespaced=True,
    short_names=("rs",),
    categories=("all",),
    subresources=("scale", "status"),
    default=default,
    validate=validate,
    prepare_for_create=prepare_for_create,
    prepare_for_update=prepare_for_update,
    validate_status=validate_status,
    generation=True,
    columns=(
        Column("Desired", "integer", lambda rs, now: rs.spec.replicas or 0, "How many pods there should be."),
        Column("Current", "integer", lambda rs, now: rs.status.replicas, "How many pods there are."),
        Column("Ready", "integer", lambda rs, now: rs.status.ready_replicas, "How many of them are ready."),
        AGE,
        *workload_columns(),
    ),
    selectable_fields={"status.replicas": lambda rs: str(rs.status.replicas)},
)
