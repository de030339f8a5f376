"""`steer-kubeproxy`: settings to wiring."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from client.informer import Informers
from client.transport import GrpcTransport
from client.verbs import Client
from component import flags, health, logs, signals
from component.clock import RealClock
from component.flags import setting
from component.serve import Identity
from kubeproxy import eligibility
from kubeproxy.network import NetworkSettings, PodNetwork
from kubeproxy.proxy import Proxy
from kubeproxy.restore import Iptables
from kubeproxy.topology import NodeView


@dataclass(frozen=True)
class Settings:
    """Carries Services and the pod network on one node."""

    node_name: str = setting("the name of this node")
    node_ip: str = setting("this node's own address")
    apiserver: tuple[str, ...] = setting("host:port of the API servers' gRPC door")
    cert: Path = setting("our certificate (PEM)")
    key: Path = setting("its key (PEM)")
    ca: Path = setting("the cluster's CA (PEM)")
    cluster_cidr: str = setting("where pods' addresses come from", "10.244.0.0/16")
    service_cidr: str = setting("where Services' addresses come from", "10.96.0.0/16")
    cni_conf_dir: Path = setting("where the runtime looks for its CNI configuration", Path("/etc/cni/net.d"))
    cni_state_dir: Path = setting("where host-local keeps the addresses it gave out", Path("/var/lib/cni/networks"))
    bridge: str = setting("the pods' bridge", "cni0")
    iptables: Literal["auto", "nft", "legacy"] = setting("which iptables", "auto")
    health: str = setting("host:port for health and metrics", "127.0.0.1:10249")
    healthz: str = setting("host:port where load balancers ask for this node's health", "0.0.0.0:10256")
    log_level: str = setting("debug, info, warning or error", "info")
    log_format: Literal["text", "json"] = setting("text or json", "text")

    def __post_init__(self) -> None:
        """Refuse what would only fail later, and less clearly."""
        for flag, text in (("--cluster-cidr", self.cluster_cidr), ("--service-cidr", self.service_cidr)):
            try:
                ipaddress.IPv4Network(text)
            except ValueError as error:
                _refuse(f"{flag}: {error}")
        for path in (self.cert, self.key, self.ca):
            if not path.is_file():
                _refuse(f"{path} is not there")
        if os.geteuid() != 0:
            _refuse("needs root: it writes iptables rules and routes")


def _refuse(problem: str) -> None:
    print(f"steer-kubeproxy: {problem}", file=sys.stderr)
    raise SystemExit(2)


async def run(settings: Settings) -> None:
    """Build everything in order, then run it until cancelled."""
    clock = RealClock()
    identity = Identity(settings.cert, settings.key, settings.ca)
    client = Client(GrpcTransport(settings.apiserver, identity))
    informers = Informers(client, clock=clock, rng=random.Random())
    network = PodNetwork(
        NetworkSettings(
            node_name=settings.node_name,
            cluster_cidr=settings.cluster_cidr,
            service_cidr=settings.service_cidr,
            cni_conf_dir=settings.cni_conf_dir,
            cni_state_dir=settings.cni_state_dir,
            bridge=settings.bridge,
        )
    )
    iptables = Iptables("" if settings.iptables == "auto" else settings.iptables)
    node = NodeView(settings.node_name, settings.cluster_cidr)
    proxy = Proxy(node, informers, iptables, network, clock)
    ready: dict[str, health.Check] = {
        "informers": lambda: None if informers.has_synced else "not every list has come yet",
        "rules": lambda: proxy.last_error,
    }

    def own_page(path: str, query: str) -> health.Page:
        if path == "/proxyMode":
            return health.Page(200, "text/plain", b"iptables")
        return health.Page(*health.answer(path, query, ready, {}))

    def node_page(path: str, query: str) -> health.Page:
        return eligibility.page(
            path,
            is_healthy=proxy.is_healthy,
            is_eligible=proxy.is_eligible,
            updated=proxy.right_at or 0.0,
            now=clock.now(),
        )

    health_server = health.HealthServer(await _listen(settings.health, own_page), ready)
    node_server = await _listen(settings.healthz, node_page)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run(), name="informers")
            group.create_task(proxy.run(), name="proxy")
    finally:
        node_server.close()
        await health_server.cleanup()
        await client.close()


async def _listen(address: str, page: Callable[[str, str], health.Page]) -> asyncio.Server:
    host, _, port = address.rpartition(":")
    return await health.listen(host, int(port), page)


def main() -> int:
    """Run the process; returns its exit code."""
    settings = flags.parse(Settings, prog="steer-kubeproxy")
    logs.configure(settings.log_level, settings.log_format)
    return signals.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
