"""Requests over HTTP/2: many at a time on one connection, which is how Go's clients speak to an API server.

A stream's headers and body become the same `aiohttp` request that HTTP/1.1 makes, answered by the same handler; what
is answered goes out as frames. A watch writes to its stream's `Pipe` as it would to a connection of its own, so a
hundred watches of one client share one connection, and what they are told in one turn of the event loop is encrypted
and sent in one piece. Requests that HTTP/2 calls malformed (RFC 9113, section 8.1.1) end their stream and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import ClientConnectionResetError, HttpVersion, StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from component.http2 import connection as http2
from component.http2 import frames
from component.http2.frames import FRAME_BYTES_MAX
from component.http2.hpack import Headers, literal
from component.relay import HEAD_BYTES_MAX

log = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

VERSION: Final = HttpVersion(2, 0)
STREAMS_MAX: Final = 100
"""Requests of one connection at a time, as upstream has it: Go's clients open another connection for more."""
STREAM_WINDOW_BYTES: Final = 256 * 1024
"""What a client may send of a body before somebody reads it."""
IDLE_S: Final = 90.0
TAKEN_WITHIN_S: Final = 60.0
"""How long an answer that is whole waits for its client to take it: as long as upstream has a request last."""
UNREAD_BYTES_MAX: Final = 8 << 20
"""Of one connection: more than windows and buffers let bodies have, and room for many small answers beside."""
LIMITS: Final = http2.Limits(
    stream_window_bytes=STREAM_WINDOW_BYTES,
    connection_window_bytes=STREAMS_MAX * STREAM_WINDOW_BYTES,
    calls_max=STREAMS_MAX,
    headers_bytes_max=HEAD_BYTES_MAX,
    unread_bytes_max=UNREAD_BYTES_MAX,
    idle_s=IDLE_S,
)
_FULL: Final = 1 << 30
"""What a pipe says it holds while its connection takes nothing more."""
_CONNECTION_ONLY: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
"""Fields that HTTP/2 does not have (RFC 9113, section 8.2.2)."""
_PSEUDO: Final = (b":method", b":path", b":scheme", b":authority")


Fields = dict[tuple[bytes, Headers], CIMultiDictProxy[str]]
"""The fields of requests by `:authority` and what was sent: a client sends much the same with all of its requests."""
FIELDS_MAX: Final = 16
KNOWN_BYTES_MAX: Final = 4096
"""Of one request's fields; others are not kept."""


class Malformed(Exception):
    """A request that HTTP/2 does not allow."""


class Server:
    """Makes the protocols of connections that speak HTTP/2, and knows them.

    Args:
        handler: answers requests.
    """

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections: set[Connection] = set()
        self.ending: set[asyncio.Task[None]] = set()
        """Tasks that were told to end and have not yet: somebody must know them."""
        self._empty = asyncio.Event()

    def __call__(self) -> Connection:
        """Return the protocol of one new connection."""
        return Connection(self)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def leave(self) -> None:
        """Tell all clients to come again by a new connection: nothing more is taken by these."""
        for connection in list(self.connections):
            connection.leave()

    async def shutdown(self, timeout_s: float) -> None:
        """Let what is under way end for so long, then end it."""
        self.leave()
        if self.connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._empty.wait()
        for connection in list(self.connections):
            connection.stop()
        if self.ending:
            await asyncio.wait(set(self.ending), timeout=timeout_s)
        for connection in list(self.connections):
            connection.abort()


class Connection(http2.Connection["Stream"]):
    """One client's connection."""

    def __init__(self, server: Server) -> None:
        super().__init__(LIMITS)
        self.server = server
        self.running = 0
        """Requests whose work has not ended, those among them that the client has given up."""
        self.known: Fields = {}
        self.peername: Any = None
        self.sockname: Any = None
        self.ssl_context: Any = None

    def made(self, transport: asyncio.Transport) -> None:
        """Find out who it is."""
        self.server.connections.add(self)
        self.peername = transport.get_extra_info("peername")
        self.sockname = transport.get_extra_info("sockname")
        self.ssl_context = transport.get_extra_info("sslcontext")

    def lost(self) -> None:
        """Let go of it."""
        self.server.lost(self)

    def begin(self, stream: int, headers: Headers, window: int, *, has_ended: bool) -> Stream | None:
        """Return what answers a request, or refuse it."""
        if self.running >= STREAMS_MAX:
            # The work of requests that were given up counts, or a client could have any amount of it done.
            self.reset(stream, frames.REFUSED_STREAM)
            return None
        try:
            return Stream(self, stream, window, headers, has_ended=has_ended)
        except Malformed as error:
            log.debug("a malformed request", extra={"why": str(error)})
            self.reset(stream, frames.PROTOCOL_ERROR)
            return None

    def refuse_long(self, stream: int, *, has_ended: bool) -> None:
        """Answer a request whose headers are more than is taken."""
        answer = CIMultiDict({hdrs.CONTENT_LENGTH: "0"})
        self.send(response_head(stream, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, answer))
        self.send(frames.frame(frames.DATA, frames.END_STREAM, stream))
        if not has_ended:
            self.reset(stream, frames.NO_ERROR)


class Stream:
    """One request, from its headers to the end of its answer; aiohttp's request takes it for its connection."""

    __slots__ = (
        "_announced", "_body", "_connection", "_has_ended", "_is_paused", "_received", "_task", "_timer",
        "_uncredited", "_unread", "_writer", "closes", "connected", "deadline", "is_done", "max_field_size",
        "max_headers", "queue", "queued", "request_head", "stream", "transport", "window",
    )  # fmt: skip

    def __init__(self, connection: Connection, stream: int, window: int, headers: Headers, *, has_ended: bool) -> None:
        """Begin to answer.

        Raises:
            Malformed: the headers are not those of a request.
        """
        self.request_head = message = request_head(headers, connection.known)
        announced = message.headers.get(hdrs.CONTENT_LENGTH, "0" if has_ended else "")
        if announced and not _LENGTH.fullmatch(announced):
            raise Malformed(f"a content-length of {announced[:20]!r}")
        self.stream = stream
        self.window = window
        self.queue: deque[memoryview] = deque()
        self.queued = 0
        """Bytes that have been written to the queue and not left it."""
        self.deadline: float | None = None
        self.closes = False
        """Whether the answer ends with what is in the queue."""
        self.is_done = False
        self.transport: Pipe | None = Pipe(self, connection)
        self.connected = True
        self.max_field_size = HEAD_BYTES_MAX
        self.max_headers = len(headers)
        self._connection = connection
        self._announced = int(announced) if announced else None
        self._received = 0
        self._unread = STREAM_WINDOW_BYTES
        """How much more the client may send before it is told to go on."""
        self._uncredited = 0
        self._is_paused = False
        self._has_ended = has_ended
        self._writer: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._body = EMPTY_PAYLOAD if has_ended else StreamReader(cast(Any, self), 2**16, loop=connection.loop)
        connection.running += 1
        self._task: asyncio.Task[None] | None = connection.loop.create_task(self._run())
        self._task.add_done_callback(self._is_over)  # It may be cancelled before it has begun.

    # -- what aiohttp's request asks of its connection

    @property
    def ssl_context(self) -> Any:
        """Of the connection."""
        return self._connection.ssl_context

    @property
    def peername(self) -> Any:
        """The client's address."""
        return self._connection.peername

    @property
    def sockname(self) -> Any:
        """Our address."""
        return self._connection.sockname

    def pause_reading(self) -> None:
        """Have the client send no more of the body than it may already."""
        self._is_paused = True

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Let it go on."""
        self._is_paused = False
        self._credit()

    # -- from the client

    def on_data(self, payload: bytes, has_ended: bool) -> None:
        """Take a piece of the body."""
        if self.is_done:
            return
        self._received += len(payload)
        self._unread -= len(payload)
        if self._unread < 0:
            self._reset(frames.FLOW_CONTROL_ERROR)
        elif self._announced is not None and self._received > self._announced:
            self._reset(frames.PROTOCOL_ERROR)
        else:
            self._uncredited += len(payload)
            if payload and self._body is not EMPTY_PAYLOAD:
                self._body.feed_data(payload)
            if has_ended:
                self.on_end()
            elif not self._is_paused:
                self._credit()

    def on_end(self) -> None:
        """Take note that the body is whole."""
        if self.is_done or self._has_ended:
            return
        if self._announced is not None and self._received != self._announced:
            self._reset(frames.PROTOCOL_ERROR)
            return
        self._has_ended = True
        if self._body is not EMPTY_PAYLOAD:
            self._body.feed_eof()

    def on_reset(self) -> None:
        """Stop: the client wants no answer, or is gone."""
        self._end(has_ended=True)

    def expire(self) -> None:
        """Stop: never asked for, since requests have deadlines of their own."""
        self.stop()

    def stop(self) -> None:
        """Stop: the server does."""
        self._reset(frames.CANCEL)

    def on_sent(self) -> None:
        """Go on: there is nothing left in the queue."""
        self.queued = 0
        if self.closes:
            self._connection.send(frames.frame(frames.DATA, frames.END_STREAM, self.stream))
            self._end(has_ended=self._has_ended)
        elif self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _credit(self) -> None:
        if self._uncredited >= STREAM_WINDOW_BYTES // 2 and not self._has_ended and not self.is_done:
            self._connection.send(frames.window_update(self.stream, self._uncredited))
            self._unread += self._uncredited
            self._uncredited = 0

    # -- to the client

    async def _run(self) -> None:
        connection = self._connection
        writer = Writer(self, connection, is_empty=self.request_head.method == hdrs.METH_HEAD)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        request = web.BaseRequest(
            self.request_head, self._body, cast(Any, self), writer, task, connection.loop, scheme="https"
        )
        try:
            response = await connection.server.handler(request)
            if not self.is_done:
                await response.prepare(request)
                await response.write_eof()
        except ConnectionError:
            self._reset(frames.CANCEL)
        except asyncio.CancelledError:
            self._reset(frames.INTERNAL_ERROR)
            raise
        except Exception:
            log.exception("a request failed", extra={"path": request.path})
            self._reset(frames.INTERNAL_ERROR)

    def _is_over(self, task: asyncio.Task[None]) -> None:
        self._connection.running -= 1
        # Nothing may hold itself: Python looks for that rarely here.
        self._task = self.transport = None
        self._body = EMPTY_PAYLOAD

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Send a piece of the answer's body, as soon as there is room for it."""
        if isinstance(content, bytearray):
            content = bytes(content)  # It may change before it leaves.
        if content and not self._connection.send_data(self, content):
            self.queue.append(memoryview(content))
            self.queued += len(content)
            self._connection.pump(self)

    async def sent(self) -> None:
        """Wait until the queue is empty, and the connection takes more."""
        while (self.queue or not self._connection.is_writable) and not self.is_done:
            self._connection.hold_back(self)
            self._writer = self._connection.loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    def finish(self) -> None:
        """End the answer with what is in the queue."""
        if not self.is_done:
            self.closes = True
            if self.queue:
                self._timer = self._connection.loop.call_later(TAKEN_WITHIN_S, self._reset, frames.CANCEL)
                self._connection.pump(self)
            else:
                self.on_sent()

    def reset(self) -> None:
        """End the stream so that nobody takes what was sent for a whole answer."""
        self._reset(frames.INTERNAL_ERROR)

    def _reset(self, code: int) -> None:
        if not self.is_done:
            self._connection.reset(self.stream, code)
            self._end(has_ended=True)

    def _end(self, *, has_ended: bool) -> None:
        if self.is_done:
            return
        self.is_done = True
        self.connected = False
        self.queue.clear()
        self.queued = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection, task, waiter = self._connection, self._task, self._writer
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._body is not EMPTY_PAYLOAD and not self._has_ended:
            self._body.set_exception(ClientConnectionResetError("the client has given the request up"))
        if task is not None and task is not asyncio.current_task() and not self.closes:
            task.cancel()
            connection.server.ending.add(task)
            task.add_done_callback(connection.server.ending.discard)
        connection.forget(self, has_ended=has_ended)


class Pipe(asyncio.Transport):
    """A stream's way to the client, for those who write to a connection: what it holds and closes is the stream's."""

    __slots__ = ("_connection", "_stream")

    def __init__(self, stream: Stream, connection: Connection) -> None:
        self._stream = stream
        self._connection = connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection, but never its socket, which others share."""
        transport = self._connection.transport
        return default if transport is None or name == "socket" else transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._stream.is_done

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for the client to take more."""
        return self._stream.queued if self._connection.is_writable else _FULL

    def write(self, data: Any) -> None:
        """Send a piece of the body."""
        if not self._stream.is_done:
            self._stream.write(data)

    def accept(self, content: bytes) -> bool:
        """Send a piece of the body if nothing written before still waits; return False, and leave it, where it does."""
        stream = self._stream
        if stream.is_done:
            return False
        if self._connection.send_data(stream, content):
            return True
        if stream.queue or not self._connection.is_writable:
            return False
        stream.write(content)
        return True

    def close(self) -> None:
        """End the stream, whose answer is not whole."""
        self._stream.reset()

    def abort(self) -> None:
        """End the stream, whose answer is not whole."""
        self._stream.reset()


class Writer(AbstractStreamWriter):
    """Writes an aiohttp response to a stream."""

    def __init__(self, stream: Stream, connection: Connection, *, is_empty: bool) -> None:
        self._stream = stream
        self._connection = connection
        self._is_empty = is_empty
        """Whether no body may follow: that of an answer to HEAD is only told of."""
        self._head = b""
        self.output_size = 0

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Keep the headers for the first piece of the body."""
        self._check()
        self._head = response_head(self._stream.stream, int(status_line.split(" ", 2)[1]), headers)

    def send_headers(self) -> None:
        """Send the headers now."""
        head, self._head = self._head, b""
        if head:
            self._connection.send(head)

    async def invite(self) -> None:
        """Tell a client that waits for it to send the body."""
        self._check()
        self._connection.send(response_head(self._stream.stream, 100, CIMultiDict()))

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Send a piece of the body, and wait if the client is slow to take it."""
        self._check()
        self.send_headers()
        if chunk and not self._is_empty:
            self.output_size += len(chunk)
            self._stream.write(chunk)
            await self.drain()

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Send the last piece."""
        self._check()
        self.send_headers()
        if chunk and not self._is_empty:
            self.output_size += len(chunk)
            self._stream.write(chunk)
        self._stream.finish()

    async def drain(self) -> None:
        """Wait until the client has taken what was written."""
        await self._stream.sent()

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Refuse: answers are compressed before they are written."""
        raise NotImplementedError

    def enable_chunking(self) -> None:
        """Do nothing: frames are what chunks are in HTTP/1.1."""

    def _check(self) -> None:
        if self._stream.is_done:
            raise ClientConnectionResetError("the client has given the request up")


def request_head(headers: Headers, known: Fields) -> RawRequestMessage:
    """Return a request's head as HTTP/1.1's parser would.

    Args:
        headers: as sent.
        known: the fields of earlier requests; those of this one are added.

    Raises:
        Malformed: it is not what HTTP/2 has a request be (RFC 9113, sections 8.2 and 8.3).
    """
    pseudo: dict[bytes, bytes] = {}
    count = 0
    for name, value in headers:
        if name[:1] != b":":
            break
        if name not in _PSEUDO or name in pseudo:
            raise Malformed(f"{name!r} is not expected")
        pseudo[name] = value
        count += 1
    method, path = pseudo.get(b":method", b""), _in_ascii(pseudo.get(b":path", b""))
    if not _is_token(method) or b":scheme" not in pseudo or not (path[:1] == "/" or path == "*"):
        raise Malformed("it has no method, scheme or path")
    if _SPACES.search(path):
        raise Malformed("a path with spaces in it")
    authority = pseudo.get(b":authority", b"")
    if not _is_value(authority) or authority != authority.strip(_BLANKS):
        raise Malformed("an authority with a character in it that may not be")
    key = (authority, headers[count:])
    fields = known.get(key)
    if fields is None:
        fields = _fields(*key)
        if sum(len(name) + len(value) for name, value in key[1]) <= KNOWN_BYTES_MAX:
            if len(known) >= FIELDS_MAX:
                known.clear()
            known[key] = fields
    before, _, fragment = path.partition("#")
    target, _, query = before.partition("?")
    return RawRequestMessage(
        method.decode(), path, VERSION, fields, headers, False, None, False, False,
        URL.build(path=target, query_string=query, fragment=fragment, encoded=True),
    )  # fmt: skip


def _fields(authority: bytes, headers: Headers) -> CIMultiDictProxy[str]:
    fields: CIMultiDict[str] = CIMultiDict()
    for name, value in headers:
        if name in _CONNECTION_ONLY or name != name.lower() or (name == b"te" and value != b"trailers"):
            raise Malformed(f"{name!r} is not allowed")
        if not _is_value(value) or not _is_token(name):
            raise Malformed(f"{name!r} or its value has a character in it that may not be")
        # Clients in Go send blanks at a value's ends (a User-Agent, say), and servers in Go take them. They are no part
        # of the value (RFC 9110, section 5.5), so this is what the same request would come to over HTTP/1.1.
        fields.add(name.decode("ascii"), value.strip(_BLANKS).decode("utf-8", "surrogateescape"))
    if authority:
        fields[hdrs.HOST] = authority.decode("utf-8", "surrogateescape")
    if hdrs.COOKIE in fields:
        fields[hdrs.COOKIE] = "; ".join(fields.getall(hdrs.COOKIE))
    if len(lengths := set(fields.getall(hdrs.CONTENT_LENGTH, ()))) > 1:
        raise Malformed(f"{len(lengths)} different lengths")
    return CIMultiDictProxy(fields)


def response_head(stream: int, status: int, headers: CIMultiDict[str]) -> bytes:
    """Return the frames of an answer's headers, without those that only HTTP/1.1 has."""
    block = literal(b":status", b"%d" % status)
    for name, value in headers.items():
        lower = name.lower().encode()
        if lower in _CONNECTION_ONLY or (lower == b"server" and value == SERVER_SOFTWARE):
            continue
        if "\r" in value or "\n" in value:
            raise ValueError(f"header {name!r} has a line break in it")
        block += literal(lower, value.encode("utf-8", "surrogateescape"))
    pieces = [block[at : at + FRAME_BYTES_MAX] for at in range(0, len(block), FRAME_BYTES_MAX)]
    kinds = [frames.HEADERS, *[frames.CONTINUATION] * (len(pieces) - 1)]
    flags = [*[0] * (len(pieces) - 1), frames.END_HEADERS]
    return b"".join(
        frames.frame(kind, flag, stream, piece) for kind, flag, piece in zip(kinds, flags, pieces, strict=True)
    )


def _in_ascii(path: bytes) -> str:
    """Return a path with bytes outside ASCII written as a URL writes them."""
    return path.decode() if path.isascii() else "".join(chr(each) if each < 0x80 else f"%{each:02X}" for each in path)


_BLANKS: Final = b" \t"
_SPACES: Final = re.compile(r"[\x00-\x20\x7f]")
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


def _is_value(value: bytes) -> bool:
    """Whether a field may have it (RFC 9113, section 8.2.1, but for blanks at its ends)."""
    return not (b"\r" in value or b"\n" in value or b"\0" in value)


@functools.lru_cache(maxsize=1024)
def _is_token(name: bytes) -> bool:
    return bool(name) and all(each in _TOKEN for each in name)
