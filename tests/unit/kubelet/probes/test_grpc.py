from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from kubelet.probes.grpc import probe
from tests.ports import free_port


class Health(grpc.GenericRpcHandler):
    """Answers for `ready` and `down`; of `odd` it says a number that nobody knows."""

    def service(self, details: Any) -> Any:
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(self._check)

    async def _check(self, request: bytes, context: Any) -> bytes:
        match request[2:].decode():
            case "" | "ready":
                return b"\x08\x01"
            case "down":
                return b"\x08\x02"
            case "unset":
                return b""
            case "odd":
                return b"\x08\x09"
            case "slow":
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
        await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return b""


@asynccontextmanager
async def serving(*handlers: Any) -> AsyncIterator[int]:
    server = grpc.aio.server(handlers=handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.mark.parametrize(
    ("service", "passed", "told"),
    [
        ("", True, ""),
        ("ready", True, ""),
        ("down", False, 'service unhealthy (responded with "NOT_SERVING")'),
        ("unset", False, 'service unhealthy (responded with "UNKNOWN")'),
        ("odd", False, 'service unhealthy (responded with "9")'),
        ("other", False, "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"),
        ("slow", False, "timeout: health rpc did not complete within 5s"),
    ],
)
async def test_a_probe_says_what_the_health_service_does(service: str, passed: bool, told: str) -> None:
    async with serving(Health()) as port:
        result = await probe("127.0.0.1", port, service, 5)
    assert (result.is_success, result.message) == (passed, told)


async def test_a_server_without_the_health_service_is_told() -> None:
    async with serving() as port:
        result = await probe("127.0.0.1", port, "", 5)
    assert result.message.startswith(
        "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): "
    )


async def test_nobody_listening_is_a_failure_when_the_time_is_over() -> None:
    port = free_port()
    result = await probe("127.0.0.1", port, "", 0.2)
    address = f"127.0.0.1:{port}"
    assert result.message == f'timeout: failed to connect service "{address}" within 0s: context deadline exceeded'
