"""ReplicationController: so many pods of one template; ReplicaSet took its place."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.apps.workloads import validate_replica_status
from api.columns import labels_text, replica_columns
from api.core import gated
from api.core.pod import PodTemplateSpec
from api.core.pod_defaults import default_template
from api.core.pod_validation import check_workload_template
from api.core.pod_warnings import warn_of_workload
from api.meta import KindCondition, ObjectMeta
from api.resource import Resource
from api.schema import Int32, Int64, Struct, always, field, wire


class ReplicationControllerCondition(KindCondition):
    """One question about a ReplicationController (`type`), its answer, and since when."""


class ReplicaCounts(Struct):
    """How many of the wanted pods there are, by how far they have come.

    Attributes:
        replicas: How many pods there are that it controls, ready or not.
        fully_labeled_replicas: How many of them have all labels of the template.
        ready_replicas: How many of them are ready.
        available_replicas: How many of them have been ready for minReadySeconds.
        observed_generation: The metadata.generation that these numbers belong to.
    """

    replicas: Annotated[Int32, wire(1, required=True)] = always(0)
    fully_labeled_replicas: Annotated[Int32, wire(2)] = 0
    ready_replicas: Annotated[Int32, wire(4)] = 0
    available_replicas: Annotated[Int32, wire(5)] = 0
    observed_generation: Annotated[Int64, wire(3)] = 0


class ReplicationControllerStatus(ReplicaCounts):
    """How many pods a ReplicationController has, as it last counted.

    Attributes:
        conditions: ReplicaFailure: pods could not be created or deleted.
    """

    conditions: Annotated[
        list[ReplicationControllerCondition], wire(6, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class ReplicationControllerSpec(Struct):
    """What a ReplicationController's pods shall be, and how many.

    Attributes:
        replicas: How many pods there shall be; 1 by default.
        min_ready_seconds: For how many seconds a pod must be ready to count as available; 0 by default.
        selector: Labels that its pods have, with these values; the template's by default.
        template: What the pods shall be. A change only matters for pods made later.
    """

    replicas: Annotated[Int32 | None, wire(1)] = None
    min_ready_seconds: Annotated[Int32, wire(4)] = 0
    selector: Annotated[dict[str, str], wire(2, atomic=True)] = {}
    template: Annotated[PodTemplateSpec | None, wire(3)] = None


class ReplicationController(Struct):
    """So many pods of one template, at all times. ReplicaSets, made by Deployments, took its place."""

    api_version: str = always("v1")
    kind: str = always("ReplicationController")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[ReplicationControllerSpec, wire(2)] = field(default_factory=ReplicationControllerSpec)
    status: Annotated[ReplicationControllerStatus, wire(3)] = field(default_factory=ReplicationControllerStatus)


def default(controller: ReplicationController) -> None:
    """One replica; labels and selector are the template's where they are missing."""
    spec = controller.spec
    labels = spec.template.metadata.labels if spec.template is not None else {}
    if labels:
        spec.selector = spec.selector or dict(labels)
        controller.metadata.labels = controller.metadata.labels or dict(labels)
    if spec.replicas is None:
        spec.replicas = 1
    if spec.template is not None:
        default_template(spec.template)


def validate(new: ReplicationController, old: ReplicationController | None) -> v.Errors:
    """Check numbers, selector and template."""
    spec = new.spec
    yield from v.check_not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    if not spec.selector:
        yield v.required("spec.selector")
    yield from v.check_not_negative("spec.replicas", spec.replicas)
    if spec.template is None:
        yield v.required("spec.template")
        return
    labels = spec.template.metadata.labels
    matches = not spec.selector or spec.selector.items() <= labels.items()
    yield from check_workload_template("spec.template", spec.template, matches=matches, kind="ReplicationController")


RESOURCE: Final[Resource[ReplicationController]] = Resource(
    type=ReplicationController,
    group="",
    version="v1",
    kind="ReplicationController",
    plural="replicationcontrollers",
    namespaced=True,
    short_names=("rc",),
    categories=("all",),
    subresources=("scale", "status"),
    default=default,
    drop_gated=gated.drop_of_template,
    validate=validate,
    warn=warn_of_workload,
    validate_status=validate_replica_status,
    orphans_by_default=True,
    generation=True,
    columns=replica_columns(selector=labels_text),
    selectable_fields={"status.replicas": lambda rc: str(rc.status.replicas)},
)
