"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.core.pod import PodTemplateSpec
from api.meta import LabelSelector, ObjectMeta
from api.resource import Resource
from api.schema import Int32, Int64, IntOrString, Struct, Time, always, field, wire


class DeploymentCondition(Struct):
    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    last_update_time: Annotated[Time, wire(6)] = ""
    last_transition_time: Annotated[Time, wire(7)] = ""
    reason: Annotated[str, wire(4)] = ""
    message: Annotated[str, wire(5)] = ""


class DeploymentStatus(Struct):
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
    max_unavailable: Annotated[IntOrString | None, wire(1)] = None
    max_surge: Annotated[IntOrString | None, wire(2)] = None


class DeploymentStrategy(Struct):
    type: Annotated[str, wire(1)] = ""
    rolling_update: Annotated[RollingUpdateDeployment | None, wire(2)] = None


class DeploymentSpec(Struct):
    replicas: Annotated[Int32 | None, wire(1)] = None
    selector: Annotated[LabelSelector | None, wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec, wire(3, required=True)] = field(default_factory=PodTemplateSpec)
    strategy: Annotated[DeploymentStrategy, wire(4, patch="retainKeys")] = field(default_factory=DeploymentStrategy)
    min_ready_seconds: Annotated[Int32, wire(5)] = 0
    revision_history_limit: Annotated[Int32 | None, wire(6)] = None
    paused: Annotated[bool, wire(7)] = False
    progress_deadline_seconds: Annotated[Int32 | None, wire(9)] = None


class Deployment(Struct):
    api_version: str = always("apps/v1")
    kind: str = always("Deployment")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[DeploymentSpec, wire(2)] = field(default_factory=DeploymentSpec)
    status: Annotated[DeploymentStatus, wire(3)] = field(default_factory=DeploymentStatus)


RESOURCE: Final[Resource[Deployment]] = Resource(
    type=Deployment,
    group="apps",
    version="v1",
    kind="Deployment",
    plural="deployments",
    namespaced=True,
    short_names=("deploy",),
    categories=("all",),
    subresources=("status", "scale"),
    generation=True,
)
