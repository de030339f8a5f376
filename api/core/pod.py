"""Pod: containers that live and die together on one node.

What a pod shall be stands here; where it may go, what became of it and what its containers are have files of their own
(`placement.py`, `pod_status.py`, `containers.py`), and so have what it gets by default, what it may be and how
it is shown: `pod_defaults.py`, `pod_validation.py`, `pod_columns.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Final

from api import names, quantity
from api import validation as v
from api.core import gated
from api.core.containers import Container, EphemeralContainer, ResourceRequirements
from api.core.ip_addresses import check_ip
from api.core.placement import Affinity, Toleration, TopologySpreadConstraint, select_by_label_keys
from api.core.pod_columns import COLUMNS
from api.core.pod_defaults import default_pod
from api.core.pod_status import ContainerStatus, PodCondition, PodStatus
from api.core.pod_validation import validate_pod
from api.core.pod_warnings import warn_of_pod
from api.core.references import LocalObjectReference
from api.core.security_context import PodSecurityContext
from api.core.volumes import Volume
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Int32, Int64, Quantity, Struct, always, field, wire


class PodSpec(Struct):
    """What a pod shall be.

    Attributes:
        volumes: Storage that the containers can mount, by name.
        init_containers: Containers that run one after the other, each to its end, before the others start. One whose
            restartPolicy is Always starts then and goes on beside them.
        containers: The containers that run side by side; at least one. They cannot be added or taken away later.
        ephemeral_containers: Containers put into a running pod to look into it (`kubectl debug`), through the
            subresource ephemeralcontainers only.
        restart_policy: What happens to containers that end: Always (the default) starts them again, OnFailure only
            those that failed, Never none.
        termination_grace_period_seconds: How many seconds containers get from the order to stop until they are killed;
            30 by default. 0 kills them at once.
        active_deadline_seconds: How many seconds after its start on the node the pod is failed and its containers
            ended; unset, it may run for ever.
        dns_policy: Where names are looked up: ClusterFirst (the default) asks the cluster's DNS,
            ClusterFirstWithHostNet does so even with hostNetwork, Default asks whom the node asks, None only whom
            dnsConfig says.
        node_selector: Labels, with their values, that a node must have for the pod to run there; empty by default.
        service_account_name: The ServiceAccount as which the pod's programs call the API server; `default` if nobody
            says.
        service_account: The older name of serviceAccountName; both are kept equal.
        automount_service_account_token: Whether containers find a token of the service account under
            /var/run/secrets/kubernetes.io/serviceaccount; unset, as the account says, or else true.
        node_name: The node that the pod is on. Mostly set by the scheduler; given at once, the pod goes there without
            it.
        host_network: Whether the pod uses the node's network and addresses rather than its own; false by default.
        host_pid: Whether containers see the node's processes; false by default.
        host_ipc: Whether containers share the node's IPC namespace; false by default.
        share_process_namespace: Whether the containers see each other's processes, and the first is not process 1;
            false by default. Not together with hostPID.
        security_context: The rights of all containers, and what holds for the pod as a whole; by default nothing is
            asked for.
        image_pull_secrets: Secrets with passwords of registries (of type kubernetes.io/dockerconfigjson), in the pod's
            namespace; tried for all images of the pod.
        hostname: The pod's host name; its own name by default.
        subdomain: With it the pod's full name is HOSTNAME.SUBDOMAIN.NAMESPACE.svc and the cluster's domain, found in
            DNS if a headless Service has the subdomain's name. Unset, the pod has no full name.
        affinity: Which nodes and which company the pod wants or must have; by default any.
        scheduler_name: Which scheduler finds a node; default-scheduler by default.
        tolerations: Taints of nodes that the pod bears.
        host_aliases: Further lines for the /etc/hosts of the containers.
        priority_class_name: How important the pod is, by the name of a PriorityClass; unset, the class that is the
            global default, if there is one.
        priority: How important the pod is, as a number: higher goes first, and may drive out lower ones. Set by the
            server from the class; 0 without one.
        dns_config: Name servers, search domains and options beyond what dnsPolicy brings.
        readiness_gates: Conditions in the pod's status that must be True, besides ready containers, for the pod to be
            ready.
        runtime_class_name: How containers are run, by the name of a RuntimeClass; unset, as the node does by default.
        enable_service_links: Whether containers find the namespace's Services in variables such as WEB_SERVICE_HOST;
            true by default.
        preemption_policy: Whether pods of less priority may be driven out to make room: PreemptLowerPriority (the
            default) or Never. Set from the PriorityClass.
        overhead: What running the pod costs beyond its containers, by resource; counted by the scheduler. Set from the
            RuntimeClass.
        topology_spread_constraints: How evenly pods like this one must be spread over nodes, zones or the like; all of
            them hold.
        set_hostname_as_fqdn: Whether the kernel's host name is the full one, HOSTNAME.SUBDOMAIN and so on (at most 64
            characters); false by default.
        os: The operating system that the containers need; fields of the other one must not be set then.
        host_users: Whether user ids in the pod are those of the node; true by default. False gives the pod a range of
            its own, in which its root is nobody on the node.
        scheduling_gates: While there are any the pod is not scheduled. They can be set at creation only, and then only
            be taken away.
        resource_claims: Devices that must be set aside before the pod can start, for containers to use by name (alpha).
        resources: What the containers may use together: a request and limit of CPU and memory for the whole pod
            (alpha).
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
    """What the pods that a controller makes shall be.

    Attributes:
        metadata: Labels and annotations of the pods; the name is up to the controller.
        spec: What the pods shall be; once it changes, most controllers replace their pods.
    """

    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[PodSpec, wire(2)] = field(default_factory=PodSpec)


class PodResourceClaim(Struct):
    """Devices for the containers of a pod: a ResourceClaim, existing or made for the pod; exactly one is set.

    Attributes:
        name: By which the pod's containers refer to it; a DNS label.
        resource_claim_name: A ResourceClaim of the namespace, which other pods may share.
        resource_claim_template_name: A ResourceClaimTemplate of the namespace, of which a claim is made for this pod
            and deleted with it.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    resource_claim_name: Annotated[str | None, wire(3)] = None
    resource_claim_template_name: Annotated[str | None, wire(4)] = None


class PodSchedulingGate(Struct):
    """Something that must happen before a pod is scheduled.

    Attributes:
        name: Unique in the pod: a qualified name such as example.com/quota.
    """

    name: Annotated[str, wire(1, required=True)] = always("")


class PodOS(Struct):
    """The operating system that a pod's containers are made for.

    Attributes:
        name: Which system: linux or windows.
    """

    name: Annotated[str, wire(1, required=True)] = always("")


class PodReadinessGate(Struct):
    """A condition that must hold, beside the containers', for the pod to be ready.

    Attributes:
        condition_type: The type of a condition in the pod's status; absent, it counts as False.
    """

    condition_type: Annotated[str, wire(1, required=True)] = always("")


class PodDNSConfigOption(Struct):
    """An option of the resolver, as in resolv.conf.

    Attributes:
        name: The option, such as ndots; required.
        value: Its value, such as 5; unset for options that have none.
    """

    name: Annotated[str, wire(1)] = ""
    value: Annotated[str | None, wire(2)] = None


class PodDNSConfig(Struct):
    """DNS settings of a pod, added to those that its `dnsPolicy` brings.

    Attributes:
        nameservers: Addresses of name servers, after those of the policy; at least one if that is None, and at most
            three.
        searches: Domains in which short names are looked up, after those of the policy; at most 32 in all.
        options: Resolver options; they replace those of the policy that have the same name.
    """

    nameservers: Annotated[list[str], wire(1, list_type="atomic")] = []
    searches: Annotated[list[str], wire(2, list_type="atomic")] = []
    options: Annotated[list[PodDNSConfigOption], wire(3, list_type="atomic")] = []


class HostAlias(Struct):
    """A line of the containers' /etc/hosts.

    Attributes:
        ip: Where the names lead to, IPv4 or IPv6.
        hostnames: The names that lead to it.
    """

    ip: Annotated[str, wire(1, required=True)] = always("")
    hostnames: Annotated[list[str], wire(2, list_type="atomic")] = []


class Pod(Struct):
    """Containers that live and die together on one node, with one address and shared volumes.

    Attributes:
        spec: What the pod shall be. Most of it cannot change later; images, tolerations (added), activeDeadlineSeconds
            and resources can.
    """

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
    if pod.spec.affinity is not None:
        select_by_label_keys(pod.spec.affinity, pod.metadata.labels)
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
    for i, condition in enumerate(new.status.conditions):
        if condition.type not in ("PodScheduled", "Ready", "Initialized"):
            for message in names.check_qualified_name(condition.type):
                yield v.invalid(f"metadata.conditions[{i}].Type", condition.type, message)
    nominated = new.status.nominated_node_name
    if nominated and nominated != old.status.nominated_node_name:
        for message in names.check_subdomain(nominated):
            yield v.invalid("status.nominatedNodeName", nominated, message)
    policy = old.spec.restart_policy
    ephemeral = (new.status.ephemeral_container_statuses, old.status.ephemeral_container_statuses)
    yield from _check_resurrection(
        "containerStatuses", new.status.container_statuses, old.status.container_statuses, policy
    )
    sidecars = {each.name for each in old.spec.init_containers if each.restart_policy == "Always"}
    inits = (new.status.init_container_statuses, old.status.init_container_statuses)
    yield from _check_resurrection("initContainerStatuses", *inits, policy, sidecars)
    yield from _check_resurrection("ephemeralContainerStatuses", *ephemeral, "Never")
    yield from _check_addresses("status.podIPs", [each.ip for each in new.status.pod_ips])
    hosts = [each.ip for each in new.status.host_ips]
    if hosts and hosts[0] != new.status.host_ip:
        yield v.invalid("status.hostIPs[0].ip", hosts[0], "must be equal to `hostIP`")
    yield from _check_addresses("status.hostIPs", hosts)


def _check_resurrection(
    field: str,
    new: Sequence[ContainerStatus],
    old: Sequence[ContainerStatus],
    policy: str,
    sidecars: Collection[str] = (),
) -> v.Errors:
    """Require that what has ended for good under a restart policy stays so; sidecars never have."""
    if policy == "Always":
        return
    is_alive = {status.name: status.state.terminated is None for status in new}
    for i, was in enumerate(old):
        ended = was.state.terminated
        if ended is None or was.name in sidecars or (policy == "OnFailure" and ended.exit_code):
            continue
        if is_alive.get(was.name):
            yield v.forbidden(f"status.{field}[{i}].state", "may not be transitioned to non-terminated state")


def _check_addresses(path: str, addresses: Sequence[str]) -> v.Errors:
    """Require at most one address of each family."""
    for i, address in enumerate(addresses):
        yield from check_ip(f"{path}[{i}]", address)
    if len(addresses) > 1:
        if len(addresses) > 2 or len({":" in address for address in addresses}) < 2:
            yield v.invalid(path, list(addresses), "may specify no more than one IP for each IP family")
        for i, address in enumerate(addresses):
            if address in addresses[:i]:
                yield v.duplicate(f"{path}[{i}]", address)


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
    drop_gated=lambda new, old: gated.drop_of_pod(new.spec, old.spec if old is not None else None),
    validate=validate_pod,
    warn=warn_of_pod,
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
        "status.podIPs": lambda pod: "",  # Upstream lets it be asked for and has no value for it.
    },
    graceful_period_s=graceful_period_s,
)
