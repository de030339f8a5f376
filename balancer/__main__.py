"""`steer-balancer`: settings to wiring."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from balancer.proxy import Proxy
from component import flags, health, logs, signals
from component.flags import setting


@dataclass(frozen=True)
class Settings:
    """One address for kubectl on this machine; behind it, every API server that is well."""

    backends: tuple[str, ...] = setting("the API servers, host:port of their REST API, comma-separated")
    ca: Path = setting("the CA we believe an API server by when it says how it is (PEM)")
    listen: str = setting("host:port for clients", "127.0.0.1:6445")
    health: str = setting("host:port of our own health and metrics", "127.0.0.1:6446")
    log_level: Literal["debug", "info", "warning", "error"] = setting("least severe level logged", "info")
    log_format: Literal["text", "json"] = setting("how log lines look", "text")


async def run(settings: Settings) -> None:
    """Carry connections until cancelled."""
    proxy = Proxy(settings.backends, ssl.create_default_context(cafile=str(settings.ca)))
    host, _, port = settings.listen.rpartition(":")
    listener = await asyncio.start_server(proxy.carry, host, int(port), backlog=1024)
    host, _, port = settings.health.rpartition(":")
    teller = await health.serve(host, int(port), {"apiservers": proxy.check})
    try:
        await proxy.run()
    finally:
        listener.close()
        await teller.cleanup()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; return its exit code."""
    settings = flags.parse(Settings, argv, prog="steer-balancer")
    logs.configure(settings.log_level, settings.log_format)
    return signals.run(run(settings))


if __name__ == "__main__":
    raise SystemExit(main())
