"""The rights of a container's processes: users, groups, capabilities, and the profiles of the kernel's guards."""

from __future__ import annotations

from typing import Annotated

from api.schema import Int64, Struct, always, wire


class Sysctl(Struct):
    """A kernel parameter of the pod's namespaces.

    Attributes:
        name: The parameter, such as net.core.somaxconn. Those not known to be safe must be allowed on the node first.
        value: What to set it to.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[str, wire(2, required=True)] = always("")


class PodSecurityContext(Struct):
    """The rights that all containers of a pod have; what a container says of itself comes before it.

    Attributes:
        se_linux_options: The SELinux label of all containers; unset, the runtime chooses one for each. Not on Windows.
        windows_options: As whom containers run on Windows; only there.
        run_as_user: The user id of the containers' processes; unset, the image's. Not on Windows.
        run_as_group: The primary group id of the containers' processes; unset, the runtime's default. Not on Windows.
        run_as_non_root: Refuse to start a container that would run as user id 0; false by default.
        supplemental_groups: Further group ids of the first process of each container, beside the primary group, fsGroup
            and, by supplementalGroupsPolicy, those of the image.
        supplemental_groups_policy: Whether groups of the image's /etc/group count too: Merge (the default) or Strict.
            Beta; needs a runtime that can.
        fs_group: A group id that all processes have and that volumes are made to belong to, so that the pod can write
            there; new files inherit it. Unset, ownership is left alone.
        sysctls: Kernel parameters of the pod's namespaces; one that the runtime refuses keeps the pod from starting.
        fs_group_change_policy: When fsGroup is applied to a volume: Always (the default), or OnRootMismatch, which
            skips volumes whose root is right already.
        seccomp_profile: Which system calls the containers may make. Not on Windows.
        app_armor_profile: The AppArmor profile of the containers. Not on Windows.
        se_linux_change_policy: How a volume gets its SELinux label: MountOption mounts with it, where the driver can;
            Recursive relabels each file. Alpha; Recursive without it.
    """

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


class AppArmorProfile(Struct):
    """The AppArmor profile that confines a container, on nodes with AppArmor.

    Attributes:
        type: RuntimeDefault, Unconfined, or Localhost for one loaded on the node.
        localhost_profile: The profile's name on the node; required for Localhost, not allowed otherwise.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    localhost_profile: Annotated[str | None, wire(2)] = None


class SeccompProfile(Struct):
    """The seccomp filter of a container: which system calls it may make.

    Attributes:
        type: RuntimeDefault, Unconfined, or Localhost for a file on the node.
        localhost_profile: The file, relative to the kubelet's seccomp directory; required for Localhost, not allowed
            otherwise.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    localhost_profile: Annotated[str | None, wire(2)] = None


class WindowsSecurityContextOptions(Struct):
    """As whom a container runs on a Windows node.

    Attributes:
        gmsa_credential_spec_name: Which group managed service account the container acts as, by the name of its
            credential spec.
        gmsa_credential_spec: The text of that credential spec, as JSON; filled in by the GMSA webhook.
        run_as_user_name: The user of the container's processes; unset, the image's.
        host_process: Whether the container runs on the host itself; all containers of a pod must agree, and hostNetwork
            must be true then.
    """

    gmsa_credential_spec_name: Annotated[str | None, wire(1)] = None
    gmsa_credential_spec: Annotated[str | None, wire(2)] = None
    run_as_user_name: Annotated[str | None, wire(3)] = None
    host_process: Annotated[bool | None, wire(4)] = None


class SELinuxOptions(Struct):
    """The SELinux label of a container's processes, in its four parts.

    Attributes:
        user: The SELinux user part.
        role: The SELinux role part.
        type: The SELinux type part, such as container_t.
        level: The SELinux level part, such as s0:c123,c456.
    """

    user: Annotated[str, wire(1)] = ""
    role: Annotated[str, wire(2)] = ""
    type: Annotated[str, wire(3)] = ""
    level: Annotated[str, wire(4)] = ""


class Capabilities(Struct):
    """Linux capabilities to give to a container or take from it, beyond what the runtime gives by default.

    Attributes:
        add: Capabilities to add, such as NET_ADMIN; ALL is every one.
        drop: Capabilities to take away; ALL is every one.
    """

    add: Annotated[list[str], wire(1, list_type="atomic")] = []
    drop: Annotated[list[str], wire(2, list_type="atomic")] = []


class SecurityContext(Struct):
    """The rights of one container's processes; what is said here comes before what the pod says.

    Attributes:
        capabilities: Linux capabilities to add or drop; unset, the runtime's default set. Not on Windows.
        privileged: Run with nearly all rights of root on the node: all capabilities and devices. False by default.
        se_linux_options: The container's SELinux label; unset, the pod's, or else one that the runtime chooses. Not on
            Windows.
        windows_options: As whom it runs on Windows; only there.
        run_as_user: The user id of the container's processes; unset, the pod's, or else the image's. Not on Windows.
        run_as_group: The primary group id of the container's processes; unset, the pod's, or else the runtime's
            default. Not on Windows.
        run_as_non_root: Refuse to start if the container would run as user id 0; unset, as the pod says, or else false.
        read_only_root_filesystem: Whether the container's own files cannot be changed, only those on writable volumes;
            false by default.
        allow_privilege_escalation: Whether a process may get more rights than its parent (setuid programs); true by
            default. Always true with privileged or CAP_SYS_ADMIN.
        proc_mount: What of /proc is hidden: Default masks and protects parts as the runtime does, Unmasked shows all
            and needs hostUsers to be false.
        seccomp_profile: Which system calls the container may make; unset, as the pod says. Not on Windows.
        app_armor_profile: The container's AppArmor profile; unset, as the pod says. Not on Windows.
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
