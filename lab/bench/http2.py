"""What the loads share of a client's side of HTTP/2 (RFC 9113): limits as Go's client has them, greetings, requests.

It is as little of it as measuring needs: servers are trusted to keep to the protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from component.http2 import frames
from component.http2.frames import Splitter
from component.http2.hpack import Decoder, literal

STREAMS_MAX = 100
"""Requests that share a connection: what kube-apiserver allows."""
STREAM_WINDOW_BYTES = 4 << 20
CONNECTION_WINDOW_BYTES = 1 << 30

Pairs = Iterable[tuple[str, str]]


def connections_for(requests: int) -> int:
    """Return how many connections so many requests at a time take."""
    return -(-requests // STREAMS_MAX)


def block(fields: Pairs) -> bytes:
    """Return header fields as they are sent, each spelled out."""
    return b"".join(literal(name.encode(), value.encode()) for name, value in fields)


def request(stream: int, header_block: bytes, body: bytes | None = None) -> bytes:
    """Return the frames of a whole request."""
    if body is None:
        return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, header_block)
    head = frames.frame(frames.HEADERS, frames.END_HEADERS, stream, header_block)
    return head + frames.frame(frames.DATA, frames.END_STREAM, stream, body)


class Piece(NamedTuple):
    """What a frame brings to one stream."""

    stream: int
    status: int = 0
    """Of the answer, where it begins."""
    data: bytes = b""
    has_ended: bool = False
    is_reset: bool = False
    """Whether it ended before it was whole."""


class Session:
    """One connection's protocol: what its streams' users need not know of."""

    def __init__(self, stream_window_bytes: int = STREAM_WINDOW_BYTES) -> None:
        self._frames = Splitter()
        self._decoder = Decoder()
        self._uncredited = 0
        settings = frames.settings({frames.ENABLE_PUSH: 0, frames.INITIAL_WINDOW_SIZE: stream_window_bytes})
        window = frames.window_update(0, CONNECTION_WINDOW_BYTES - frames.WINDOW_BYTES)
        self.out = frames.PREFACE + settings + window
        """What is to be sent; who sends it takes it away."""

    def pieces(self, data: bytes) -> Iterator[Piece]:
        """Yield what arrives for streams; what the protocol wants answered is put into `out`."""
        for kind, flags, stream, payload in self._frames.split(data):
            has_ended = bool(flags & frames.END_STREAM)
            if kind == frames.DATA:
                self._uncredited += len(payload)
                if self._uncredited >= CONNECTION_WINDOW_BYTES // 2:
                    self.out += frames.window_update(0, self._uncredited)
                    self._uncredited = 0
                yield Piece(stream, data=payload, has_ended=has_ended)
            elif kind == frames.HEADERS:
                name, value = self._decoder.decode(payload)[0]
                # Trailers have no status.
                yield Piece(stream, status=int(value) if name == b":status" else 0, has_ended=has_ended)
            elif kind == frames.RST_STREAM:
                yield Piece(stream, has_ended=True, is_reset=True)
            elif kind in (frames.PING, frames.SETTINGS) and not flags & frames.ACK:
                self.out += frames.frame(kind, frames.ACK, 0, payload if kind == frames.PING else b"")
