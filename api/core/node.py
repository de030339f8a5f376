"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Int32, Int64, Quantity, Struct, Time, always, field, wire


class NodeFeatures(Struct):
    supplemental_groups_policy: Annotated[bool | None, wire(1)] = None


class NodeRuntimeHandlerFeatures(Struct):
    recursive_read_only_mounts: Annotated[bool | None, wire(1)] = None
    user_namespaces: Annotated[bool | None, wire(2)] = None


class NodeRuntimeHandler(Struct):
    name: Annotated[str, wire(1)] = ""
    features: Annotated[NodeRuntimeHandlerFeatures | None, wire(2)] = None


class NodeConfigStatus(Struct):
    assigned: Annotated[NodeConfigSource | None, wire(1)] = None
    active: Annotated[NodeConfigSource | None, wire(2)] = None
    last_known_good: Annotated[NodeConfigSource | None, wire(3)] = None
    error: Annotated[str, wire(4)] = ""


class AttachedVolume(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")
    device_path: Annotated[str, wire(2, required=True)] = always("")


class ContainerImage(Struct):
    names: Annotated[list[str], wire(1, list_type="atomic")] = []
    size_bytes: Annotated[Int64, wire(2)] = 0


class NodeSystemInfo(Struct):
    machine_id: Annotated[str, wire(1, required=True)] = always("", name="machineID")
    system_uuid: Annotated[str, wire(2, required=True)] = always("", name="systemUUID")
    boot_id: Annotated[str, wire(3, required=True)] = always("", name="bootID")
    kernel_version: Annotated[str, wire(4, required=True)] = always("")
    os_image: Annotated[str, wire(5, required=True)] = always("")
    container_runtime_version: Annotated[str, wire(6, required=True)] = always("")
    kubelet_version: Annotated[str, wire(7, required=True)] = always("")
    kube_proxy_version: Annotated[str, wire(8, required=True)] = always("")
    operating_system: Annotated[str, wire(9, required=True)] = always("")
    architecture: Annotated[str, wire(10, required=True)] = always("")


class DaemonEndpoint(Struct):
    port: Annotated[Int32, wire(1, required=True)] = always(0, name="Port")


class NodeDaemonEndpoints(Struct):
    kubelet_endpoint: Annotated[DaemonEndpoint, wire(1)] = field(default_factory=DaemonEndpoint)


class NodeAddress(Struct):
    type: Annotated[str, wire(1, required=True)] = always("")
    address: Annotated[str, wire(2, required=True)] = always("")


class NodeCondition(Struct):
    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    last_heartbeat_time: Annotated[Time, wire(3)] = ""
    last_transition_time: Annotated[Time, wire(4)] = ""
    reason: Annotated[str, wire(5)] = ""
    message: Annotated[str, wire(6)] = ""


class NodeStatus(Struct):
    capacity: Annotated[dict[str, Quantity], wire(1)] = {}
    allocatable: Annotated[dict[str, Quantity], wire(2)] = {}
    phase: Annotated[str, wire(3)] = ""
    conditions: Annotated[list[NodeCondition], wire(4, merge_key="type", list_type="map", list_keys=("type",))] = []
    addresses: Annotated[list[NodeAddress], wire(5, merge_key="type", list_type="map", list_keys=("type",))] = []
    daemon_endpoints: Annotated[NodeDaemonEndpoints, wire(6)] = field(default_factory=NodeDaemonEndpoints)
    node_info: Annotated[NodeSystemInfo, wire(7)] = field(default_factory=NodeSystemInfo)
    images: Annotated[list[ContainerImage], wire(8, list_type="atomic")] = []
    volumes_in_use: Annotated[list[str], wire(9, list_type="atomic")] = []
    volumes_attached: Annotated[list[AttachedVolume], wire(10, list_type="atomic")] = []
    config: Annotated[NodeConfigStatus | None, wire(11)] = None
    runtime_handlers: Annotated[list[NodeRuntimeHandler], wire(12, list_type="atomic")] = []
    features: Annotated[NodeFeatures | None, wire(13)] = None


class ConfigMapNodeConfigSource(Struct):
    namespace: Annotated[str, wire(1, required=True)] = always("")
    name: Annotated[str, wire(2, required=True)] = always("")
    uid: Annotated[str, wire(3)] = ""
    resource_version: Annotated[str, wire(4)] = ""
    kubelet_config_key: Annotated[str, wire(5, required=True)] = always("")


class NodeConfigSource(Struct):
    config_map: Annotated[ConfigMapNodeConfigSource | None, wire(2)] = None


class Taint(Struct):
    key: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[str, wire(2)] = ""
    effect: Annotated[str, wire(3, required=True)] = always("")
    time_added: Annotated[Time, wire(4)] = ""


class NodeSpec(Struct):
    pod_cidr: Annotated[str, wire(1)] = field(name="podCIDR", default="")
    pod_cidrs: Annotated[list[str], wire(7, patch="merge", list_type="set")] = field(
        name="podCIDRs", default_factory=list
    )
    provider_id: Annotated[str, wire(3)] = field(name="providerID", default="")
    unschedulable: Annotated[bool, wire(4)] = False
    taints: Annotated[list[Taint], wire(5, list_type="atomic")] = []
    config_source: Annotated[NodeConfigSource | None, wire(6)] = None
    external_id: Annotated[str, wire(2)] = field(name="externalID", default="")


class Node(Struct):
    api_version: str = always("v1")
    kind: str = always("Node")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[NodeSpec, wire(2)] = field(default_factory=NodeSpec)
    status: Annotated[NodeStatus, wire(3)] = field(default_factory=NodeStatus)


RESOURCE: Final[Resource[Node]] = Resource(
    type=Node,
    group="",
    version="v1",
    kind="Node",
    plural="nodes",
    namespaced=False,
    short_names=("no",),
    subresources=("status",),
)
