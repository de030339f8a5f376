"""Upgrades on connections that have served ordinary requests before.

The switchboard looks at the first request of a connection, and hands it to aiohttp if that is an ordinary one. Some
clients (httpx, for one) keep it in their pool and ask for a WebSocket on it later. aiohttp then stops reading after
the head of that request, so the connection can be taken from under it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, cast

from aiohttp import web

from component.relay import Headers, Switchboard, upgrade_protocol


class _Tail:
    """Hands on what came after the head; aiohttp takes it for the parser of an upgraded connection."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if data:
            self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        pass  # the connection has another protocol by now, which hears of its end


class Takeover:
    """Answers requests, except WebSocket upgrades, whose connections it gives to the switchboard.

    Args:
        door: answers ordinary requests.
    """

    def __init__(self, door: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self._door = door
        self.switchboard: Switchboard | None = None
        """Set once it is made: it is made of the server that this is the handler of."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer, or give the connection away."""
        board = self.switchboard
        if board is not None and "Upgrade" in request.headers and board.takes(request.method, request.raw_path):
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
            if upgrade_protocol(headers) == "websocket":
                await _give_away(request, headers, board)
        return await self._door(request)


async def _give_away(request: web.BaseRequest, headers: Headers, board: Switchboard) -> NoReturn:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    reader = board.adopt(transport, request.method, request.raw_path, headers, "websocket")
    ordinary = request.protocol
    ordinary.set_parser(cast(Any, _Tail(reader)))
    # For aiohttp the connection is at its end: it has nothing left to close, and cancels this very task.
    ordinary.transport = None
    ordinary.connection_lost(None)
    await asyncio.Event().wait()
    raise AssertionError("never set")
