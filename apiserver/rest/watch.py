"""A watch over HTTP: aiohttp takes the request, then frames go straight to its transport.

What is pending is written in one chunk (HTTP/1.1) or as it is (HTTP/2, where the transport is a `http2.Pipe`), and its
bytes are shared by all watchers at the same place. While the transport still
holds earlier bytes nothing is written, so events coalesce by themselves; a client that stays behind is ended by its
byte budget, with a reset, since a polite close would wait for bytes that nobody reads.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final, cast

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from apiserver.registry.failures import Redefined
from apiserver.registry.fanout import BOOKMARK, Delivery, Join, Watcher
from apiserver.rest import http2
from apiserver.rest.frames import WatchEncoding, in_a_chunk, in_a_row

SEND_BUFFER_BYTES: Final = 256 * 1024
"""Cap on what the kernel keeps for one watcher; left alone it grows to megabytes."""
TRANSPORT_BYTES_MAX: Final = 64 * 1024
"""Nothing more is written while the transport holds as much."""
_POLL_S: Final = 0.02
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: close sends RST and drops what is unsent."""


class HttpWatch:
    """Carries one watcher's events to one client until either ends, or the time is up."""

    def __init__(
        self,
        response: web.StreamResponse,
        watcher: Watcher,
        encodings: tuple[WatchEncoding, WatchEncoding],
        wants_bookmarks: bool,
    ) -> None:
        self._response = response
        self._watcher = watcher
        self._first, self._encoding = encodings
        self._has_begun = self._first is self._encoding
        self._wants_bookmarks = wants_bookmarks
        self._join: Join = in_a_row
        self._transport: asyncio.Transport | None = None
        self._wake = asyncio.Event()
        self._is_blocked = False
        self._is_over = False

    async def run(self, request: web.BaseRequest, timeout_s: float) -> web.StreamResponse:
        """Send headers, then events."""
        loop = asyncio.get_running_loop()
        response = self._response
        if request.version == HttpVersion11:
            response.enable_chunked_encoding()
            self._join = in_a_chunk
        writer = await response.prepare(request)
        assert writer is not None
        await response.write(b"")  # sends the headers now, before there is an event
        transport = cast(asyncio.Transport, request.transport)
        _cap_send_buffer(transport)
        self._transport = transport
        self._watcher.on_ready = self._send
        if self._has_begun:
            self._hand_over()
        timer = loop.call_later(timeout_s, self.stop)
        try:
            self._send()
            while not self._is_over:
                self._wake.clear()
                if self._is_blocked:
                    await self._drained_or_woken(writer)
                    if transport.get_write_buffer_size() > TRANSPORT_BYTES_MAX:
                        # TLS may hold bytes that the connection's own flow control does not count.
                        await asyncio.sleep(_POLL_S)
                    self._is_blocked = False
                    self._send()
                    continue
                await self._wake.wait()
            self._end()
        finally:
            timer.cancel()
            self._watcher.close()
        if not transport.is_closing():
            await response.write_eof()
        return response

    async def _drained_or_woken(self, writer: AbstractStreamWriter) -> None:
        """Wait for the client to take what was written, or for the watch to end because it does not."""
        waits = [asyncio.ensure_future(each) for each in (writer.drain(), self._wake.wait())]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in waits:
                each.cancel()

    def _send(self) -> None:
        """Write what is pending, if the client has taken most of what came before."""
        transport, watcher = self._transport, self._watcher
        assert transport is not None
        if transport.is_closing() or watcher.error is not None:
            self._is_over = True
            self._wake.set()
            return
        if transport.get_write_buffer_size() > TRANSPORT_BYTES_MAX:
            if not self._is_blocked:
                self._is_blocked = True
                self._wake.set()
            return
        self._write_pending()

    def _write_pending(self) -> None:
        transport, watcher = self._transport, self._watcher
        assert transport is not None
        if not self._has_begun:
            self._begin(transport)
        joined = watcher.take_joined(self._encoding, self._join)
        if joined:
            transport.write(joined)
        if watcher.has_pending:  # The backlog comes before the channel's log.
            joined = watcher.take_joined(self._encoding, self._join)
            if joined:
                transport.write(joined)

    def _begin(self, transport: asyncio.Transport) -> None:
        """Write the first event in its own encoding, once there is one."""
        while not self._has_begun and self._watcher.has_pending:
            for delivery in self._watcher.take(1):
                transport.write(self._join([delivery.frame(self._first)]))
                self._has_begun = True
                self._hand_over()

    def _hand_over(self) -> None:
        """Have what is new written without a look at anything else, as long as nothing else is pending."""
        accept = self._transport.accept if isinstance(self._transport, http2.Pipe) else self._accept
        self._watcher.hand_to(accept, self._encoding, self._join)

    def _accept(self, joined: bytes) -> bool:
        """Write what is new, which is all that is pending; return False, and leave it, where `_send` has to look."""
        transport = self._transport
        assert transport is not None
        if transport.get_write_buffer_size() > TRANSPORT_BYTES_MAX or transport.is_closing():
            return False
        transport.write(joined)
        return True

    def stop(self) -> None:
        """End it with all that was promised, as when its time is up."""
        self._is_over = True
        self._wake.set()

    def _end(self) -> None:
        transport, watcher = self._transport, self._watcher
        assert transport is not None
        if transport.is_closing():
            return
        if watcher.error is None:
            if not self._is_blocked:
                self._send()
            if self._wants_bookmarks and not watcher.is_ahead:
                encoding = self._encoding if self._has_begun else self._first
                bookmark = Delivery(BOOKMARK, None, watcher.revision)
                transport.write(self._join([encoding.frame(bookmark)]))
            return
        if transport.get_write_buffer_size() > TRANSPORT_BYTES_MAX:
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
            return
        if isinstance(watcher.error, Redefined):
            self._write_pending()
        else:
            transport.write(self._join([self._encoding.error(watcher.error)]))


def _cap_send_buffer(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
