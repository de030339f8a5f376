"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.core.pod import PodTemplateSpec
from api.meta import LabelSelector, ObjectMeta
from api.resource import Resource
from api.schema import Int32, Int64, Struct, Time, always, field, wire


class ReplicaSetCondition(Struct):
    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    last_transition_time: Annotated[Time, wire(3)] = ""
    reason: Annotated[str, wire(4)] = ""
    message: Annotated[str, wire(5)] = ""


class ReplicaSetStatus(Struct):
    replicas: Annotated[Int32, wire(1, required=True)] = always(0)
    fully_labeled_replicas: Annotated[Int32, wire(2)] = 0
    ready_replicas: Annotated[Int32, wire(4)] = 0
    available_replicas: Annotated[Int32, wire(5)] = 0
    observed_generation: Annotated[Int64, wire(3)] = 0
    conditions: Annotated[
        list[ReplicaSetCondition], wire(6, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class ReplicaSetSpec(Struct):
    replicas: Annotated[Int32 | None, wire(1)] = None
    min_ready_seconds: Annotated[Int32, wire(4)] = 0
    selector: Annotated[LabelSelector | None, wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec, wire(3)] = field(default_factory=PodTemplateSpec)


class ReplicaSet(Struct):
    api_version: str = always("apps/v1")
    kind: str = always("ReplicaSet")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[ReplicaSetSpec, wire(2)] = field(default_factory=ReplicaSetSpec)
    status: Annotated[ReplicaSetStatus, wire(3)] = field(default_factory=ReplicaSetStatus)


RESOURCE: Final[Resource[ReplicaSet]] = Resource(
    type=ReplicaSet,
    group="apps",
    version="v1",
    kind="ReplicaSet",
    plural="replicasets",
    namespaced=True,
    short_names=("rs",),
    categories=("all",),
    subresources=("status", "scale"),
    generation=True,
)
