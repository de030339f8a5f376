"""Containers as pods declare them: image, command, ports, environment, probes, resources and rights."""

from __future__ import annotations

from typing import Annotated, ClassVar

from api.core.references import (
    ConfigMapKeySelector,
    ObjectFieldSelector,
    ResourceFieldSelector,
    SecretEnvSource,
    SecretKeySelector,
)
from api.core.security_context import SecurityContext
from api.core.volumes import VolumeDevice, VolumeMount
from api.schema import Int32, Int64, IntOrString, Quantity, Struct, always, field, wire


class ResourceRequirements(Struct):
    """How much a container needs (`requests`, for the scheduler) and may use (`limits`, enforced by the node).

    Attributes:
        limits: The most it may use, by resource: more CPU is held back, more memory gets it killed. Unset, there is no
            limit.
        requests: What is set aside for it, by resource, and what the scheduler counts with; the limit by default, and
            otherwise nothing. Cannot exceed the limit.
        claims: Devices it may use, by the names of entries in the pod's resourceClaims (alpha).
    """

    limits: Annotated[dict[str, Quantity], wire(1)] = {}
    requests: Annotated[dict[str, Quantity], wire(2)] = {}
    claims: Annotated[list[ResourceClaim], wire(3, list_type="map", list_keys=("name",))] = []


class SleepAction(Struct):
    """Waiting, and nothing else.

    Attributes:
        seconds: For how many seconds.
    """

    seconds: Annotated[Int64, wire(1, required=True)] = always(0)


class LifecycleHandler(Struct):
    """One thing to do at a turn of a container's life; exactly one is set.

    Attributes:
        exec: Run a command in the container.
        http_get: Ask the container for a page.
        tcp_socket: Not supported as a handler; kept so that old objects can be read.
        sleep: Let some time go by.
    """

    exec: Annotated[ExecAction | None, wire(1)] = None
    http_get: Annotated[HTTPGetAction | None, wire(2)] = None
    tcp_socket: Annotated[TCPSocketAction | None, wire(3)] = None
    sleep: Annotated[SleepAction | None, wire(4)] = None


class Lifecycle(Struct):
    """What to do right after a container starts, and before it is stopped.

    Attributes:
        post_start: Runs right after the container is created, beside its own program. Until it is done the container is
            not running; if it fails, the container is killed and its restart policy decides.
        pre_stop: Runs before the container is stopped on purpose, within the pod's grace period; only afterwards, or
            when the period is over, the program is told to end. Not run when the program ends by itself.
    """

    post_start: Annotated[LifecycleHandler | None, wire(1)] = None
    pre_stop: Annotated[LifecycleHandler | None, wire(2)] = None


class GRPCAction(Struct):
    """A call of the gRPC health service (grpc.health.v1); succeeds if the answer is SERVING.

    Attributes:
        port: The port to call, 1 to 65535, on the pod's address.
        service: Which service's health to ask for; empty by default, which means the server as a whole.
    """

    port: Annotated[Int32, wire(1, required=True)] = always(0)
    service: Annotated[str | None, wire(2)] = None


class TCPSocketAction(Struct):
    """A TCP connection, which succeeds as soon as it opens.

    Attributes:
        port: The port, by number or by the name of one of the container's ports.
        host: Where to connect to; the pod's address by default.
    """

    port: Annotated[IntOrString, wire(1, required=True)] = always(0)
    host: Annotated[str, wire(2)] = ""


class HTTPHeader(Struct):
    """A header of an HTTP request.

    Attributes:
        name: The header's name; written as given, though upper and lower case mean the same to servers.
        value: What is sent in it.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[str, wire(2, required=True)] = always("")


class HTTPGetAction(Struct):
    """An HTTP GET, which succeeds with any status from 200 to 399.

    Attributes:
        path: The path to ask for; / by default.
        port: The port, by number or by the name of one of the container's ports.
        host: Where to connect to; the pod's address by default. To ask for a virtual host, set a Host header instead.
        scheme: HTTP (the default) or HTTPS, whose certificate is not checked.
        http_headers: Headers to send besides; a name may occur more than once.
    """

    path: Annotated[str, wire(1)] = ""
    port: Annotated[IntOrString, wire(2, required=True)] = always(0)
    host: Annotated[str, wire(3)] = ""
    scheme: Annotated[str, wire(4)] = ""
    http_headers: Annotated[list[HTTPHeader], wire(5, list_type="atomic")] = []


class ExecAction(Struct):
    """A command run in the container, without a shell; it succeeds with exit code 0.

    Attributes:
        command: The program and its arguments; the working directory is / . For a shell's features, name a shell.
    """

    command: Annotated[list[str], wire(1, list_type="atomic")] = []


class Probe(Struct):
    """A check that the node repeats on a container; exactly one way to check is set.

    Attributes:
        exec: Check by a command in the container.
        http_get: Check by an HTTP request.
        tcp_socket: Check whether a TCP port opens.
        grpc: Check by the gRPC health service.
        initial_delay_seconds: How many seconds after the container's start the first attempt is made; 0 by default.
        timeout_seconds: How many seconds an attempt may take before it counts as failed; 1 by default.
        period_seconds: How many seconds lie between attempts; 10 by default.
        success_threshold: How many attempts in a row must succeed to count as a success after a failure; 1 by default,
            and always for liveness and startup.
        failure_threshold: How many attempts in a row must fail to count as a failure; 3 by default.
        termination_grace_period_seconds: How many seconds the container may take to stop when this probe ends it, at
            least 1; unset, as the pod says. Not for readiness.
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
    """Whether changing a resource of a running container restarts it.

    Attributes:
        resource_name: The resource: cpu or memory.
        restart_policy: NotRequired (the default) changes it in place, RestartContainer starts the container anew.
    """

    resource_name: Annotated[str, wire(1, required=True)] = always("")
    restart_policy: Annotated[str, wire(2, required=True)] = always("")


class ResourceClaim(Struct):
    """A device, or devices, that a container may use.

    Attributes:
        name: An entry of the pod's resourceClaims.
        request: One request of that claim; empty for all that the claim has.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    request: Annotated[str, wire(2)] = ""


class EnvVarSource(Struct):
    """Where a variable's value comes from; exactly one is set.

    Attributes:
        field_ref: What stands in a field of the pod itself, such as its name or address.
        resource_field_ref: What a container requests, or may use at most, of a resource.
        config_map_key_ref: What one entry of a ConfigMap holds.
        secret_key_ref: What one entry of a Secret holds.
    """

    field_ref: Annotated[ObjectFieldSelector | None, wire(1)] = None
    resource_field_ref: Annotated[ResourceFieldSelector | None, wire(2)] = None
    config_map_key_ref: Annotated[ConfigMapKeySelector | None, wire(3)] = None
    secret_key_ref: Annotated[SecretKeySelector | None, wire(4)] = None


class EnvVar(Struct):
    """A variable of a container's environment.

    Attributes:
        name: The variable's name: any printable ASCII characters but =.
        value: Its value; empty by default. $(NAME) stands for a variable defined earlier, $$(NAME) for that text
            itself; an unknown one is left as it stands.
        value_from: Where its value comes from instead; not together with a value.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[str, wire(2)] = ""
    value_from: Annotated[EnvVarSource | None, wire(3)] = None


class ConfigMapEnvSource(Struct):
    """A ConfigMap, each of whose entries becomes a variable.

    Attributes:
        name: The ConfigMap, in the pod's namespace.
        optional: True does without if the ConfigMap is missing; otherwise (the default) the container does not start.
    """

    name: Annotated[str, wire(1, 1)] = ""
    optional: Annotated[bool | None, wire(2)] = None


class EnvFromSource(Struct):
    """All entries of a ConfigMap or Secret as environment variables.

    Attributes:
        prefix: Put in front of each variable's name; empty by default.
        config_map_ref: The ConfigMap to take all entries of.
        secret_ref: The Secret to take all entries of.
    """

    prefix: Annotated[str, wire(1)] = ""
    config_map_ref: Annotated[ConfigMapEnvSource | None, wire(2)] = None
    secret_ref: Annotated[SecretEnvSource | None, wire(3)] = None


class ContainerPort(Struct):
    """A port that a program in a container listens on. Saying so opens nothing, and a port that is not listed can be
    reached as well.

    Attributes:
        name: By which Services and probes can name it, unique in the pod: at most 15 lower-case letters, digits and -.
        host_port: A port of the node that leads to it, 1 to 65535; only one pod of a node can have it. With hostNetwork
            it is the containerPort. Unset, none does.
        container_port: The number, 1 to 65535, on the pod's address.
        protocol: TCP (the default), UDP or SCTP.
        host_ip: Which of the node's addresses hostPort is opened on; all by default.
    """

    name: Annotated[str, wire(1)] = ""
    host_port: Annotated[Int32, wire(2)] = 0
    container_port: Annotated[Int32, wire(3, required=True)] = always(0)
    protocol: Annotated[str, wire(4)] = ""
    host_ip: Annotated[str, wire(5)] = field(name="hostIP", default="")


class ContainerFields(Struct):
    """What is said of a container, be it one that the pod began with or one added to look into it.

    Attributes:
        name: Unique among all containers of the pod, and never changed; a DNS label of at most 63 characters.
        image: The image to run, such as docker.io/library/nginx:1.27. It can be changed in a running pod, which
            restarts the container.
        command: The program and its first arguments, in place of the image's entrypoint, which is the default; no shell
            is involved. $(NAME) stands for a variable, $$(NAME) for that text itself.
        args: The arguments to the program, in place of the image's own, which are the default. $(NAME) stands for a
            variable, as in command.
        working_dir: The directory in which the program starts; by default the image's, or else /.
        ports: Ports that programs listen on, mostly to give them names.
        env_from: ConfigMaps and Secrets all of whose entries become variables. The last one wins where names meet, and
            env wins over all.
        env: Variables of the program's environment.
        resources: What the container needs, and may use at most.
        resize_policy: Whether a change of a resource restarts the container; in place without one.
        restart_policy: Only for init containers, and only Always: the container starts in its turn and then runs beside
            the others until they are done (a sidecar).
        volume_mounts: Where the pod's volumes appear among the container's files.
        volume_devices: Where the pod's block devices appear in the container.
        liveness_probe: Whether the container still does its work: when this fails, it is killed and its restart policy
            decides. Without one, only the end of its program counts.
        readiness_probe: Whether the container can take requests: while this fails the pod is not ready and Services
            send nothing to it. Without one it is ready once it runs.
        startup_probe: Whether the container has come up: until this succeeds, the other probes wait; if it fails, the
            container is killed.
        lifecycle: What to do right after the container starts, and before it is stopped; by default nothing.
        termination_message_path: The file in which a program may leave its last words (up to 4096 bytes) for the
            container's status; /dev/termination-log by default.
        termination_message_policy: Where last words are looked for: File (the default), or FallbackToLogsOnError, which
            takes the end of the log if that file is empty and the container failed.
        image_pull_policy: When the image is fetched: Always, IfNotPresent or Never. By default Always for the tag
            latest or no tag, and IfNotPresent for others.
        security_context: With which rights the container's processes run; what is said here comes before what the pod
            says.
        stdin: Whether standard input is kept open for somebody to attach to; false by default, and reads then end at
            once.
        stdin_once: Whether standard input closes for good when the first who attached goes away; false by default.
        tty: Whether the program gets a terminal; needs stdin. False by default.
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


class Container(ContainerFields):
    """One program of a pod, run from an image: with the pod's network and volumes, but files and limits of its own."""


class EphemeralContainer(ContainerFields):
    """A container added to a running pod to look into it; it is never restarted, and goes with the pod.

    Attributes:
        target_container_name: The container of the pod whose processes this one sees; unset, it
            sees only those that the pod shares.
    """

    INLINED: ClassVar[int] = 1

    target_container_name: Annotated[str, wire(2)] = ""
