"""grpc.health.v1: tells connections whether this server can serve, so that clients with a choice make it well.

gRPC's own client libraries ask for it and pass over a server that says no. One service is known, the whole server (the
empty name); everything else is not found, as the protocol says. The messages are one field each, and written by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc
import grpc.aio

SERVING: Final = b"\x08\x01"
NOT_SERVING: Final = b"\x08\x02"
SERVICE_UNKNOWN: Final = b"\x08\x03"
"""HealthCheckResponse with field 1, the status."""


class Health:
    """The service.

    Args:
        can_serve: whether the server can serve now.
        changed: returns an event that will be set when that may be different.
    """

    def __init__(self, can_serve: Callable[[], bool], changed: Callable[[], asyncio.Event]) -> None:
        self._can_serve = can_serve
        self._changed = changed

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers to add to a server; messages are bytes."""
        methods: dict[str, Any] = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)

    def _status(self) -> bytes:
        return SERVING if self._can_serve() else NOT_SERVING

    async def _check(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        if _names_a_service(request):
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return self._status()

    async def _watch(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        if _names_a_service(request):
            yield SERVICE_UNKNOWN
            await asyncio.Event().wait()
        while True:
            changed = self._changed()
            yield self._status()
            await changed.wait()


def _names_a_service(request: bytes) -> bool:
    """Whether a HealthCheckRequest asks for a particular service: field 1, a string that is not empty."""
    return len(request) > 2 and request[0] == 0x0A and request[1] > 0
