"""What HTTP/2's frames look like (RFC 9113 section 4 and 6): numbers, and bytes put together."""

from __future__ import annotations

import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES_MAX = 16_384
"""Of what a frame carries: the least that everyone takes, and the most that is taken here."""
WINDOW_BYTES = 65_535
"""What may be sent before the other side has said more."""
WINDOW_BYTES_MAX = (1 << 31) - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)  # fmt: skip  # noqa: E501

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(6, 12)

HEAD = struct.Struct(">HBBBI")
"""Length of the payload (high 16 bits, low 8), kind, flags, stream."""
HEAD_BYTES = HEAD.size
_STREAM_MAX = (1 << 31) - 1
"""Of a stream's number; the bit above it means nothing."""
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")
_ALLOWED = {ENABLE_PUSH: range(2), INITIAL_WINDOW_SIZE: range(1 << 31), MAX_FRAME_SIZE: range(1 << 14, 1 << 24)}
"""Values of settings that do not have just any (section 6.5.2)."""


class Fault(Exception):
    """What the client did ends the connection; `code` is HTTP/2's number for it."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Splitter:
    """Cuts what arrives on a connection into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield kind, flags, stream and payload of each frame that is whole with `data`; what is begun is kept.

        Raises:
            Fault: a frame is longer than anybody may send here.
        """
        if self._rest:
            data = self._rest + data
        position, end, unpack = 0, len(data), HEAD.unpack_from
        while end - position >= HEAD_BYTES:
            high, low, kind, flags, stream = unpack(data, position)
            length = high << 8 | low
            if length > FRAME_BYTES_MAX:
                raise Fault(FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            begin = position + HEAD_BYTES
            if begin + length > end:
                break
            position = begin + length
            yield kind, flags, stream & _STREAM_MAX, data[begin:position]
        self._rest = data[position:]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    length = len(payload)
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*item) for item in values.items()))


def settings_from(payload: bytes) -> list[tuple[int, int]]:
    """Return what a SETTINGS frame says, in order.

    Raises:
        Fault: it is no list of settings, or one of them has a value that it can't have.
    """
    if len(payload) % _SETTING.size:
        raise Fault(FRAME_SIZE_ERROR, "SETTINGS of an odd size")
    found = list(_SETTING.iter_unpack(payload))
    for name, value in found:
        if name in _ALLOWED and value not in _ALLOWED[name]:
            code = FLOW_CONTROL_ERROR if name == INITIAL_WINDOW_SIZE else PROTOCOL_ERROR
            raise Fault(code, f"setting {name} of {value}")
    return found


def window_update(stream: int, bytes_more: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return frame(WINDOW_UPDATE, 0, stream, _NUMBER.pack(bytes_more))


def reset(stream: int, code: int) -> bytes:
    """Return a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, _NUMBER.pack(code))


def goaway(last_stream: int, code: int, why: str = "") -> bytes:
    """Return a GOAWAY frame."""
    return frame(GOAWAY, 0, 0, _NUMBER.pack(last_stream) + _NUMBER.pack(code) + why.encode())


def number_from(payload: bytes, kind: str) -> int:
    """Return the one number of a WINDOW_UPDATE or RST_STREAM frame.

    Raises:
        Fault: it has another size.
    """
    if len(payload) != _NUMBER.size:
        raise Fault(FRAME_SIZE_ERROR, f"{kind} of {len(payload)} bytes")
    return int(_NUMBER.unpack(payload)[0])


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return a payload without its padding.

    Raises:
        Fault: there is more padding than payload.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Fault(PROTOCOL_ERROR, "more padding than there is payload")
    return payload[1 : len(payload) - payload[0]]
