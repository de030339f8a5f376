"""A watch over a WebSocket, for browsers: one event a message, as the lines of a plain watch would be.

There is nothing shared here but the frames: a page watches few things, and aiohttp's WebSocket does the rest.
"""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from apiserver.registry.fanout import BOOKMARK, Delivery, Encoding, Watcher
from apiserver.rest.frames import error_frame

_TAKE_MAX = 64
_HEARTBEAT_S = 30.0


def is_asked_for(request: web.BaseRequest) -> bool:
    """Whether a watch is to be carried by a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


class WebSocketWatch:
    """Carries one watcher's events to one client until either ends, or the time is up."""

    def __init__(self, watcher: Watcher, encoding: Encoding, wants_bookmarks: bool) -> None:
        self._watcher = watcher
        self._encoding = encoding
        self._wants_bookmarks = wants_bookmarks
        self._wake = asyncio.Event()

    async def run(self, request: web.BaseRequest, timeout_s: float) -> web.WebSocketResponse:
        """Shake hands, then send events."""
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S)
        await socket.prepare(request)
        watcher = self._watcher
        watcher.on_ready = self._wake.set
        listening = asyncio.create_task(self._listen(socket))
        try:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(timeout_s):
                    await self._send(socket)
            if not socket.closed:
                with contextlib.suppress(ConnectionError):
                    await self._end(socket)
        finally:
            listening.cancel()
            watcher.close()
            await socket.close()
        return socket

    async def _send(self, socket: web.WebSocketResponse) -> None:
        while not socket.closed and self._watcher.error is None:
            self._wake.clear()
            for delivery in self._watcher.take(_TAKE_MAX):
                await socket.send_str(delivery.frame(self._encoding).decode())
            if not self._watcher.has_pending:
                await self._wake.wait()

    async def _end(self, socket: web.WebSocketResponse) -> None:
        watcher = self._watcher
        if watcher.error is not None:
            await socket.send_str(error_frame(watcher.error).decode())
        elif self._wants_bookmarks:
            await socket.send_str(self._encoding.frame(Delivery(BOOKMARK, None, watcher.revision)).decode())

    async def _listen(self, socket: web.WebSocketResponse) -> None:
        """Notice that the client goes away; what it says means nothing."""
        async for _ in socket:
            pass
        self._wake.set()
