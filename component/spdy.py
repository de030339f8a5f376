"""SPDY/3.1 frames on a connection that has been upgraded: the little of it that container streaming uses.

Streams are opened with a few headers (`streamtype: stdout`), carry bytes both ways, and are ended by each side for
itself (FLAG_FIN) or by one for both (RST_STREAM). Push, priorities and settings are of no use here and passed over;
so is per-stream flow control, which no implementation on this road does: whoever reads slowly holds up the whole
connection, by TCP. Header blocks are compressed in one zlib stream per direction with a dictionary, so frames must be
written in the order in which they are made.

`Session.frames` yields the data of a frame as it arrives, at most `relay.CHUNK_BYTES` at a time, and reads no further
until that has been dealt with. Pings are answered on the way. Facts: the SPDY/3.1 draft, sections 2.2 and 2.6.
"""

from __future__ import annotations

import struct
import zlib
from asyncio import IncompleteReadError
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Final

from component.relay import CHUNK_BYTES, Connection

_VERSION: Final = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8
_FIN: Final = 0x01
CANCEL: Final = 5
"""The RST_STREAM status of a stream that is not wanted any more."""

CONTROL_BYTES_MAX: Final = 64 * 1024
"""Longest control frame taken, and longest header block it may unfold to."""

_DICTIONARY_WORDS: Final = (
    "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,accept-ranges,age,"
    "allow,authorization,cache-control,connection,content-base,content-encoding,content-language,content-length,"
    "content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,if-match,"
    "if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,"
    "proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,"
    "upgrade,user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,"
    "set-cookie,keep-alive,origin"
)
_DICTIONARY_TAIL: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY: Final = (
    b"".join(len(word).to_bytes(4, "big") + word.encode() for word in _DICTIONARY_WORDS.split(","))
    + _DICTIONARY_TAIL.encode()
)
"""The compression dictionary of SPDY/3 (section 2.6.10.1): 1423 bytes, Adler-32 e3c6a7c2."""


class ProtocolError(ValueError):
    """The peer does not speak SPDY/3.1; the connection can only be dropped."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream; it wants a `reply`."""

    stream: int
    headers: Mapping[str, str]
    is_last: bool
    """Whether the peer will send nothing on it."""


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes on a stream; maybe a part of a frame."""

    stream: int
    data: bytes
    is_last: bool
    """Whether the peer will send no more on it."""


@dataclass(frozen=True, slots=True)
class Replied:
    """The peer took a stream that was opened from here."""

    stream: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The peer ended a stream, in both directions."""

    stream: int
    status: int


Frame = Opened | Data | Replied | Reset


class Session:
    """One side of a connection.

    Writing is synchronous, so that frames keep their order; `drain` after it waits for room. One task reads.

    Args:
        connection: what follows the heads of request and answer.
        is_client: whether this side asked for the upgrade; it numbers its streams 1, 3, 5, …
    """

    def __init__(self, connection: Connection, *, is_client: bool) -> None:
        self._connection = connection
        self._next_stream = 1 if is_client else 2
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    @property
    def is_over(self) -> bool:
        """Whether nothing can be written any more."""
        return self._connection.writer.is_closing()

    # Writing

    def open(self, headers: Mapping[str, str]) -> int:
        """Open a stream; returns its number."""
        stream = self._next_stream
        self._next_stream += 2
        self._control(_SYN_STREAM, struct.pack(">IIBB", stream, 0, 0, 0) + self._header_block(headers))
        return stream

    def reply(self, stream: int) -> None:
        """Take a stream that the peer opened."""
        self._control(_SYN_REPLY, struct.pack(">I", stream) + self._header_block({}))

    def send(self, stream: int, data: bytes, *, is_last: bool = False) -> None:
        """Send bytes on a stream; with `is_last`, no more will follow. At most 16 MiB at once."""
        head = struct.pack(">II", stream, (_FIN if is_last else 0) << 24 | len(data))
        self._connection.writer.write(head + data)

    def reset(self, stream: int, status: int = CANCEL) -> None:
        """End a stream in both directions."""
        self._control(_RST_STREAM, struct.pack(">II", stream, status))

    def go_away(self) -> None:
        """Announce the end of the connection."""
        self._control(_GOAWAY, struct.pack(">II", 0, 0))

    async def drain(self) -> None:
        """Wait until the peer has taken enough of what was written.

        Raises:
            OSError: the connection broke.
        """
        await self._connection.writer.drain()

    def _header_block(self, headers: Mapping[str, str]) -> bytes:
        block = bytearray(struct.pack(">I", len(headers)))
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                block += struct.pack(">I", len(text)) + text
        return self._deflate.compress(bytes(block)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def _control(self, type: int, payload: bytes) -> None:
        head = struct.pack(">HHI", 0x8000 | _VERSION, type, len(payload))
        self._connection.writer.write(head + payload)

    # Reading

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Yield what the peer does until it ends the connection (announcing that, with GOAWAY, is not the end).

        Raises:
            ProtocolError: what comes is no SPDY/3.1.
            OSError: the connection broke.
        """
        reader = self._connection.reader
        try:
            while True:
                word, tail = struct.unpack(">II", await reader.readexactly(8))
                flags, size = tail >> 24, tail & 0xFFFFFF
                if word & 0x80000000:
                    version, type = word >> 16 & 0x7FFF, word & 0xFFFF
                    if version != _VERSION:
                        raise ProtocolError(f"a frame of SPDY version {version}, and only {_VERSION} is spoken here")
                    if size > CONTROL_BYTES_MAX:
                        raise ProtocolError(f"a control frame of {size} bytes: {CONTROL_BYTES_MAX} is the limit")
                    frame = self._control_frame(type, flags, await reader.readexactly(size))
                    if frame is not None:
                        yield frame
                    continue
                while True:
                    data = await reader.read(min(size, CHUNK_BYTES)) if size else b""
                    if size and not data:
                        return
                    size -= len(data)
                    yield Data(word, data, is_last=not size and bool(flags & _FIN))
                    if not size:
                        break
        except IncompleteReadError:
            return

    def _control_frame(self, type: int, flags: int, payload: bytes) -> Frame | None:
        is_last = bool(flags & _FIN)
        try:
            if type == _SYN_STREAM:
                (stream,) = struct.unpack_from(">I", payload)
                return Opened(stream & 0x7FFFFFFF, self._headers(payload[10:]), is_last)
            if type == _SYN_REPLY:
                (stream,) = struct.unpack_from(">I", payload)
                self._headers(payload[4:])
                return Replied(stream & 0x7FFFFFFF, is_last)
            if type == _RST_STREAM:
                stream, status = struct.unpack(">II", payload)
                return Reset(stream & 0x7FFFFFFF, status)
            if type == _PING:
                (number,) = struct.unpack(">I", payload)
                if number % 2 != self._next_stream % 2:  # the peer's own, not the answer to one of ours
                    self._control(_PING, payload)
            elif type == _HEADERS:
                self._headers(payload[4:])  # nothing in them is wanted, but the compression runs on through them
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise ProtocolError(f"a control frame of type {type} that cannot be read: {error}") from None
        return None

    def _headers(self, block: bytes) -> dict[str, str]:
        data = self._inflate.decompress(block, CONTROL_BYTES_MAX)
        if self._inflate.unconsumed_tail:
            raise ProtocolError(f"a header block of more than {CONTROL_BYTES_MAX} bytes")
        (count,) = struct.unpack_from(">I", data)
        at, headers = 4, {}
        for _ in range(count):
            name, at = _text(data, at)
            headers[name], at = _text(data, at)
        return headers


def _text(data: bytes, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from(">I", data, at)
    at += 4
    if size > len(data) - at:
        raise ProtocolError("a header that ends after its block does")
    return data[at : at + size].decode(), at + size
