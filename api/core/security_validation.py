"""What the security settings of pods and containers may be: users; profiles of seccomp and AppArmor; Windows. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from api import names
from api import validation as v
from api.core.containers import ContainerFields
from api.core.security_context import AppArmorProfile, SeccompProfile, WindowsSecurityContextOptions
from api.core.source_validation import check_descending_path

if TYPE_CHECKING:
    from api.core.pod import PodSpec

_ID_MAX: Final = 2**31 - 1
_PROFILES: Final = ("Localhost", "RuntimeDefault", "Unconfined")
_APP_ARMOR_NAME_LENGTH_MAX: Final = 4095
_SPEC_BYTES_MAX: Final = 64 * 1024
_USER_NAME_LENGTH_MAX: Final = 104
_DOMAIN_LENGTH_MAX: Final = 256
_DNS_DOMAIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_NETBIOS_DOMAIN: Final = re.compile(r"""[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}""")
_USER_CONTROLS: Final = re.compile("[\x00-\x1f\x7f]")
_NO_USER: Final = re.compile(r'["/\\:;|=,+*?<>@\[\]]')


def containers_of(spec: PodSpec, path: str) -> Iterator[tuple[str, ContainerFields]]:
    """Return all containers of a pod and where they are, those that prepare it first."""
    for field, containers in (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    ):
        for i, container in enumerate(containers):
            yield f"{path}.{field}[{i}]", container


def check_id(path: str, value: int | None) -> v.Errors:
    """Require a user's or group's number; None is fine."""
    if value is not None and not 0 <= value <= _ID_MAX:
        yield v.invalid(path, value, f"must be between 0 and {_ID_MAX}, inclusive")


def check_seccomp(path: str, profile: SeccompProfile | None) -> v.Errors:
    """Check which system calls are let through."""
    if profile is None:
        return
    if not profile.type:
        yield v.required(f"{path}.type", "type is required when seccompProfile is set")
    elif profile.type not in _PROFILES:
        yield v.not_supported(f"{path}.type", profile.type, _PROFILES)
    where, name = f"{path}.localhostProfile", profile.localhost_profile
    if profile.type != "Localhost":
        if name is not None:
            yield v.invalid(where, profile, "can only be set when seccomp type is Localhost")
    elif name is None:
        yield v.required(where, "must be set when seccomp type is Localhost")
    else:
        yield from check_descending_path(where, name)


def check_app_armor(path: str, profile: AppArmorProfile | None) -> v.Errors:
    """Check an AppArmor profile; one of the node's own has a name."""
    if profile is None:
        return
    where, name = f"{path}.localhostProfile", profile.localhost_profile
    match profile.type:
        case "Localhost":
            if not (name or "").strip():
                if name:
                    yield v.invalid(where, name, "must not be padded with whitespace")
                else:
                    yield v.required(where, "must be set when AppArmor type is Localhost")
            elif name is not None and name != name.strip():
                yield v.invalid(where, name, "must not be padded with whitespace")
            if name is not None and len(name.encode()) > _APP_ARMOR_NAME_LENGTH_MAX:
                yield v.too_long(where, _APP_ARMOR_NAME_LENGTH_MAX)
        case "RuntimeDefault" | "Unconfined":
            if name is not None:
                yield v.invalid(where, name, "can only be set when AppArmor type is Localhost")
        case "":
            yield v.required(f"{path}.type", "type is required when appArmorProfile is set")
        case other:
            yield v.not_supported(f"{path}.type", other, _PROFILES)


def check_windows_options(path: str, options: WindowsSecurityContextOptions | None) -> v.Errors:
    """Check what only Windows knows: a group-managed account, and a user, maybe of a domain."""
    if options is None:
        return
    if options.gmsa_credential_spec_name is not None:
        for message in names.check_subdomain(options.gmsa_credential_spec_name):
            yield v.invalid(f"{path}.gmsaCredentialSpecName", options.gmsa_credential_spec_name, message)
    spec = options.gmsa_credential_spec
    if spec is not None:
        where = f"{path}.gmsaCredentialSpec"
        if not spec:
            yield v.invalid(where, spec, "gmsaCredentialSpec cannot be an empty string")
        elif len(spec.encode()) > _SPEC_BYTES_MAX:
            yield v.invalid(where, spec, f"gmsaCredentialSpec size must be under {_SPEC_BYTES_MAX // 1024} KiB")
    name = options.run_as_user_name
    if name is not None:
        for why in _wrong_user(name):
            yield v.invalid(f"{path}.runAsUserName", name, why)


def _wrong_user(name: str) -> Iterator[str]:
    if not name:
        yield "runAsUserName cannot be an empty string"
        return
    if _USER_CONTROLS.search(name):
        yield "runAsUserName cannot contain control characters"
        return
    parts = name.split("\\")
    if len(parts) > 2:
        yield "runAsUserName cannot contain more than one backslash"
        return
    user = parts[-1]
    if len(parts) == 2:
        domain = parts[0]
        if len(domain) >= _DOMAIN_LENGTH_MAX:
            yield f"runAsUserName's Domain length must be under {_DOMAIN_LENGTH_MAX} characters"
        if not _DNS_DOMAIN.fullmatch(domain) and not _NETBIOS_DOMAIN.fullmatch(domain):
            yield "runAsUserName's Domain doesn't match the NetBios nor the DNS format"
    if not user:
        yield "runAsUserName's User cannot be empty"
    elif len(user) > _USER_NAME_LENGTH_MAX:
        yield f"runAsUserName's User length must not be longer than {_USER_NAME_LENGTH_MAX} characters"
    if user and not user.strip(". "):
        yield "runAsUserName's User cannot contain only periods or spaces"
    if _NO_USER.search(user):
        yield "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"


# --- operating systems ----------------------------------------------------------------------------------------------

_NOT_ON_WINDOWS_POD: Final = (
    "app_armor_profile", "se_linux_options", "seccomp_profile", "fs_group", "fs_group_change_policy", "sysctls",
    "run_as_user", "run_as_group", "supplemental_groups", "supplemental_groups_policy", "se_linux_change_policy",
)  # fmt: skip
_NOT_ON_WINDOWS: Final = (
    "app_armor_profile", "se_linux_options", "seccomp_profile", "capabilities", "read_only_root_filesystem",
    "privileged", "allow_privilege_escalation", "proc_mount", "run_as_user", "run_as_group",
)  # fmt: skip


def check_host_process(path: str, spec: PodSpec) -> v.Errors:
    """Check that containers which are processes of a Windows host are not alone with it (KEP-1981)."""
    context = spec.security_context
    of_pod = context.windows_options.host_process if context is not None and context.windows_options else None
    are_processes: list[bool] = []
    for where, container in containers_of(spec, path):
        options = container.security_context.windows_options if container.security_context is not None else None
        own = options.host_process if options is not None else None
        if of_pod is not None and own is not None and own != of_pod:
            why = f"pod hostProcess value must be identical if both are specified, was {v.show(of_pod)}"
            yield v.invalid(f"{where}.securityContext.windowsOptions.hostProcess", own, why)
        are_processes.append(bool(own if own is not None else of_pod))
    if not any(are_processes):
        return
    if not all(are_processes):
        why = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        yield v.invalid(path, "", why)
    if not spec.host_network:
        yield v.invalid(
            f"{path}.hostNetwork", False, "hostNetwork must be true if pod contains any hostProcess containers"
        )


def check_os(path: str, spec: PodSpec) -> v.Errors:
    """Check that a pod for one operating system sets nothing that only another knows (KEP-2802)."""
    if spec.os is None:
        return
    if not spec.os.name:
        yield v.required(f"{path}.os.name", "cannot be empty")
    elif spec.os.name not in ("linux", "windows"):
        yield v.not_supported(f"{path}.os", spec.os.name, ("linux", "windows"))
    elif spec.os.name == "linux":
        why = "windows options cannot be set for a linux pod"
        contexts = [(path, spec.security_context), *((p, c.security_context) for p, c in containers_of(spec, path))]
        for where, context in contexts:
            if context is not None and context.windows_options is not None:
                yield v.forbidden(f"{where}.securityContext.windowsOptions", why)
    else:
        yield from _check_windows(path, spec)


def _check_windows(path: str, spec: PodSpec) -> v.Errors:
    why = "cannot be set for a windows pod"
    if spec.security_context is not None:
        yield from _check_unset(f"{path}.securityContext", spec.security_context, _NOT_ON_WINDOWS_POD, why)
    for field, is_set in (
        ("hostUsers", spec.host_users is not None),
        ("hostPID", spec.host_pid),
        ("hostIPC", spec.host_ipc),
        ("shareProcessNamespace", spec.share_process_namespace is not None),
    ):
        if is_set:
            yield v.forbidden(f"{path}.{field}", why)
    for where, container in containers_of(spec, path):
        if container.security_context is not None:
            yield from _check_unset(f"{where}.securityContext", container.security_context, _NOT_ON_WINDOWS, why)


def _check_unset(path: str, context: object, fields: tuple[str, ...], why: str) -> v.Errors:
    kind = type(context)
    json_names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))  # type: ignore[attr-defined]
    for field in fields:
        if getattr(context, field) not in (None, []):
            yield v.forbidden(f"{path}.{json_names[field]}", why)
