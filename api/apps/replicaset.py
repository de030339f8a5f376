"""ReplicaSet: so many pods of one template, at all times."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.apps.workloads import check_selector_and_template, validate_replica_status
from api.columns import replica_columns
from api.core import gated
from api.core.pod import PodTemplateSpec
from api.core.pod_defaults import default_template
from api.core.pod_warnings import warn_of_workload
from api.core.replicationcontroller import ReplicaCounts
from api.meta import KindCondition, LabelSelector, ObjectMeta
from api.resource import Resource
from api.schema import Int32, Struct, always, field, wire


class ReplicaSetCondition(KindCondition):
    """One question about a ReplicaSet (`type`), its answer, and since when."""


class ReplicaSetStatus(ReplicaCounts):
    """How many pods a ReplicaSet has, as it last counted.

    Attributes:
        conditions: ReplicaFailure: pods could not be created or deleted.
    """

    conditions: Annotated[
        list[ReplicaSetCondition], wire(6, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class ReplicaSetSpec(Struct):
    """What a ReplicaSet's pods shall be, and how many.

    Attributes:
        replicas: How many pods there shall be; 1 by default.
        min_ready_seconds: For how many seconds a pod must be ready to count as available; 0 by default.
        selector: Which pods are its own; the template's labels must match it. Never changes.
        template: What the pods shall be. A change only matters for pods made later.
    """

    replicas: Annotated[Int32 | None, wire(1)] = None
    min_ready_seconds: Annotated[Int32, wire(4)] = 0
    selector: Annotated[LabelSelector | None, wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec, wire(3)] = field(default_factory=PodTemplateSpec)


class ReplicaSet(Struct):
    """So many pods of one template, at all times; mostly made by a Deployment, one for each revision."""

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
    drop_gated=gated.drop_of_template,
    validate=validate,
    warn=warn_of_workload,
    validate_status=validate_replica_status,
    generation=True,
    columns=replica_columns(),
    selectable_fields={"status.replicas": lambda rs: str(rs.status.replicas)},
)
