"""Answers over a WebSocket, for browsers: a watch, one event a message, and a log, as its bytes come.

There is nothing shared here but the frames: a page watches few things, and aiohttp's WebSocket does the rest.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import Final

from aiohttp import hdrs, web

from api.errors import ApiError, BadRequest
from apiserver.registry.failures import Redefined
from apiserver.registry.fanout import BOOKMARK, Delivery, Watcher
from apiserver.rest.frames import SIZE_BYTES, WatchEncoding, error_frame
from apiserver.subresources.log import ByteStream
from apiserver.subresources.streaming import BEARER_PROTOCOL

_BINARY: Final = "binary.k8s.io"
_BASE64: Final = "base64.binary.k8s.io"
_TAKE_MAX = 64
_HEARTBEAT_S = 30.0


def offered(request: web.BaseRequest) -> list[str]:
    """Return the subprotocols that a client offers, in its order; one may be its token (`streaming.token_of`)."""
    values = request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, ())
    return [name for value in values for each in value.split(",") if (name := each.strip())]


async def send_bytes(request: web.BaseRequest, stream: ByteStream) -> web.WebSocketResponse:
    """Shake hands, then send what flows: as it is, or in base64 to who asks for that, until it or the client ends."""
    socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, protocols=(_BINARY, _BASE64))
    sending: asyncio.Task[None] | None = None
    try:
        await _shake_hands(socket, request)
        sending = asyncio.create_task(_send_bytes(socket, stream))
        async for _ in socket:
            pass  # what the client says means nothing; that it goes away ends the loop, and so does our own close
    finally:
        if sending is not None:
            sending.cancel()
        await stream.close()
        await socket.close()
    return socket


async def _shake_hands(socket: web.WebSocketResponse, request: web.BaseRequest) -> None:
    """Become a WebSocket; raises BadRequest where the client's part of it is wrong."""
    try:
        await socket.prepare(request)
    except web.HTTPException as error:
        raise BadRequest(f"unable to upgrade: {error.text}") from None


async def _send_bytes(socket: web.WebSocketResponse, stream: ByteStream) -> None:
    is_text = socket.ws_protocol == _BASE64
    with contextlib.suppress(ConnectionError):
        # An empty message first: whoever waits knows at once that the stream is there.
        await (socket.send_str("") if is_text else socket.send_bytes(b""))
        async for chunk in stream.chunks:
            await (socket.send_str(base64.b64encode(chunk).decode()) if is_text else socket.send_bytes(chunk))
    await socket.close()


async def _open_for_events(request: web.BaseRequest) -> web.WebSocketResponse:
    named = [name for name in offered(request) if not name.startswith(BEARER_PROTOCOL)]
    # Whatever a client offers first is agreed to: events are the same in all, and some insist on an answer.
    socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_S, protocols=named[:1])
    await _shake_hands(socket, request)
    return socket


async def _send_frame(socket: web.WebSocketResponse, encoding: WatchEncoding, frame: bytes) -> None:
    if encoding.is_text:
        await socket.send_str(frame.decode())
    else:
        await socket.send_bytes(frame[SIZE_BYTES:])  # Messages of a WebSocket have a size of their own.


async def send_error(request: web.BaseRequest, error: ApiError) -> web.WebSocketResponse:
    """Shake hands, then say in one event why the watch is over before it began."""
    socket = await _open_for_events(request)
    with contextlib.suppress(ConnectionError):
        await socket.send_str(error_frame(error).decode())
    await socket.close()
    return socket


class WebSocketWatch:
    """Carries one watcher's events to one client until either ends, or the time is up."""

    def __init__(self, watcher: Watcher, encodings: tuple[WatchEncoding, WatchEncoding], wants_bookmarks: bool) -> None:
        self._watcher = watcher
        self._encoding, self._later = encodings
        self._wants_bookmarks = wants_bookmarks
        self._wake = asyncio.Event()

    async def run(self, request: web.BaseRequest, timeout_s: float) -> web.WebSocketResponse:
        """Shake hands, then send events."""
        socket = await _open_for_events(request)
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
                await _send_frame(socket, self._encoding, delivery.frame(self._encoding))
                self._encoding = self._later
            if not self._watcher.has_pending:
                await self._wake.wait()

    async def _end(self, socket: web.WebSocketResponse) -> None:
        watcher = self._watcher
        if isinstance(watcher.error, Redefined):
            return
        if watcher.error is not None:
            await _send_frame(socket, self._encoding, self._encoding.error(watcher.error))
        elif self._wants_bookmarks and not watcher.is_ahead:
            bookmark = self._encoding.frame(Delivery(BOOKMARK, None, watcher.revision))
            await _send_frame(socket, self._encoding, bookmark)

    async def _listen(self, socket: web.WebSocketResponse) -> None:
        """Notice that the client goes away; what it says means nothing."""
        async for _ in socket:
            pass
        self._wake.set()
