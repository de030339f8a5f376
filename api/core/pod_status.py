"""What became of a pod: its phase, its conditions, its addresses and its containers' states."""

from __future__ import annotations

from typing import Annotated

from api.core.containers import ResourceRequirements
from api.meta import ProbedCondition
from api.schema import Int32, Int64, Quantity, Struct, Time, always, field, wire


class PodResourceClaimStatus(Struct):
    """Which ResourceClaim was made for an entry of a pod's resourceClaims.

    Attributes:
        name: Which entry, by its name in the spec.
        resource_claim_name: The claim; unset if none was needed.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    resource_claim_name: Annotated[str | None, wire(2)] = None


class ResourceHealth(Struct):
    """How one device is.

    Attributes:
        resource_id: The device's id, unique on the node.
        health: Healthy, Unhealthy, or Unknown if nobody can tell.
    """

    resource_id: Annotated[str, wire(1, required=True)] = always("", name="resourceID")
    health: Annotated[str, wire(2)] = ""


class ResourceStatus(Struct):
    """How the devices of one resource are that a container was given.

    Attributes:
        name: The resource, such as example.com/gpu, or a claim as claim:NAME/REQUEST.
        resources: Each device, by its id.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    resources: Annotated[list[ResourceHealth], wire(2, list_type="map", list_keys=("resourceID",))] = []


class LinuxContainerUser(Struct):
    """User and groups of a process on Linux.

    Attributes:
        uid: The user id.
        gid: The primary group id.
        supplemental_groups: Further group ids.
    """

    uid: Annotated[Int64, wire(1, required=True)] = always(0)
    gid: Annotated[Int64, wire(2, required=True)] = always(0)
    supplemental_groups: Annotated[list[Int64], wire(3, list_type="atomic")] = []


class ContainerUser(Struct):
    """As whom a container's first process began; it may have changed since.

    Attributes:
        linux: On Linux: user and group ids.
    """

    linux: Annotated[LinuxContainerUser | None, wire(1)] = None


class VolumeMountStatus(Struct):
    """How a volume was mounted in a container.

    Attributes:
        name: Which volume of the pod it is.
        mount_path: Where it appears in the container.
        read_only: Whether nothing can be written there.
        recursive_read_only: Whether that holds for mounts below it too: Disabled, IfPossible or Enabled; set only if
            readOnly is.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    mount_path: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False
    recursive_read_only: Annotated[str | None, wire(4)] = None


class ContainerStateTerminated(Struct):
    """The container ran, and ended.

    Attributes:
        exit_code: The exit code of its program; 128 and the signal's number if a signal ended it.
        signal: The signal that ended it, as far as the runtime tells.
        reason: How it ended, as one word: Completed, Error, OOMKilled and the like.
        message: Its last words, from terminationMessagePath or the end of its log.
        started_at: When this run began.
        finished_at: When it ended.
        container_id: The container that it was, such as containerd://ID.
    """

    exit_code: Annotated[Int32, wire(1, required=True)] = always(0)
    signal: Annotated[Int32, wire(2)] = 0
    reason: Annotated[str, wire(3)] = ""
    message: Annotated[str, wire(4)] = ""
    started_at: Annotated[Time, wire(5)] = ""
    finished_at: Annotated[Time, wire(6)] = ""
    container_id: Annotated[str, wire(7)] = field(name="containerID", default="")


class ContainerStateRunning(Struct):
    """The container runs.

    Attributes:
        started_at: Since when.
    """

    started_at: Annotated[Time, wire(1)] = ""


class ContainerStateWaiting(Struct):
    """The container does not run yet, or not again yet.

    Attributes:
        reason: What it waits for, as one word, such as ContainerCreating, ImagePullBackOff or CrashLoopBackOff.
        message: The same for people.
    """

    reason: Annotated[str, wire(1)] = ""
    message: Annotated[str, wire(2)] = ""


class ContainerState(Struct):
    """What a container does; at most one of these is set, and none means that it waits.

    Attributes:
        waiting: Set while it waits: for what.
        running: Set while it runs: since when.
        terminated: Set once it has ended: how, and when.
    """

    waiting: Annotated[ContainerStateWaiting | None, wire(1)] = None
    running: Annotated[ContainerStateRunning | None, wire(2)] = None
    terminated: Annotated[ContainerStateTerminated | None, wire(3)] = None


class ContainerStatus(Struct):
    """What became of one container, as the node last saw it.

    Attributes:
        name: The container's name in the spec.
        state: What it does now: waits, runs or has ended.
        last_state: How it ended the last time, if it was started again since.
        ready: Whether it passes its readiness probe (or runs, without one) and, before that, its startup probe.
        restart_count: How often it was started again; counted from what the node still remembers.
        image: The image it runs, which may be written otherwise than in the spec.
        image_id: The image's exact identity, mostly with its digest.
        container_id: Who runs it, and as what: such as containerd://ID; empty before it was made.
        started: Whether its start is over: the postStart handler is done and the startup probe has passed.
        allocated_resources: The requests that the node has set aside for it.
        resources: The requests and limits that are in force for it now.
        volume_mounts: How its volumes were mounted.
        user: As whom its first process began.
        allocated_resources_status: How devices that it was given are doing (alpha).
    """

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
    """An address of a pod.

    Attributes:
        ip: The address, IPv4 or IPv6.
    """

    ip: Annotated[str, wire(1, required=True)] = always("")


class HostIP(Struct):
    """An address of a node.

    Attributes:
        ip: The address, IPv4 or IPv6.
    """

    ip: Annotated[str, wire(1, required=True)] = always("")


class PodCondition(ProbedCondition):
    """One question about a pod (`type`), its answer (True, False or Unknown), and since when."""


class PodStatus(Struct):
    """What became of a pod, as its kubelet last saw it; may lag behind.

    Attributes:
        phase: Where the pod is in its life: Pending (not all started), Running, Succeeded or Failed (all ended, and for
            good), Unknown (nothing heard from the node).
        conditions: Answers to questions about the pod, such as PodScheduled, Initialized, ContainersReady and Ready.
        message: Why the pod is as it is, for people.
        reason: The same as one word, such as Evicted or NodeLost.
        nominated_node_name: The node on which others are being driven out for this pod; it may yet go elsewhere.
        host_ip: An address of the pod's node; empty until it is scheduled.
        host_ips: All addresses of the node, one of each family; the first is hostIP.
        pod_ip: The pod's address in the cluster; empty until its network is set up.
        pod_ips: All addresses of the pod, one of each family; the first is podIP.
        start_time: When the node took up the pod, before images were fetched.
        init_container_statuses: What became of each init container, in the order they run.
        container_statuses: What became of each container.
        qos_class: How the pod fares when memory runs out: Guaranteed (limits equal requests), Burstable or BestEffort
            (neither is set), which go first. Never changes.
        ephemeral_container_statuses: What became of each ephemeral container.
        resize: How far a change of resources in place is: Proposed, InProgress, Deferred or Infeasible; empty when
            there is none.
        resource_claim_statuses: Which claims were made for the pod's resourceClaims.
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
