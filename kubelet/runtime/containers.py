"""From a container's specification to the request that creates it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api.core.containers import Container
from api.core.pod import Pod
from api.core.security_context import Capabilities, PodSecurityContext, SecurityContext
from api.quantity import millis, units
from kubelet import apparmor, qos
from kubelet.environment import ConfigError, expand
from kubelet.lifecycle import AnyContainer, Start, spec_hash
from kubelet.runtime import labels
from kubelet.runtime.sandbox import namespace_options, seccomp, selinux, supplemental_groups
from proto.cri import api_pb2 as pb

CPU_PERIOD_US = 100_000
CPU_QUOTA_MIN_US = 1000
CPU_SHARES_MIN = 2
CPU_SHARES_MAX = 262_144

_MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def cpu_shares(cpu_millis: int) -> int:
    """Return cgroup v1 shares: 1024 a core, within what the kernel takes."""
    return max(CPU_SHARES_MIN, min(CPU_SHARES_MAX, cpu_millis * 1024 // 1000))


def cpu_quota_us(cpu_millis: int) -> int:
    """Return the microseconds in each period that a limit allows; 0 for no limit."""
    return max(CPU_QUOTA_MIN_US, cpu_millis * CPU_PERIOD_US // 1000) if cpu_millis else 0


def resources(pod: Pod, container: AnyContainer, memory_capacity_bytes: int) -> pb.LinuxContainerResources:
    """Return what the container may use of the machine."""
    limits, requests = container.resources.limits, container.resources.requests
    cpu_limit = millis(limits.get("cpu", ""))
    cpu_request = millis(requests["cpu"]) if "cpu" in requests else cpu_limit
    score = 0
    if isinstance(container, Container):
        score = qos.oom_score_adj(pod, container, memory_capacity_bytes)
    return pb.LinuxContainerResources(
        cpu_period=CPU_PERIOD_US,
        cpu_quota=cpu_quota_us(cpu_limit),
        cpu_shares=cpu_shares(cpu_request),
        memory_limit_in_bytes=units(limits.get("memory", "")),
        oom_score_adj=score,
    )


def security_context(
    pod: Pod, container: AnyContainer, image: pb.Image, seccomp_root: str = ""
) -> pb.LinuxContainerSecurityContext:
    """Return who the container runs as and what it may do.

    Raises:
        ConfigError: it must not run as root, and would or might.
    """
    of_pod = pod.spec.security_context or PodSecurityContext()
    own = container.security_context or SecurityContext()
    user = own.run_as_user if own.run_as_user is not None else of_pod.run_as_user
    group = own.run_as_group if own.run_as_group is not None else of_pod.run_as_group
    non_root = own.run_as_non_root if own.run_as_non_root is not None else of_pod.run_as_non_root
    if non_root:
        _check_non_root(pod, container, user, image)
    is_privileged = bool(own.privileged)
    capabilities = own.capabilities or Capabilities()
    profile = own.seccomp_profile or of_pod.seccomp_profile
    context = pb.LinuxContainerSecurityContext(
        capabilities=pb.Capability(
            add_capabilities=[_capability(name) for name in capabilities.add],
            drop_capabilities=[_capability(name) for name in capabilities.drop],
        ),
        privileged=is_privileged,
        namespace_options=namespace_options(pod),
        readonly_rootfs=bool(own.read_only_root_filesystem),
        supplemental_groups=supplemental_groups(pod),
        no_new_privs=own.allow_privilege_escalation is False,
        seccomp=seccomp(seccomp_root, None if is_privileged else profile),
        apparmor=apparmor.security_profile(apparmor.profile_of(pod, container)),
        selinux_options=selinux(own.se_linux_options or of_pod.se_linux_options),
    )
    if not is_privileged and own.proc_mount != "Unmasked":
        context.masked_paths.extend(_MASKED)
        context.readonly_paths.extend(_READ_ONLY)
    if user is not None:
        context.run_as_user.value = user
    elif image.HasField("uid"):
        context.run_as_user.value = image.uid.value
    elif image.username:
        context.run_as_username = image.username
    else:
        context.run_as_user.value = (
            0  # an image that names nobody means root; the runtime takes no group without a user
        )
    if group is not None:
        context.run_as_group.value = group
    return context


def _capability(name: str) -> str:
    return name.removeprefix("CAP_")


def _check_non_root(pod: Pod, container: AnyContainer, user: int | None, image: pb.Image) -> None:
    where = f'(pod: "{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})", container: {container.name})'
    if user == 0:
        raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
    if user is not None:
        return
    if image.username:
        text = f"container has runAsNonRoot and image has non-numeric user ({image.username})"
        raise ConfigError(f"{text}, cannot verify user is non-root {where}")
    if image.uid.value == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")


def container_config(
    pod: Pod,
    container: AnyContainer,
    start: Start,
    *,
    image: pb.Image,
    variables: Mapping[str, str],
    mounts: Sequence[pb.Mount],
    devices: Sequence[pb.Device] = (),
    memory_capacity_bytes: int,
    seccomp_root: str,
) -> pb.ContainerConfig:
    """Return the request for one attempt at a container. Raises ConfigError."""
    meta = pod.metadata
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=container.name, attempt=start.attempt),
        # By id, so that what was pulled or found is what runs; the name is kept for people to read.
        image=pb.ImageSpec(image=image.id or container.image, annotations={"name": container.image}),
        command=[expand(word, variables) for word in container.command],
        args=[expand(word, variables) for word in container.args],
        working_dir=container.working_dir,
        envs=[pb.KeyValue(key=key, value=value) for key, value in variables.items()],
        mounts=mounts,
        devices=devices,
        labels={
            labels.POD_NAME: meta.name,
            labels.POD_NAMESPACE: meta.namespace,
            labels.POD_UID: meta.uid,
            labels.CONTAINER_NAME: container.name,
        },
        annotations={
            labels.RESTART_COUNT: str(start.attempt),
            labels.SPEC_HASH: spec_hash(container),
            labels.BACKOFF: f"{start.backoff_s:g}",
            labels.TERMINATION_MESSAGE_PATH: container.termination_message_path,
            labels.TERMINATION_MESSAGE_POLICY: container.termination_message_policy,
        },
        log_path=log_path(container.name, start.attempt),
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        linux=pb.LinuxContainerConfig(
            resources=resources(pod, container, memory_capacity_bytes),
            security_context=security_context(pod, container, image, seccomp_root),
        ),
    )


def log_path(name: str, attempt: int) -> str:
    """Return where an attempt's output goes, below the pod's log directory."""
    return f"{name}/{attempt}.log"
