"""How others learn that this member is well: grpc.health.v1 on the client port, and what plain HTTP says beside it.

`component.health` listens, as in every process of ours; here is what it is given to say; `metrics.py` has the numbers.
"""

from __future__ import annotations

import asyncio

from store.replica import Replica
from store.serve.maintenance import ETCD_VERSION
from store.serve.metrics import text
from store.serve.server import Context, Services

_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse{status: ...}
CHECK_S = 0.5
"""How often a health watch looks."""


class _AnyRequest:
    """Every service of the port is well or unwell together, so which one is asked about does not matter."""

    @staticmethod
    def FromString(raw: bytes) -> bytes:
        return raw


def add_to(services: Services, replica: Replica) -> None:
    """Add grpc.health.v1.Health: serving while a leader is known."""

    def health() -> bytes:
        return _SERVING if replica.status.leader else _NOT_SERVING

    async def check(request: bytes) -> bytes:
        return health()

    async def watch(request: bytes, context: Context) -> None:
        sent = b""
        while True:
            now = health()
            if now != sent:
                await context.write(now)
                sent = now
            await asyncio.sleep(CHECK_S)

    services.add(
        "grpc.health.v1.Health", {"Check": (check, _AnyRequest)}, server_streams={"Watch": (watch, _AnyRequest)}
    )


def readiness(replica: Replica) -> str | None:
    """Return what keeps this member from serving, or None."""
    return None if replica.status.leader else "no leader is known"


def metrics(replica: Replica) -> bytes:
    """Return the metrics in Prometheus' text form."""
    return text(replica, ETCD_VERSION)
