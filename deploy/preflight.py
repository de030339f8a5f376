"""What a machine must have before a cluster starts; each lack is a sentence that says what to do."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from deploy.plan import PORTS_NEEDED, Addresses, Cluster, Plan, plan

PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables-restore": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "flock": "util-linux",
    "conntrack": "conntrack",
}
"""Programs a cluster of containers runs, and the Debian package each comes from."""
CNI_DIRECTORIES = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))
CNI_PLUGINS = ("bridge", "host-local", "portmap", "loopback")


def cni_directory() -> Path | None:
    """Return where the CNI plugins are, or None."""
    for directory in CNI_DIRECTORIES:
        if all((directory / plugin).exists() for plugin in CNI_PLUGINS):
            return directory
    return None


def problems(cluster: Cluster, *, is_running: bool) -> list[str]:
    """Return what keeps `cluster` from starting here; empty when nothing does."""
    found = list(_machine(cluster))
    if not is_running:
        found += _taken_ports(cluster)
    return found


def _machine(cluster: Cluster) -> Iterable[str]:
    if not cluster.is_hollow:
        if os.geteuid() != 0:
            yield "nodes with containers need root: run it with sudo, or take --runtime hollow, which does not"
            return
        missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
        if cni_directory() is None:
            missing.append("containernetworking-plugins")
        if missing:
            yield f"programs are missing: apt-get install {' '.join(missing)}"
    directory = cluster.directory
    existing = next(parent for parent in [directory, *directory.parents] if parent.exists())
    if not os.access(existing, os.W_OK):
        yield f"cannot write to {existing}: choose another place with --data-dir"


def _taken_ports(cluster: Cluster) -> Iterable[str]:
    for port in sorted(listening_ports(plan(cluster, _somewhere(cluster)))):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                upward = f"a cluster takes ports from --port upward (up to {PORTS_NEEDED} of them)"
                yield f"port {port} is taken by another program: choose another --port; {upward}"
                return


def _somewhere(cluster: Cluster) -> Addresses:
    return Addresses(nodes=dict.fromkeys(cluster.node_names, "127.0.0.1"))


def listening_ports(wanted: Plan) -> set[int]:
    """Return the ports that the processes outside nodes listen on."""
    ports = set()
    for process in wanted.processes:
        if process.node:
            continue
        pairs = zip(process.arguments, process.arguments[1:], strict=False)
        for flag, value in pairs:
            if flag in ("--secure-port", "--shared-port", "--grpc-port", "--port"):
                ports.add(int(value))
            elif flag in ("--listen-client", "--listen-peer", "--health"):
                ports.add(int(value.rpartition(":")[2]))
    if wanted.cluster.is_hollow:
        first = max(ports)
        ports |= set(range(first, first + wanted.cluster.nodes))
    return ports
