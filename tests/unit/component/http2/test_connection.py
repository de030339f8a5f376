"""What RFC 9113 has a server do with each frame that a client must not send, and with windows; raw frames, one call."""

from __future__ import annotations

import asyncio
import struct
from collections import deque

import pytest

from component.http2 import connection as http2
from component.http2 import frames
from component.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    PADDED,
    frame,
    settings,
    window_update,
)
from component.http2.hpack import Headers, literal

BLOCK = literal(b":method", b"GET") + literal(b":path", b"/")
START = frames.PREFACE + settings({})
CALM = END_HEADERS | END_STREAM


class Transport(asyncio.Transport):
    """What the connection writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Call:
    """One stream, that notes what it is told."""

    def __init__(self, connection: Connection, stream: int, window: int) -> None:
        self.connection = connection
        self.stream = stream
        self.window = window
        self.queue: deque[memoryview] = deque()
        self.deadline: float | None = None
        self.told: list[object] = []

    def on_data(self, payload: bytes, has_ended: bool) -> None:
        self.told.append(payload)

    def on_end(self) -> None:
        self.told.append("end")

    def on_reset(self) -> None:
        self.told.append("reset")
        self.connection.forget(self, has_ended=True)

    def on_sent(self) -> None:
        self.told.append("sent")

    def expire(self) -> None: ...

    def stop(self) -> None: ...

    def write(self, size_bytes: int) -> None:
        self.queue.append(memoryview(bytes(size_bytes)))
        self.connection.pump(self)


class Connection(http2.Connection[Call]):
    """What is tested, with a peer that writes frames as it likes."""

    def __init__(self, limits: http2.Limits | None = None) -> None:
        super().__init__(limits or http2.Limits(headers_bytes_max=1024))
        self.wire = Transport()
        self.begun: dict[int, Call] = {}
        self.connection_made(self.wire)

    def begin(self, stream: int, headers: Headers, window: int, *, has_ended: bool) -> Call:
        self.begun[stream] = Call(self, stream, window)
        return self.begun[stream]

    async def answer(self, sent: bytes) -> list[tuple[int, int, int, bytes]]:
        """Return the frames that answer what is sent: kind, flags, stream, payload."""
        self.data_received(sent)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        written, self.wire.written = self.wire.written, b""
        found = []
        while written:
            high, low, kind, flags, stream = frames.HEAD.unpack_from(written)
            end = frames.HEAD_BYTES + (high << 8 | low)
            found.append((kind, flags, stream, written[frames.HEAD_BYTES : end]))
            written = written[end:]
        return found


def number(payload: bytes, at: int = 0) -> int:
    return struct.unpack_from(">I", payload, at)[0]


@pytest.fixture
async def connection() -> Connection:
    """Stream 3 is open, 5 is half closed, 1 was given up, 7 is closed by its answer; 2 to 6 and from 9 are idle."""
    made = Connection()
    await made.answer(
        START
        + frame(frames.HEADERS, END_HEADERS, 1, BLOCK)
        + frames.reset(1, frames.CANCEL)
        + frame(frames.HEADERS, END_HEADERS, 3, BLOCK)
        + frame(frames.HEADERS, CALM, 5, BLOCK)
        + frame(frames.HEADERS, CALM, 7, BLOCK)
    )
    made.forget(made.begun[7], has_ended=True)
    await made.answer(b"")
    return made


CONNECTION_ERRORS = {
    "DATA of no stream": (frame(frames.DATA, 0, 0, b"x"), frames.PROTOCOL_ERROR),
    "DATA of an idle stream": (frame(frames.DATA, 0, 9, b"x"), frames.PROTOCOL_ERROR),
    "DATA of a stream that a server would begin": (frame(frames.DATA, 0, 2, b"x"), frames.PROTOCOL_ERROR),
    "DATA that is padding alone": (frame(frames.DATA, PADDED, 3, b"\x05xxxx"), frames.PROTOCOL_ERROR),
    "DATA larger than a frame may be": (frame(frames.DATA, 0, 3, bytes(16_385)), frames.FRAME_SIZE_ERROR),
    "HEADERS of no stream": (frame(frames.HEADERS, CALM, 0, BLOCK), frames.PROTOCOL_ERROR),
    "HEADERS of an even stream": (frame(frames.HEADERS, CALM, 10, BLOCK), frames.PROTOCOL_ERROR),
    "HEADERS of a closed stream": (frame(frames.HEADERS, CALM, 7, BLOCK), frames.PROTOCOL_ERROR),
    "HEADERS of a stream that was given up": (frame(frames.HEADERS, CALM, 1, BLOCK), frames.PROTOCOL_ERROR),
    "HEADERS with half a priority": (frame(frames.HEADERS, CALM | HAS_PRIORITY, 9, b"\0\0\0"), frames.FRAME_SIZE_ERROR),
    "HEADERS that depend on themselves": (
        frame(frames.HEADERS, CALM | HAS_PRIORITY, 9, b"\0\0\0\x09\x10" + BLOCK),
        frames.PROTOCOL_ERROR,
    ),
    "HEADERS that are padding alone": (frame(frames.HEADERS, CALM | PADDED, 9, b"\x09x"), frames.PROTOCOL_ERROR),
    "HEADERS that are not HPACK": (frame(frames.HEADERS, CALM, 9, b"\x80"), frames.COMPRESSION_ERROR),
    "CONTINUATION of nothing": (frame(frames.CONTINUATION, END_HEADERS, 3, BLOCK), frames.PROTOCOL_ERROR),
    "CONTINUATION of another stream": (
        frame(frames.HEADERS, 0, 9, BLOCK) + frame(frames.CONTINUATION, END_HEADERS, 11, BLOCK),
        frames.PROTOCOL_ERROR,
    ),
    "a frame between HEADERS and CONTINUATION": (
        frame(frames.HEADERS, 0, 9, BLOCK) + frame(frames.PING, 0, 0, bytes(8)),
        frames.PROTOCOL_ERROR,
    ),
    "an unknown frame between HEADERS and CONTINUATION": (
        frame(frames.HEADERS, 0, 9, BLOCK) + frame(0x16, 0, 0, bytes(8)),
        frames.PROTOCOL_ERROR,
    ),
    "CONTINUATION without end": (
        frame(frames.HEADERS, 0, 9, BLOCK) + frame(frames.CONTINUATION, 0, 9, bytes(200)) * 20,
        frames.ENHANCE_YOUR_CALM,
    ),
    "CONTINUATION that brings nothing": (
        frame(frames.HEADERS, 0, 9, BLOCK) + frame(frames.CONTINUATION, 0, 9),
        frames.PROTOCOL_ERROR,
    ),
    "a byte for each of many headers": (
        frame(frames.HEADERS, CALM, 9, b"\x40" + literal(b"x", bytes(900))[1:] + b"\xbe" * 10),
        frames.ENHANCE_YOUR_CALM,
    ),
    "PRIORITY of no stream": (frame(frames.PRIORITY, 0, 0, bytes(5)), frames.PROTOCOL_ERROR),
    "PRIORITY of another size": (frame(frames.PRIORITY, 0, 9, bytes(4)), frames.FRAME_SIZE_ERROR),
    "PRIORITY upon itself": (frame(frames.PRIORITY, 0, 9, b"\0\0\0\x09\x10"), frames.PROTOCOL_ERROR),
    "RST_STREAM of no stream": (frames.reset(0, 0), frames.PROTOCOL_ERROR),
    "RST_STREAM of an idle stream": (frames.reset(9, 0), frames.PROTOCOL_ERROR),
    "RST_STREAM of an even stream": (frames.reset(4, 0), frames.PROTOCOL_ERROR),
    "RST_STREAM of another size": (frame(frames.RST_STREAM, 0, 3, bytes(3)), frames.FRAME_SIZE_ERROR),
    "SETTINGS of a stream": (frame(frames.SETTINGS, 0, 3), frames.PROTOCOL_ERROR),
    "SETTINGS of an odd size": (frame(frames.SETTINGS, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
    "an acknowledgement that says something": (frame(frames.SETTINGS, ACK, 0, bytes(6)), frames.FRAME_SIZE_ERROR),
    "ENABLE_PUSH of 2": (settings({frames.ENABLE_PUSH: 2}), frames.PROTOCOL_ERROR),
    "a window that no window can have": (settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}), frames.FLOW_CONTROL_ERROR),
    "frames smaller than they may be": (settings({frames.MAX_FRAME_SIZE: 16_383}), frames.PROTOCOL_ERROR),
    "frames larger than they may be": (settings({frames.MAX_FRAME_SIZE: 1 << 24}), frames.PROTOCOL_ERROR),
    "a setting that makes a stream's window too large": (
        window_update(3, (1 << 31) - 1 - frames.WINDOW_BYTES) + settings({frames.INITIAL_WINDOW_SIZE: 65_536}),
        frames.FLOW_CONTROL_ERROR,
    ),
    "PUSH_PROMISE": (frame(frames.PUSH_PROMISE, END_HEADERS, 3, bytes(4)), frames.PROTOCOL_ERROR),
    "PING of a stream": (frame(frames.PING, 0, 3, bytes(8)), frames.PROTOCOL_ERROR),
    "PING of another size": (frame(frames.PING, 0, 0, bytes(6)), frames.FRAME_SIZE_ERROR),
    "GOAWAY of a stream": (frame(frames.GOAWAY, 0, 3, bytes(8)), frames.PROTOCOL_ERROR),
    "GOAWAY of another size": (frame(frames.GOAWAY, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of another size": (frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), frames.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of an idle stream": (window_update(9, 1), frames.PROTOCOL_ERROR),
    "WINDOW_UPDATE of the connection by nothing": (window_update(0, 0), frames.PROTOCOL_ERROR),
    "WINDOW_UPDATE of the connection by too much": (window_update(0, (1 << 31) - 1), frames.FLOW_CONTROL_ERROR),
}


@pytest.mark.parametrize("what", CONNECTION_ERRORS)
async def test_what_ends_a_connection_says_why(connection: Connection, what: str):
    sent, code = CONNECTION_ERRORS[what]
    kind, _, stream, payload = (await connection.answer(sent))[-1]
    assert (kind, stream, number(payload, 4)) == (frames.GOAWAY, 0, code)
    assert number(payload) == 7, "the last stream that was taken"
    assert connection.wire.is_closed


STREAM_ERRORS = {
    "DATA of a closed stream": (frame(frames.DATA, 0, 7, b"x"), 7, frames.STREAM_CLOSED),
    "DATA of a stream that was given up": (frame(frames.DATA, 0, 1, b"x"), 1, frames.STREAM_CLOSED),
    "DATA after the end": (frame(frames.DATA, 0, 5, b"x"), 5, frames.STREAM_CLOSED),
    "HEADERS after the end": (frame(frames.HEADERS, CALM, 5, literal(b"x", b"y")), 5, frames.STREAM_CLOSED),
    "trailers that do not end": (
        frame(frames.HEADERS, END_HEADERS, 3, literal(b"x", b"y")),
        3,
        frames.PROTOCOL_ERROR,
    ),
    "trailers with a path": (frame(frames.HEADERS, CALM, 3, BLOCK), 3, frames.PROTOCOL_ERROR),
    "trailers of any length": (
        frame(frames.HEADERS, CALM, 3, literal(b"x", bytes(1024))),
        3,
        frames.ENHANCE_YOUR_CALM,
    ),
    "WINDOW_UPDATE by nothing": (window_update(3, 0), 3, frames.PROTOCOL_ERROR),
    "WINDOW_UPDATE by too much": (window_update(3, (1 << 31) - 1), 3, frames.FLOW_CONTROL_ERROR),
    "headers of any length": (
        frame(frames.HEADERS, CALM, 9, literal(b"x", bytes(1024))),
        9,
        frames.ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize("what", STREAM_ERRORS)
async def test_what_ends_a_stream_ends_no_other(connection: Connection, what: str):
    sent, stream, code = STREAM_ERRORS[what]
    had = set(connection.calls)
    assert await connection.answer(sent) == [(frames.RST_STREAM, 0, stream, struct.pack(">I", code))]
    assert set(connection.calls) == had - {stream}
    pong = await connection.answer(frame(frames.PING, 0, 0, b"stillup?") + frame(frames.HEADERS, CALM, 11, BLOCK))
    assert pong == [(frames.PING, ACK, 0, b"stillup?")] and connection.begun[11].told == ["end"]


PASSED_OVER = {
    "an unknown frame": frame(0x16, 0xFF, 3, b"what"),
    "an unknown setting": settings({0xFFFF: 7}),
    "PRIORITY of an idle stream": frame(frames.PRIORITY, 0, 99, bytes(5)),
    "WINDOW_UPDATE of a closed stream": window_update(7, 1),
    "RST_STREAM of a closed stream": frames.reset(7, 0),
    "GOAWAY": frames.goaway(0, frames.NO_ERROR, "bye"),
    "an answer to a PING that was never sent": frame(frames.PING, ACK, 0, bytes(8)),
    "reserved bits": frame(frames.PRIORITY, 0, 0x80000003, bytes(5)) + window_update(3, 0x80000001),
}


@pytest.mark.parametrize("what", PASSED_OVER)
async def test_what_means_nothing_is_passed_over(connection: Connection, what: str):
    had = set(connection.calls)
    answered = [each for each in await connection.answer(PASSED_OVER[what]) if each[0] != frames.SETTINGS]
    assert not answered and set(connection.calls) == had and not connection.wire.is_closed


@pytest.mark.parametrize("first", [frame(frames.PING, 0, 0, bytes(8)), frame(frames.SETTINGS, ACK, 0)])
async def test_a_client_begins_with_its_settings(first: bytes):
    answered = await Connection().answer(frames.PREFACE + first)
    assert answered[-1][0] == frames.GOAWAY and number(answered[-1][3], 4) == frames.PROTOCOL_ERROR


async def test_what_was_on_its_way_to_a_stream_that_the_server_ended_is_let_pass(connection: Connection):
    connection.forget(connection.begun[3], has_ended=False)
    assert (await connection.answer(b""))[-1][:3] == (frames.RST_STREAM, 0, 3)
    late = frame(frames.DATA, 0, 3, b"x") + frame(frames.HEADERS, CALM, 3, literal(b"x", b"y"))
    assert await connection.answer(late) == [] and not connection.wire.is_closed


async def test_what_follows_a_goaway_is_let_pass(connection: Connection):
    connection.leave()
    await connection.answer(b"")
    late = frame(frames.HEADERS, END_HEADERS, 9, BLOCK) + frame(frames.DATA, END_STREAM, 9, b"x")
    assert await connection.answer(late) == [] and not connection.wire.is_closed and 9 not in connection.begun


async def test_padding_is_no_part_of_what_is_said_and_gives_its_room_back(connection: Connection):
    answered = await connection.answer(frame(frames.DATA, PADDED, 3, b"\x03abc\0\0\0"))
    assert answered == [(frames.WINDOW_UPDATE, 0, 3, struct.pack(">I", 4))]
    assert connection.begun[3].told == [b"abc"]


async def test_a_header_block_that_is_too_long_leaves_the_table_in_step(connection: Connection):
    added = b"\x40" + literal(b"kept", b"yes")[1:]
    await connection.answer(frame(frames.HEADERS, CALM, 9, literal(b"x", bytes(1024)) + added))
    assert 9 not in connection.begun
    await connection.answer(frame(frames.HEADERS, CALM, 11, BLOCK + b"\xbe"))
    assert 11 in connection.begun and not connection.wire.is_closed


async def test_calls_that_wait_for_room_on_a_connection_take_turns():
    connection = Connection()
    await connection.answer(START + settings({frames.INITIAL_WINDOW_SIZE: 10_000_000}))
    await connection.answer(frame(frames.HEADERS, CALM, 1, BLOCK) + frame(frames.HEADERS, CALM, 3, BLOCK))
    large, small = connection.begun[1], connection.begun[3]
    large.write(4_000_000)
    small.write(20_000)
    await connection.answer(b"")
    answered = await connection.answer(window_update(0, 100_000))
    assert [each[2] for each in answered][:4] == [1, 3, 1, 3] and "sent" in small.told


async def test_a_reader_slower_than_its_answers_gets_some_of_each(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http2, "OUT_BYTES_MAX", 50_000)
    connection = Connection()
    await connection.answer(START + settings({frames.INITIAL_WINDOW_SIZE: 10_000_000}) + window_update(0, 10_000_000))
    await connection.answer(frame(frames.HEADERS, CALM, 1, BLOCK) + frame(frames.HEADERS, CALM, 3, BLOCK))
    large, small = connection.begun[1], connection.begun[3]
    connection.pause_writing()
    large.write(4_000_000)
    small.write(20_000)
    connection.resume_writing()
    connection.pause_writing()
    await connection.answer(b"")
    assert "sent" not in large.told and not small.queue


async def test_an_answer_that_its_client_takes_nothing_of_costs_nothing_when_others_go_on():
    connection = Connection()
    await connection.answer(START + settings({frames.INITIAL_WINDOW_SIZE: 0}))
    for stream in range(1, 201, 2):
        await connection.answer(frame(frames.HEADERS, CALM, stream, BLOCK))
        connection.begun[stream].write(10)
    assert not connection._held_back
    answered = await connection.answer(window_update(0, 1) * 1000 + window_update(7, 10))
    assert [each[:3] for each in answered] == [(frames.DATA, 0, 7)] and "sent" in connection.begun[7].told
    await connection.answer(settings({frames.INITIAL_WINDOW_SIZE: 10}))
    assert all("sent" in call.told for call in connection.begun.values())
