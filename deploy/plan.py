"""Pure: from what was asked of `steer up` to the processes and nodes that a cluster is made of.

A `Cluster` is what the user chose; it is kept in `<data-dir>/cluster.json`, and every verb reads it from there. `plan`
turns it into a `Plan`: each process with its arguments, log and health address. Nothing here looks at
the machine; addresses that only the machine knows (the bridge's) come in as arguments.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from deploy import processes
from deploy.processes import CLUSTER_CIDR as CLUSTER_CIDR
from deploy.processes import SERVICE_CIDR as SERVICE_CIDR
from deploy.processes import ApiClient

NODES_MAX = 200
PORTS_NEEDED = 100
"""Ports from `--port` upward that one cluster may use, beside one for each hollow node."""

SCHEDULER_HEALTH, CONTROLLERS_HEALTH = 2, 3
STORE_CLIENT, STORE_PEER, STORE_HEALTH = 10, 20, 30
APISERVER = 50
"""Where the API servers' own ports begin, two for each, but for the first one's component API."""
APISERVERS_MAX = 9
APISERVER_SILENT_S = 15.0
"""How long an API server may say nothing before it is taken to hang."""
HOLLOW_KUBELET, HOLLOW_HEALTH = 100, 5


class ExternalStore(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A store that somebody else runs, such as an etcd cluster."""

    endpoints: list[str]
    """Its members, as host:port."""
    cert: str
    """A client certificate it admits; with `key` and `ca`, absolute paths of PEM files."""
    key: str
    ca: str


class Cluster(msgspec.Struct, kw_only=True, rename="camel"):
    """What was asked for: one cluster on this machine."""

    data_dir: str
    port: int = 6443
    runtime: str = "containerd"
    """containerd, or hollow for nodes whose containers exist only in memory."""
    nodes: int = 1
    store_replicas: int = 1
    """How many members the store should have: 1, 3 or 5."""
    apiservers: int = 1
    """How many API servers run on the store."""
    store_members: list[str] = []
    """The members it has, by name; empty before the first start."""
    store_initial: list[str] = []
    """The members it began with; all others were taken into a running store."""
    external_store: ExternalStore | None = None
    """The store in place of one of ours; None: the cluster runs its own."""
    failover: str = "default"
    """default: upstream's 50 s and 300 s; fast: 10 s and 10 s."""
    user_kubeconfig: str = ""
    """The user's own kubeconfig, which has a context for this cluster; empty when it was left alone."""
    powered_off: list[str] = []
    """Nodes that were switched off by hand, and stay off."""

    @property
    def directory(self) -> Path:
        """The data directory."""
        return Path(self.data_dir)

    @property
    def node_names(self) -> list[str]:
        """node-1, node-2, ... in order."""
        return [f"node-{number}" for number in range(1, self.nodes + 1)]

    @property
    def member_names(self) -> list[str]:
        """The store's members that this cluster runs: those it has, or those a new store begins with."""
        if self.external_store is not None:
            return []
        return self.store_members or [member_name(number) for number in range(1, self.store_replicas + 1)]

    @property
    def is_hollow(self) -> bool:
        """Whether containers exist only in memory."""
        return self.runtime == "hollow"


class Process(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One process to keep running."""

    name: str
    """Unique in the cluster, such as `kubelet-node-1`."""
    program: str
    """The console script, such as `steer-kubelet`."""
    arguments: list[str]
    log: str
    node: str = ""
    """The node it runs in; empty for the machine itself."""
    health: str = ""
    """URL that answers 200 when it is ready; empty when there is none to ask from outside."""
    watchdog_s: float = 0
    """How long it may be silent before it is taken to hang, and started again; 0: for ever."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Everything the supervisor keeps running: processes in the order they start."""

    cluster: Cluster
    processes: list[Process]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where things are on this machine, which only the machine can tell."""

    gateway: str = "127.0.0.1"
    """Where nodes reach the control plane: the bridge's address, or loopback for hollow nodes."""
    advertise: str = "127.0.0.1"
    """What the Service `kubernetes` points at; not loopback."""
    nodes: dict[str, str] = field(default_factory=dict)
    """Each node's own address."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Every file of a cluster, by name."""

    data: Path

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.data / "pki"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.data / "logs"

    @property
    def run(self) -> Path:
        """What lives only while the cluster does: plan, pids, locks."""
        return self.data / "run"

    @property
    def volumes(self) -> Path:
        """Directories of the default StorageClass's volumes, one a node."""
        return self.data / "volumes"

    @property
    def nodes(self) -> Path:
        """One directory a node."""
        return self.data / "nodes"

    @property
    def kubeconfig(self) -> Path:
        """The admin's."""
        return self.data / "admin.kubeconfig"

    @property
    def cluster(self) -> Path:
        """What was asked for."""
        return self.data / "cluster.json"

    @property
    def plan(self) -> Path:
        """What the supervisor keeps running."""
        return self.run / "plan.json"

    @property
    def state(self) -> Path:
        """What the supervisor has running."""
        return self.run / "state.json"


def first_service_address(service_cidr: str) -> str:
    """Return the ClusterIP of the Service `kubernetes`: the first of the range."""
    return str(ipaddress.ip_network(service_cidr)[1])


def member_name(number: int) -> str:
    """Return the name of store member `number`, which counts from 1."""
    return f"s{number}"


def member_number(name: str) -> int:
    """Return the number of the store member called `name`."""
    return int(name.removeprefix("s"))


def store_endpoint(cluster: Cluster, member: str) -> str:
    """Return where a member's clients reach it."""
    return f"127.0.0.1:{cluster.port + STORE_CLIENT + member_number(member) - 1}"


def store_endpoints(cluster: Cluster) -> list[str]:
    """Return where clients reach the store: each member's host:port."""
    if cluster.external_store is not None:
        return list(cluster.external_store.endpoints)
    return [store_endpoint(cluster, name) for name in cluster.member_names]


def parse_endpoints(text: str) -> list[str]:
    """Return the host:port of each of `https://host:port,...`; the scheme may be left out.

    Raises:
        ValueError: the message says which is wrong, and what would be right.
    """
    found = []
    for part in text.split(","):
        scheme, separator, rest = part.strip().partition("://")
        address = (rest if separator else scheme).rstrip("/")
        if separator and scheme != "https":
            raise ValueError(f"{part.strip()!r} is not https://: the store is only ever spoken to over TLS")
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{part.strip()!r} is not an address: give https://HOST:PORT, comma-separated")
        found.append(address)
    return found


def store_peer_address(cluster: Cluster, member: str) -> str:
    """Return where the other members reach a member."""
    return f"127.0.0.1:{cluster.port + STORE_PEER + member_number(member) - 1}"


def apiserver_name(number: int) -> str:
    """Return the name of API server `number`, which counts from 1."""
    return "apiserver" if number == 1 else f"apiserver-{number}"


def rest_port(cluster: Cluster, number: int) -> int:
    """Return the port that API server `number` has for itself; all of them share the cluster's own."""
    return cluster.port + APISERVER + 2 * (number - 1)


def grpc_port(cluster: Cluster, number: int) -> int:
    """Return the port of the component API of API server `number`."""
    return cluster.port + 1 if number == 1 else cluster.port + APISERVER + 2 * (number - 1) + 1


def component_endpoints(cluster: Cluster, host: str = "127.0.0.1") -> list[str]:
    """Return where the component API is reached: at every API server."""
    return [f"{host}:{grpc_port(cluster, number)}" for number in range(1, cluster.apiservers + 1)]


def plan(cluster: Cluster, addresses: Addresses) -> Plan:
    """Return what to run for `cluster`, in start order."""
    paths = Paths(cluster.directory)
    builder = _Builder(cluster, paths, addresses)
    planned = [builder.store(member) for member in cluster.member_names]
    planned += [builder.apiserver(number) for number in range(1, cluster.apiservers + 1)]
    planned += [builder.controllers(), builder.scheduler()]
    if cluster.is_hollow:
        if cluster.nodes:
            planned.append(builder.hollow_kubelets())
    else:
        for name in cluster.node_names:
            planned += [builder.kubelet(name), builder.kubeproxy(name)]
    return Plan(cluster=cluster, processes=planned)


def store_files(cluster: Cluster) -> ExternalStore:
    """Return where the store is and by what certificate it is spoken to, ours or somebody else's."""
    if cluster.external_store is not None:
        return cluster.external_store
    directory = Paths(cluster.directory).pki / "store"
    return ExternalStore(
        endpoints=store_endpoints(cluster),
        cert=f"{directory}/apiserver.crt",
        key=f"{directory}/apiserver.key",
        ca=f"{directory}/ca.crt",
    )


@dataclass(frozen=True, slots=True)
class _Builder:
    cluster: Cluster
    paths: Paths
    addresses: Addresses

    def _process(self, name: str, program: str, arguments: list[str], *, node: str = "", health: str = "") -> Process:
        log = str(self.paths.logs / f"{name}.log")
        return Process(name=name, program=program, arguments=arguments, log=log, node=node, health=health)

    def _file(self, place: str) -> str:
        store = store_files(self.cluster)
        client = {"store/apiserver.crt": store.cert, "store/apiserver.key": store.key, "store/ca.crt": store.ca}
        # A store that is not ours has its own idea of whom it believes; our members' files are never asked for then.
        return client.get(place, f"{self.paths.pki}/{place}")

    def _client(self, host: str, health: str) -> ApiClient:
        return ApiClient(component_endpoints(self.cluster, host), self._file, health)

    def _local(self, offset: int) -> str:
        return f"127.0.0.1:{self.cluster.port + offset}"

    def store(self, member: str) -> Process:
        health = self._local(STORE_HEALTH + member_number(member) - 1)
        initial = self.cluster.store_initial or self.cluster.member_names
        arguments = processes.store(
            member,
            stem=member,
            data_dir=str(self.paths.data / "store" / member),
            client=store_endpoint(self.cluster, member),
            peer=store_peer_address(self.cluster, member),
            health=health,
            initial={name: store_peer_address(self.cluster, name) for name in initial},
            files=self._file,
        )
        return self._process(f"store-{member}", "steer-store", arguments, health=f"http://{health}/readyz")

    def apiserver(self, number: int) -> Process:
        port = rest_port(self.cluster, number)
        arguments = processes.apiserver(
            store_endpoints=store_endpoints(self.cluster),
            bind="127.0.0.1" if self.cluster.is_hollow else "0.0.0.0",
            secure_port=port,
            grpc_port=grpc_port(self.cluster, number),
            advertise=self.addresses.advertise,
            failover=self.cluster.failover,
            files=self._file,
            tunnel=() if self.cluster.is_hollow else (CLUSTER_CIDR, SERVICE_CIDR),
        )
        # A single one shares the port, too: so others can join it without its being started again.
        arguments += ["--shared-port", str(self.cluster.port)]
        health = f"https://127.0.0.1:{port}/readyz"
        planned = self._process(apiserver_name(number), "steer-apiserver", arguments, health=health)
        return msgspec.structs.replace(planned, watchdog_s=APISERVER_SILENT_S)

    def controllers(self) -> Process:
        health = self._local(CONTROLLERS_HEALTH)
        arguments = processes.controllers(self._client("127.0.0.1", health), failover=self.cluster.failover)
        return self._process("controllers", "steer-controllers", arguments, health=f"http://{health}/readyz")

    def scheduler(self) -> Process:
        health = self._local(SCHEDULER_HEALTH)
        arguments = processes.scheduler(self._client("127.0.0.1", health), failover=self.cluster.failover)
        return self._process("scheduler", "steer-scheduler", arguments, health=f"http://{health}/readyz")

    def _kubelet(self, node: str, client: ApiClient, port: int, bind: str) -> list[str]:
        stem = f"kubelet-{node}"
        return processes.kubelet(
            client,
            stem=stem,
            serving=f"{stem}-serving",
            trust="cluster",
            bind=bind,
            port=port,
            failover=self.cluster.failover,
        )

    def hollow_kubelets(self) -> Process:
        health = self._local(HOLLOW_HEALTH)
        client = self._client("127.0.0.1", health)
        arguments = self._kubelet("{node}", client, self.cluster.port + HOLLOW_KUBELET, "127.0.0.1")
        arguments += ["--runtime", "hollow", "--hollow-nodes", ",".join(self.cluster.node_names)]
        arguments += ["--node-ip", "127.0.0.1"]
        arguments += ["--root-dir", str(self.paths.nodes / "{node}" / "kubelet")]
        return self._process("kubelet-hollow", "steer-kubelet", arguments, health=f"http://{health}/readyz")

    def kubelet(self, node: str) -> Process:
        directory, address = self.paths.nodes / node, self.addresses.nodes[node]
        client = self._client(self.addresses.gateway, "127.0.0.1:10248")
        arguments = self._kubelet(node, client, 10250, address)
        socket, manifests = f"{directory}/containerd.sock", f"{directory}/manifests"
        arguments += processes.node(node, address, socket, f"{directory}/kubelet", manifests, str(self.paths.volumes))
        health = f"https://{address}:10250/readyz"
        return self._process(f"kubelet-{node}", "steer-kubelet", arguments, node=node, health=health)

    def kubeproxy(self, node: str) -> Process:
        directory, address = self.paths.nodes / node, self.addresses.nodes[node]
        arguments = processes.kubeproxy(
            self._client(self.addresses.gateway, "0.0.0.0:10249"),
            stem="kubeproxy",
            trust="cluster",
            name=node,
            address=address,
            cni_conf_dir=f"{directory}/cni",
            cni_state_dir=f"{directory}/ipam",
        )
        return self._process(
            f"kubeproxy-{node}", "steer-kubeproxy", arguments, node=node, health=f"http://{address}:10249/readyz"
        )
