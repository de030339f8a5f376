"""gRPC probes: the standard health service must say SERVING (gRPC health checking protocol, grpc.health.v1)."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from kubelet.probes.streak import Result

_SERVING = b"\x08\x01"
"""HealthCheckResponse with field 1, status, set to SERVING."""


async def probe(host: str, port: int, service: str, timeout_s: float) -> Result:
    """Ask once, in plaintext."""
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    address = f"[{host}]" if ":" in host else host
    async with grpc.aio.insecure_channel(f"{address}:{port}") as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer: bytes = await check(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return Result(False, "error: this server does not implement the grpc health protocol")
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return Result(False, f"timeout: health rpc did not complete within {timeout_s:g}s")
            return Result(False, f"error: health rpc failed: {error.details()}")
    if answer.startswith(_SERVING):
        return Result(True)
    return Result(False, "service unhealthy (responded with a status that is not SERVING)")
