"""The Pod Security Standards: what a pod may not do at each level, and from which version of the policy on. Pure.

Each check looks at a pod's metadata and spec and says what is wrong with it, or nothing. `baseline` forbids what leads
out of the container; `restricted` also demands what hardens it. A policy is pinned to a version so that a newer server
does not refuse what an older one let in (KEP-2579; the rules: "Pod Security Standards" in Kubernetes' documentation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

LATEST: Final = 10**6
"""The version that is always the newest."""


@dataclass(frozen=True, slots=True)
class Violation:
    """What one check found."""

    reason: str
    detail: str


Check = Callable[[Any, Any, int], Violation | None]
"""From a pod's metadata and spec, and the policy's minor version."""

_CAPABILITIES: Final = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
_SYSCTLS: Final = {
    0: "kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.tcp_syncookies net.ipv4.ping_group_range "
    "net.ipv4.ip_unprivileged_port_start",
    27: "net.ipv4.ip_local_reserved_ports",
    29: "net.ipv4.tcp_keepalive_time net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl "
    "net.ipv4.tcp_keepalive_probes",
    32: "net.ipv4.tcp_rmem net.ipv4.tcp_wmem",
}
"""Safe ones, by the version from which on they are allowed."""
_SELINUX_TYPES: Final = {0: " container_t container_init_t container_kvm_t", 31: "container_engine_t"}
_VOLUMES: Final = frozenset(
    {
        "config_map", "csi", "downward_api", "empty_dir", "ephemeral", "image", "persistent_volume_claim", "projected",
        "secret",
    }
)  # fmt: skip
_APPARMOR_ANNOTATION: Final = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD: Final = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER: Final = "container.seccomp.security.alpha.kubernetes.io/"
_PROFILES: Final = ("RuntimeDefault", "Localhost")


def evaluate(level: str, version: int, metadata: Any, spec: Any) -> list[Violation]:
    """Return what a pod violates of a level as it was in a version, in upstream's order."""
    if level == "privileged":
        return []
    checks: list[Check] = list(_BASELINE)
    if level == "restricted":
        checks = [check for check in _BASELINE if version < _COVERED_SINCE.get(check, LATEST + 1)]
        checks += _RESTRICTED
    found = (check(metadata, spec, version) for check in checks)
    return [violation for violation in found if violation is not None]


def detail_of(violations: Iterable[Violation]) -> str:
    """Return all that is wrong, with whom and what."""
    return ", ".join(f"{each.reason} ({each.detail})" if each.detail else each.reason for each in violations)


def reasons_of(violations: Iterable[Violation]) -> str:
    """Return all that is wrong, in short."""
    return ", ".join(each.reason for each in violations)


def containers_of(spec: Any) -> Iterator[Any]:
    """Yield containers of every sort."""
    yield from spec.init_containers
    yield from spec.containers
    yield from spec.ephemeral_containers


def _of(container: Any, name: str) -> Any:
    """Return a field of a container's, or pod's, security context, or None."""
    context = container.security_context
    return getattr(context, name) if context is not None else None


def _named(containers: Iterable[str]) -> str:
    """Return `container "a"` or `containers "a", "b"`."""
    names = list(containers)
    return f"container{_s(names)} {_quoted(names)}"


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f'"{value}"' for value in values)


def _s(values: Any) -> str:
    return "" if len(values) == 1 else "s"


def _setters(spec: Any, is_bad: Callable[[Any], bool]) -> str:
    """Return `pod and containers "a", "b"`: those whose security context is bad."""
    setters = ["pod"] if is_bad(spec) else []
    containers = [container.name for container in containers_of(spec) if is_bad(container)]
    if containers:
        setters.append(_named(containers))
    return " and ".join(setters)


def _since(table: dict[int, str], version: int) -> set[str]:
    return {word for since, words in table.items() if since <= version for word in words.split(" ")}


def _apparmor(metadata: Any, spec: Any, version: int) -> Violation | None:
    values: set[str] = set()

    def is_bad(container: Any) -> bool:
        profile = _of(container, "app_armor_profile")
        if profile is None or profile.type in _PROFILES:
            return False
        values.add(profile.type)
        return True

    setters = _setters(spec, is_bad)
    bad = sorted(
        f'{key}="{value}"'
        for key, value in metadata.annotations.items()
        if key.startswith(_APPARMOR_ANNOTATION)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    if not setters and not bad:
        return None
    told = [*sorted(values), *bad]
    setters = " and ".join(filter(None, (setters, f"annotation{_s(bad)}" if bad else "")))
    return Violation(
        f"forbidden AppArmor profile{_s(told)}", f"{setters} must not set AppArmor profile type to {_quoted(told)}"
    )


def _added(container: Any, allowed: Iterable[str]) -> list[str]:
    capabilities = _of(container, "capabilities")
    return [name for name in capabilities.add if name not in allowed] if capabilities is not None else []


def _adding(spec: Any, allowed: Iterable[str]) -> str:
    """Return who adds which capabilities beyond `allowed`, as a sentence."""
    bad = [container.name for container in containers_of(spec) if _added(container, allowed)]
    names = sorted({name for container in containers_of(spec) for name in _added(container, allowed)})
    return f"{_named(bad)} must not include {_quoted(names)} in securityContext.capabilities.add" if bad else ""


def _capabilities(metadata: Any, spec: Any, version: int) -> Violation | None:
    bad = _adding(spec, _CAPABILITIES)
    return Violation("non-default capabilities", bad) if bad else None


def _host_namespaces(metadata: Any, spec: Any, version: int) -> Violation | None:
    used = (("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc))
    bad = [f"{name}=true" for name, is_used in used if is_used]
    return Violation("host namespaces", ", ".join(bad)) if bad else None


def _host_paths(metadata: Any, spec: Any, version: int) -> Violation | None:
    bad = [volume.name for volume in spec.volumes if volume.host_path is not None]
    return Violation("hostPath volumes", f"volume{_s(bad)} {_quoted(bad)}") if bad else None


def _host_ports(metadata: Any, spec: Any, version: int) -> Violation | None:
    bad = [container.name for container in containers_of(spec) if any(port.host_port for port in container.ports)]
    ports = sorted({str(port.host_port) for one in containers_of(spec) for port in one.ports if port.host_port})
    uses = "uses" if len(bad) == 1 else "use"
    return Violation("hostPort", f"{_named(bad)} {uses} hostPort{_s(ports)} {', '.join(ports)}") if bad else None


def _containers(reason: str, is_bad: Callable[[Any], bool], rule: str) -> Check:
    def check(metadata: Any, spec: Any, version: int) -> Violation | None:
        bad = [container.name for container in containers_of(spec) if is_bad(container)]
        return Violation(reason, f"{_named(bad)} {rule}") if bad else None

    return check


_privileged: Final = _containers(
    "privileged",
    lambda container: bool(_of(container, "privileged")),
    "must not set securityContext.privileged=true",
)


def _proc_mount(metadata: Any, spec: Any, version: int) -> Violation | None:
    mounts = {one.name: _of(one, "proc_mount") for one in containers_of(spec)}
    bad = {name: mount for name, mount in mounts.items() if mount not in (None, "Default")}
    values = _quoted(sorted(set(bad.values())))
    return Violation("procMount", f"{_named(bad)} must not set securityContext.procMount to {values}") if bad else None


def _selinux(metadata: Any, spec: Any, version: int) -> Violation | None:
    allowed = _since(_SELINUX_TYPES, version)
    types: set[str] = set()
    others: set[str] = set()

    def is_bad(container: Any) -> bool:
        options = _of(container, "se_linux_options")
        if options is None:
            return False
        if options.type not in allowed:
            types.add(options.type)
        others.update(name for name in ("user", "role") if getattr(options, name))
        return options.type not in allowed or bool(options.user or options.role)

    setters = _setters(spec, is_bad)
    if not setters:
        return None
    told = [f"type{_s(types)} {_quoted(sorted(types))}"] if types else []
    told += [f"{name} may not be set" for name in ("user", "role") if name in others]
    return Violation("seLinuxOptions", f"{setters} set forbidden securityContext.seLinuxOptions: {'; '.join(told)}")


def _seccomp(metadata: Any, spec: Any, version: int) -> Violation | None:
    if version < 19:
        keys = [_SECCOMP_POD, *(_SECCOMP_CONTAINER + container.name for container in containers_of(spec))]
        given = {key: metadata.annotations[key] for key in keys if key in metadata.annotations}
        bad = sorted(
            f'{key}="{value}"'
            for key, value in given.items()
            if value not in ("runtime/default", "docker/default") and not value.startswith("localhost/")
        )
        return Violation("seccompProfile", f"forbidden annotation{_s(bad)} {', '.join(bad)}") if bad else None
    values: set[str] = set()

    def is_bad(container: Any) -> bool:
        profile = _of(container, "seccomp_profile")
        if profile is None or profile.type in _PROFILES:
            return False
        values.add(profile.type)
        return True

    setters = _setters(spec, is_bad)
    if not setters:
        return None
    told = _quoted(sorted(values))
    return Violation("seccompProfile", f"{setters} must not set securityContext.seccompProfile.type to {told}")


def _sysctls(metadata: Any, spec: Any, version: int) -> Violation | None:
    allowed = _since(_SYSCTLS, version)
    bad = [sysctl.name for sysctl in _of(spec, "sysctls") or () if sysctl.name not in allowed]
    return Violation("forbidden sysctls", ", ".join(bad)) if bad else None


def _host_process(metadata: Any, spec: Any, version: int) -> Violation | None:
    def is_bad(container: Any) -> bool:
        options = _of(container, "windows_options")
        return options is not None and bool(options.host_process)

    setters = _setters(spec, is_bad)
    why = f"{setters} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", why) if setters else None


def _is_windows(spec: Any, version: int) -> bool:
    """Whether rules of Linux are not demanded (since 1.25)."""
    return version >= 25 and spec.os is not None and spec.os.name == "windows"


_escalation: Final = _containers(
    "allowPrivilegeEscalation != false",
    lambda container: _of(container, "allow_privilege_escalation") is not False,
    "must set securityContext.allowPrivilegeEscalation=false",
)


def _no_escalation(metadata: Any, spec: Any, version: int) -> Violation | None:
    return None if version < 8 or _is_windows(spec, version) else _escalation(metadata, spec, version)


def _dropped_capabilities(metadata: Any, spec: Any, version: int) -> Violation | None:
    if version < 22 or _is_windows(spec, version):
        return None

    def keeps(container: Any) -> bool:
        capabilities = _of(container, "capabilities")
        return capabilities is None or "ALL" not in capabilities.drop

    keeping = [container.name for container in containers_of(spec) if keeps(container)]
    told = [f'{_named(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    adding = _adding(spec, ("NET_BIND_SERVICE",))
    told += [adding] if adding else []
    return Violation("unrestricted capabilities", "; ".join(told)) if told else None


def _volumes(metadata: Any, spec: Any, version: int) -> Violation | None:
    types: dict[str, str] = {}
    for volume in spec.volumes:
        sources = [name for name in volume.__struct_fields__ if name != "name" and getattr(volume, name) is not None]
        if not any(name in _VOLUMES for name in sources):
            spelled = dict(zip(volume.__struct_fields__, volume.__struct_encode_fields__, strict=True))
            types[volume.name] = spelled[sources[0]] if sources else "unknown"
    if not types:
        return None
    uses, unique = "uses" if len(types) == 1 else "use", sorted(set(types.values()))
    why = f"volume{_s(types)} {_quoted(types)} {uses} restricted volume type{_s(unique)} {_quoted(unique)}"
    return Violation("restricted volume types", why)


def _not_root(metadata: Any, spec: Any, version: int) -> Violation | None:
    setters = _setters(spec, lambda container: _of(container, "run_as_non_root") is False)
    if setters:
        return Violation("runAsNonRoot != true", f"{setters} must not set securityContext.runAsNonRoot=false")
    if _of(spec, "run_as_non_root"):
        return None
    bad = [container.name for container in containers_of(spec) if _of(container, "run_as_non_root") is None]
    why = f"pod or {_named(bad)} must set securityContext.runAsNonRoot=true"
    return Violation("runAsNonRoot != true", why) if bad else None


def _not_user_zero(metadata: Any, spec: Any, version: int) -> Violation | None:
    setters = _setters(spec, lambda container: _of(container, "run_as_user") == 0)
    if not setters or version < 23:
        return None
    return Violation("runAsUser=0", f"{setters} must not set runAsUser=0")


def _demanded_seccomp(metadata: Any, spec: Any, version: int) -> Violation | None:
    if version < 19 or _is_windows(spec, version):
        return None
    found = _seccomp(metadata, spec, version)
    if found is not None or _of(spec, "seccomp_profile") is not None:
        return found
    bad = [container.name for container in containers_of(spec) if _of(container, "seccomp_profile") is None]
    why = f'pod or {_named(bad)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", why) if bad else None


_BASELINE: Final[tuple[Check, ...]] = (
    _apparmor, _capabilities, _host_namespaces, _host_paths, _host_ports, _privileged, _proc_mount, _selinux, _seccomp,
    _sysctls, _host_process,
)  # fmt: skip
_COVERED_SINCE: Final[dict[Check, int]] = {_capabilities: 22, _host_paths: 0, _seccomp: 19}
"""Since when a check of the restricted level makes one of the baseline superfluous."""
_RESTRICTED: Final[tuple[Check, ...]] = (
    _no_escalation, _dropped_capabilities, _volumes, _not_root, _not_user_zero, _demanded_seccomp,
)  # fmt: skip
