"""WebSocket frames on a connection that has been upgraded: RFC 6455, without extensions.

`kubectl exec` and its like send what they stream in messages of any size, in any number of frames, so nothing here
waits for a whole message or frame: `WebSocket.pieces` yields what has arrived, at most `relay.CHUNK_BYTES` at a time,
and reads no further until that has been dealt with. Pings are answered and the closing handshake is done on the way.
What the messages mean is the reader's business.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from component.relay import CHUNK_BYTES, Connection

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_CONTROL_BYTES_MAX: Final = 125

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002


class ProtocolError(ValueError):
    """The peer broke RFC 6455; the connection can only be closed."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one message, as it came."""

    data: bytes
    is_first: bool
    """Whether the message begins with it."""
    is_last: bool
    """Whether the message ends with it."""
    is_text: bool = False


def accept_headers(key: str, protocol: str = "") -> list[tuple[str, str]]:
    """Return the fields of the 101 that grants a WebSocket (RFC 6455, section 4.2.2)."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
    return [*fields, ("Sec-WebSocket-Protocol", protocol)] if protocol else fields


class WebSocket:
    """One side of a WebSocket, after the handshake.

    `send` may be called while another task reads; several tasks may send, as each frame is written whole.

    Args:
        connection: what follows the heads of request and answer.
        is_client: whether this is the side that asked. It masks what it sends (section 5.3).
    """

    def __init__(self, connection: Connection, *, is_client: bool = False) -> None:
        self._connection = connection
        self._is_client = is_client
        self._has_sent_close = False
        self._has_received_close = False

    async def send(self, data: bytes, *, is_text: bool = False) -> None:
        """Send one message, and wait until there is room for the next.

        Raises:
            OSError: the connection broke.
        """
        if self._has_sent_close:
            raise ConnectionResetError("the WebSocket is closed")
        self._write(_TEXT if is_text else _BINARY, data)
        await self._connection.writer.drain()

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Yield messages piece by piece until the peer closes, properly or by ending the connection.

        Raises:
            ProtocolError: what comes is no WebSocket; the peer has been told.
            OSError: the connection broke.
        """
        try:
            async with contextlib.aclosing(self._read()) as pieces:
                async for piece in pieces:
                    yield piece
        except asyncio.IncompleteReadError:
            return
        except ProtocolError as error:
            self._write_close(PROTOCOL_ERROR, str(error))
            raise

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Say goodbye. Whoever reads goes on until the peer has said so too, and should: what is left unread when a
        socket is closed takes back what the peer has not read yet.

        Raises:
            OSError: the connection broke.
        """
        self._write_close(code, reason)
        await self._connection.writer.drain()

    async def _read(self) -> AsyncGenerator[Piece, None]:
        reader, is_inside, is_text = self._connection.reader, False, False
        while not self._has_received_close:
            first, second = await reader.readexactly(2)
            opcode, is_final, size = first & 0xF, bool(first & 0x80), second & 0x7F
            if first & 0x70:
                raise ProtocolError("a reserved bit is set, and no extension was agreed on")
            if bool(second & 0x80) is self._is_client:
                raise ProtocolError("a client must mask its frames, and a server must not")
            if size == 126:
                size = int.from_bytes(await reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await reader.readexactly(8), "big")
            mask = b"" if self._is_client else await reader.readexactly(4)
            if opcode >= _CLOSE:
                if not is_final or size > _CONTROL_BYTES_MAX:
                    raise ProtocolError("a control frame must be whole, and at most 125 bytes long")
                self._control(opcode, _masked(await reader.readexactly(size), mask))
                continue
            if opcode > _BINARY or (opcode == _CONTINUATION) is not is_inside:
                raise ProtocolError(f"a frame of opcode {opcode} does not belong here")
            is_first, left = not is_inside, size
            is_text = opcode == _TEXT if is_first else is_text
            while True:
                data = await reader.read(min(left, CHUNK_BYTES)) if left else b""
                if left and not data:
                    return
                left -= len(data)
                yield Piece(_masked(data, mask), is_first, is_final and not left, is_text)
                if not left:
                    break
                is_first = False
                turn = len(data) % 4
                mask = mask[turn:] + mask[:turn]
            is_inside = not is_final

    def _control(self, opcode: int, data: bytes) -> None:
        if opcode == _CLOSE:
            self._has_received_close = True
            code = int.from_bytes(data[:2], "big") if len(data) >= 2 else NORMAL
            self._write_close(code)
        elif opcode == _PING:
            if not self._has_sent_close:
                self._write(_PONG, data)
        elif opcode != _PONG:
            raise ProtocolError(f"a frame of opcode {opcode} does not belong here")

    def _write_close(self, code: int, reason: str = "") -> None:
        if self._has_sent_close or self._connection.writer.is_closing():
            return
        self._has_sent_close = True
        self._write(_CLOSE, (code.to_bytes(2, "big") + reason.encode())[:_CONTROL_BYTES_MAX])

    def _write(self, opcode: int, data: bytes) -> None:
        size, flag = len(data), 0x80 if self._is_client else 0
        if size < 126:
            head = bytes((0x80 | opcode, flag | size))
        elif size < 1 << 16:
            head = bytes((0x80 | opcode, flag | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | opcode, flag | 127)) + size.to_bytes(8, "big")
        if self._is_client:
            mask = secrets.token_bytes(4)
            head, data = head + mask, _masked(data, mask)
        self._connection.writer.write(head + data)


def _masked(data: bytes, mask: bytes) -> bytes:
    """Return `data` XORed with the repeated mask: masked, or unmasked again."""
    if not data or not mask:
        return data
    size = len(data)
    repeated = (mask * (size // 4 + 1))[:size]
    # As two large numbers: a loop over bytes would cost fifty times as much.
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")
