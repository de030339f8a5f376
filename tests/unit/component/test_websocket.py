"""WebSocket frames: what is sent arrives, in pieces of any size, and what is no frame is refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from component import relay, websocket
from component.websocket import Piece, ProtocolError, WebSocket


class Written:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    def is_closing(self) -> bool:
        return False

    async def drain(self) -> None:
        return


def reading(data: bytes, *, is_client: bool = False) -> tuple[WebSocket, Written]:
    reader, writer = asyncio.StreamReader(), Written()
    reader.feed_data(data)
    reader.feed_eof()
    return WebSocket(relay.Connection(reader, writer), is_client=is_client), writer


def frame(opcode: int, payload: bytes, *, final: bool = True, mask: bytes = b"abcd") -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((final << 7 | opcode, 0x80 | size))
    else:
        head = bytes((final << 7 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


async def pieces(data: bytes) -> list[Piece]:
    socket, _ = reading(data)
    return [piece async for piece in socket.pieces()]


@contextlib.asynccontextmanager
async def joined() -> AsyncIterator[tuple[WebSocket, WebSocket]]:
    """A client's side and a server's, over a real connection."""
    accepted: asyncio.Future[relay.Connection] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda r, w: accepted.set_result(relay.Connection(r, w)), "127.0.0.1", 0)
    ours = await relay.dial(*server.sockets[0].getsockname()[:2])
    theirs = await accepted
    try:
        yield WebSocket(ours, is_client=True), WebSocket(theirs)
    finally:
        ours.abort()
        theirs.abort()
        server.close()


def test_the_key_is_answered_as_the_rfc_shows() -> None:
    fields = dict(websocket.accept_headers("dGhlIHNhbXBsZSBub25jZQ==", "v5.channel.k8s.io"))
    assert fields["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert fields["Sec-WebSocket-Protocol"] == "v5.channel.k8s.io"


async def test_a_message_in_several_frames_says_where_it_begins_and_ends() -> None:
    data = frame(2, b"\x00ab", final=False) + frame(9, b"ping") + frame(0, b"cd", final=False) + frame(0, b"")
    assert await pieces(data) == [
        Piece(b"\x00ab", is_first=True, is_last=False),
        Piece(b"cd", is_first=False, is_last=False),
        Piece(b"", is_first=False, is_last=True),
    ]


async def test_a_ping_is_answered_and_a_close_ends_both_ways() -> None:
    socket, writer = reading(frame(9, b"hey") + frame(8, b"\x03\xe8bye") + frame(2, b"too late"))
    assert [piece async for piece in socket.pieces()] == []
    assert bytes(writer.data) == b"\x8a\x03hey" + b"\x88\x02\x03\xe8"
    with pytest.raises(ConnectionResetError):
        await socket.send(b"x")


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x01a",  # not masked
        frame(0, b"a"),  # continues nothing
        frame(2, b"a", final=False) + frame(2, b"b"),  # begins inside another
        frame(3, b"a"),  # no such opcode
        frame(0xB, b"a"),
        b"\xc2" + frame(2, b"a")[1:],  # compressed, as nobody agreed
        frame(9, b"a", final=False),
        frame(9, b"a" * 126),
    ],
)
async def test_what_is_no_frame_is_refused_and_said_so(data: bytes) -> None:
    socket, writer = reading(data)
    with pytest.raises(ProtocolError):
        async for _ in socket.pieces():
            pass
    assert writer.data[0] == 0x88 and writer.data[2:4] == b"\x03\xea"


async def test_a_frame_that_announces_more_than_all_memory_costs_only_what_comes() -> None:
    data = b"\x82\xff" + (2**63 - 1).to_bytes(8, "big") + b"\0\0\0\0" + b"abc"
    assert await pieces(data) == [Piece(b"abc", is_first=True, is_last=False)]


async def test_every_size_arrives_whole_both_ways() -> None:
    async with joined() as (client, server):
        for size in (0, 1, 125, 126, 65535, 65536, 200_001):
            data = bytes(at * 7 % 251 for at in range(size))
            for sender, receiver in ((client, server), (server, client)):
                sending = asyncio.ensure_future(sender.send(data))
                got = b""
                async with contextlib.aclosing(receiver.pieces()) as received:
                    async for piece in received:
                        got += piece.data
                        assert len(piece.data) <= relay.CHUNK_BYTES
                        if piece.is_last:
                            break
                await sending
                assert got == data


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(1, 80), max_size=8), st.binary(min_size=4, max_size=4))
def test_the_mask_turns_with_the_pieces(data: bytes, cuts: list[int], mask: bytes) -> None:
    async def run() -> bytes:
        reader = asyncio.StreamReader()
        socket = WebSocket(relay.Connection(reader, Written()))
        whole, at = frame(2, data, mask=mask), 0

        async def feed() -> None:
            nonlocal at
            for cut in [*cuts, len(whole)]:
                reader.feed_data(whole[at : at + cut])
                at += cut
                await asyncio.sleep(0)
            reader.feed_eof()

        feeding = asyncio.ensure_future(feed())
        got = b"".join([piece.data async for piece in socket.pieces()])
        await feeding
        return got

    assert asyncio.run(run()) == data
