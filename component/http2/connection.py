"""One client's connection: frames in, frames out, and flow control both ways (RFC 9113).

What a client sends in one go is read in one go, and what its calls answer in one turn of the event loop leaves in one
write: with many small calls on a connection that is most of what makes them cheap.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from component.http2 import frames, hpack
from component.http2.frames import FRAME_BYTES_MAX, HEAD, Fault, Splitter
from component.http2.hpack import BadHeaders, Decoder, HeaderBomb, Headers, TooManyHeaders

log = logging.getLogger(__name__)

OUT_BYTES_MAX = 1 << 20
"""Messages wait while so much of this connection waits to leave."""
PREFACE_WITHIN_S = 10.0
KEEPALIVE_S = 60
"""After so long without a word the kernel asks whether the client is still there."""
DEADLINES_CHECK_S = 0.05
_LET_PASS_MAX = 1024
"""Streams remembered for what their clients may send before they hear that we have ended them."""
_PRIORITY_BYTES = 5
_PING_BYTES = _GOAWAY_BYTES_MIN = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server lets one connection do."""

    stream_window_bytes: int = 1 << 20
    """What a client may send on one stream before it is told to go on."""
    connection_window_bytes: int = 16 << 20
    calls_max: int = 100_000
    """Calls of one connection at a time; more are refused, to be tried again."""
    headers_bytes_max: int = hpack.LIST_BYTES_MAX
    """Of one request's headers; of a header block, compressed, twice as much."""
    unread_bytes_max: int = 64 << 20
    """A client that goes on asking while this much waits for it to read is cut off."""
    idle_s: float = 0.0
    """How long a connection may do nothing; 0: for ever."""


class Call(Protocol):
    """One stream, as its connection sees it."""

    stream: int
    window: int
    """How many bytes the client takes on this stream now."""
    queue: deque[memoryview]
    """What waits for room in a window."""
    deadline: float | None
    """When to `expire` it, by the event loop's clock."""

    def on_data(self, payload: bytes, has_ended: bool) -> None:
        """Take a piece of what the client sends."""
        ...

    def on_end(self) -> None:
        """Take note that the client sends no more."""
        ...

    def on_reset(self) -> None:
        """Stop: the client wants no answer, or is gone."""
        ...

    def on_sent(self) -> None:
        """Go on: there is nothing left in the queue."""
        ...

    def expire(self) -> None:
        """Stop: its deadline has passed."""
        ...

    def stop(self) -> None:
        """Stop: the server does."""
        ...


C = TypeVar("C", bound=Call)


def keep_alive(transport: asyncio.Transport) -> None:
    """Have the kernel ask whether a silent client is still there."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)


class Connection(asyncio.Protocol, Generic[C]):
    """The server's side of one connection; derive from it and say what a request is, in `begin`."""

    def __init__(self, limits: Limits) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = limits
        self.window = frames.WINDOW_BYTES
        """How many bytes of answers the client takes now, over all streams."""
        self.is_writable = True
        self.calls: dict[int, C] = {}
        self._transport: asyncio.Transport | None = None
        self._decoder = Decoder(limits.headers_bytes_max)
        self._block_bytes_max = 2 * limits.headers_bytes_max
        self._held_back: OrderedDict[int, C] = OrderedDict()
        """Calls with something to send that the connection had no room for; the first is the next to send."""
        self._ended: set[int] = set()
        """Those of the calls whose clients have said all that they will."""
        self._let_pass: dict[int, None] = {}
        """Streams that we ended before their clients did, in that order."""
        self._last_stream = self._last_taken = 0
        self._peer_stream_window = frames.WINDOW_BYTES
        self._uncredited = 0
        self._preface = b""
        """What came of the client's preface so far."""
        self._frames = Splitter()
        self._has_preface = self._has_settings = self._is_leaving = False
        self._block: tuple[int, int, bytearray] | None = None
        """A header block that goes on: its stream, whether the stream ends with it, and what came of it."""
        self._out: list[bytes | memoryview] = []
        self._out_bytes = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._preface_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._busy_at = 0.0

    # -- what those that derive from it say

    def begin(self, stream: int, headers: Headers, window: int, *, has_ended: bool) -> C | None:
        """Return the call that a client's headers begin, or refuse it by `send` and return None.

        Args:
            stream: its number.
            headers: as sent, `:path` and its like among them.
            window: how many bytes the client takes on the stream.
            has_ended: whether the client sends nothing but headers; the call is told of it by `on_end`.
        """
        raise NotImplementedError

    def refuse_long(self, stream: int, *, has_ended: bool) -> None:
        """Refuse a request whose headers are more than is taken."""
        self.reset(stream, frames.ENHANCE_YOUR_CALM)

    def made(self, transport: asyncio.Transport) -> None:
        """Find out who it is."""

    def lost(self) -> None:
        """Let go of the connection: it is closed."""

    def hand_over(self, data: bytes) -> None:
        """Have another protocol go on from `data`, which is no HTTP/2.

        Raises:
            Fault: there is none.
        """
        raise Fault(frames.PROTOCOL_ERROR, "this port speaks HTTP/2")

    def count(self, *, received: int = 0, sent: int = 0) -> None:
        """Take note of bytes that came or left."""

    # -- the transport's calls

    @property
    def transport(self) -> asyncio.Transport | None:
        """What it is spoken over; None once that is closed."""
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client to say what it speaks."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods alone
        self.made(self._transport)
        keep_alive(self._transport)
        self._transport.set_write_buffer_limits(high=OUT_BYTES_MAX)
        self._preface_timer = self.loop.call_later(PREFACE_WITHIN_S, self._transport.abort)

    def _greet(self) -> None:
        """Answer the client's preface with ours."""
        limits = self.limits
        self.send(
            frames.settings(
                {
                    frames.MAX_CONCURRENT_STREAMS: limits.calls_max,
                    frames.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                    frames.MAX_HEADER_LIST_SIZE: limits.headers_bytes_max,
                }
            )
            + frames.window_update(0, limits.connection_window_bytes - frames.WINDOW_BYTES)
        )
        if limits.idle_s:
            self._busy_at = self.loop.time()
            self._idle_timer = self.loop.call_later(limits.idle_s, self._leave_if_idle)

    def release(self) -> asyncio.Transport:
        """Let go of the transport, which another protocol takes."""
        transport, self._transport = self._transport, None
        assert transport is not None
        self._end_timers()
        self.lost()
        return transport

    def connection_lost(self, error: Exception | None) -> None:
        """End every call."""
        self._transport = None
        self._end_timers()
        self.lost()
        for call in list(self.calls.values()):
            call.on_reset()

    def _end_timers(self) -> None:
        for timer in (self._sweeper, self._preface_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._sweeper = None

    def pause_writing(self) -> None:
        """Hold messages back: the client is slow to read."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """Go on sending messages."""
        self.is_writable = True
        self._pump_all()

    def data_received(self, data: bytes) -> None:
        """Act on all frames that are whole."""
        if self._transport is None or self._transport.is_closing():
            return
        self.count(received=len(data))
        try:
            if not self._has_preface:
                data = self._after_preface(data)
            for kind, flags, stream, payload in self._frames.split(data):
                self._on_frame(kind, flags, stream, payload)
        except Fault as fault:
            self._fail(fault)
        except BadHeaders as error:
            self._fail(Fault(frames.COMPRESSION_ERROR, str(error)))
        except HeaderBomb as error:
            self._fail(Fault(frames.ENHANCE_YOUR_CALM, str(error)))

    # -- leaving

    def leave(self) -> None:
        """Take no new calls from now on."""
        if not self._is_leaving:
            self._is_leaving = True
            self.send(frames.goaway(self._last_taken, frames.NO_ERROR))
            self._close_if_left()

    def stop(self) -> None:
        """End what is under way, and close."""
        for call in list(self.calls.values()):
            call.stop()
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close without waiting for anything to be taken."""
        if self._transport is not None:
            self._transport.abort()

    def _leave_if_idle(self) -> None:
        idle_s = self.limits.idle_s
        left_s = idle_s if self.calls else self._busy_at + idle_s - self.loop.time()
        if left_s > 0:
            self._idle_timer = self.loop.call_later(left_s, self._leave_if_idle)
        else:
            self.leave()

    def _close_if_left(self) -> None:
        if self._is_leaving and not self.calls and self._transport is not None:
            self._flush()
            self._transport.close()

    def _fail(self, fault: Fault) -> None:
        log.info("closing a client's connection", extra={"why": str(fault)})
        self.send(frames.goaway(self._last_taken, fault.code, str(fault)))
        self._flush()
        if self._transport is not None:
            self._transport.close()

    # -- frames in

    def _after_preface(self, data: bytes) -> bytes:
        """Return what comes after the client's preface; nothing while that is not whole, or is another protocol's."""
        data = self._preface + data
        if not data.startswith(frames.PREFACE[: len(data)]):
            self.hand_over(data)
            return b""
        if len(data) < len(frames.PREFACE):
            self._preface = data
            return b""
        self._has_preface, self._preface = True, b""
        self._greet()
        return data[len(frames.PREFACE) :]

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise Fault(frames.PROTOCOL_ERROR, "headers are not finished")
        if not self._has_settings and (kind != frames.SETTINGS or flags & frames.ACK):
            raise Fault(frames.PROTOCOL_ERROR, "the preface ends without SETTINGS")
        if kind == frames.DATA:
            self._on_data(flags, stream, payload)
        elif kind == frames.HEADERS:
            self._on_headers(flags, stream, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._on_window_update(stream, frames.number_from(payload, "WINDOW_UPDATE"))
        elif kind == frames.PING:
            if len(payload) != _PING_BYTES or stream:
                raise Fault(frames.FRAME_SIZE_ERROR if not stream else frames.PROTOCOL_ERROR, "a bad PING")
            if not flags & frames.ACK:
                self.send(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.SETTINGS:
            self._on_settings(flags, stream, payload)
        elif kind == frames.RST_STREAM:
            self._on_reset(stream, payload)
        elif kind == frames.CONTINUATION:
            self._on_continuation(flags, stream, payload)
        elif kind == frames.PRIORITY:
            if not stream:
                raise Fault(frames.PROTOCOL_ERROR, "PRIORITY of no stream")
            _check_priority(stream, payload)
        elif kind == frames.PUSH_PROMISE:
            raise Fault(frames.PROTOCOL_ERROR, "a client does not push")
        elif kind == frames.GOAWAY and (stream or len(payload) < _GOAWAY_BYTES_MIN):
            raise Fault(frames.FRAME_SIZE_ERROR if not stream else frames.PROTOCOL_ERROR, "a bad GOAWAY")
        # GOAWAY that is good: whoever says it closes when it is done. Unknown kinds mean nothing here.

    def _has_begun(self, stream: int) -> bool:
        return bool(stream & 1) and stream <= self._last_stream

    def _is_let_pass(self, stream: int) -> bool:
        """Whether the client may not know yet that a stream of it is not taken, or not any more."""
        return stream in self._let_pass or stream > self._last_taken

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._uncredited += len(payload)
        if self._uncredited >= self.limits.connection_window_bytes // 2:
            self.send(frames.window_update(0, self._uncredited))
            self._uncredited = 0
        if not self._has_begun(stream):
            raise Fault(frames.PROTOCOL_ERROR, "DATA of a stream that was never begun")
        sent_bytes, payload = len(payload), frames.unpadded(flags, payload)
        call = self.calls.get(stream)
        if call is None:
            if not self._is_let_pass(stream):
                self.reset(stream, frames.STREAM_CLOSED)
        elif stream in self._ended:
            self._end(call, frames.STREAM_CLOSED)
        else:
            if sent_bytes > len(payload):
                self.send(frames.window_update(stream, sent_bytes - len(payload)))  # The call never hears of it.
            if flags & frames.END_STREAM:
                self._ended.add(stream)
            call.on_data(payload, bool(flags & frames.END_STREAM))

    def _on_reset(self, stream: int, payload: bytes) -> None:
        frames.number_from(payload, "RST_STREAM")
        if not self._has_begun(stream):
            raise Fault(frames.PROTOCOL_ERROR, "RST_STREAM of a stream that was never begun")
        call = self.calls.get(stream)
        if call is not None:
            call.on_reset()
            self._let_pass.pop(stream, None)

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        payload = frames.unpadded(flags, payload)
        if not stream & 1:
            raise Fault(frames.PROTOCOL_ERROR, "HEADERS of a stream that is not a client's")
        if flags & frames.HAS_PRIORITY:
            _check_priority(stream, payload[:_PRIORITY_BYTES])
            payload = payload[_PRIORITY_BYTES:]
        if flags & frames.END_HEADERS:
            self._on_block(stream, flags & frames.END_STREAM, payload)
        else:
            self._block = (stream, flags & frames.END_STREAM, bytearray(payload))

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream or (not payload and not flags & frames.END_HEADERS):
            raise Fault(frames.PROTOCOL_ERROR, "CONTINUATION of nothing")
        _, ends_stream, block = self._block
        block += payload
        if len(block) > self._block_bytes_max:
            raise Fault(frames.ENHANCE_YOUR_CALM, f"headers of more than {self._block_bytes_max} bytes")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(stream, ends_stream, bytes(block))

    def _on_block(self, stream: int, ends_stream: int, block: bytes) -> None:
        """Begin a call, or end one's requests."""
        try:
            headers = self._decoder.decode(block)  # whatever becomes of the call: the table must stay in step
        except TooManyHeaders:
            headers = None
        if stream <= self._last_stream:
            self._on_trailers(stream, ends_stream, headers)
            return
        self._last_stream = stream
        if self._is_leaving:
            return  # after what we said was the last: the client knows that nothing was done
        self._last_taken = stream
        if headers is None:
            self.refuse_long(stream, has_ended=bool(ends_stream))
            return
        if len(self.calls) >= self.limits.calls_max:
            self.reset(stream, frames.REFUSED_STREAM)
            return
        call = self.begin(stream, headers, self._peer_stream_window, has_ended=bool(ends_stream))
        if call is None:
            return
        self.calls[stream] = call
        if call.deadline is not None and self._sweeper is None:
            self._sweeper = self.loop.call_later(DEADLINES_CHECK_S, self._sweep)
        if ends_stream:
            self._ended.add(stream)
            call.on_end()

    def _on_trailers(self, stream: int, ends_stream: int, headers: Headers | None) -> None:
        call = self.calls.get(stream)
        if call is None:
            if not self._is_let_pass(stream):
                raise Fault(frames.PROTOCOL_ERROR, "HEADERS of a stream that is closed")
        elif stream in self._ended:
            self._end(call, frames.STREAM_CLOSED)
        elif headers is None:
            self._end(call, frames.ENHANCE_YOUR_CALM)
        elif not ends_stream or any(name[:1] == b":" for name, _ in headers):
            self._end(call, frames.PROTOCOL_ERROR)
        else:
            self._ended.add(stream)
            call.on_end()

    def _end(self, call: C, code: int) -> None:
        """End one call for what its client did, and no other."""
        self.reset(call.stream, code)
        call.on_reset()

    def _sweep(self) -> None:
        """Expire calls: one timer for all of a connection's, because there are so many and they so rarely matter."""
        now, has_more = self.loop.time(), False
        for call in list(self.calls.values()):
            if call.deadline is not None:
                if call.deadline <= now:
                    call.expire()
                else:
                    has_more = True
        self._sweeper = self.loop.call_later(DEADLINES_CHECK_S, self._sweep) if has_more else None

    # -- flow control

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise Fault(frames.PROTOCOL_ERROR, "SETTINGS of a stream")
        if flags & frames.ACK:
            if payload:
                raise Fault(frames.FRAME_SIZE_ERROR, "an acknowledgement with settings in it")
            return
        if not self._has_settings:
            self._has_settings = True
            if self._preface_timer is not None:
                self._preface_timer.cancel()
        for name, value in frames.settings_from(payload):
            if name == frames.INITIAL_WINDOW_SIZE:
                self._set_stream_windows(value)
        self.send(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._pump_all()

    def _set_stream_windows(self, value: int) -> None:
        more, self._peer_stream_window = value - self._peer_stream_window, value
        if not more:
            return
        for call in self.calls.values():
            call.window += more
            if call.window > frames.WINDOW_BYTES_MAX:
                raise Fault(frames.FLOW_CONTROL_ERROR, "a window that is too large")
            if call.queue:
                self._held_back[call.stream] = call

    def _on_window_update(self, stream: int, more: int) -> None:
        more &= 0x7FFFFFFF
        if not stream:
            self.window += more
            if not more:
                raise Fault(frames.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            if self.window > frames.WINDOW_BYTES_MAX:
                raise Fault(frames.FLOW_CONTROL_ERROR, "a window that is too large")
            self._pump_all()
            return
        if not self._has_begun(stream):
            raise Fault(frames.PROTOCOL_ERROR, "WINDOW_UPDATE of a stream that was never begun")
        call = self.calls.get(stream)
        if call is None:
            return
        call.window += more
        if not more:
            self._end(call, frames.PROTOCOL_ERROR)
        elif call.window > frames.WINDOW_BYTES_MAX:
            self._end(call, frames.FLOW_CONTROL_ERROR)
        elif call.queue:
            self.pump(call)

    def pump(self, call: C) -> None:
        """Send what there is room for of what a call has to send."""
        while call.queue:
            if not self._send_piece(call):
                return
        if self.is_writable:
            self._held_back.pop(call.stream, None)
            call.on_sent()

    def _pump_all(self) -> None:
        """Send what there is room for of what was held back, a frame of each call in turn."""
        while self._held_back and self.window > 0 and self.is_writable and self._out_bytes <= OUT_BYTES_MAX:
            _, call = self._held_back.popitem(last=False)
            if call.queue and not self._send_piece(call):
                continue
            if call.queue:
                self._held_back[call.stream] = call
            else:
                call.on_sent()

    def _send_piece(self, call: C) -> bool:
        """Send one frame of what a call has to send, or return False and hold it back.

        What the client takes no more of on the call's own stream is not held back: it goes on by itself.
        """
        room = min(call.window, self.window, FRAME_BYTES_MAX)
        if room <= 0 or not self.is_writable or self._out_bytes > OUT_BYTES_MAX:
            if call.window > 0:
                self._held_back[call.stream] = call
            return False
        queue = call.queue
        chunk = queue[0]
        piece = chunk[:room]
        length = len(piece)
        if length == len(chunk):
            queue.popleft()
        else:
            queue[0] = chunk[room:]
        call.window -= length
        self.window -= length
        self.send(HEAD.pack(length >> 8, length & 0xFF, frames.DATA, 0, call.stream))
        self.send(piece)
        return True

    def send_data(self, call: C, content: bytes | memoryview) -> bool:
        """Send a piece of an answer in one frame of its own, or return False if there is no room for that now."""
        length = len(content)
        if (
            length > call.window
            or length > self.window
            or length > FRAME_BYTES_MAX
            or call.queue
            or not self.is_writable
            or self._out_bytes > OUT_BYTES_MAX
        ):
            return False
        out = self._out
        if not out:
            self.loop.call_soon(self._flush)
        out.append(HEAD.pack(length >> 8, length & 0xFF, frames.DATA, 0, call.stream))
        out.append(content)
        self._out_bytes += length
        call.window -= length
        self.window -= length
        return True

    def hold_back(self, call: C) -> None:
        """Have the call go on as soon as there is room."""
        if call.window > 0 or not call.queue:
            self._held_back[call.stream] = call

    def forget(self, call: C, *, has_ended: bool) -> None:
        """Let go of a call that is answered; `has_ended`: the client has said all it will."""
        if self.calls.pop(call.stream, None) is not None:
            self._held_back.pop(call.stream, None)
            if not has_ended:
                self.reset(call.stream, frames.NO_ERROR)
            elif call.stream not in self._ended:
                self.let_pass(call.stream)
            self._ended.discard(call.stream)
            if self._is_leaving:
                self._close_if_left()
            elif not self.calls:
                self._busy_at = self.loop.time()

    # -- frames out

    def reset(self, stream: int, code: int) -> None:
        """End a stream."""
        self.let_pass(stream)
        self.send(frames.reset(stream, code))

    def let_pass(self, stream: int) -> None:
        """Do not mind what comes of a stream that is over: its client has yet to hear of it."""
        if len(self._let_pass) >= _LET_PASS_MAX:
            del self._let_pass[next(iter(self._let_pass))]
        self._let_pass[stream] = None

    def send(self, content: bytes | memoryview) -> None:
        """Send at the end of this turn of the event loop."""
        if not self._out:
            self.loop.call_soon(self._flush)
        self._out.append(content)
        self._out_bytes += len(content)

    def _flush(self) -> None:
        out, self._out, self._out_bytes = self._out, [], 0
        if out and self._transport is not None and not self._transport.is_closing():
            content = b"".join(out)
            self.count(sent=len(content))
            self._transport.write(content)
            if self.is_writable:
                if self._held_back:
                    self._pump_all()
            elif self._transport.get_write_buffer_size() > self.limits.unread_bytes_max:
                log.warning("a client asks without reading what it is answered")
                self._transport.abort()


def _check_priority(stream: int, payload: bytes) -> None:
    """Raise a Fault for a priority that is none; those that are mean nothing here."""
    if len(payload) != _PRIORITY_BYTES:
        raise Fault(frames.FRAME_SIZE_ERROR, f"a priority of {len(payload)} bytes")
    if frames.number_from(payload[:4], "PRIORITY") & 0x7FFFFFFF == stream:
        raise Fault(frames.PROTOCOL_ERROR, "a stream that depends on itself")
