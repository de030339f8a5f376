"""`steer-scheduler`: settings to wiring."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from api.resource import ObjectKey
from client.events import EventRecorder
from client.informer import Informers
from client.leader_election import Election
from client.transport import GrpcTransport
from client.verbs import Client
from component import flags, health, logs, signals, tracing
from component.clock import RealClock
from component.flags import setting
from component.metrics import SHARED
from component.serve import Identity
from scheduler.metrics import Metrics
from scheduler.scheduler import Scheduler

LEASE = ObjectKey("kube-system", "steer-scheduler")


@dataclass(frozen=True)
class Settings(Election):
    """The scheduler: chooses a node for every pod that has none."""

    apiserver: tuple[str, ...] = setting("the API server's gRPC addresses, host:port")
    cert: Path = setting("our client certificate")
    key: Path = setting("its key")
    ca: Path = setting("the CA we trust the API server by")
    health: str = setting("host:port of health and metrics", "127.0.0.1:10259")
    tracing_endpoint: str = setting(tracing.ENDPOINT_HELP, "")
    log_level: Literal["debug", "info", "warning", "error"] = setting("least severe level logged", "info")
    log_format: Literal["text", "json"] = setting("how log lines look", "text")


async def run(settings: Settings) -> None:
    """Schedule until cancelled; raises LeadershipLost, for a supervisor to start the process anew."""
    clock, rng = RealClock(), random.Random()
    client = Client(GrpcTransport(settings.apiserver, Identity(settings.cert, settings.key, settings.ca)))
    informers = Informers(client, clock=clock, rng=rng)
    recorder = EventRecorder(client, "default-scheduler", clock=clock, rng=rng)
    metrics = Metrics()
    SHARED.extend(metrics.families())
    scheduler = Scheduler(client, informers, recorder, clock=clock, metrics=metrics)
    elector = settings.elector(client, LEASE, clock=clock, rng=rng)

    def synced() -> str | None:
        return None if informers.has_synced else "caches are not filled yet"

    address, _, port = settings.health.rpartition(":")
    listener = await health.serve(address, int(port), {"informer-sync": synced})
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(informers.run()), group.create_task(recorder.run())]
            await (scheduler.run() if elector is None else elector.run(scheduler.run))
            for task in tasks:
                task.cancel()
    finally:
        await listener.cleanup()
        await client.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; return its exit code."""
    settings = flags.parse(Settings, argv, prog="steer-scheduler")
    logs.configure(settings.log_level, settings.log_format)
    tracing.start(settings.tracing_endpoint, "steer-scheduler")
    return signals.run(run(settings))


if __name__ == "__main__":
    raise SystemExit(main())
