"""What a machine must have before it takes part in a cluster; each lack is a sentence that says what to do.

`missing_packages` is told apart, since `steer init` and `steer join` can install those.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from api.names import check_subdomain
from deploy.machine import host
from deploy.machine.plan import Layout, Machine, ports
from deploy.preflight import cni_directory

PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables-restore": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "modprobe": "kmod",
    "mount": "mount",
}
"""Programs a node runs, and the Debian package each comes from."""
MEMORY_BYTES_MIN = {"control-plane": 900 << 20, "worker": 400 << 20}
DISK_BYTES_MIN = 1 << 30
BUILT = datetime(2025, 1, 1, tzinfo=UTC)
"""No clock that is right shows less than this; a wrong one makes every certificate look not valid yet."""


def missing_packages() -> list[str]:
    """Return the Debian packages to be installed."""
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if cni_directory() is None:
        missing.add("containernetworking-plugins")
    return sorted(missing)


def problems(machine: Machine, layout: Layout, *, is_running: bool) -> list[str]:
    """Return what keeps this machine from becoming `machine`; empty when nothing does."""
    if os.geteuid() != 0:
        return ["it sets up units, users and networks: run it with sudo"]
    found = [*_system(), *_name(machine), *_resources(machine, layout)]
    if machine.address not in host.own_addresses():
        found.append(f"{machine.address} is not an address of this machine: give one of its own with --address")
    if (layout.data / "cluster.json").exists():
        found.append(
            f"{layout.data} holds a cluster of `steer up`: `steer down --purge` removes it, or leave this machine to it"
        )
    if not is_running:
        found += taken_ports(ports(machine.role))
    return found


def _system() -> Iterable[str]:
    if not host.is_booted_by_systemd():
        yield "systemd does not run this machine: `steer up` makes a cluster without it"
    if time.time() < BUILT.timestamp():
        yield f"the clock says {datetime.now(UTC):%Y-%m-%d}: set it right, certificates depend on it"


def _name(machine: Machine) -> Iterator[str]:
    if machine.name == "localhost":
        yield "every machine is called localhost by itself: give this one a --name, or set its host name"
    for problem in check_subdomain(machine.name):
        yield f"{machine.name!r} cannot be a node's name ({problem}): give another with --name"


def _resources(machine: Machine, layout: Layout) -> Iterator[str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = MEMORY_BYTES_MIN[machine.role]
    if memory < wanted:
        yield f"a {machine.role} machine needs {wanted >> 20} MiB of memory, and this one has {memory >> 20}"
    place = next(path for path in [layout.data, *layout.data.parents] if path.exists())
    free = shutil.disk_usage(place).free
    if free < DISK_BYTES_MIN:
        yield f"{place} has {free >> 20} MiB left, and at least {DISK_BYTES_MIN >> 20} are needed"


def taken_ports(wanted: dict[int, str]) -> Iterator[str]:
    """Yield a sentence for each port that somebody else listens on."""
    for port, process in sorted(wanted.items()):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                yield f"port {port}, which {process} needs, is taken: `ss -ltnp sport = :{port}` says by whom"
