"""Pure: from what a machine is to the units it runs, their settings, and where everything lies.

A `Machine` is kept in /etc/steersman/machine.json. `units` gives the units that run on it, each with the settings that
are written to /etc/steersman/<unit>.yaml; the unit files themselves (`deploy/systemd/`) are the same on every machine.
A process gets its certificates as systemd credentials: the units name the files, so that no process can read
another's key, and a process that is not root owns none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from deploy import processes
from deploy.processes import ApiClient, Files

SECURE_PORT, GRPC_PORT = 6443, 6444
STORE_CLIENT_PORT, STORE_PEER_PORT = 2379, 2380
KUBELET_PORT = 10250
METRICS_PORT = 10252
"""Where the metrics server of a control-plane machine is asked by API servers."""
BALANCER_PORT = 6445
"""Where kubectl on a machine reaches whichever API server is well."""
NODE_HEALTH_PORT = 10256
"""Where load balancers ask kubeproxy whether connections should come to the machine."""
HEALTH_PORTS = {
    "store": 2381,
    "controllers": 10257,
    "scheduler": 10259,
    "dns": 9153,
    "metrics": 10251,
    "kubelet": 10248,
    "kubeproxy": 10249,
    "balancer": 6446,
}
"""Upstream's, where upstream has such a process."""

Role = Literal["control-plane", "worker"]


class Member(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A control-plane machine, as the others know it."""

    name: str
    address: str


class Machine(msgspec.Struct, kw_only=True, rename="camel"):
    """What this machine is."""

    name: str
    """Of the Node, and on a control-plane machine of the store's member."""
    address: str
    """At which the other machines reach it."""
    role: Role
    members: list[Member]
    """The control-plane machines known of, this one among them if it is one; processes are told of all."""
    founder: str = ""
    """The machine whose store began the cluster; all others were taken into it."""
    failover: Literal["default", "fast"] = "default"
    names: list[str] = []
    """Further names and addresses of the API server, such as a load balancer's."""

    @property
    def is_control_plane(self) -> bool:
        """Whether it runs a store and an API server."""
        return self.role == "control-plane"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of a machine lies; `root` is / but in tests."""

    root: Path = Path("/")

    @property
    def etc(self) -> Path:
        """What an administrator may look at and change."""
        return self.root / "etc/steersman"

    @property
    def pki(self) -> Path:
        """Certificates and keys, root's alone."""
        return self.etc / "pki"

    @property
    def machine(self) -> Path:
        """What this machine is."""
        return self.etc / "machine.json"

    @property
    def manifests(self) -> Path:
        """Static pods' files: what is put here runs on this machine, with or without an API server."""
        return self.etc / "manifests"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, on control-plane machines."""
        return self.etc / "admin.kubeconfig"

    @property
    def data(self) -> Path:
        """What the processes keep."""
        return self.root / "var/lib/steersman"

    @property
    def kubelet_pki(self) -> Path:
        """The node's own certificates, which the kubelet renews."""
        return self.data / "kubelet/pki"

    @property
    def volumes(self) -> Path:
        """Directories of the default StorageClass's volumes."""
        return self.data / "volumes"

    @property
    def snapshots(self) -> Path:
        """Where scheduled backups of the store go."""
        return self.data / "snapshots"

    @property
    def containerd(self) -> Path:
        """Where containerd keeps images and containers, and its configuration."""
        return self.data / "containerd"

    @property
    def units(self) -> Path:
        """Where our unit files go."""
        return self.root / "etc/systemd/system"

    @property
    def sysusers(self) -> Path:
        """Which users systemd makes for us."""
        return self.root / "etc/sysusers.d/steersman.conf"

    @property
    def prefix(self) -> Path:
        """One virtual environment a version, and `current`, the link to the one in use."""
        return self.root / "opt/steersman"

    def settings(self, unit: str) -> Path:
        """Where a unit's settings are."""
        return self.etc / f"{unit}.yaml"


NAMESERVERS_MAX = 3
"""As many as resolvers take notice of."""
RUNTIME_SOCKET = "/run/steersman/containerd/containerd.sock"
RUNTIME_STATE = "/run/steersman/containerd"
CNI_CONF = "/etc/steersman/cni"


@dataclass(frozen=True, slots=True)
class Unit:
    """One process of a machine."""

    name: str
    """Such as `kubelet`; systemd knows it as `steersman-kubelet.service`."""
    arguments: tuple[str, ...]
    """Flags and values, as `deploy.processes` gives them; they go into the settings file."""
    health: str
    """URL that answers 200 when it is ready."""

    @property
    def service(self) -> str:
        """What systemd calls it."""
        return service(self.name)


def service(name: str) -> str:
    """Return the name of a process's unit."""
    return f"steersman-{name}.service"


CONTROL_PLANE = ("store", "apiserver", "controllers", "scheduler", "dns", "metrics")
NODE = ("containerd", "kubelet", "kubeproxy", "balancer")


def service_names(role: Role) -> list[str]:
    """Return the names of the processes of a machine, in the order they are started."""
    return [*(CONTROL_PLANE if role == "control-plane" else ()), *NODE]


def credential_directory(name: str) -> str:
    """Return where systemd puts the files that a process's unit names."""
    return f"/run/credentials/{service(name)}"


def credential_path(name: str, place: str) -> str:
    """Return where systemd puts the file at `place` below the PKI directory for a process."""
    return f"{credential_directory(name)}/{credential_name(place)}"


def credential_name(place: str) -> str:
    """Return what a unit file calls the file at `place`; a credential's name has no slash."""
    return place.replace("/", "-")


def units(machine: Machine, layout: Layout) -> list[Unit]:
    """Return what runs on `machine` and has settings of ours, in the order it is started."""
    planned: list[Unit] = []
    if machine.is_control_plane:
        planned += _control_plane(machine, layout)
    return planned + _node(machine, layout)


def _control_plane(machine: Machine, layout: Layout) -> list[Unit]:
    def credentials(name: str) -> Files:
        return lambda place: credential_path(name, place)

    def client(name: str) -> ApiClient:
        return ApiClient(endpoints(machine), credentials(name), _health(name))

    # On a machine that was in another cluster before, that cluster's members still call.
    others = {each.name: f"{each.address}:{STORE_PEER_PORT}" for each in machine.members if each.name != machine.name}
    store = processes.store(
        machine.name,
        stem="member",
        data_dir=str(layout.data / "store"),
        client=f"{machine.address}:{STORE_CLIENT_PORT}",
        peer=f"{machine.address}:{STORE_PEER_PORT}",
        health=_health("store"),
        initial={machine.name: f"{machine.address}:{STORE_PEER_PORT}"} if machine.founder == machine.name else {},
        adopters=others,
        files=credentials("store"),
    )
    apiserver = processes.apiserver(
        store_endpoints=[f"{member.address}:{STORE_CLIENT_PORT}" for member in own_first(machine)],
        bind="0.0.0.0",
        secure_port=SECURE_PORT,
        grpc_port=GRPC_PORT,
        advertise=machine.address,
        failover=machine.failover,
        files=credentials("apiserver"),
    )
    return [
        _unit("store", store),
        Unit("apiserver", tuple(apiserver), f"https://127.0.0.1:{SECURE_PORT}/readyz"),
        _unit("controllers", processes.controllers(client("controllers"), failover=machine.failover)),
        _unit("scheduler", processes.scheduler(client("scheduler"), failover=machine.failover)),
        _unit("dns", processes.dns(client("dns"), address=machine.address)),
        _unit(
            "metrics",
            processes.metrics(
                rest_endpoints(machine),
                credentials("metrics"),
                listen=f"{machine.address}:{METRICS_PORT}",
                health=_health("metrics"),
            ),
        ),
    ]


def _node(machine: Machine, layout: Layout) -> list[Unit]:
    def files(place: str) -> str:
        trust, _, name = place.partition("/")
        if trust != "node":
            return str(layout.pki / place)
        # Key and certificate are renewed together, so they are in one file.
        return str(layout.kubelet_pki / name.partition(".")[0]) + ".pem"

    def client(name: str) -> ApiClient:
        return ApiClient(endpoints(machine), files, _health(name))

    kubelet = processes.kubelet(
        client("kubelet"),
        stem="client",
        serving="serving",
        trust="node",
        bind=machine.address,
        port=KUBELET_PORT,
        failover=machine.failover,
        dns=dns_servers(machine),
    )
    kubelet.append("--rotate-certificates")
    places = str(layout.data / "kubelet"), str(layout.manifests), str(layout.volumes)
    kubelet += processes.node(machine.name, machine.address, RUNTIME_SOCKET, *places)
    kubeproxy = processes.kubeproxy(
        client("kubeproxy"),
        stem="client",
        trust="node",
        name=machine.name,
        address=machine.address,
        cni_conf_dir=CNI_CONF,
        cni_state_dir=str(layout.data / "cni"),
    )
    balancer = processes.balancer(
        rest_endpoints(machine),
        ca=credential_path("balancer", "cluster/ca.crt"),
        listen=f"127.0.0.1:{BALANCER_PORT}",
        health=_health("balancer"),
    )
    return [_unit("kubelet", kubelet), _unit("kubeproxy", kubeproxy), _unit("balancer", balancer)]


def _unit(name: str, arguments: Sequence[str]) -> Unit:
    return Unit(name, tuple(arguments), f"http://{_health(name)}/readyz")


def _health(name: str) -> str:
    return f"127.0.0.1:{HEALTH_PORTS[name]}"


def dns_servers(machine: Machine) -> list[str]:
    """Return whom the pods of a machine ask for names, in order; resolvers take three at most.

    The Service leads to a server at random, also to one that was lost a moment ago. So a machine's own server, if it
    has one, is asked first; else two of the others' stand behind the Service, not the same two everywhere.
    """
    if machine.is_control_plane:
        return [machine.address, processes.CLUSTER_DNS]
    others = [member.address for member in own_first(machine)]
    start = sum(machine.name.encode()) % len(others) if others else 0
    return [processes.CLUSTER_DNS, *(others[start:] + others[:start])[: NAMESERVERS_MAX - 1]]


def own_first(machine: Machine) -> list[Member]:
    """Return the control-plane machines, this one first if it is one, the rest by name."""
    return sorted(machine.members, key=lambda member: (member.name != machine.name, member.name))


def endpoints(machine: Machine) -> list[str]:
    """Return host:port of every API server's component API; this machine's own first."""
    return [f"{member.address}:{GRPC_PORT}" for member in own_first(machine)]


def rest_endpoints(machine: Machine) -> list[str]:
    """Return host:port of every API server's REST API; this machine's own first."""
    return [f"{member.address}:{SECURE_PORT}" for member in own_first(machine)]


def server_url(machine: Machine) -> str:
    """Return the URL of the API server that this machine asks first."""
    return f"https://{own_first(machine)[0].address}:{SECURE_PORT}"


def balanced_url() -> str:
    """Return the URL at which programs of this machine reach whichever API server is well."""
    return f"https://127.0.0.1:{BALANCER_PORT}"


def settings_of(arguments: Sequence[str]) -> dict[str, str | bool | list[str]]:
    """Return flags and their values as a settings file says them; a flag without a value is true."""
    settings: dict[str, str | bool | list[str]] = {}
    position = 0
    while position < len(arguments):
        name = _camel(arguments[position].removeprefix("--"))
        following = arguments[position + 1] if position + 1 < len(arguments) else "--"
        if following.startswith("--"):
            settings[name] = True
            position += 1
            continue
        settings[name] = following.split(",") if "," in following else following
        position += 2
    return settings


def _camel(flag: str) -> str:
    first, *rest = flag.split("-")
    return first + "".join(part.capitalize() for part in rest)


def ports(role: Role) -> dict[int, str]:
    """Return the ports that a machine's processes listen on, with the process."""
    taken = {KUBELET_PORT: "kubelet", BALANCER_PORT: "balancer", NODE_HEALTH_PORT: "kubeproxy"}
    taken |= {HEALTH_PORTS[name]: name for name in ("kubelet", "kubeproxy", "balancer")}
    if role == "control-plane":
        taken |= {SECURE_PORT: "apiserver", GRPC_PORT: "apiserver"}
        taken |= {STORE_CLIENT_PORT: "store", STORE_PEER_PORT: "store"}
        taken |= {HEALTH_PORTS[name]: name for name in ("store", "controllers", "scheduler", "dns", "metrics")}
        taken[METRICS_PORT] = "metrics"
    return taken
