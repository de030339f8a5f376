"""Node: a machine that runs pods, what it has, and how it is."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final

from api import names, quantity
from api import validation as v
from api.columns import AGE, NONE, joined
from api.meta import ObjectMeta
from api.resource import Column, Resource
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
    """An image that a node has."""

    names: Annotated[list[str], wire(1, list_type="atomic")] = []
    size_bytes: Annotated[Int64, wire(2)] = 0


class NodeSystemInfo(Struct):
    """What the node's machine and software are."""

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
    """How a node can be reached."""

    type: Annotated[str, wire(1, required=True)] = always("")
    address: Annotated[str, wire(2, required=True)] = always("")


class NodeCondition(Struct):
    """One question about a node (`type`), its answer (True, False or Unknown), and since when."""

    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    last_heartbeat_time: Annotated[Time, wire(3)] = ""
    last_transition_time: Annotated[Time, wire(4)] = ""
    reason: Annotated[str, wire(5)] = ""
    message: Annotated[str, wire(6)] = ""


class NodeStatus(Struct):
    """What a node is and has, as its kubelet last said."""

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
    """Keeps pods off a node unless they tolerate it."""

    key: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[str, wire(2)] = ""
    effect: Annotated[str, wire(3, required=True)] = always("")
    time_added: Annotated[Time, wire(4)] = ""


class NodeSpec(Struct):
    """What others decided about a node.

    Attributes:
        pod_cidr: The addresses of its pods.
        pod_cidrs: The addresses of its pods, of each family.
        provider_id: What the cloud calls the machine.
        unschedulable: Whether no new pods go there (`kubectl cordon`).
        taints: What keeps pods away that do not tolerate it.
    """

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
    """A machine that runs pods."""

    api_version: str = always("v1")
    kind: str = always("Node")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[NodeSpec, wire(2)] = field(default_factory=NodeSpec)
    status: Annotated[NodeStatus, wire(3)] = field(default_factory=NodeStatus)


_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_ROLE_PREFIX = "node-role.kubernetes.io/"


def default(node: Node) -> None:
    """Take all that a node has to be for pods, where its kubelet has not said; keep its pod range's two names equal."""
    spec = node.spec
    if spec.pod_cidr and spec.pod_cidr not in spec.pod_cidrs[:1]:
        spec.pod_cidrs = [spec.pod_cidr]
    if spec.pod_cidrs and not spec.pod_cidr:
        spec.pod_cidr = spec.pod_cidrs[0]
    if node.status.capacity and not node.status.allocatable:
        node.status.allocatable = dict(node.status.capacity)


def validate(new: Node, old: Node | None) -> v.Errors:
    """Check taints and addresses, and that an update changes only what it may."""
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(new.spec.taints):
        where = f"spec.taints[{i}]"
        yield from v.check_name(f"{where}.key", taint.key, names.check_qualified_name)
        for message in names.check_label_value(taint.value):
            yield v.invalid(f"{where}.value", taint.value, message)
        yield from v.check_supported(f"{where}.effect", taint.effect, _EFFECTS)
        if (taint.key, taint.effect) in seen:
            yield v.duplicate(where, taint)
        seen.add((taint.key, taint.effect))
    for i, cidr in enumerate(new.spec.pod_cidrs):
        try:
            ipaddress.ip_network(cidr)
        except ValueError:
            yield v.invalid(f"spec.podCIDRs[{i}]", cidr, "must be a valid CIDR value, (e.g. 10.9.8.0/24)")
    if old is None:
        return
    if old.spec.pod_cidrs and new.spec.pod_cidrs != old.spec.pod_cidrs:
        yield v.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if old.spec.provider_id and new.spec.provider_id != old.spec.provider_id:
        yield v.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')


def prepare_for_create(node: Node) -> None:
    """Keep even the status: a kubelet registers its node together with what it found there."""


def prepare_for_update(new: Node, old: Node) -> None:
    """Keep the status."""
    new.status = old.status


def validate_status(new: Node, old: Node) -> v.Errors:
    """Check that no two addresses are the same, and that amounts are not negative."""
    seen: set[tuple[str, str]] = set()
    for i, address in enumerate(new.status.addresses):
        if (address.type, address.address) in seen:
            yield v.duplicate(f"status.addresses[{i}]", address)
        seen.add((address.type, address.address))
    for total, amounts in (("capacity", new.status.capacity), ("allocatable", new.status.allocatable)):
        for name, amount in amounts.items():
            if quantity.parse(amount).nanos < 0:
                yield v.invalid(f"status.{total}[{name}]", amount, "must be greater than or equal to 0")


def _status(node: Node, now: float) -> str:
    ready = next((condition for condition in node.status.conditions if condition.type == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready.status == "True" else "NotReady"
    return f"{text},SchedulingDisabled" if node.spec.unschedulable else text


def _roles(node: Node, now: float) -> str:
    roles = {
        label.removeprefix(_ROLE_PREFIX)
        for label in node.metadata.labels
        if label.startswith(_ROLE_PREFIX) and label != _ROLE_PREFIX
    }
    if node.metadata.labels.get("kubernetes.io/role"):
        roles.add(node.metadata.labels["kubernetes.io/role"])
    return joined(sorted(roles))


def _address(node: Node, type: str) -> str:
    return next((address.address for address in node.status.addresses if address.type == type), NONE)


_UNKNOWN = "<unknown>"

RESOURCE: Final[Resource[Node]] = Resource(
    type=Node,
    group="",
    version="v1",
    kind="Node",
    plural="nodes",
    namespaced=False,
    short_names=("no",),
    subresources=("proxy", "status"),
    default=default,
    validate=validate,
    prepare_for_create=prepare_for_create,
    prepare_for_update=prepare_for_update,
    validate_status=validate_status,
    columns=(
        Column("Status", "string", _status, "Whether the node can run pods."),
        Column("Roles", "string", _roles, "What the node is for, from its labels."),
        AGE,
        Column("Version", "string", lambda node, now: node.status.node_info.kubelet_version, "The kubelet's version."),
        Column(
            "Internal-IP", "string", lambda node, now: _address(node, "InternalIP"), "Inside the cluster.", priority=1
        ),
        Column("External-IP", "string", lambda node, now: _address(node, "ExternalIP"), "From outside.", priority=1),
        Column(
            "OS-Image",
            "string",
            lambda node, now: node.status.node_info.os_image or _UNKNOWN,
            "The operating system.",
            priority=1,
        ),
        Column(
            "Kernel-Version",
            "string",
            lambda node, now: node.status.node_info.kernel_version or _UNKNOWN,
            "The kernel.",
            priority=1,
        ),
        Column(
            "Container-Runtime",
            "string",
            lambda node, now: node.status.node_info.container_runtime_version or _UNKNOWN,
            "The container runtime.",
            priority=1,
        ),
    ),
    selectable_fields={"spec.unschedulable": lambda node: "true" if node.spec.unschedulable else "false"},
)
