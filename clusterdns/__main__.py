"""`steer-dns`: settings to wiring."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from client.informer import Informers
from client.transport import GrpcTransport
from client.verbs import Client
from clusterdns.directory import InformerDirectory
from clusterdns.forward import Forwarder
from clusterdns.records import Zone
from clusterdns.server import Responder, Server, nameservers_in
from component import flags, health, logs, signals
from component.clock import RealClock
from component.flags import setting
from component.serve import Identity

log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
LAME_DUCK_S_MAX = 600.0


@dataclass(frozen=True)
class Settings:
    """Answers the cluster's names, and forwards all others."""

    apiserver: tuple[str, ...] = setting("host:port of the API servers' gRPC door")
    cert: Path = setting("our certificate (PEM)")
    key: Path = setting("its key (PEM)")
    ca: Path = setting("the cluster's CA (PEM)")
    listen: tuple[str, ...] = setting("addresses to answer at, each host:port")
    cluster_domain: str = setting("the domain that is the cluster's", "cluster.local")
    cluster_dns: str = setting("the DNS Service's ClusterIP", "10.96.0.10")
    upstream: tuple[str, ...] = setting("who is asked for other names (default: the machine's resolv.conf)", ())
    lame_duck_s: float = setting("seconds to answer on, not ready any more, after being told to stop", 0.0)
    health: str = setting("host:port for health and metrics", "127.0.0.1:9153")
    log_level: str = setting("debug, info, warning or error", "info")
    log_format: Literal["text", "json"] = setting("text or json", "text")

    def __post_init__(self) -> None:
        """Refuse what would only fail later, and less clearly."""
        for path in (self.cert, self.key, self.ca):
            if not path.is_file():
                _refuse(f"{path} is not there")
        for address in (*self.listen, self.health):
            host, colon, port = address.rpartition(":")
            if not (host and colon and port.isdigit() and int(port) < 65536):
                _refuse(f"{address!r} is not host:port")
        if not self.listen:
            _refuse("--listen needs an address")
        if not 0 <= self.lame_duck_s <= LAME_DUCK_S_MAX:
            _refuse(f"--lame-duck-s {self.lame_duck_s:g} is not from 0 to {LAME_DUCK_S_MAX:g}")


def _refuse(problem: str) -> None:
    print(f"steer-dns: {problem}", file=sys.stderr)
    raise SystemExit(2)


async def run(settings: Settings) -> None:
    """Build everything in order, then run it until cancelled."""
    clock, rng = RealClock(), random.SystemRandom()
    client = Client(GrpcTransport(settings.apiserver, Identity(settings.cert, settings.key, settings.ca)))
    informers = Informers(client, clock=clock, rng=rng)
    zone = Zone(settings.cluster_domain, InformerDirectory(informers), settings.cluster_dns)
    own = [address.rpartition(":")[0] for address in settings.listen]
    upstream = list(settings.upstream) or _machine_nameservers(excluding=own)
    if not upstream:
        log.warning("nobody to ask for names outside the cluster: they will be refused")
    forwarder = Forwarder(upstream, clock, rng) if upstream else None
    server = Server(Responder(zone, forwarder, rng, lambda: informers.has_synced))
    health_host, _, health_port = settings.health.rpartition(":")
    leaving = asyncio.Event()
    ready = {
        "informers": lambda: None if informers.has_synced else "not every list has come yet",
        "shutdown": lambda: "told to stop" if leaving.is_set() else None,
    }
    health_server = await health.serve(health_host, int(health_port), ready)
    try:
        for address in settings.listen:
            host, _, port = address.rpartition(":")
            await server.listen(host.strip("[]"), int(port))
        log.info("answering", extra={"at": ",".join(settings.listen), "upstream": ",".join(upstream)})
        async with asyncio.TaskGroup() as group:
            informing = group.create_task(informers.run(), name="informers")
            await signals.work_on(informing, settings.lame_duck_s, leaving)
    finally:
        await server.close()
        await health_server.cleanup()
        await client.close()


def _machine_nameservers(excluding: list[str]) -> list[str]:
    try:
        return nameservers_in(RESOLV_CONF.read_text(), excluding)
    except OSError:
        return []


def main() -> int:
    """Run the process; returns its exit code."""
    settings = flags.parse(Settings, prog="steer-dns")
    logs.configure(settings.log_level, settings.log_format)
    return signals.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
