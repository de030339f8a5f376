"""exec, attach and port-forward: from what a client speaks to what the container runtime's streaming server speaks.

    client                                      runtime
    SPDY/3.1                               ──▶  SPDY/3.1                    bytes, unread
    WebSocket v4.channel.k8s.io and older  ──▶  the same                    bytes, unread
    WebSocket SPDY/3.1+portforward.k8s.io  ──▶  SPDY/3.1                    SPDY's bytes, out of their messages
    WebSocket v5.channel.k8s.io            ──▶  SPDY/3.1, v4.channel.k8s.io  channels to streams and back

The channels of v5: the first byte of each message is 0 for stdin, 1 stdout, 2 stderr, 3 a Status at the end, 4 the
terminal's size; 255 closes the channel that its second byte names, which is how stdin ends (KEP-4006). v4 has no such
thing, and that is why v5 is not simply called v4 on the way on.

Every byte is handed on as it comes; one side is read no further until the other has taken it.

A container that ends while somebody attaches to it can leave the runtime with a stream that it never closes: containerd
closes stdout then, and forgets stderr. So `hang_up` ends what says nothing more once its container has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from component import relay, spdy, websocket

V5: Final = "v5.channel.k8s.io"
TUNNEL: Final = "SPDY/3.1+portforward.k8s.io"
_FIRST_SPDY: Final = {V5: "v4.channel.k8s.io", TUNNEL: "portforward.k8s.io"}
"""What the runtime is asked for, for each protocol that it does not know."""

_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_STATUS_BYTES_MAX: Final = 64 * 1024
CLOSING_S: Final = 5.0
"""How long a client has to answer that the WebSocket is closed."""
_LOST: Final = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"InternalError","code":500,'
    b'"message":"the container runtime closed the stream without saying how the command ended"}'
)


_SUCCESS: Final = b'{"metadata":{},"status":"Success"}'
SILENT_S: Final = 3.0
"""How long a runtime may say nothing after the container has ended, before it counts as having said all.

Shorter than the 5 s after which clients of SPDY ask it again whether it is there, which it answers.
"""
LOOK_S: Final = 0.5
"""How often that is looked at."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The streams of an exec or attach."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def translated(protocol: str, offered: Sequence[str]) -> str:
    """Return which WebSocket subprotocol has to be translated: the first that a client offers, if it is such a one.

    Args:
        protocol: what the connection becomes, `websocket` or `spdy/3.1`.
        offered: subprotocols in the client's order.
    """
    first = offered[0] if protocol == "websocket" and offered else ""
    return first if first in _FIRST_SPDY else ""


def onward_headers(protocol: str, host: str) -> list[tuple[str, str]]:
    """Return the fields that ask the runtime at `host` for the SPDY that a subprotocol is translated to."""
    return [
        ("Host", host),
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", _FIRST_SPDY[protocol]),
        ("Content-Length", "0"),
    ]


async def hang_up(runtime: relay.Connection, has_ended: Callable[[], bool]) -> None:
    """End what comes from a runtime, once the container attached to has ended and all that it said has been handed on.

    Args:
        runtime: as `relay.dial` gives it with `is_apart`.
        has_ended: whether the container has.
    """
    reader, clock = runtime.reader, asyncio.get_running_loop().time
    assert isinstance(reader, relay.Reader)
    seen: float | None = None
    while True:
        await asyncio.sleep(LOOK_S)
        if seen is None and has_ended():
            seen = clock()
        # It may have been silent for an hour, and its last words be on their way: silence counts from its end.
        if seen is not None and min(clock() - seen, reader.waited_s) >= SILENT_S:
            break
    runtime.end_reading()


async def carry(
    protocol: str,
    client: relay.Connection,
    runtime: relay.Connection,
    wanted: Wanted | None,
    has_ended: Callable[[], bool] | None = None,
) -> None:
    """Carry a WebSocket of a translated subprotocol until one side is done; both have agreed to their upgrades.

    Args:
        protocol: `V5` or `TUNNEL`.
        client: behind its 101.
        runtime: behind its 101.
        wanted: the streams, for `V5`.
        has_ended: whether the container attached to has: its end is a success, whether or not the runtime says so.
    """
    socket = websocket.WebSocket(client)
    if protocol == TUNNEL:
        ways = (_tunnel_in(socket, runtime), _tunnel_out(socket, runtime))
    else:
        assert wanted is not None
        channels = _Channels(socket, spdy.Session(runtime, is_client=True), wanted, has_ended)
        await channels.open()
        ways = (channels.carry_in(), channels.carry_out())
    inward, outward = (asyncio.ensure_future(way) for way in ways)
    try:
        await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
        runtime.abort()  # which also frees a writer that waits for a program that will never read its stdin
        if not inward.done():
            # All is said. The client may be sending still; that is read, and lost, until it has closed its side.
            with contextlib.suppress(OSError):
                await socket.close()
            await asyncio.wait((inward,), timeout=CLOSING_S)
    finally:
        inward.cancel()
        outward.cancel()
        runtime.abort()
        for end in await asyncio.gather(inward, outward, return_exceptions=True):
            if isinstance(end, Exception) and not isinstance(end, (OSError, *_PROTOCOL_ERRORS)):
                raise end


_PROTOCOL_ERRORS: Final = (websocket.ProtocolError, spdy.ProtocolError)


async def _tunnel_in(socket: websocket.WebSocket, runtime: relay.Connection) -> None:
    async for piece in socket.pieces():
        if not runtime.writer.is_closing():
            runtime.writer.write(piece.data)
            with contextlib.suppress(OSError):
                await runtime.writer.drain()


async def _tunnel_out(socket: websocket.WebSocket, runtime: relay.Connection) -> None:
    while data := await runtime.reader.read(relay.CHUNK_BYTES):
        await socket.send(data)


class _Channels:
    """The channels of one exec or attach, and the SPDY streams that they are at the runtime."""

    def __init__(
        self, socket: websocket.WebSocket, session: spdy.Session, wanted: Wanted, has_ended: Callable[[], bool] | None
    ) -> None:
        self._socket = socket
        self._has_ended = has_ended
        self._session = session
        self._wanted = wanted
        self._streams: dict[int, int] = {}
        """From channel to stream, while we may send on it or have not seen its end."""

    async def open(self) -> None:
        """Open the streams that the runtime waits for, and show the client that all is ready."""
        wanted = self._wanted
        kinds = (
            (_STATUS, "error", True),
            (_STDIN, "stdin", wanted.stdin),
            (_STDOUT, "stdout", wanted.stdout),
            (_STDERR, "stderr", wanted.stderr),
            (_RESIZE, "resize", wanted.tty),
        )
        for channel, kind, is_wanted in kinds:
            if is_wanted:
                self._streams[channel] = self._session.open({"streamtype": kind})
        await self._session.drain()
        # Clients that wait for a first message, as those of v4 do, get an empty one on the first channel they read.
        first = next(channel for channel in (_STDOUT, _STDERR, _STATUS) if channel in self._streams)
        await self._socket.send(bytes((first,)))

    async def carry_in(self) -> None:
        """Hand on stdin and terminal sizes until the client is gone."""
        channel, is_new = -1, True
        async for piece in self._socket.pieces():
            data = piece.data
            is_new = is_new or piece.is_first
            if is_new and data:
                channel, data, is_new = data[0], data[1:], False
            if channel == _CLOSE:
                if data[:1] == bytes((_STDIN,)):
                    await self._send(_STDIN, b"", is_last=True)
            elif data and channel in (_STDIN, _RESIZE):
                await self._send(channel, data)

    async def _send(self, channel: int, data: bytes, *, is_last: bool = False) -> None:
        stream = self._streams.get(channel)
        if stream is None or self._session.is_over:
            return
        if is_last:
            del self._streams[channel]
        self._session.send(stream, data, is_last=is_last)
        with contextlib.suppress(OSError):
            await self._session.drain()

    async def carry_out(self) -> None:
        """Hand on what the container says until all of it is said, then how it ended."""
        streams = {stream: channel for channel, stream in self._streams.items()}
        left = {_STDOUT, _STDERR, _STATUS} & self._streams.keys()
        status, has_spoken = bytearray(), False
        async with contextlib.aclosing(self._session.frames()) as frames:
            async for frame in frames:
                channel = streams.get(frame.stream, -1)
                is_end = isinstance(frame, spdy.Reset)
                if isinstance(frame, spdy.Data):
                    is_end = frame.is_last
                    if channel == _STATUS:
                        status += frame.data[: _STATUS_BYTES_MAX - len(status)]
                    elif channel in (_STDOUT, _STDERR) and frame.data:
                        has_spoken = True
                        await self._socket.send(bytes((channel,)) + frame.data)
                if is_end:
                    left.discard(channel)
                    if isinstance(frame, spdy.Reset):
                        self._streams.pop(channel, None)
                if not left:
                    break
        # A container that ended before anything came of it is an error: kubectl reads the log then.
        is_whole = has_spoken and self._has_ended is not None and self._has_ended()
        unsaid = _SUCCESS if is_whole else _LOST
        await self._socket.send(bytes((_STATUS,)) + (bytes(status) or unsaid))
