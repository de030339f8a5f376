"""Pure: the arguments of each process, wherever it runs: under the supervisor of `steer up`, or under systemd.

One function a process. What differs between the two comes in: addresses, ports, and `Files`, which says where a
certificate or key lies. Its argument is the file's place below the PKI directory, such as `cluster/ca.crt`: the first
part is the trust (`deploy.pki`), and a process is told of no file that it does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

SERVICE_CIDR = "10.96.0.0/16"
CLUSTER_CIDR = "10.244.0.0/16"
CLUSTER_DNS = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"

FAST_ELECTION = (
    "--leader-elect-lease-duration-s", "6",
    "--leader-elect-renew-deadline-s", "4",
    "--leader-elect-retry-period-s", "1",
)  # fmt: skip
"""The next leader has to be at work before the silence of a node that was lost with the last one counts."""

Files = Callable[[str], str]
"""From a file's place below the PKI directory to its path."""


@dataclass(frozen=True, slots=True)
class ApiClient:
    """How a process reaches the API server: where, with which certificate; and where it says how it is."""

    endpoints: Sequence[str]
    """host:port of each API server's component API."""
    files: Files
    health: str
    """host:port."""

    def arguments(self, stem: str, trust: str = "cluster") -> list[str]:
        """Return the arguments every client has; `stem` names its certificate."""
        return [
            "--apiserver", ",".join(self.endpoints),
            "--cert", self.files(f"{trust}/{stem}.crt"),
            "--key", self.files(f"{trust}/{stem}.key"),
            "--ca", self.files("cluster/ca.crt"),
            "--health", self.health,
        ]  # fmt: skip


def store(
    member: str,
    *,
    stem: str,
    data_dir: str,
    client: str,
    peer: str,
    health: str,
    initial: Mapping[str, str],
    adopters: Mapping[str, str] | None = None,
    files: Files,
) -> list[str]:
    """Return a store member's arguments.

    Args:
        member: its name.
        stem: of its certificate.
        data_dir: its own directory.
        client: host:port for clients.
        peer: host:port for other members.
        health: host:port.
        initial: the members that a new store begins with, by name with peer address; one that is not among them joins.
        adopters: the members that may take one in that joins; any, where none are given.
        files: where certificates lie.
    """
    cert, key, ca = files(f"store/{stem}.crt"), files(f"store/{stem}.key"), files("store/ca.crt")
    arguments = [
        "--name", member,
        "--data-dir", data_dir,
        "--listen-client", client,
        "--listen-peer", peer,
        "--cert", cert,
        "--key", key,
        "--ca", ca,
        "--peer-cert", cert,
        "--peer-key", key,
        "--peer-ca", ca,
        "--allowed-clients", "steer-apiserver",
        "--health", health,
    ]  # fmt: skip
    if member not in initial:
        arguments, initial = [*arguments, "--join"], adopters or {}
    members = ",".join(f"{name}={address}" for name, address in initial.items())
    return [*arguments, "--initial-members", members] if members else arguments


def apiserver(
    *,
    store_endpoints: Sequence[str],
    bind: str,
    secure_port: int,
    grpc_port: int,
    advertise: str,
    failover: str,
    files: Files,
    tunnel: Sequence[str] = (),
) -> list[str]:
    """Return an API server's arguments; it listens at `bind` and is reached at `advertise`.

    `tunnel` are networks it has no route to, and reaches through the kubelets.
    """
    arguments = [
        "--store-endpoints", ",".join(store_endpoints),
        "--store-cert", files("store/apiserver.crt"),
        "--store-key", files("store/apiserver.key"),
        "--store-ca", files("store/ca.crt"),
        "--bind-address", bind,
        "--secure-port", str(secure_port),
        "--grpc-port", str(grpc_port),
        "--advertise-address", advertise,
        "--tls-cert", files("cluster/apiserver.crt"),
        "--tls-key", files("cluster/apiserver.key"),
        "--client-ca", files("cluster/ca.crt"),
        "--kubelet-client-cert", files("cluster/apiserver-kubelet-client.crt"),
        "--kubelet-client-key", files("cluster/apiserver-kubelet-client.key"),
        "--kubelet-ca", files("cluster/ca.crt"),
        "--service-account-key", files("service-account/sa.key"),
        "--requestheader-client-ca", files("front-proxy/ca.crt"),
        "--requestheader-allowed-names", "front-proxy-client",
        "--proxy-client-cert", files("front-proxy/client.crt"),
        "--proxy-client-key", files("front-proxy/client.key"),
        "--encryption-provider-config", files("encryption/configuration.yaml"),
        "--service-cidr", SERVICE_CIDR,
        "--cluster-domain", CLUSTER_DOMAIN,
    ]  # fmt: skip
    if tunnel:
        arguments += ["--kubelet-tunnel-cidrs", ",".join(tunnel)]
    if failover == "fast":
        arguments += ["--default-toleration-s", "10"]
    return arguments


def controllers(client: ApiClient, *, failover: str) -> list[str]:
    """Return the controllers' arguments."""
    arguments = client.arguments("controllers")
    authority, key = client.files("cluster/ca.crt"), client.files("cluster/ca.key")
    arguments += ["--cluster-cidr", CLUSTER_CIDR, "--root-ca", authority]
    arguments += ["--cluster-signing-cert", authority, "--cluster-signing-key", key]
    arguments += ["--service-account-private-key", client.files("service-account/sa.key")]
    if failover == "fast":
        arguments += ["--node-monitor-grace-s", "10", "--eviction-after-s", "10", *FAST_ELECTION]
    return arguments


def scheduler(client: ApiClient, *, failover: str) -> list[str]:
    """Return the scheduler's arguments."""
    return [*client.arguments("scheduler"), *(FAST_ELECTION if failover == "fast" else ())]


def dns(client: ApiClient, *, address: str, lame_duck_s: float = 0.0) -> list[str]:
    """Return the arguments of the DNS server that answers at `address`, and on for `lame_duck_s` when told to stop."""
    given = [*client.arguments("dns"), "--listen", f"{address}:53", "--cluster-domain", CLUSTER_DOMAIN]
    return [*given, "--lame-duck-s", f"{lame_duck_s:g}"] if lame_duck_s else given


def metrics(servers: Sequence[str], files: Files, *, listen: str, health: str) -> list[str]:
    """Return the metrics server's arguments; `servers` are host:port of each API server's REST API."""
    return [
        "--apiserver", ",".join(servers),
        "--cert", files("cluster/metrics.crt"),
        "--key", files("cluster/metrics.key"),
        "--ca", files("cluster/ca.crt"),
        "--requestheader-client-ca", files("front-proxy/ca.crt"),
        "--requestheader-allowed-names", "front-proxy-client",
        "--listen", listen,
        "--health", health,
    ]  # fmt: skip


def kubelet(
    client: ApiClient,
    *,
    stem: str,
    serving: str,
    trust: str,
    bind: str,
    port: int,
    failover: str,
    dns: Sequence[str] = (CLUSTER_DNS,),
) -> list[str]:
    """Return what every kubelet is told, whichever its runtime; `stem` and `serving` name its two certificates.

    `dns` are the servers that pods ask, in order; resolvers take three at most.
    """
    arguments = client.arguments(stem, trust)
    arguments += [
        "--serving-cert", client.files(f"{trust}/{serving}.crt"),
        "--serving-key", client.files(f"{trust}/{serving}.key"),
        "--client-ca", client.files("cluster/ca.crt"),
        "--bind-address", bind,
        "--port", str(port),
        "--cluster-dns", ",".join(dns),
        "--cluster-domain", CLUSTER_DOMAIN,
    ]  # fmt: skip
    if failover == "fast":
        arguments += ["--node-lease-duration-s", "8"]
    return arguments


def node(name: str, address: str, runtime_socket: str, root_dir: str, manifests: str, volumes: str) -> list[str]:
    """Return what a kubelet with a real runtime is told beside that."""
    return [
        "--node-name", name,
        "--node-ip", address,
        "--runtime-endpoint", f"unix://{runtime_socket}",
        "--root-dir", root_dir,
        "--pod-manifest-path", manifests,
        "--volume-dir", volumes,
    ]  # fmt: skip


def kubeproxy(
    client: ApiClient, *, stem: str, trust: str, name: str, address: str, cni_conf_dir: str, cni_state_dir: str
) -> list[str]:
    """Return a kubeproxy's arguments."""
    return [
        *client.arguments(stem, trust),
        "--node-name", name,
        "--node-ip", address,
        "--cluster-cidr", CLUSTER_CIDR,
        "--service-cidr", SERVICE_CIDR,
        "--cni-conf-dir", cni_conf_dir,
        "--cni-state-dir", cni_state_dir,
    ]  # fmt: skip


def balancer(backends: Sequence[str], *, ca: str, listen: str, health: str) -> list[str]:
    """Return a balancer's arguments; `backends` are host:port of each API server's REST API."""
    return ["--backends", ",".join(backends), "--ca", ca, "--listen", listen, "--health", health]
