"""gRPC probes: the standard health service must say SERVING (gRPC health checking protocol, grpc.health.v1).

Failures are told in the words of upstream's prober, which users find in events. A port where nobody listens yet is
tried until the probe's time is over.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
import grpc.aio

from kubelet.probes.streak import Result
from kubelet.probes.time_limit import TimeLimit
from kubelet.rpc_errors import rpc_error

_STATES: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_MS: Final = 1000
_RETRY_MS: Final = 100
_OPTIONS: Final = (
    ("grpc.primary_user_agent", "kube-probe/1.32"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", _RETRY_MS),
    ("grpc.max_reconnect_backoff_ms", _MS),
)


async def probe(host: str, port: int, service: str, timeout_s: float) -> Result:
    """Ask once, in plaintext."""
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    shown = _shown(timeout_s)
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + timeout_s
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        try:
            async with TimeLimit(timeout_s):
                await channel.channel_ready()
        except TimeoutError:
            what = f'failed to connect service "{address}" within {shown}'
            return Result(False, f"timeout: {what}: context deadline exceeded")
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            async with TimeLimit(max(0.001, ends_at - loop.time())):
                answer: bytes = await check(request)
        except TimeoutError:
            return Result(False, _too_late(shown))
        except grpc.aio.AioRpcError as error:
            return Result(False, _told(error, shown))
    state = _state(answer)
    if state == "SERVING":
        return Result(True)
    return Result(False, f'service unhealthy (responded with "{state}")')


def _told(error: grpc.aio.AioRpcError, shown: str) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        what = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        return f"{what}: {error.details()}"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return _too_late(shown)
    return f"error: health rpc probe failed: {rpc_error(error.code(), error.details())}"


def _too_late(shown: str) -> str:
    return f"timeout: health rpc did not complete within {shown}"


def _state(answer: bytes) -> str:
    """Return what a HealthCheckResponse says: its field 1, a number that is left out where it is 0."""
    number = answer[1] if answer[:1] == b"\x08" and len(answer) > 1 else 0
    return _STATES[number] if number < len(_STATES) else str(number)


def _shown(seconds: float) -> str:
    """Render a time as Go does."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"
