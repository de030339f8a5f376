"""HTTP/1.1 (RFC 9112), as much of it as clients of etcd's gateway speak: one request at a time on a connection.

Bodies come whole, with a length or in chunks; answers go whole, or in chunks where they go on. What is malformed, too
large or too slow ends the connection.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from store.http2.call import Refusal
from store.http2.web import Asked, Page, Web, asked_by

if TYPE_CHECKING:
    from store.http2.connection import Guest

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 32 << 10
BODY_BYTES_MAX = 32 << 20
"""Of a request; as JSON, bytes are a third longer."""
AHEAD_BYTES_MAX = 64 << 10
"""Of what a client sends while it is not answered yet."""
IDLE_S = 120.0
REQUEST_WITHIN_S = 30.0
LINGER_S = 1.0
"""How long a client that was refused amid its request may go on to send it, so that it reads why (RFC 9112, 9.6)."""
_REQUEST = re.compile(rb"([A-Z]{1,20}) ([!-~]{1,8000}) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(;[^\r\n]{0,1000})?")


class Malformed(Exception):
    """The connection ends with this status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Body:
    """A request's body, as it comes."""

    def __init__(self, fields: Mapping[str, bytes]) -> None:
        length, coding = fields.get("content-length"), fields.get("transfer-encoding")
        if coding is not None and (length is not None or coding.lower() != b"chunked"):
            raise Malformed(400, "a body has a length, or is in chunks")
        if length is not None and not re.fullmatch(rb"[0-9]{1,12}", length):
            raise Malformed(400, "a body's length is a number")
        self.content = bytearray()
        self._is_chunked = coding is not None
        self._left = int(length or b"0")
        """Of the body, or of the chunk that is coming."""
        self._check(self._left)
        self._is_last = self._is_within = False
        self.is_whole = not self._is_chunked and not self._left

    def take(self, data: bytearray) -> None:
        """Take what belongs to the body from the front of `data`."""
        if not self._is_chunked:
            self._take_bytes(data)
            self.is_whole = not self._left
            return
        while not self.is_whole:
            if self._left:
                self._take_bytes(data)
                if self._left:
                    return
            end = data.find(b"\r\n")
            if end < 0:
                if len(data) > HEAD_BYTES_MAX:
                    raise Malformed(400, "a chunk begins with its length")
                return
            line = bytes(data[:end])
            del data[: end + 2]
            if self._is_within:  # the end of a chunk's line
                if line:
                    raise Malformed(400, "a chunk is longer than it says")
                self._is_within = False
            elif self._is_last:
                self.is_whole = not line  # what comes between is trailers, which mean nothing here
            else:
                found = _CHUNK.fullmatch(line)
                if found is None:
                    raise Malformed(400, "a chunk begins with its length")
                self._left = int(found[1], 16)
                self._is_last, self._is_within = not self._left, bool(self._left)
                self._check(len(self.content) + self._left)

    def _take_bytes(self, data: bytearray) -> None:
        taken = data[: self._left]
        del data[: self._left]
        self.content += taken
        self._left -= len(taken)

    def _check(self, length: int) -> None:
        if length > BODY_BYTES_MAX:
            raise Malformed(413, f"a request has at most {BODY_BYTES_MAX} bytes")


class Http1(asyncio.Protocol):
    """The server's side of one connection, from its first byte on."""

    def __init__(
        self, web: Web, others: set[Guest], names: frozenset[str], common_name: str, refusal: Refusal | None
    ) -> None:
        """Answer by `web` a client known by its certificate's names; `refusal` says why not.

        It is among `others` as long as it is there.
        """
        self._web = web
        self._others = others
        self._names = names
        self._common_name = common_name
        self._refusal = refusal
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._head: tuple[str, str, dict[str, bytes], bool] | None = None
        self._body: _Body | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_begun = False
        """A part of a request's headers has come."""
        self._is_refused = False
        """Nothing else is answered: what still comes is thrown away."""
        self.is_leaving = False

    # -- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast(asyncio.Transport, transport)
        self._others.add(self)
        self._wait(IDLE_S)

    def connection_lost(self, error: Exception | None) -> None:
        """Give up what is under way."""
        self._transport = None
        self._others.discard(self)
        self._writable.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Hold a stream back: the client is slow to read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Take what comes; answer once a request is whole."""
        if self._is_refused:
            return
        self._data += data
        if self._task is not None:
            if len(self._data) > AHEAD_BYTES_MAX and self._transport is not None:
                self._transport.abort()
            return
        self._go_on()

    # -- leaving

    def leave(self) -> None:
        """Answer what is under way, and close."""
        self.is_leaving = True
        if self._task is None:
            self.stop()

    def stop(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()

    # -- requests

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.stop)

    def _go_on(self) -> None:
        """Act on what has come, if there is a whole request."""
        try:
            if self._head is None:
                self._read_head()
            if self._body is not None and not self._body.is_whole:
                self._body.take(self._data)
        except Malformed as error:
            log.info("closing a client's connection", extra={"why": str(error)})
            self._send_page(Page(error.status, "text/plain; charset=utf-8", f"{error}\n".encode()), closes=True)
            self._is_refused = True
            self._data.clear()
            self._wait(LINGER_S)
            return
        if self._head is not None and self._body is not None and self._body.is_whole:
            head, body = self._head, bytes(self._body.content)
            self._head = self._body = None
            if self._timer is not None:
                self._timer.cancel()
            self._task = self._loop.create_task(self._answer(*head, body))

    def _read_head(self) -> None:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > HEAD_BYTES_MAX:
                raise Malformed(431, f"a request's headers have at most {HEAD_BYTES_MAX} bytes")
            if self._data and not self._is_begun:
                self._is_begun = True  # once: byte by byte it may take no longer
                self._wait(REQUEST_WITHIN_S)
            return
        first, *lines = bytes(self._data[:end]).lstrip(b"\r\n").split(b"\r\n")
        del self._data[: end + 4]
        self._is_begun = False
        if self._refusal is not None:
            raise Malformed(403, self._refusal.message)  # before a body is taken
        request = _REQUEST.fullmatch(first)
        if request is None:
            raise Malformed(400, "this port speaks gRPC over HTTP/2, and HTTP/1.1")
        fields: dict[str, bytes] = {}
        for line in lines:
            field = _FIELD.fullmatch(line)
            if field is None:
                raise Malformed(400, "a header is a name, a colon and a value")
            name = field[1].decode().lower()
            if name in fields and name in ("content-length", "transfer-encoding"):
                raise Malformed(400, f"{name} comes twice")
            fields[name] = field[2]
        closes = b"close" in fields.get("connection", b"").lower() or request[3] == b"0"
        self._body = _Body(fields)
        self._head = request[1].decode(), request[2].decode(), fields, closes
        if fields.get("expect", b"").lower() == b"100-continue" and not self._body.is_whole:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._wait(REQUEST_WITHIN_S)

    async def _answer(self, method: str, target: str, fields: dict[str, bytes], closes: bool, body: bytes) -> None:
        path, _, query = target.partition("?")
        token = fields.get("authorization", b"").decode("latin-1")
        closes = closes or self.is_leaving
        try:
            page = await asked_by(self._web, Asked(method, path, query, token, self._names, self._common_name, body))
            if page.stream is None:
                self._send_page(page, closes=closes, has_body=method != "HEAD")
            else:
                await self._send_stream(page)
        finally:
            self._task = None
            if closes or self.is_leaving:
                self.stop()
        if not closes and self._transport is not None:
            self._wait(IDLE_S)
            self._go_on()

    # -- answers

    def _send(self, content: bytes) -> None:
        if self._transport is not None:
            self._transport.write(content)

    def _send_page(self, page: Page, *, closes: bool, has_body: bool = True) -> None:
        headers = (*page.headers, f"Content-Length: {len(page.body)}", *(("Connection: close",) if closes else ()))
        self._send(_head(page, headers) + (page.body if has_body else b""))

    async def _send_stream(self, page: Page) -> None:
        assert page.stream is not None
        self._send(_head(page, (*page.headers, "Transfer-Encoding: chunked")))

        async def write(content: bytes) -> None:
            self._send(b"%x\r\n%b\r\n" % (len(content), content))
            await self._writable.wait()

        await page.stream(write)
        self._send(b"0\r\n\r\n")


def _head(page: Page, headers: tuple[str, ...]) -> bytes:
    first = f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}"
    return "\r\n".join([first, f"Content-Type: {page.kind}", *headers, "", ""]).encode()
