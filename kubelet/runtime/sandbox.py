"""From a pod's specification to the sandbox that its containers share. Pure."""

from __future__ import annotations

from api.core import sysctls
from api.core.pod import Pod
from api.core.security_context import PodSecurityContext, SeccompProfile, SELinuxOptions
from kubelet.lifecycle import GRACE_DEFAULT_S
from kubelet.naming import Resolver
from kubelet.runtime import labels
from proto.cri import api_pb2 as pb

_PROTOCOLS = {"": pb.TCP, "TCP": pb.TCP, "UDP": pb.UDP, "SCTP": pb.SCTP}


def namespace_options(pod: Pod) -> pb.NamespaceOption:
    """Return which of the node's namespaces the pod shares."""
    if pod.spec.host_pid:
        pid = pb.NODE
    else:
        pid = pb.POD if pod.spec.share_process_namespace else pb.CONTAINER
    return pb.NamespaceOption(
        network=pb.NODE if pod.spec.host_network else pb.POD,
        pid=pid,
        ipc=pb.NODE if pod.spec.host_ipc else pb.POD,
    )


def seccomp(root: str, *profiles: SeccompProfile | None) -> pb.SecurityProfile:
    """Return the first profile that is set; without one, none applies (as upstream, unless told otherwise).

    Profiles that users name are files below `root`, on the node.
    """
    for profile in profiles:
        if profile is None:
            continue
        match profile.type:
            case "RuntimeDefault":
                return pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)
            case "Localhost":
                file = f"{root}/{profile.localhost_profile or ''}"
                return pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref=file)
        break
    return pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)


def selinux(label: SELinuxOptions | None) -> pb.SELinuxOption | None:
    """Return the label as the runtime takes it; None lets it choose one."""
    if label is None:
        return None
    return pb.SELinuxOption(user=label.user, role=label.role, type=label.type, level=label.level)


def is_privileged(pod: Pod) -> bool:
    """Whether any container is privileged: then the sandbox must be too."""
    containers = [*pod.spec.init_containers, *pod.spec.containers]
    return any(c.security_context is not None and bool(c.security_context.privileged) for c in containers)


def sandbox_config(
    pod: Pod,
    attempt: int,
    *,
    hostname: str,
    resolver: Resolver,
    cgroup_parent: str,
    log_directory: str,
    seccomp_root: str,
) -> pb.PodSandboxConfig:
    """Return the request for one attempt at the pod's sandbox."""
    meta = pod.metadata
    security = pod.spec.security_context or PodSecurityContext()
    context = pb.LinuxSandboxSecurityContext(
        namespace_options=namespace_options(pod),
        supplemental_groups=supplemental_groups(pod),
        privileged=is_privileged(pod),
        seccomp=seccomp(seccomp_root, security.seccomp_profile),
        selinux_options=selinux(security.se_linux_options),
    )
    if security.run_as_user is not None:
        context.run_as_user.value = security.run_as_user
        if security.run_as_group is not None:
            context.run_as_group.value = security.run_as_group
    ports = [
        pb.PortMapping(
            protocol=_PROTOCOLS.get(port.protocol, pb.TCP),
            container_port=port.container_port,
            host_port=port.host_port,
            host_ip=port.host_ip,
        )
        for container in [*pod.spec.init_containers, *pod.spec.containers]
        for port in container.ports
        if port.host_port and not pod.spec.host_network
    ]
    grace = pod.spec.termination_grace_period_seconds
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=meta.name, uid=meta.uid, namespace=meta.namespace, attempt=attempt),
        # The runtime refuses a hostname where the node's UTS namespace is shared.
        hostname="" if pod.spec.host_network else hostname,
        log_directory=log_directory,
        dns_config=pb.DNSConfig(servers=resolver.servers, searches=resolver.searches, options=resolver.options),
        port_mappings=ports,
        labels={
            **meta.labels,
            labels.POD_NAME: meta.name,
            labels.POD_NAMESPACE: meta.namespace,
            labels.POD_UID: meta.uid,
        },
        annotations={**meta.annotations, labels.GRACE_PERIOD: str(GRACE_DEFAULT_S if grace is None else grace)},
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=cgroup_parent,
            security_context=context,
            sysctls={sysctls.dotted(sysctl.name): sysctl.value for sysctl in security.sysctls},
        ),
    )


def supplemental_groups(pod: Pod) -> list[int]:
    """Return the extra groups of every container: supplementalGroups, and fsGroup, which owns its volumes."""
    security = pod.spec.security_context
    if security is None:
        return []
    groups = list(security.supplemental_groups)
    if security.fs_group is not None:
        groups.append(security.fs_group)
    return groups
