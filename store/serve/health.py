"""How others learn that this member is well: grpc.health.v1 on the client port, and plain HTTP beside it.

The HTTP side answers /livez, /healthz, /readyz and /metrics as every process of ours does (`component.health`), but
without that module's web framework, which alone would cost a quarter of this process's memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import Callable

from store.replica import Replica
from store.serve.server import Services

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 5.0
_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}


class _AnyRequest:
    @staticmethod
    def FromString(raw: bytes) -> bytes:
        return raw


def add_to(services: Services, replica: Replica) -> None:
    """Add grpc.health.v1.Health/Check: serving while a leader is known."""

    async def check(request: bytes) -> bytes:
        return _SERVING if replica.status.leader else b"\x08\x02"

    services.add("grpc.health.v1.Health", {"Check": (check, _AnyRequest)})


def readiness(replica: Replica) -> str | None:
    """Return what keeps this member from serving, or None."""
    return None if replica.status.leader else "no leader is known"


def metrics(replica: Replica) -> str:
    """Return the metrics in Prometheus' text form, under etcd's names where they mean the same."""
    status, state = replica.status, replica.state
    values: dict[str, tuple[str, float]] = {
        "etcd_server_has_leader": ("gauge", int(status.leader is not None)),
        "etcd_server_is_leader": ("gauge", int(status.role == "leader")),
        "etcd_server_proposals_committed_total": ("gauge", status.commit),
        "etcd_server_proposals_applied_total": ("gauge", status.applied),
        "etcd_mvcc_db_total_size_in_bytes": ("gauge", replica.backend.size_bytes),
        "etcd_debugging_mvcc_current_revision": ("gauge", state.mvcc.revision),
        "etcd_debugging_mvcc_compact_revision": ("gauge", state.mvcc.compact_revision),
        "etcd_debugging_mvcc_watcher_total": ("gauge", len(state.watchers)),
        "steersman_store_raft_term": ("gauge", status.term),
        "steersman_store_log_durable_index": ("gauge", status.durable),
        "process_max_resident_memory_bytes": ("gauge", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024),
    }
    return "".join(f"# TYPE {name} {kind}\n{name} {value}\n" for name, (kind, value) in values.items())


async def serve_http(host: str, port: int, replica: Callable[[], Replica]) -> asyncio.Server:
    """Listen on host:port for health and metrics until the returned server is closed.

    Raises:
        OSError: the port is taken; the message names it.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                request = await reader.readuntil(b"\r\n\r\n")
                parts = request.split(b" ", 2)
                path = parts[1].decode(errors="replace").partition("?") if len(parts) == 3 else ("", "", "")
                code, body = _respond(path[0], "verbose" in path[2], replica())
                head = f"HTTP/1.1 {code}\r\nContent-Type: text/plain; version=0.0.4\r\n"
                head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                writer.write((head + body).encode())
                await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, host, port, limit=8192)


def _respond(path: str, is_verbose: bool, replica: Replica) -> tuple[str, str]:
    match path:
        case "/livez" | "/healthz":
            return "200 OK", f"[+]ping ok\n{path[1:]} check passed\n" if is_verbose else "ok"
        case "/readyz":
            problem = readiness(replica)
            if problem:
                return "500 Internal Server Error", f"[-]leader failed: {problem}\nreadyz check failed\n"
            return "200 OK", "[+]ping ok\n[+]leader ok\nreadyz check passed\n" if is_verbose else "ok"
        case "/metrics":
            return "200 OK", metrics(replica)
        case _:
            return "404 Not Found", "there are /livez, /healthz, /readyz and /metrics here\n"
