"""Sysctls of a pod: what may be their names, and which of them any pod may set. Pure.

Sources: upstream's documentation "Using sysctls in a Kubernetes Cluster"; separators as in sysctl(8).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from api import validation as v
from api.core.security_context import PodSecurityContext

NAME_LENGTH_MAX: Final = 253
_SEGMENT: Final = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_FORMAT: Final = f"({_SEGMENT}[\\./])*{_SEGMENT}"
_NAME: Final = re.compile(_FORMAT)

SAFE: Final = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
"""Those that any pod may set: they concern its own namespaces alone, and cannot harm its neighbours."""

_IPC_PREFIXES: Final = ("kernel.shm", "kernel.msg", "fs.mqueue.")


def dotted(name: str) -> str:
    """Return the name with dots between its parts: `kernel/shm_rmid_forced` is `kernel.shm_rmid_forced`.

    The first separator says which kind separates; the other kind belongs to the parts then, as in
    `net/ipv4/conf/eth0.100/forwarding`.
    """
    first = next((char for char in name if char in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def namespace_of(name: str) -> str:
    """Return `net` or `ipc`, the kernel namespace that a sysctl belongs to; empty for none of the pod's."""
    plain = dotted(name)
    if plain.startswith("net."):
        return "net"
    return "ipc" if plain == "kernel.sem" or plain.startswith(_IPC_PREFIXES) else ""


def check_sysctls(path: str, context: PodSecurityContext) -> v.Errors:
    """Require names that can be sysctls', each once."""
    seen: set[str] = set()
    for i, sysctl in enumerate(context.sysctls):
        where = f"{path}[{i}].name"
        if not sysctl.name:
            yield v.required(where)
        elif len(sysctl.name) > NAME_LENGTH_MAX or not _NAME.fullmatch(sysctl.name):
            why = f"must have at most {NAME_LENGTH_MAX} characters and match regex ^{_FORMAT}$"
            yield v.invalid(where, sysctl.name, why)
        elif sysctl.name in seen:
            yield v.duplicate(where, sysctl.name)
        seen.add(sysctl.name)


def refusal(names: Sequence[str], unsafe: Sequence[str] = (), *, host_network: bool, host_ipc: bool) -> str:
    """Return why a node may not let a pod set these; empty if it may.

    `unsafe` are patterns of what the node allows beside the safe ones: a name, or the beginning of some and a star.
    """
    allowed = [dotted(pattern) for pattern in unsafe]
    for name in names:
        plain = dotted(name)
        is_allowed = any(plain.startswith(each[:-1]) if each.endswith("*") else plain == each for each in allowed)
        if plain not in SAFE and not is_allowed:
            return f'forbidden sysctl: "{plain}" not allowlisted'
        of = namespace_of(plain)
        if (of == "net" and host_network) or (of == "ipc" and host_ipc):
            return f'forbidden sysctl: "{plain}" not allowed with host {of} enabled'
    return ""
