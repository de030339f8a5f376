"""Pod: containers that live and die together on one node.

The types stand here, with what the server does to a pod's status. What a pod gets by default, what it may be and how
it is shown have files of their own: `pod_defaults.py`, `pod_validation.py`, `pod_columns.py`.
"""

from __future__ import annotations

from typing import Annotated, Final

from api import quantity
from api import validation as v
from api.core.containers import Container, EphemeralContainer, PodSecurityContext, ResourceRequirements
from api.core.pod_columns import COLUMNS
from api.core.pod_defaults import default_pod
from api.core.pod_validation import check_ip, validate_pod
from api.core.references import LocalObjectReference, NodeSelector, NodeSelectorTerm
from api.core.volumes import Volume
from api.meta import LabelSelector, ObjectMeta, ProbedCondition
from api.resource import Resource
from api.schema import Int32, Int64, Quantity, Struct, Time, always, field, wire


class PodSpec(Struct):
    """What a pod shall be.

    Attributes:
        volumes: Storage that containers can mount.
        init_containers: Containers that run one after the other, each to its end, before the others start.
            One whose restartPolicy is Always starts then and goes on beside them.
        containers: The containers; at least one. They cannot be added or taken away later.
        ephemeral_containers: Containers put into a running pod to look at it (`kubectl debug`).
        restart_policy: What happens to containers that end: Always (the default), OnFailure or Never.
        termination_grace_period_seconds: How long containers may take to stop before they are killed; 30 by
            default.
        active_deadline_seconds: How long the pod may run at all.
        dns_policy: Where names are looked up: ClusterFirst (the default), ClusterFirstWithHostNet, Default
            (as the node does) or None.
        node_selector: Labels a node must have for the pod to run there.
        service_account_name: Whose rights the pod's programs have at the API server.
        service_account: The older name of serviceAccountName.
        automount_service_account_token: Whether containers get a token of the service account.
        node_name: The node; set by the scheduler, unless it is given at once.
        host_network: Whether the pod has the node's network rather than its own.
        host_pid: Whether the pod sees the node's processes.
        host_ipc: Whether the pod shares the node's IPC namespace.
        share_process_namespace: Whether the containers see each other's processes.
        image_pull_secrets: Secrets with passwords of registries.
        hostname: The pod's host name, where that is not its name.
        subdomain: With it the pod's full name is HOSTNAME.SUBDOMAIN.NAMESPACE.svc and the cluster's domain.
        scheduler_name: Which scheduler finds a node.
        tolerations: Taints of nodes that the pod bears.
        host_aliases: Lines for /etc/hosts.
        priority_class_name: How important the pod is, by the name of a PriorityClass.
        priority: How important the pod is, as a number; set by the server.
        readiness_gates: Conditions that must hold, beside the containers', for the pod to be ready.
        runtime_class_name: How containers are run, by the name of a RuntimeClass.
        enable_service_links: Whether containers find Services in their environment; true by default.
        preemption_policy: PreemptLowerPriority or Never: whether others may be driven out for this pod.
        overhead: What running the pod costs beyond its containers; set from the RuntimeClass.
        topology_spread_constraints: How evenly pods like this one spread over nodes and zones.
        set_hostname_as_fqdn: Whether the kernel's host name is the full one.
        os: The operating system the containers need.
        host_users: Whether the pod shares the node's user ids; true by default.
        scheduling_gates: While there are any, the pod is not scheduled.
        resource_claims: Devices that must be there before the pod can start.
        resources: What the containers may use together.
    """

    volumes: Annotated[
        list[Volume],
        wire(1, merge_key="name", patch="merge,retainKeys", list_type="map", list_keys=("name",)),
    ] = []
    init_containers: Annotated[list[Container], wire(20, merge_key="name", list_type="map", list_keys=("name",))] = []
    containers: Annotated[
        list[Container], wire(2, required=True, merge_key="name", list_type="map", list_keys=("name",))
    ] = []
    ephemeral_containers: Annotated[
        list[EphemeralContainer], wire(34, merge_key="name", list_type="map", list_keys=("name",))
    ] = []
    restart_policy: Annotated[str, wire(3)] = ""
    termination_grace_period_seconds: Annotated[Int64 | None, wire(4)] = None
    active_deadline_seconds: Annotated[Int64 | None, wire(5)] = None
    dns_policy: Annotated[str, wire(6)] = ""
    node_selector: Annotated[dict[str, str], wire(7, atomic=True)] = {}
    service_account_name: Annotated[str, wire(8)] = ""
    service_account: Annotated[str, wire(9)] = ""
    automount_service_account_token: Annotated[bool | None, wire(21)] = None
    node_name: Annotated[str, wire(10)] = ""
    host_network: Annotated[bool, wire(11)] = False
    host_pid: Annotated[bool, wire(12)] = field(name="hostPID", default=False)
    host_ipc: Annotated[bool, wire(13)] = field(name="hostIPC", default=False)
    share_process_namespace: Annotated[bool | None, wire(27)] = None
    security_context: Annotated[PodSecurityContext | None, wire(14)] = None
    image_pull_secrets: Annotated[
        list[LocalObjectReference], wire(15, merge_key="name", list_type="map", list_keys=("name",))
    ] = []
    hostname: Annotated[str, wire(16)] = ""
    subdomain: Annotated[str, wire(17)] = ""
    affinity: Annotated[Affinity | None, wire(18)] = None
    scheduler_name: Annotated[str, wire(19)] = ""
    tolerations: Annotated[list[Toleration], wire(22, list_type="atomic")] = []
    host_aliases: Annotated[list[HostAlias], wire(23, merge_key="ip", list_type="map", list_keys=("ip",))] = []
    priority_class_name: Annotated[str, wire(24)] = ""
    priority: Annotated[Int32 | None, wire(25)] = None
    dns_config: Annotated[PodDNSConfig | None, wire(26)] = None
    readiness_gates: Annotated[list[PodReadinessGate], wire(28, list_type="atomic")] = []
    runtime_class_name: Annotated[str | None, wire(29)] = None
    enable_service_links: Annotated[bool | None, wire(30)] = None
    preemption_policy: Annotated[str | None, wire(31)] = None
    overhead: Annotated[dict[str, Quantity], wire(32)] = {}
    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint],
        wire(
            33,
            merge_key="topologyKey",
            list_type="map",
            list_keys=(
                "topologyKey",
                "whenUnsatisfiable",
            ),
        ),
    ] = []
    set_hostname_as_fqdn: Annotated[bool | None, wire(35)] = field(name="setHostnameAsFQDN", default=None)
    os: Annotated[PodOS | None, wire(36)] = None
    host_users: Annotated[bool | None, wire(37)] = None
    scheduling_gates: Annotated[
        list[PodSchedulingGate], wire(38, merge_key="name", list_type="map", list_keys=("name",))
    ] = []
    resource_claims: Annotated[
        list[PodResourceClaim],
        wire(39, merge_key="name", patch="merge,retainKeys", list_type="map", list_keys=("name",)),
    ] = []
    resources: Annotated[ResourceRequirements | None, wire(40)] = None


class PodTemplateSpec(Struct):
    """What the pods that something makes shall be.

    Attributes:
        metadata: Labels and annotations of the pods.
        spec: What the pods shall be.
    """

    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[PodSpec, wire(2)] = field(default_factory=PodSpec)


class PodResourceClaimStatus(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")
    resource_claim_name: Annotated[str | None, wire(2)] = None


class ResourceHealth(Struct):
    resource_id: Annotated[str, wire(1, required=True)] = always("", name="resourceID")
    health: Annotated[str, wire(2)] = ""


class ResourceStatus(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")
    resources: Annotated[list[ResourceHealth], wire(2, list_type="map", list_keys=("resourceID",))] = []


class LinuxContainerUser(Struct):
    uid: Annotated[Int64, wire(1, required=True)] = always(0)
    gid: Annotated[Int64, wire(2, required=True)] = always(0)
    supplemental_groups: Annotated[list[Int64], wire(3, list_type="atomic")] = []


class ContainerUser(Struct):
    linux: Annotated[LinuxContainerUser | None, wire(1)] = None


class VolumeMountStatus(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")
    mount_path: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False
    recursive_read_only: Annotated[str | None, wire(4)] = None


class ContainerStateTerminated(Struct):
    """The container ran, and ended."""

    exit_code: Annotated[Int32, wire(1, required=True)] = always(0)
    signal: Annotated[Int32, wire(2)] = 0
    reason: Annotated[str, wire(3)] = ""
    message: Annotated[str, wire(4)] = ""
    started_at: Annotated[Time, wire(5)] = ""
    finished_at: Annotated[Time, wire(6)] = ""
    container_id: Annotated[str, wire(7)] = field(name="containerID", default="")


class ContainerStateRunning(Struct):
    """The container runs."""

    started_at: Annotated[Time, wire(1)] = ""


class ContainerStateWaiting(Struct):
    """The container does not run yet, or not again yet."""

    reason: Annotated[str, wire(1)] = ""
    message: Annotated[str, wire(2)] = ""


class ContainerState(Struct):
    """At most one of these is set; none means waiting."""

    waiting: Annotated[ContainerStateWaiting | None, wire(1)] = None
    running: Annotated[ContainerStateRunning | None, wire(2)] = None
    terminated: Annotated[ContainerStateTerminated | None, wire(3)] = None


class ContainerStatus(Struct):
    """What became of one container."""

    name: Annotated[str, wire(1, required=True)] = always("")
    state: Annotated[ContainerState, wire(2)] = field(default_factory=ContainerState)
    last_state: Annotated[ContainerState, wire(3)] = field(default_factory=ContainerState)
    ready: Annotated[bool, wire(4, required=True)] = always(False)
    restart_count: Annotated[Int32, wire(5, required=True)] = always(0)
    image: Annotated[str, wire(6, required=True)] = always("")
    image_id: Annotated[str, wire(7, required=True)] = always("", name="imageID")
    container_id: Annotated[str, wire(8)] = field(name="containerID", default="")
    started: Annotated[bool | None, wire(9)] = None
    allocated_resources: Annotated[dict[str, Quantity], wire(10)] = {}
    resources: Annotated[ResourceRequirements | None, wire(11)] = None
    volume_mounts: Annotated[
        list[VolumeMountStatus], wire(12, merge_key="mountPath", list_type="map", list_keys=("mountPath",))
    ] = []
    user: Annotated[ContainerUser | None, wire(13)] = None
    allocated_resources_status: Annotated[
        list[ResourceStatus], wire(14, merge_key="name", list_type="map", list_keys=("name",))
    ] = []


class PodIP(Struct):
    ip: Annotated[str, wire(1, required=True)] = always("")


class HostIP(Struct):
    ip: Annotated[str, wire(1, required=True)] = always("")


class PodCondition(ProbedCondition):
    """One question about a pod (`type`), its answer (True, False or Unknown), and since when."""


class PodStatus(Struct):
    """What became of a pod, as its kubelet last saw it; may lag behind.

    Attributes:
        phase: Pending, Running, Succeeded, Failed or Unknown: where in its life the pod is.
        conditions: PodScheduled, Initialized, ContainersReady, Ready and others, and since when.
        message: Why the pod is in this phase, in a sentence.
        reason: Why the pod is in this phase, in one word.
        nominated_node_name: Where room is being made for the pod.
        host_ip: The node's address.
        host_ips: The node's addresses.
        pod_ip: The pod's address.
        pod_ips: The pod's addresses, at most one of each family.
        start_time: When the kubelet took the pod on.
        init_container_statuses: What became of each init container.
        container_statuses: What became of each container.
        ephemeral_container_statuses: What became of each ephemeral container.
        qos_class: Guaranteed, Burstable or BestEffort, from requests and limits: who goes last when memory
            runs out.
    """

    phase: Annotated[str, wire(1)] = ""
    conditions: Annotated[list[PodCondition], wire(2, merge_key="type", list_type="map", list_keys=("type",))] = []
    message: Annotated[str, wire(3)] = ""
    reason: Annotated[str, wire(4)] = ""
    nominated_node_name: Annotated[str, wire(11)] = ""
    host_ip: Annotated[str, wire(5)] = field(name="hostIP", default="")
    host_ips: Annotated[list[HostIP], wire(16, merge_key="ip", list_type="atomic")] = field(
        name="hostIPs", default_factory=list
    )
    pod_ip: Annotated[str, wire(6)] = field(name="podIP", default="")
    pod_ips: Annotated[list[PodIP], wire(12, merge_key="ip", list_type="map", list_keys=("ip",))] = field(
        name="podIPs", default_factory=list
    )
    start_time: Annotated[Time, wire(7)] = ""
    init_container_statuses: Annotated[list[ContainerStatus], wire(10, list_type="atomic")] = []
    container_statuses: Annotated[list[ContainerStatus], wire(8, list_type="atomic")] = []
    qos_class: Annotated[str, wire(9)] = ""
    ephemeral_container_statuses: Annotated[list[ContainerStatus], wire(13, list_type="atomic")] = []
    resize: Annotated[str, wire(14)] = ""
    resource_claim_statuses: Annotated[
        list[PodResourceClaimStatus],
        wire(15, merge_key="name", patch="merge,retainKeys", list_type="map", list_keys=("name",)),
    ] = []


class PodResourceClaim(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")
    resource_claim_name: Annotated[str | None, wire(3)] = None
    resource_claim_template_name: Annotated[str | None, wire(4)] = None


class PodSchedulingGate(Struct):
    """While a pod has any of these, it is not scheduled."""

    name: Annotated[str, wire(1, required=True)] = always("")


class PodOS(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")


class TopologySpreadConstraint(Struct):
    """How evenly matching pods must spread over zones, nodes or other domains.

    Attributes:
        max_skew: By how many pods two domains may differ.
        topology_key: The node label whose values are the domains.
        when_unsatisfiable: DoNotSchedule, or ScheduleAnyway: only a preference.
        label_selector: Which pods are counted.
        min_domains: With fewer domains than this, an empty one is assumed.
        node_affinity_policy: Honor (the default) or Ignore nodes that the pod cannot go to.
        node_taints_policy: Honor or Ignore (the default) taints.
        match_label_keys: Labels whose values are taken from the pod itself.
    """

    max_skew: Annotated[Int32, wire(1, required=True)] = always(0)
    topology_key: Annotated[str, wire(2, required=True)] = always("")
    when_unsatisfiable: Annotated[str, wire(3, required=True)] = always("")
    label_selector: Annotated[LabelSelector | None, wire(4)] = None
    min_domains: Annotated[Int32 | None, wire(5)] = None
    node_affinity_policy: Annotated[str | None, wire(6)] = None
    node_taints_policy: Annotated[str | None, wire(7)] = None
    match_label_keys: Annotated[list[str], wire(8, list_type="atomic")] = []


class PodReadinessGate(Struct):
    """A condition that must hold, beside the containers', for the pod to be ready."""

    condition_type: Annotated[str, wire(1, required=True)] = always("")


class PodDNSConfigOption(Struct):
    name: Annotated[str, wire(1)] = ""
    value: Annotated[str | None, wire(2)] = None


class PodDNSConfig(Struct):
    """DNS settings, added to those of the pod's `dnsPolicy`."""

    nameservers: Annotated[list[str], wire(1, list_type="atomic")] = []
    searches: Annotated[list[str], wire(2, list_type="atomic")] = []
    options: Annotated[list[PodDNSConfigOption], wire(3, list_type="atomic")] = []


class HostAlias(Struct):
    """A line of /etc/hosts."""

    ip: Annotated[str, wire(1, required=True)] = always("")
    hostnames: Annotated[list[str], wire(2, list_type="atomic")] = []


class Toleration(Struct):
    """Which taints of nodes a pod bears, and for how long.

    Attributes:
        key: The taint's key; empty with Exists: every taint.
        operator: Equal (the default), or Exists: whatever the value.
        value: The taint's value.
        effect: NoSchedule, PreferNoSchedule or NoExecute; empty: any.
        toleration_seconds: For NoExecute: how long; without, for ever.
    """

    key: Annotated[str, wire(1)] = ""
    operator: Annotated[str, wire(2)] = ""
    value: Annotated[str, wire(3)] = ""
    effect: Annotated[str, wire(4)] = ""
    toleration_seconds: Annotated[Int64 | None, wire(5)] = None


class PodAntiAffinity(Struct):
    """Away from which pods a pod must or would rather be."""

    required_during_scheduling_ignored_during_execution: Annotated[
        list[PodAffinityTerm], wire(1, list_type="atomic")
    ] = []
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[WeightedPodAffinityTerm], wire(2, list_type="atomic")
    ] = []


class PodAffinityTerm(Struct):
    """Pods, by labels and namespaces, and how near is near: the same value of the node's label `topologyKey`."""

    label_selector: Annotated[LabelSelector | None, wire(1)] = None
    namespaces: Annotated[list[str], wire(2, list_type="atomic")] = []
    topology_key: Annotated[str, wire(3, required=True)] = always("")
    namespace_selector: Annotated[LabelSelector | None, wire(4)] = None
    match_label_keys: Annotated[list[str], wire(5, list_type="atomic")] = []
    mismatch_label_keys: Annotated[list[str], wire(6, list_type="atomic")] = []


class WeightedPodAffinityTerm(Struct):
    """A preference, and how much it counts: 1 to 100."""

    weight: Annotated[Int32, wire(1, required=True)] = always(0)
    pod_affinity_term: Annotated[PodAffinityTerm, wire(2, required=True)] = field(default_factory=PodAffinityTerm)


class PodAffinity(Struct):
    """Near which pods a pod must or would rather be."""

    required_during_scheduling_ignored_during_execution: Annotated[
        list[PodAffinityTerm], wire(1, list_type="atomic")
    ] = []
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[WeightedPodAffinityTerm], wire(2, list_type="atomic")
    ] = []


class PreferredSchedulingTerm(Struct):
    """A preference, and how much it counts: 1 to 100."""

    weight: Annotated[Int32, wire(1, required=True)] = always(0)
    preference: Annotated[NodeSelectorTerm, wire(2, required=True)] = field(default_factory=NodeSelectorTerm)


class NodeAffinity(Struct):
    """Which nodes a pod must or would rather be on."""

    required_during_scheduling_ignored_during_execution: Annotated[NodeSelector | None, wire(1)] = None
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredSchedulingTerm], wire(2, list_type="atomic")
    ] = []


class Affinity(Struct):
    """Where a pod wants to be, or must be, by labels of nodes and of pods there."""

    node_affinity: Annotated[NodeAffinity | None, wire(1)] = None
    pod_affinity: Annotated[PodAffinity | None, wire(2)] = None
    pod_anti_affinity: Annotated[PodAntiAffinity | None, wire(3)] = None


class Pod(Struct):
    """Containers that live and die together on one node, with one address."""

    api_version: str = always("v1")
    kind: str = always("Pod")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[PodSpec, wire(2)] = field(default_factory=PodSpec)
    status: Annotated[PodStatus, wire(3)] = field(default_factory=PodStatus)


def qos_class_of(spec: PodSpec) -> str:
    """Return who suffers first when a node runs out: BestEffort, then Burstable, then Guaranteed.

    Guaranteed pods have limits on CPU and memory in every container, and requests equal to them.
    """
    has_any, is_guaranteed = False, True
    for container in (*spec.containers, *spec.init_containers):
        limits, requests = container.resources.limits, container.resources.requests
        for name in ("cpu", "memory"):
            limit = quantity.parse(limits.get(name, "0"))
            request = quantity.parse(requests[name]) if name in requests else limit
            has_any = has_any or limit.nanos > 0 or request.nanos > 0
            is_guaranteed = is_guaranteed and limit.nanos > 0 and request == limit
    if not has_any:
        return "BestEffort"
    return "Guaranteed" if is_guaranteed else "Burstable"


def prepare_for_create(pod: Pod) -> None:
    """Start the pod's life: pending, with nothing observed."""
    pod.status = PodStatus(phase="Pending", qos_class=qos_class_of(pod.spec))
    if pod.spec.scheduling_gates:
        pod.status.conditions.append(
            PodCondition(
                type="PodScheduled",
                status="False",
                reason="SchedulingGated",
                message="Scheduling is blocked due to non-empty scheduling gates",
            )
        )


def prepare_for_status_update(new: Pod, old: Pod) -> None:
    """Take the status, and the labels and annotations that came with it, and nothing else."""
    new.spec = old.spec
    new.metadata.owner_references = old.metadata.owner_references
    new.metadata.finalizers = old.metadata.finalizers
    new.status.qos_class = old.status.qos_class


def validate_status(new: Pod, old: Pod) -> v.Errors:
    """Check an observed status: a container that may not restart has not come back to life."""
    if old.spec.node_name and new.status.nominated_node_name and not old.status.nominated_node_name:
        yield v.forbidden("status.nominatedNodeName", "may not be set on a pod that has a node")
    for i, address in enumerate(new.status.pod_ips):
        yield from check_ip(f"status.podIPs[{i}].ip", address.ip)
    if old.spec.restart_policy == "Always":
        return
    before = {status.name: status for status in old.status.container_statuses}
    for i, status in enumerate(new.status.container_statuses):
        was = before.get(status.name)
        if was is None or was.state.terminated is None or status.state.terminated is not None:
            continue
        if old.spec.restart_policy == "OnFailure" and was.state.terminated.exit_code:
            continue
        yield v.forbidden(f"status.containerStatuses[{i}].state", "may not be transitioned to non-terminated state")


def graceful_period_s(pod: Pod, asked: int | None) -> int:
    """Return how many seconds a deleted pod has to end; 0 where nothing runs that could."""
    if not pod.spec.node_name or pod.status.phase in ("Succeeded", "Failed"):
        return 0
    period = asked if asked is not None else pod.spec.termination_grace_period_seconds
    if period is None:
        return 0
    return period if period >= 0 else 1


def _text(value: bool) -> str:
    return "true" if value else "false"


RESOURCE: Final[Resource[Pod]] = Resource(
    type=Pod,
    group="",
    version="v1",
    kind="Pod",
    plural="pods",
    namespaced=True,
    short_names=("po",),
    categories=("all",),
    subresources=(
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "log",
        "portforward",
        "proxy",
        "status",
    ),
    default=default_pod,
    validate=validate_pod,
    prepare_for_create=prepare_for_create,
    prepare_for_status_update=prepare_for_status_update,
    validate_status=validate_status,
    columns=COLUMNS,
    selectable_fields={
        "spec.hostNetwork": lambda pod: _text(pod.spec.host_network),
        "spec.nodeName": lambda pod: pod.spec.node_name,
        "spec.restartPolicy": lambda pod: pod.spec.restart_policy,
        "spec.schedulerName": lambda pod: pod.spec.scheduler_name,
        "spec.serviceAccountName": lambda pod: pod.spec.service_account_name,
        "status.nominatedNodeName": lambda pod: pod.status.nominated_node_name,
        "status.phase": lambda pod: pod.status.phase,
        "status.podIP": lambda pod: pod.status.pod_ips[0].ip if pod.status.pod_ips else pod.status.pod_ip,
    },
    graceful_period_s=graceful_period_s,
)
