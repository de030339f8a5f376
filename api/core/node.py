"""Node: a machine that runs pods, what it has, and how it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec

from api import names
from api import validation as v
from api.columns import AGE, NONE, joined
from api.core.ip_addresses import check_cidr
from api.core.pod_validation import EFFECTS
from api.core.resource_names import check_amount
from api.meta import KindCondition, ObjectMeta
from api.resource import Column, FieldError, Resource
from api.schema import Int32, Int64, Quantity, Struct, Time, always, field, wire


class NodeFeatures(Struct):
    """What the node's container runtime can, whatever the handler.

    Attributes:
        supplemental_groups_policy: Whether it knows supplementalGroupsPolicy of pods.
    """

    supplemental_groups_policy: Annotated[bool | None, wire(1)] = None


class NodeRuntimeHandlerFeatures(Struct):
    """What one handler of the container runtime can.

    Attributes:
        recursive_read_only_mounts: Whether it can make mounts below a mount read-only too.
        user_namespaces: Whether it can give pods user ids of their own, volumes included.
    """

    recursive_read_only_mounts: Annotated[bool | None, wire(1)] = None
    user_namespaces: Annotated[bool | None, wire(2)] = None


class NodeRuntimeHandler(Struct):
    """A way in which the container runtime can run containers; RuntimeClasses name one.

    Attributes:
        name: The handler's name; empty for the default one.
        features: What this handler can; unset if nobody knows.
    """

    name: Annotated[str, wire(1)] = ""
    features: Annotated[NodeRuntimeHandlerFeatures | None, wire(2)] = None


class NodeConfigStatus(Struct):
    """What became of spec.configSource (removed: no kubelet sets it any more).

    Attributes:
        assigned: The configuration that the kubelet will try.
        active: The configuration that it uses.
        last_known_good: The configuration that it goes back to when the assigned one fails.
        error: What is wrong with the assigned one.
    """

    assigned: Annotated[NodeConfigSource | None, wire(1)] = None
    active: Annotated[NodeConfigSource | None, wire(2)] = None
    last_known_good: Annotated[NodeConfigSource | None, wire(3)] = None
    error: Annotated[str, wire(4)] = ""


class AttachedVolume(Struct):
    """A volume that is attached to the node.

    Attributes:
        name: The volume, by its driver and handle.
        device_path: The device that it is on the node.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    device_path: Annotated[str, wire(2, required=True)] = always("")


class ContainerImage(Struct):
    """An image that the node has.

    Attributes:
        names: All names it is known by, with tags and digests.
        size_bytes: How large it is, in bytes.
    """

    names: Annotated[list[str], wire(1, list_type="atomic")] = []
    size_bytes: Annotated[Int64, wire(2)] = 0


class NodeSystemInfo(Struct):
    """What the node's machine and software are.

    Attributes:
        machine_id: The id of the installed system, from /etc/machine-id.
        system_uuid: The id of the hardware, from its firmware.
        boot_id: The id of this boot; a new one after each restart.
        kernel_version: The kernel's version, as `uname -r` says it.
        os_image: The name of the installed system, from /etc/os-release.
        container_runtime_version: The container runtime and its version, such as containerd://1.7.0.
        kubelet_version: The version of the node agent.
        kube_proxy_version: Deprecated: the same as kubeletVersion, or empty.
        operating_system: Which system the kubelet runs on: linux or windows.
        architecture: The processor's architecture, such as amd64 or arm64.
    """

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
    """Where a program of the node listens.

    Attributes:
        port: The number of the TCP port on the node's addresses.
    """

    port: Annotated[Int32, wire(1, required=True)] = always(0, name="Port")


class NodeDaemonEndpoints(Struct):
    """Where the node's own programs listen.

    Attributes:
        kubelet_endpoint: Where the kubelet serves logs, exec and the like; mostly port 10250.
    """

    kubelet_endpoint: Annotated[DaemonEndpoint, wire(1)] = field(default_factory=DaemonEndpoint)


class NodeAddress(Struct):
    """A way to reach the node.

    Attributes:
        type: What sort of address: InternalIP, ExternalIP, Hostname, InternalDNS or ExternalDNS.
        address: The address or name itself.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    address: Annotated[str, wire(2, required=True)] = always("")


class NodeCondition(KindCondition):
    """One question about a node (`type`), its answer (True, False or Unknown), and since when.

    Attributes:
        last_heartbeat_time: When the node last told of this condition.
    """

    last_heartbeat_time: Annotated[Time, wire(3)] = ""
    last_transition_time: Annotated[Time, wire(4)] = ""
    reason: Annotated[str, wire(5)] = ""
    message: Annotated[str, wire(6)] = ""


class NodeStatus(Struct):
    """What a node is and has, as its kubelet last said.

    Attributes:
        capacity: What it has in all, by resource: cpu, memory, pods, ephemeral-storage and devices.
        allocatable: What of that is left for pods after what the system keeps; the scheduler counts with this.
        phase: Not used any more.
        conditions: Ready, MemoryPressure, DiskPressure, PIDPressure and NetworkUnavailable.
        addresses: The ways to reach it; the first of a type counts.
        daemon_endpoints: Where its own programs listen.
        node_info: The node's ids, versions and operating system.
        images: The largest images that it has, at most 50; nodes that have an image are preferred.
        volumes_in_use: Volumes that are attached and mounted, and must not be taken off.
        volumes_attached: What the attach controller, or a CSI driver, has attached to the node.
        config: Was how spec.configSource fared; not set any more.
        runtime_handlers: In which ways its container runtime can run containers.
        features: What the container runtime can beyond single handlers.
    """

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
    """A ConfigMap with a kubelet's configuration (removed).

    Attributes:
        namespace: The ConfigMap's namespace.
        name: The ConfigMap's name.
        uid: The ConfigMap's uid; only in status.
        resource_version: The ConfigMap's version; only in status.
        kubelet_config_key: The entry that holds the configuration.
    """

    namespace: Annotated[str, wire(1, required=True)] = always("")
    name: Annotated[str, wire(2, required=True)] = always("")
    uid: Annotated[str, wire(3)] = ""
    resource_version: Annotated[str, wire(4)] = ""
    kubelet_config_key: Annotated[str, wire(5, required=True)] = always("")


class NodeConfigSource(Struct):
    """Where a kubelet's configuration is (removed).

    Attributes:
        config_map: The ConfigMap that holds it.
    """

    config_map: Annotated[ConfigMapNodeConfigSource | None, wire(2)] = None


class Taint(Struct):
    """Keeps pods off a node unless they tolerate it.

    Attributes:
        key: The taint's name, such as node-role.kubernetes.io/control-plane.
        value: Its value; may be empty.
        effect: NoSchedule keeps new pods away, PreferNoSchedule if it can be avoided, NoExecute evicts those that run
            as well.
        time_added: When it was added; set only for NoExecute.
    """

    key: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[str, wire(2)] = ""
    effect: Annotated[str, wire(3, required=True)] = always("")
    time_added: Annotated[Time, wire(4)] = ""


class NodeSpec(Struct):
    """What others decided about a node.

    Attributes:
        pod_cidr: The range that its pods' addresses are from, such as 10.244.1.0/24; the first of podCIDRs.
        pod_cidrs: The ranges that its pods' addresses are from, at most one of each family.
        provider_id: What the cloud calls the machine, as PROVIDER://ID.
        unschedulable: Whether no new pods go there (`kubectl cordon`); false by default.
        taints: What keeps pods away that do not tolerate it.
        config_source: Was where the kubelet's configuration is; removed, and without effect.
        external_id: Was the machine's id in the cloud; not used any more.
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
    yield from _check_avoided(new.metadata.annotations.get(_AVOIDED, ""))
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(new.spec.taints):
        where = f"metadata.taints[{i}]"  # So upstream calls it.
        for message in names.check_qualified_name(taint.key):
            yield v.invalid(f"{where}.key", taint.key, message)
        wrong = names.check_label_value(taint.value)
        if wrong:
            yield v.invalid(f"{where}.value", taint.value, ";".join(wrong))
        yield from v.check_supported(f"{where}.effect", taint.effect, EFFECTS, in_order=True)
        if (taint.key, taint.effect) in seen:
            why = "taints must be unique by key and effect pair"
            yield FieldError(where, "FieldValueDuplicate", f"{v.duplicate(where, taint).message}: {why}")
        seen.add((taint.key, taint.effect))
    yield from _check_amounts(new)
    cidrs = new.spec.pod_cidrs
    for i, cidr in enumerate(cidrs):
        yield from check_cidr(f"spec.podCIDRs[{i}]", cidr)
    if len(cidrs) > 1:
        if len(cidrs) > 2 or len({":" in cidr for cidr in cidrs}) < 2:
            yield v.invalid("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family")
        for i, cidr in enumerate(cidrs):
            if cidr in cidrs[:i]:
                yield v.duplicate(f"spec.podCIDRs[{i}]", cidr)
    if old is None:
        return
    if changed := list(_check_update(new, old)):
        yield from changed
        yield v.forbidden("[]", _ELSE)  # The path that upstream has for a node itself.


_ELSE: Final = (
    "node updates may only change labels, taints, or capacity"
    " (or configSource, if the DynamicKubeletConfig feature gate is enabled)"
)


def _check_update(new: Node, old: Node) -> v.Errors:
    if old.spec.pod_cidrs and new.spec.pod_cidrs != old.spec.pod_cidrs:
        yield v.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if old.spec.provider_id and new.spec.provider_id != old.spec.provider_id:
        yield v.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
    if new.spec.external_id != old.spec.external_id:
        yield v.forbidden("spec.externalID", "may not be updated")


_AVOIDED: Final = "scheduler.alpha.kubernetes.io/preferAvoidPods"
"""Whose pods were not wanted on the node; nothing reads it any more, but it is checked as ever."""


def _check_avoided(text: str) -> v.Errors:
    if not text:
        return
    try:
        listed = msgspec.json.decode(text.encode(), type=_Avoided).prefer_avoid_pods
    except msgspec.DecodeError as error:
        yield v.invalid("metadata.annotations.AvoidPods", _AVOIDED, str(error))
        return
    for i, entry in enumerate(listed):
        where = f"metadata.annotations.{_AVOIDED}[{i}].PodSignature"
        owner = entry.get("podSignature", {}).get("podController")
        if owner is None:
            yield v.required(where)
        elif not owner.get("controller"):
            yield v.invalid(f"{where}.PodController.Controller", False, "must point to a controller")


class _Avoided(msgspec.Struct, rename="camel"):
    prefer_avoid_pods: list[dict[str, dict[str, dict[str, Any] | None]]] = []


def _check_amounts(node: Node) -> v.Errors:
    for total, amounts in (("capacity", node.status.capacity), ("allocatable", node.status.allocatable)):
        for name, amount in amounts.items():
            yield from check_amount(f"status.{total}.{name}", name, amount)


def prepare_for_create(node: Node) -> None:
    """Keep even the status: a kubelet registers its node together with what it found there."""


def prepare_for_update(new: Node, old: Node) -> None:
    """Keep the status."""
    new.status = old.status


def validate_status(new: Node, old: Node) -> v.Errors:
    """Check that no two addresses are the same, and that amounts are not negative."""
    yield from _check_amounts(new)
    seen: set[tuple[str, str]] = set()
    for i, address in enumerate(new.status.addresses):
        if (address.type, address.address) in seen:
            yield v.duplicate(f"status.addresses[{i}]", address)
        seen.add((address.type, address.address))


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


def warn(new: Node, old: Node | None) -> Iterator[str]:
    """Warn of fields that are not read any more."""
    if new.spec.config_source is not None:
        yield "spec.configSource: the feature is removed"
    if new.spec.external_id:
        yield "spec.externalID: this field is deprecated, and is unused by Kubernetes"


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
    warn=warn,
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
