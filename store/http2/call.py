"""One call of gRPC: from a client's headers, by its messages and the answers, to the trailers.

A method is a coroutine of one of three shapes (`Method`); `Call` feeds it what the client sends, decoded, and sends
what it gives, framed. Whatever it raises becomes the status that the server's `status_of` says.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import quote

from component.http2 import frames
from component.http2.hpack import Headers, literal

if TYPE_CHECKING:
    from store.http2.connection import Connection

MESSAGE_BYTES_MAX = 16 << 20
"""Of one request."""
UNREAD_BYTES_MAX = 4 << 20
"""Of a stream's requests that its method has not taken yet: then the client is not told to send more."""


class Code(IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Refusal(Exception):
    """The call ends with this status."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


NO_LEADER = Refusal(Code.UNAVAILABLE, "etcdserver: no leader")


@dataclass(frozen=True, slots=True)
class Method:
    """What answers calls of one path."""

    shape: Literal["unary", "server-stream", "stream"]
    """`unary`: request to response; `server-stream`: (request, call); `stream`: (iterator of requests, call)."""
    answer: Callable[..., Any]
    """The coroutine function."""
    decode: Callable[[bytes], Any]
    """A request from its bytes."""
    done: Callable[[Code], None] = lambda code: None
    """Told how each call ended."""
    begun: Callable[[], None] = lambda: None
    """Told of each call."""


StatusOf = Callable[[Exception], tuple[Code, str]]

_OPENING = b"\x88" + literal(b"content-type", b"application/grpc")
_ACCEPTED = literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
_SUCCEEDED = literal(b"grpc-status", b"0")
_CLOSING = frames.END_HEADERS | frames.END_STREAM
_LENGTHS = struct.Struct(">BI")
_SHORT = struct.Struct(f"{frames.HEAD.format}{len(_OPENING)}s{frames.HEAD.format[1:]}BI")
_TAIL = struct.Struct(f"{frames.HEAD.format}{len(_SUCCEEDED)}s")
_TIMEOUT_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client's headers say, as far as it matters here."""

    path: bytes
    encoding: bytes
    timeout_s: float | None
    refusal: Refusal | None
    """Why the call can't be taken."""
    http_status: bytes = b""
    """Set where it is no gRPC call: HTTP's answer."""
    needs_leader: bool = False
    """Whether the call is to fail while the member knows no leader (etcd's `WithRequireLeader`)."""
    token: str = ""
    """By what the caller is known, if it says so; etcd's gateway has another name for it."""


def read_headers(headers: Headers) -> Opening:
    """Return what a call's headers ask for."""
    found = dict(headers)
    timeout_s, refusal = None, None
    encoding = found.get(b"grpc-encoding", b"identity")
    if encoding not in (b"identity", b"gzip", b"deflate"):
        shown = encoding.decode(errors="replace")
        refusal = Refusal(Code.UNIMPLEMENTED, f"grpc: messages compressed by {shown!r} can't be read here")
    if (raw := found.get(b"grpc-timeout")) is not None:
        digits, unit = raw[:-1], raw[-1:]
        if digits.isdigit() and len(digits) <= 8 and unit in _TIMEOUT_UNITS:
            timeout_s = int(digits) * _TIMEOUT_UNITS[unit]
        else:
            refusal = Refusal(Code.INTERNAL, "grpc: grpc-timeout is not a number and a unit")
    http_status = b""
    if found.get(b":method") != b"POST":
        http_status = b"405"
    elif not found.get(b"content-type", b"").startswith(b"application/grpc"):
        http_status = b"415"
    needs_leader = found.get(b"hasleader") == b"true"
    token = (found.get(b"token") or found.get(b"authorization") or b"").decode("latin-1")
    return Opening(found.get(b":path", b""), encoding, timeout_s, refusal, http_status, needs_leader, token)


class Origin(Protocol):
    """Where a call comes from."""

    @property
    def token(self) -> str:
        """By what the caller is known, if it says so."""
        ...

    @property
    def common_name(self) -> str:
        """The common name of the client's certificate; empty where it has none."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """All of its common names."""
        ...


CURRENT: ContextVar[Origin | None] = ContextVar("call under way", default=None)
"""The call that a method, and all that it starts, is about."""


class Call:
    """One call; what a method of a streaming shape sees of it is `write`."""

    __slots__ = (
        "_connection", "_encoding", "_has_ended", "_has_opened", "_is_done", "_loop", "_method", "_partial", "_reader",
        "_task", "_uncredited", "_unread", "_unread_bytes", "_writer", "deadline", "needs_leader", "queue", "stream",
        "token", "trailers", "window",
    )  # fmt: skip

    def __init__(self, connection: Connection, stream: int, window: int, opening: Opening, method: Method) -> None:
        self.stream = stream
        self.window = window
        """How many bytes the client takes on this stream now."""
        self.queue: deque[memoryview] = deque()
        """What waits for room in a window."""
        self.trailers = b""
        """What follows the queue, when the method is done."""
        self.deadline: float | None = None
        self.needs_leader = opening.needs_leader and method.shape != "unary"
        """A request with one answer is only asked about at its beginning."""
        self.token = opening.token
        self._connection = connection
        self._method = method
        self._encoding = opening.encoding
        self._loop = connection.loop
        self._has_opened = self._has_ended = self._is_done = False
        self._partial: bytearray | None = None
        self._unread: deque[tuple[Any, int]] = deque()
        self._unread_bytes = 0
        self._uncredited = 0
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        if opening.timeout_s is not None:
            self.deadline = self._loop.time() + opening.timeout_s
        if method.shape == "stream":
            self._task = self._loop.create_task(self._run(self))

    @property
    def common_name(self) -> str:
        """The common name of the client's certificate; empty where it has none."""
        return self._connection.common_name

    @property
    def names(self) -> frozenset[str]:
        """All of its common names."""
        return self._connection.names

    # -- from the client

    def on_data(self, payload: bytes, has_ended: bool) -> None:
        """Take a piece of the client's messages."""
        if self._is_done:
            return
        try:
            if payload:
                self._take(payload)
            if has_ended:
                self.on_end()
        except Refusal as refusal:
            self._stop_with(refusal)

    def on_end(self) -> None:
        """Take note that the client sends no more."""
        if self._has_ended or self._is_done:
            return
        if self._partial:
            self._stop_with(Refusal(Code.INTERNAL, "grpc: the request ends in the middle of a message"))
            return
        self._has_ended = True
        if self._method.shape == "stream":
            self._wake_reader()
        elif len(self._unread) != 1:
            self._stop_with(Refusal(Code.INTERNAL, f"grpc: {len(self._unread)} requests where there must be one"))
        else:
            self._task = self._loop.create_task(self._run(self._unread.pop()[0]))

    def on_reset(self) -> None:
        """Stop: the client wants no answer, or is gone."""
        if not self._is_done:
            self._method.done(Code.CANCELLED)
            self._release()
        self.queue.clear()
        self._connection.forget(self, has_ended=True)

    def expire(self) -> None:
        """Stop: the client's time is over."""
        self._stop_with(Refusal(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def end_leaderless(self) -> None:
        """Stop: there was no leader for too long."""
        self._stop_with(NO_LEADER)

    def stop(self) -> None:
        """Stop: the server does."""
        self._stop_with(Refusal(Code.UNAVAILABLE, "etcdserver: server stopped"))

    def _take(self, payload: bytes) -> None:
        if self._partial is None and len(payload) >= 5:
            flag, length = _LENGTHS.unpack_from(payload)
            if length == len(payload) - 5 and not flag:  # the whole of one message, as nearly always
                self._add(payload[5:])
                self._credit(len(payload))
                return
        if self._partial is None:
            self._partial = bytearray()
        partial = self._partial
        partial += payload
        while len(partial) >= 5:
            flag, length = _LENGTHS.unpack_from(partial)
            if length > MESSAGE_BYTES_MAX:
                message = f"grpc: received message larger than max ({length} vs. {MESSAGE_BYTES_MAX})"
                raise Refusal(Code.RESOURCE_EXHAUSTED, message)
            if len(partial) < 5 + length:
                break
            raw = bytes(partial[5 : 5 + length])
            del partial[: 5 + length]
            self._add(self._inflated(raw) if flag else raw)
        if not partial:
            self._partial = None
        self._credit(len(payload))

    def _inflated(self, raw: bytes) -> bytes:
        if self._encoding == b"identity":
            raise Refusal(Code.INTERNAL, "grpc: a compressed message, and grpc-encoding does not say how")
        inflater = zlib.decompressobj(wbits=31 if self._encoding == b"gzip" else 15)
        try:
            message = inflater.decompress(raw, MESSAGE_BYTES_MAX)
        except zlib.error as error:
            raise Refusal(Code.INTERNAL, f"grpc: a message can't be decompressed: {error}") from None
        if inflater.unconsumed_tail or not inflater.eof:
            raise Refusal(Code.RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({MESSAGE_BYTES_MAX})")
        return message

    def _add(self, raw: bytes) -> None:
        try:
            request = self._method.decode(raw)
        except Exception as error:
            raise Refusal(Code.INTERNAL, f"grpc: failed to unmarshal the received message: {error}") from None
        self._unread.append((request, len(raw)))
        self._unread_bytes += len(raw)
        if self._reader is not None:
            self._wake_reader()
        elif len(self._unread) > 1 and self._method.shape != "stream":
            raise Refusal(Code.INTERNAL, "grpc: more than one request where there must be one")

    def _credit(self, size_bytes: int) -> None:
        """Let the client send as much again, unless the method does not keep up."""
        self._uncredited += size_bytes
        if self._uncredited < self._connection.stream_window // 2 or self._has_ended:
            return
        if self._unread_bytes <= UNREAD_BYTES_MAX or self._method.shape != "stream":
            self._connection.send(frames.window_update(self.stream, self._uncredited))
            self._uncredited = 0

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # -- to the method

    def __aiter__(self) -> Call:
        """Return self: the requests of a stream."""
        return self

    async def __anext__(self) -> Any:
        """Return the next request."""
        while not self._unread:
            if self._has_ended:
                raise StopAsyncIteration
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        request, size_bytes = self._unread.popleft()
        self._unread_bytes -= size_bytes
        self._credit(0)
        return request

    async def write(self, response: Any) -> None:
        """Send a message; returns when the client has let it be sent."""
        if self._is_done:
            raise asyncio.CancelledError
        self._send_message(response if isinstance(response, bytes) else response.SerializeToString())
        while (self.queue or not self._connection.is_writable) and not self._is_done:
            self._connection.hold_back(self)
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    def on_sent(self) -> None:
        """Go on: there is nothing left in the queue."""
        if self.trailers:
            self._connection.send(self.trailers)
            self._connection.forget(self, has_ended=self._has_ended)
        elif self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    async def _run(self, request: Any) -> None:
        CURRENT.set(self)  # of this task alone
        try:
            if self._method.shape == "unary":
                response = await self._method.answer(request)
                if not self._is_done:
                    self._method.done(Code.OK)
                    self._respond(response if isinstance(response, bytes) else response.SerializeToString())
                return
            await self._method.answer(request, self)
        except asyncio.CancelledError:
            if not self._is_done:
                self._end(Code.CANCELLED, "the server gave it up")
            raise
        except Exception as error:
            if not self._is_done:
                self._end(*self._connection.status_of(error))
        else:
            if not self._is_done:
                self._end(Code.OK, "")
        finally:
            CURRENT.set(None)  # or this task's context, the call and the task would keep each other for ever

    # -- to the client

    def _respond(self, body: bytes) -> None:
        """Send the one response, and all that goes with it."""
        length = len(body) + 5
        connection = self._connection
        if length > min(self.window, connection.window, frames.FRAME_BYTES_MAX):
            self._send_message(body)
            self._send_trailers(Code.OK, "")
            return
        connection.window -= length
        stream, self._is_done = self.stream, True
        connection.send(
            _SHORT.pack(
                0, len(_OPENING), frames.HEADERS, frames.END_HEADERS, stream, _OPENING,
                length >> 8, length & 0xFF, frames.DATA, 0, stream, 0, length - 5,
            )
            + body
            + _TAIL.pack(0, len(_SUCCEEDED), frames.HEADERS, _CLOSING, stream, _SUCCEEDED)
        )  # fmt: skip
        connection.forget(self, has_ended=True)

    def _open(self) -> None:
        if not self._has_opened:
            self._has_opened = True
            self._connection.send(frames.frame(frames.HEADERS, frames.END_HEADERS, self.stream, _OPENING))

    def _send_message(self, body: bytes) -> None:
        self._open()
        self.queue.append(memoryview(_LENGTHS.pack(0, len(body)) + body))
        self._connection.pump(self)

    def _send_trailers(self, code: Code, message: str) -> None:
        """End the answer, after whatever of it waits for room."""
        fields = literal(b"grpc-status", b"%d" % code)
        if message:
            fields += literal(b"grpc-message", quote(message, safe=_PLAIN).encode())
        if not self._has_opened:
            fields = _OPENING + (_ACCEPTED if code == Code.UNIMPLEMENTED else b"") + fields
        self.trailers = frames.frame(frames.HEADERS, _CLOSING, self.stream, fields)
        self._release()
        if not self.queue:
            self.on_sent()

    def _end(self, code: Code, message: str) -> None:
        self._method.done(code)
        if code != Code.OK:
            self.queue.clear()
        self._send_trailers(code, message)

    def _stop_with(self, refusal: Refusal) -> None:
        """End the call from outside of its method."""
        if not self._is_done:
            self._end(refusal.code, refusal.message)

    def _release(self) -> None:
        """Take nothing more, and let the method go."""
        self._is_done = True
        self._unread.clear()
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            self._connection.cancel(task)


_PLAIN = "".join(chr(byte) for byte in range(0x20, 0x7F) if byte != 0x25)
"""What `grpc-message` holds as it is."""


def refuse(stream: int, refusal: Refusal) -> bytes:
    """Return the whole answer to a call that no method takes."""
    fields = _OPENING + literal(b"grpc-status", b"%d" % refusal.code)
    fields += literal(b"grpc-message", quote(refusal.message, safe=_PLAIN).encode())
    if refusal.code == Code.UNIMPLEMENTED:
        fields += _ACCEPTED
    return frames.frame(frames.HEADERS, _CLOSING, stream, fields)


def refuse_http(stream: int, status: bytes) -> bytes:
    """Return the whole answer to a request that is not gRPC's."""
    return frames.frame(frames.HEADERS, _CLOSING, stream, literal(b":status", status))
