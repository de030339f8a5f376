"""Containers as pods declare them: image, command, ports, environment, probes, resources and rights."""

from __future__ import annotations

from typing import Annotated

from api.core.references import (
    ConfigMapKeySelector,
    ObjectFieldSelector,
    ResourceFieldSelector,
    SecretEnvSource,
    SecretKeySelector,
)
from api.core.volumes import VolumeDevice, VolumeMount
from api.schema import Int32, Int64, IntOrString, Quantity, Struct, always, field, wire


class Sysctl(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[str, wire(2, required=True)] = always("")


class PodSecurityContext(Struct):
    """The rights that all containers of a pod have, unless they say otherwise."""

    se_linux_options: Annotated[SELinuxOptions | None, wire(1)] = None
    windows_options: Annotated[WindowsSecurityContextOptions | None, wire(8)] = None
    run_as_user: Annotated[Int64 | None, wire(2)] = None
    run_as_group: Annotated[Int64 | None, wire(6)] = None
    run_as_non_root: Annotated[bool | None, wire(3)] = None
    supplemental_groups: Annotated[list[Int64], wire(4, list_type="atomic")] = []
    supplemental_groups_policy: Annotated[str | None, wire(12)] = None
    fs_group: Annotated[Int64 | None, wire(5)] = None
    sysctls: Annotated[list[Sysctl], wire(7, list_type="atomic")] = []
    fs_group_change_policy: Annotated[str | None, wire(9)] = None
    seccomp_profile: Annotated[SeccompProfile | None, wire(10)] = None
    app_armor_profile: Annotated[AppArmorProfile | None, wire(11)] = None
    se_linux_change_policy: Annotated[str | None, wire(13)] = None


class ResourceRequirements(Struct):
    """How much a container needs (`requests`, for scheduling) and may use (`limits`, enforced).

    Attributes:
        limits: What may be used at most.
        requests: What is set aside; the limits by default.
        claims: Devices, by the names of the pod's resourceClaims.
    """

    limits: Annotated[dict[str, Quantity], wire(1)] = {}
    requests: Annotated[dict[str, Quantity], wire(2)] = {}
    claims: Annotated[list[ResourceClaim], wire(3, list_type="map", list_keys=("name",))] = []


class EphemeralContainer(Struct):
    """A container added to a running pod to look into it; it is never restarted."""

    name: Annotated[str, wire(1, 1, required=True)] = always("")
    image: Annotated[str, wire(1, 2)] = ""
    command: Annotated[list[str], wire(1, 3, list_type="atomic")] = []
    args: Annotated[list[str], wire(1, 4, list_type="atomic")] = []
    working_dir: Annotated[str, wire(1, 5)] = ""
    ports: Annotated[
        list[ContainerPort],
        wire(
            1,
            6,
            merge_key="containerPort",
            list_type="map",
            list_keys=(
                "containerPort",
                "protocol",
            ),
        ),
    ] = []
    env_from: Annotated[list[EnvFromSource], wire(1, 19, list_type="atomic")] = []
    env: Annotated[list[EnvVar], wire(1, 7, merge_key="name", list_type="map", list_keys=("name",))] = []
    resources: Annotated[ResourceRequirements, wire(1, 8)] = field(default_factory=ResourceRequirements)
    resize_policy: Annotated[list[ContainerResizePolicy], wire(1, 23, list_type="atomic")] = []
    restart_policy: Annotated[str | None, wire(1, 24)] = None
    volume_mounts: Annotated[
        list[VolumeMount], wire(1, 9, merge_key="mountPath", list_type="map", list_keys=("mountPath",))
    ] = []
    volume_devices: Annotated[
        list[VolumeDevice], wire(1, 21, merge_key="devicePath", list_type="map", list_keys=("devicePath",))
    ] = []
    liveness_probe: Annotated[Probe | None, wire(1, 10)] = None
    readiness_probe: Annotated[Probe | None, wire(1, 11)] = None
    startup_probe: Annotated[Probe | None, wire(1, 22)] = None
    lifecycle: Annotated[Lifecycle | None, wire(1, 12)] = None
    termination_message_path: Annotated[str, wire(1, 13)] = ""
    termination_message_policy: Annotated[str, wire(1, 20)] = ""
    image_pull_policy: Annotated[str, wire(1, 14)] = ""
    security_context: Annotated[SecurityContext | None, wire(1, 15)] = None
    stdin: Annotated[bool, wire(1, 16)] = False
    stdin_once: Annotated[bool, wire(1, 17)] = False
    tty: Annotated[bool, wire(1, 18)] = False
    target_container_name: Annotated[str, wire(2)] = ""


class AppArmorProfile(Struct):
    type: Annotated[str, wire(1, required=True)] = always("")
    localhost_profile: Annotated[str | None, wire(2)] = None


class SeccompProfile(Struct):
    """Which system calls are allowed."""

    type: Annotated[str, wire(1, required=True)] = always("")
    localhost_profile: Annotated[str | None, wire(2)] = None


class WindowsSecurityContextOptions(Struct):
    gmsa_credential_spec_name: Annotated[str | None, wire(1)] = None
    gmsa_credential_spec: Annotated[str | None, wire(2)] = None
    run_as_user_name: Annotated[str | None, wire(3)] = None
    host_process: Annotated[bool | None, wire(4)] = None


class SELinuxOptions(Struct):
    user: Annotated[str, wire(1)] = ""
    role: Annotated[str, wire(2)] = ""
    type: Annotated[str, wire(3)] = ""
    level: Annotated[str, wire(4)] = ""


class Capabilities(Struct):
    """Linux capabilities to add to, or take from, what the runtime gives."""

    add: Annotated[list[str], wire(1, list_type="atomic")] = []
    drop: Annotated[list[str], wire(2, list_type="atomic")] = []


class SecurityContext(Struct):
    """The rights a container's processes have; wins over the pod's.

    Attributes:
        capabilities: Rights of root to add or to drop.
        privileged: Whether it may do what root of the node may.
        run_as_user: The user id.
        run_as_group: The group id.
        run_as_non_root: Refuse to start as root.
        read_only_root_filesystem: Whether the image's files cannot be changed.
        allow_privilege_escalation: Whether a program may get more rights than its parent.
        proc_mount: How /proc is mounted.
    """

    capabilities: Annotated[Capabilities | None, wire(1)] = None
    privileged: Annotated[bool | None, wire(2)] = None
    se_linux_options: Annotated[SELinuxOptions | None, wire(3)] = None
    windows_options: Annotated[WindowsSecurityContextOptions | None, wire(10)] = None
    run_as_user: Annotated[Int64 | None, wire(4)] = None
    run_as_group: Annotated[Int64 | None, wire(8)] = None
    run_as_non_root: Annotated[bool | None, wire(5)] = None
    read_only_root_filesystem: Annotated[bool | None, wire(6)] = None
    allow_privilege_escalation: Annotated[bool | None, wire(7)] = None
    proc_mount: Annotated[str | None, wire(9)] = None
    seccomp_profile: Annotated[SeccompProfile | None, wire(11)] = None
    app_armor_profile: Annotated[AppArmorProfile | None, wire(12)] = None


class SleepAction(Struct):
    seconds: Annotated[Int64, wire(1, required=True)] = always(0)


class LifecycleHandler(Struct):
    """One thing to do; exactly one is set."""

    exec: Annotated[ExecAction | None, wire(1)] = None
    http_get: Annotated[HTTPGetAction | None, wire(2)] = None
    tcp_socket: Annotated[TCPSocketAction | None, wire(3)] = None
    sleep: Annotated[SleepAction | None, wire(4)] = None


class Lifecycle(Struct):
    """What to do right after a container starts, and before it is stopped."""

    post_start: Annotated[LifecycleHandler | None, wire(1)] = None
    pre_stop: Annotated[LifecycleHandler | None, wire(2)] = None


class GRPCAction(Struct):
    """A call of the gRPC health service."""

    port: Annotated[Int32, wire(1, required=True)] = always(0)
    service: Annotated[str | None, wire(2)] = None


class TCPSocketAction(Struct):
    """A connection that succeeds when it opens."""

    port: Annotated[IntOrString, wire(1, required=True)] = always(0)
    host: Annotated[str, wire(2)] = ""


class HTTPHeader(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[str, wire(2, required=True)] = always("")


class HTTPGetAction(Struct):
    """A GET that succeeds with any status from 200 to 399.

    Attributes:
        path: The path.
        port: The port, by number or name.
        host: The host, if not the pod.
        scheme: HTTP or HTTPS.
        http_headers: Headers to send.
    """

    path: Annotated[str, wire(1)] = ""
    port: Annotated[IntOrString, wire(2, required=True)] = always(0)
    host: Annotated[str, wire(3)] = ""
    scheme: Annotated[str, wire(4)] = ""
    http_headers: Annotated[list[HTTPHeader], wire(5, list_type="atomic")] = []


class ExecAction(Struct):
    """A command run in the container, without a shell; it succeeds with exit code 0."""

    command: Annotated[list[str], wire(1, list_type="atomic")] = []


class Probe(Struct):
    """A check that a kubelet repeats on a container.

    Attributes:
        initial_delay_seconds: How long after the start the first attempt is.
        timeout_seconds: How long an attempt may take; 1 by default.
        period_seconds: How long between attempts; 10 by default.
        success_threshold: How many in a row must succeed after a failure; 1 by default.
        failure_threshold: How many in a row must fail; 3 by default.
        termination_grace_period_seconds: How long the container may take to stop when this probe ends it.
    """

    exec: Annotated[ExecAction | None, wire(1, 1)] = None
    http_get: Annotated[HTTPGetAction | None, wire(1, 2)] = None
    tcp_socket: Annotated[TCPSocketAction | None, wire(1, 3)] = None
    grpc: Annotated[GRPCAction | None, wire(1, 4)] = None
    initial_delay_seconds: Annotated[Int32, wire(2)] = 0
    timeout_seconds: Annotated[Int32, wire(3)] = 0
    period_seconds: Annotated[Int32, wire(4)] = 0
    success_threshold: Annotated[Int32, wire(5)] = 0
    failure_threshold: Annotated[Int32, wire(6)] = 0
    termination_grace_period_seconds: Annotated[Int64 | None, wire(7)] = None


class ContainerResizePolicy(Struct):
    resource_name: Annotated[str, wire(1, required=True)] = always("")
    restart_policy: Annotated[str, wire(2, required=True)] = always("")


class ResourceClaim(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")
    request: Annotated[str, wire(2)] = ""


class EnvVarSource(Struct):
    """Where a variable's value comes from; exactly one is set."""

    field_ref: Annotated[ObjectFieldSelector | None, wire(1)] = None
    resource_field_ref: Annotated[ResourceFieldSelector | None, wire(2)] = None
    config_map_key_ref: Annotated[ConfigMapKeySelector | None, wire(3)] = None
    secret_key_ref: Annotated[SecretKeySelector | None, wire(4)] = None


class EnvVar(Struct):
    """A variable of a container's environment.

    Attributes:
        name: Its name.
        value: Its value; $(NAME) stands for an earlier variable.
        value_from: Where its value is found.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[str, wire(2)] = ""
    value_from: Annotated[EnvVarSource | None, wire(3)] = None


class ConfigMapEnvSource(Struct):
    name: Annotated[str, wire(1, 1)] = ""
    optional: Annotated[bool | None, wire(2)] = None


class EnvFromSource(Struct):
    """All keys of a ConfigMap or Secret as environment variables."""

    prefix: Annotated[str, wire(1)] = ""
    config_map_ref: Annotated[ConfigMapEnvSource | None, wire(2)] = None
    secret_ref: Annotated[SecretEnvSource | None, wire(3)] = None


class ContainerPort(Struct):
    """A port that a program in a container listens on.

    Attributes:
        name: By which Services can name it.
        container_port: The number, 1 to 65535.
        host_port: A port of the node that leads to it.
        protocol: TCP (the default), UDP or SCTP.
        host_ip: Which of the node's addresses.
    """

    name: Annotated[str, wire(1)] = ""
    host_port: Annotated[Int32, wire(2)] = 0
    container_port: Annotated[Int32, wire(3, required=True)] = always(0)
    protocol: Annotated[str, wire(4)] = ""
    host_ip: Annotated[str, wire(5)] = field(name="hostIP", default="")


class Container(Struct):
    """One container of a pod.

    Attributes:
        name: Unique in the pod; a DNS label.
        image: What to run, such as docker.io/library/nginx:1.27.
        command: The program and its first arguments, in place of the image's entrypoint. $(NAME) stands for a
            variable.
        args: The arguments, in place of the image's. $(NAME) stands for a variable.
        working_dir: Where the program starts, if not where the image says.
        ports: Ports that programs listen on; only told, nothing is opened or closed by it.
        env_from: Whole ConfigMaps and Secrets as variables.
        env: Variables of the program's environment.
        resources: What the container needs, and may use at most.
        resize_policy: Whether changing a resource restarts the container.
        restart_policy: Only for init containers: Always makes it go on beside the others.
        volume_mounts: Where volumes appear.
        volume_devices: Where block devices appear.
        liveness_probe: When this fails, the container is restarted.
        readiness_probe: While this fails, Services send nothing here.
        startup_probe: Until this succeeds, the other probes wait.
        lifecycle: What to do after the start and before the end.
        termination_message_path: The file in which a program leaves its last words.
        termination_message_policy: File, or FallbackToLogsOnError: the end of the log where the file is
            empty.
        image_pull_policy: Always, IfNotPresent or Never; Always by default for the tag latest.
        security_context: With which rights it runs.
        stdin: Whether standard input is kept open.
        stdin_once: Whether standard input ends with the first who was attached.
        tty: Whether it has a terminal.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    image: Annotated[str, wire(2)] = ""
    command: Annotated[list[str], wire(3, list_type="atomic")] = []
    args: Annotated[list[str], wire(4, list_type="atomic")] = []
    working_dir: Annotated[str, wire(5)] = ""
    ports: Annotated[
        list[ContainerPort],
        wire(
            6,
            merge_key="containerPort",
            list_type="map",
            list_keys=(
                "containerPort",
                "protocol",
            ),
        ),
    ] = []
    env_from: Annotated[list[EnvFromSource], wire(19, list_type="atomic")] = []
    env: Annotated[list[EnvVar], wire(7, merge_key="name", list_type="map", list_keys=("name",))] = []
    resources: Annotated[ResourceRequirements, wire(8)] = field(default_factory=ResourceRequirements)
    resize_policy: Annotated[list[ContainerResizePolicy], wire(23, list_type="atomic")] = []
    restart_policy: Annotated[str | None, wire(24)] = None
    volume_mounts: Annotated[
        list[VolumeMount], wire(9, merge_key="mountPath", list_type="map", list_keys=("mountPath",))
    ] = []
    volume_devices: Annotated[
        list[VolumeDevice], wire(21, merge_key="devicePath", list_type="map", list_keys=("devicePath",))
    ] = []
    liveness_probe: Annotated[Probe | None, wire(10)] = None
    readiness_probe: Annotated[Probe | None, wire(11)] = None
    startup_probe: Annotated[Probe | None, wire(22)] = None
    lifecycle: Annotated[Lifecycle | None, wire(12)] = None
    termination_message_path: Annotated[str, wire(13)] = ""
    termination_message_policy: Annotated[str, wire(20)] = ""
    image_pull_policy: Annotated[str, wire(14)] = ""
    security_context: Annotated[SecurityContext | None, wire(15)] = None
    stdin: Annotated[bool, wire(16)] = False
    stdin_once: Annotated[bool, wire(17)] = False
    tty: Annotated[bool, wire(18)] = False
