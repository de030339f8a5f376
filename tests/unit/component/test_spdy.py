"""SPDY frames: the dictionary, the few frames that matter, and what is refused."""

from __future__ import annotations

import asyncio
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from component import relay, spdy
from component.spdy import Data, Opened, ProtocolError, Replied, Reset, Session
from tests.unit.component.test_websocket import Written


def session(data: bytes = b"", *, is_client: bool = False) -> tuple[Session, Written]:
    reader, writer = asyncio.StreamReader(), Written()
    reader.feed_data(data)
    reader.feed_eof()
    return Session(relay.Connection(reader, writer), is_client=is_client), writer


async def frames(data: bytes, *, is_client: bool = False) -> list[spdy.Frame]:
    read, _ = session(data, is_client=is_client)
    return [frame async for frame in read.frames()]


def control(type: int, payload: bytes, *, flags: int = 0, version: int = 3) -> bytes:
    return struct.pack(">HHI", 0x8000 | version, type, flags << 24 | len(payload)) + payload


def test_the_dictionary_is_the_specifications() -> None:
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


async def test_streams_are_opened_used_and_ended() -> None:
    client, written = session(is_client=True)
    error, stdin = client.open({"streamType": "error"}), client.open({"streamType": "stdin", "port": "80"})
    client.send(stdin, b"hello")
    client.send(stdin, b"", is_last=True)
    client.reset(error)
    client.go_away()
    assert await frames(bytes(written.data)) == [
        Opened(1, {"streamtype": "error"}, is_last=False),
        Opened(3, {"streamtype": "stdin", "port": "80"}, is_last=False),
        Data(3, b"hello", is_last=False),
        Data(3, b"", is_last=True),
        Reset(1, spdy.CANCEL),
    ]
    server, answered = session()
    server.reply(1)
    server.reply(3)
    assert await frames(bytes(answered.data), is_client=True) == [Replied(1, is_last=False), Replied(3, is_last=False)]


async def test_compression_runs_on_through_headers_that_nobody_wants() -> None:
    client, written = session(is_client=True)
    client.open({"a": "b"})
    block = client._header_block({"c": "d"})
    written.data += control(8, struct.pack(">I", 1) + block)
    client.open({"a": "b"})
    opened = await frames(bytes(written.data))
    assert [frame.headers for frame in opened] == [{"a": "b"}, {"a": "b"}]


async def test_the_peers_pings_come_back_and_answers_to_ours_do_not() -> None:
    server, written = session(control(6, struct.pack(">I", 7)) + control(6, struct.pack(">I", 2)))
    assert [frame async for frame in server.frames()] == []
    assert bytes(written.data) == control(6, struct.pack(">I", 7))


async def test_frames_of_no_use_are_passed_over() -> None:
    settings_, window = control(4, b"\0\0\0\0"), control(9, struct.pack(">II", 1, 65536))
    assert await frames(settings_ + window + struct.pack(">II", 5, 1) + b"x") == [Data(5, b"x", is_last=False)]


async def test_a_large_frame_comes_in_pieces_and_ends_once() -> None:
    size = 3 * relay.CHUNK_BYTES + 5
    got = await frames(struct.pack(">II", 1, 1 << 24 | size) + b"x" * size)
    assert sum(len(frame.data) for frame in got) == size
    assert [frame.is_last for frame in got] == [False] * (len(got) - 1) + [True]
    assert all(len(frame.data) <= relay.CHUNK_BYTES for frame in got)


def block(data: bytes) -> bytes:
    deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
    return deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
        (control(6, b"\0\0\0\1", version=2), "version 2"),
        (control(1, b"")[:5] + b"\xff\xff\xff", "is the limit"),
        (control(1, b"\0\0"), "cannot be read"),
        (control(1, b"\0" * 10 + b"nonsense"), "cannot be read"),
        (control(1, b"\0" * 10 + block(struct.pack(">II", 1, 1000))), "ends after its block"),
        (control(1, b"\0" * 10 + block(b"\0" * 10**6)), "more than 65536 bytes"),
    ],
)
async def test_what_is_no_spdy_is_refused(data: bytes, why: str) -> None:
    if not why:
        # Read as a data frame, whose bytes never come: the stream of that number is nobody's.
        assert all(isinstance(frame, Data) for frame in await frames(data))
        return
    with pytest.raises(ProtocolError, match=why):
        await frames(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, is_control: bool) -> None:
    async def run() -> None:
        try:
            await frames((b"\x80\x03\x00" if is_control else b"") + data)
        except ProtocolError:
            return

    asyncio.run(run())
