"""A connection fed by hand: what a client may do wrong, and what it must be able to do."""

from __future__ import annotations

import asyncio
import gc
import gzip
import struct
import zlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from component.http2 import connection as http2
from component.http2 import frames
from component.http2.hpack import Decoder, literal
from store.http2.call import Call, Code, Method, Refusal
from store.http2.connection import LIMITS, Connection, Site

PATH = b"/test.Echo/"


def message(body: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(body)) + body


def opening(method: bytes = b"Once", *more: tuple[bytes, bytes]) -> bytes:
    fields = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", PATH + method)]
    fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers"), *more]
    return b"".join(literal(*each) for each in fields)


def call(stream: int, method: bytes, *bodies: bytes, end: bool = True, more: tuple[tuple[bytes, bytes], ...] = ()):
    headers = frames.frame(frames.HEADERS, frames.END_HEADERS, stream, opening(method, *more))
    sent = b"".join(map(message, bodies))
    pieces = [sent[at : at + frames.FRAME_BYTES_MAX] for at in range(0, len(sent), frames.FRAME_BYTES_MAX)]
    data = b"".join(frames.frame(frames.DATA, 0, stream, piece) for piece in pieces)
    return headers + data + (frames.frame(frames.DATA, frames.END_STREAM, stream) if end else b"")


class Transport:
    """What the connection writes to."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = self.is_aborted = False
        self.buffered = 0

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def get_extra_info(self, name: str) -> object:
        return None

    def set_write_buffer_limits(self, high: int) -> None:
        pass


class Client:
    """The other end."""

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.ended: Counter[str] = Counter()
        self.cancelled = 0
        self.seen: list[bytes] = []
        self.taking = asyncio.Event()

        async def once(request: bytes) -> bytes:
            if request == b"fail":
                raise Refusal(Code.NOT_FOUND, "nothing at 100% – really")
            if request.startswith(b"large"):
                return b"x" * int(request[5:])
            if request == b"wait":
                try:
                    await asyncio.sleep(60)
                finally:
                    self.cancelled += 1
            return request

        async def both(requests, answers) -> None:
            async for request in requests:
                self.seen.append(request)
                await answers.write(request)

        async def slow(requests, answers) -> None:
            await self.taking.wait()
            async for request in requests:
                self.seen.append(request)

        async def many(request: bytes, answers) -> None:
            for _ in range(int(request)):
                await answers.write(b"y" * 1000)
                self.seen.append(b"")

        methods = {"Once": ("unary", once), "Both": ("stream", both), "Many": ("server-stream", many)}
        methods["Slow"] = ("stream", slow)
        table = {
            PATH + name.encode(): Method(shape, answer, bytes, lambda code: self.ended.update([code.name]))
            for name, (shape, answer) in methods.items()
        }
        self.site = Site(table, lambda error: (error.code, error.message) if isinstance(error, Refusal) else (Code.INTERNAL, "?"))  # fmt: skip  # noqa: E501
        self.transport = Transport()
        self.connection = Connection(self.site, lambda _: refusal)
        self.connection.connection_made(self.transport)
        self._read = 0
        self._decoder = Decoder()
        self.feed(frames.PREFACE + frames.settings({}))

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)

    async def frames(self, turns: int = 6) -> list[tuple[int, int, int, bytes]]:
        """Return (kind, flags, stream, payload) of what came since the last time, but for the small talk."""
        for _ in range(turns):
            await asyncio.sleep(0)
        found = []
        while self._read < len(self.transport.written):
            high, low, kind, flags, stream = frames.HEAD.unpack_from(self.transport.written, self._read)
            begin = self._read + frames.HEAD_BYTES
            self._read = begin + (high << 8 | low)
            if kind != frames.SETTINGS and (kind != frames.WINDOW_UPDATE or stream):
                found.append((kind, flags, stream, self.transport.written[begin : self._read]))
        return found

    async def answers(self, turns: int = 6) -> dict[int, tuple[bytes, dict[bytes, bytes]]]:
        """Return, by stream, the bytes of messages and all headers."""
        answers: dict[int, tuple[bytes, dict[bytes, bytes]]] = {}
        for kind, _, stream, payload in await self.frames(turns):
            body, headers = answers.get(stream, (b"", {}))
            if kind == frames.DATA:
                body += payload
            elif kind == frames.HEADERS:
                headers = headers | dict(self._decoder.decode(payload))
            answers[stream] = (body, headers)
        return answers

    async def gone_away(self) -> int | None:
        """Return the code of a GOAWAY, None where there was none."""
        codes = [struct.unpack_from(">II", payload)[1] for kind, _, _, payload in await self.frames() if kind == frames.GOAWAY]  # fmt: skip  # noqa: E501
        return codes[0] if codes else None


def status(headers: dict[bytes, bytes]) -> int:
    return int(headers[b"grpc-status"])


async def test_a_call_is_answered_in_one_write():
    client = Client()
    client.feed(call(1, b"Once", b"hello"))
    body, headers = (await client.answers())[1]
    assert body == message(b"hello")
    assert headers == {b":status": b"200", b"content-type": b"application/grpc", b"grpc-status": b"0"}
    assert client.ended == {"OK": 1} and not client.connection.calls


@given(st.lists(st.integers(1, 40), max_size=40))
def test_however_the_bytes_are_cut_the_answers_are_the_same(cuts: list[int]):
    async def scenario() -> None:
        client = Client()
        sent = call(1, b"Once", b"a") + call(3, b"Both", b"b", b"c") + call(5, b"Once", b"fail")
        position = 0
        for cut in [*cuts, len(sent)]:
            client.feed(sent[position : position + cut])
            position += cut
        answers = await client.answers()
        assert answers[1][0] == message(b"a") and answers[3][0] == message(b"b") + message(b"c")
        assert [status(answers[stream][1]) for stream in (1, 3, 5)] == [0, 0, Code.NOT_FOUND]

    asyncio.run(scenario())


@given(st.binary(max_size=300))
def test_rubbish_never_raises_and_either_waits_or_ends_the_connection(rubbish: bytes):
    async def scenario() -> None:
        client = Client()
        client.feed(rubbish)
        client.feed(rubbish)
        await client.frames()

    asyncio.run(scenario())


FRAMES = st.tuples(
    st.integers(0, 10), st.integers(0, 255), st.integers(0, 7), st.one_of(st.binary(max_size=40), st.just(opening()))
)


@given(st.lists(FRAMES, max_size=20))
def test_frames_in_any_order_never_raise_and_leave_nothing_behind(sent: list[tuple[int, int, int, bytes]]):
    async def scenario() -> None:
        client = Client()
        client.feed(call(1, b"Both", b"a", end=False))
        for kind, flags, stream, payload in sent:
            client.feed(frames.frame(kind, flags, stream, payload))
        await client.frames()
        client.connection.connection_lost(None)
        for _ in range(4):
            await asyncio.sleep(0)
        assert not client.connection.calls and not client.site.ending and not client.site.connections

    asyncio.run(scenario())


async def test_errors_have_their_status_and_their_message_spelled_for_headers():
    client = Client()
    client.feed(call(1, b"Once", b"fail") + call(3, b"Nope", b"") + call(5, b"Once", b"a", b"b") + call(7, b"Once"))
    answers = await client.answers()
    assert status(answers[1][1]) == Code.NOT_FOUND
    assert answers[1][1][b"grpc-message"] == b"nothing at 100%25 %E2%80%93 really"
    assert status(answers[3][1]) == Code.UNIMPLEMENTED
    assert [status(answers[stream][1]) for stream in (5, 7)] == [Code.INTERNAL, Code.INTERNAL]


async def test_who_is_not_admitted_is_told_so_on_every_call():
    client = Client(Refusal(Code.PERMISSION_DENIED, "not you"))
    client.feed(call(1, b"Once", b"a") + call(3, b"Both", b"a"))
    answers = await client.answers()
    assert {status(headers) for _, headers in answers.values()} == {Code.PERMISSION_DENIED}
    assert not client.seen


@pytest.mark.parametrize(
    ("encoding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)], ids=["gzip", "deflate"]
)
async def test_compressed_messages_are_read(encoding: bytes, compress):
    client = Client()
    client.feed(call(1, b"Once", end=False, more=((b"grpc-encoding", encoding),)))
    client.feed(frames.frame(frames.DATA, frames.END_STREAM, 1, message(compress(b"hello"), 1)))
    assert (await client.answers())[1][0] == message(b"hello")


async def test_a_small_message_can_not_become_one_without_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("store.http2.call.MESSAGE_BYTES_MAX", 20_000)
    client = Client()
    client.feed(call(1, b"Once", end=False, more=((b"grpc-encoding", b"gzip"),)))
    client.feed(frames.frame(frames.DATA, frames.END_STREAM, 1, message(gzip.compress(bytes(20_001)), 1)))
    client.feed(call(3, b"Once", bytes(20_001)))
    client.feed(call(5, b"Once", end=False))
    client.feed(frames.frame(frames.DATA, frames.END_STREAM, 5, message(b"not compressed", 1)))
    client.feed(call(7, b"Once", b"", more=((b"grpc-encoding", b"snappy"),)))
    answers = await client.answers()
    expected = [Code.RESOURCE_EXHAUSTED, Code.RESOURCE_EXHAUSTED, Code.INTERNAL, Code.UNIMPLEMENTED]
    assert [status(answers[stream][1]) for stream in (1, 3, 5, 7)] == expected
    assert answers[7][1][b"grpc-accept-encoding"] == b"identity,deflate,gzip"


async def test_a_request_that_is_no_grpc_has_an_answer_of_http():
    client = Client()
    get = b"".join(literal(*each) for each in ((b":method", b"GET"), (b":path", b"/"), (b":scheme", b"https")))
    post = b"".join(literal(*each) for each in ((b":method", b"POST"), (b":path", b"/"), (b":scheme", b"https")))
    for stream, block in ((1, get), (3, post)):
        flags = frames.END_HEADERS | frames.END_STREAM
        client.feed(frames.frame(frames.HEADERS, flags, stream, block))
    answers = await client.answers()
    assert (answers[1][1][b":status"], answers[3][1][b":status"]) == (b"405", b"415")


async def test_a_large_answer_goes_as_far_as_the_windows_let_it_and_on_when_they_open():
    client = Client()
    client.feed(call(1, b"Once", b"large200000") + call(3, b"Once", b"small"))
    answers = await client.answers()
    assert len(answers[1][0]) == frames.WINDOW_BYTES and b"grpc-status" not in answers[1][1]
    assert 3 not in answers or answers[3][0] == b""  # the connection's window is used up, by the first
    client.feed(frames.window_update(0, 1 << 20))
    answers = await client.answers()
    assert answers[3][0] == message(b"small") and 1 not in answers
    client.feed(frames.window_update(1, 1 << 20))
    body, headers = (await client.answers())[1]
    assert len(body) == 200_005 - frames.WINDOW_BYTES and status(headers) == 0
    assert not client.connection.calls and not client.connection._held_back


async def test_a_clients_settings_move_the_windows_of_calls_under_way():
    client = Client()
    client.feed(frames.window_update(0, 1 << 20) + call(1, b"Once", b"large100000"))
    assert len((await client.answers())[1][0]) == frames.WINDOW_BYTES
    client.feed(frames.settings({frames.INITIAL_WINDOW_SIZE: 200_000}))
    assert len((await client.answers())[1][0]) == 100_005 - frames.WINDOW_BYTES


async def test_a_method_that_writes_much_waits_for_its_reader():
    client = Client()
    client.feed(call(1, b"Many", b"500"))
    await client.frames(50)
    written = len(client.seen)
    assert written < 70
    client.feed(frames.window_update(0, 1 << 20) + frames.window_update(1, 1 << 20))
    await client.frames(1500)
    assert len(client.seen) == 500 and client.ended == {"OK": 1}


async def test_a_method_waits_while_the_transport_is_full_and_goes_on_after():
    client = Client()
    client.feed(frames.window_update(0, 1 << 20))
    client.connection.pause_writing()
    client.feed(call(1, b"Many", b"3"))
    await client.frames()
    assert client.seen == []
    client.connection.resume_writing()
    await client.frames()
    assert len(client.seen) == 3


async def test_a_client_that_asks_without_reading_is_cut_off():
    client = Client()
    client.connection.pause_writing()
    client.transport.buffered = http2.Limits().unread_bytes_max + 1
    client.feed(frames.frame(frames.PING, 0, 0, bytes(8)))
    await client.frames()
    assert client.transport.is_aborted


async def test_a_stream_whose_method_takes_nothing_is_not_told_to_send_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("store.http2.call.UNREAD_BYTES_MAX", 100_000)
    client = Client()
    client.feed(call(1, b"Slow", end=False))
    piece = frames.frame(frames.DATA, 0, 1, message(bytes(16_000)))
    for _ in range(LIMITS.stream_window_bytes // 16_000):
        client.feed(piece)
    assert [frame for frame in await client.frames() if frame[0] == frames.WINDOW_UPDATE] == []
    client.taking.set()
    updates = [frame for frame in await client.frames(200) if frame[0] == frames.WINDOW_UPDATE]
    assert updates and len(client.seen) == LIMITS.stream_window_bytes // 16_000


async def test_a_reset_ends_the_method_and_answers_nothing():
    client = Client()
    client.feed(call(1, b"Once", b"wait") + call(3, b"Both", b"a", end=False))
    await client.frames()
    client.feed(frames.reset(1, frames.CANCEL) + frames.reset(3, frames.CANCEL))
    assert await client.frames() == []
    assert client.cancelled == 1 and client.ended == {"CANCELLED": 2} and not client.connection.calls
    client.feed(
        frames.frame(frames.DATA, 0, 3, message(b"late")) + frames.window_update(3, 5)
    )  # is not held against it
    assert await client.gone_away() is None


async def test_a_call_ends_when_its_time_is_over():
    client = Client()
    client.feed(call(1, b"Once", b"wait", more=((b"grpc-timeout", b"60m"),)))
    client.feed(call(3, b"Once", b"wait", more=((b"grpc-timeout", b"1H"),)))
    await asyncio.sleep(0.2)
    answers = await client.answers()
    assert status(answers[1][1]) == Code.DEADLINE_EXCEEDED and 3 not in answers
    assert client.cancelled == 1


async def test_a_lost_connection_ends_every_method():
    client = Client()
    client.feed(call(1, b"Once", b"wait") + call(3, b"Both", b"a", end=False))
    await client.frames()
    client.connection.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert client.cancelled == 1 and not client.connection.calls and not client.site.connections


async def test_leaving_lets_calls_end_and_takes_no_new_ones():
    client = Client()
    client.feed(call(1, b"Both", b"a", end=False))
    client.connection.leave()
    client.feed(call(3, b"Once", b"new"))
    answers = await client.answers()
    assert answers[1][0] == message(b"a") and 3 not in answers and not client.transport.is_closed
    client.feed(frames.frame(frames.DATA, frames.END_STREAM, 1))
    assert status((await client.answers())[1][1]) == 0
    assert client.transport.is_closed


async def test_stopping_tells_those_who_are_served():
    client = Client()
    client.feed(call(1, b"Both", b"a", end=False))
    await client.frames()
    client.connection.stop()
    assert status((await client.answers())[1][1]) == Code.UNAVAILABLE
    assert client.transport.is_closed


async def test_padding_priorities_continuations_and_unknown_frames_are_taken():
    client = Client()
    block = opening()
    padded = bytes([3]) + struct.pack(">IB", 0, 7) + block[:20] + bytes(3)
    client.feed(frames.frame(frames.HEADERS, frames.PADDED | frames.HAS_PRIORITY, 1, padded))
    client.feed(frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[20:]))
    client.feed(frames.frame(0x77, 0, 1, b"?") + frames.frame(frames.PRIORITY, 0, 1, bytes(5)))
    client.feed(frames.frame(frames.DATA, frames.PADDED | frames.END_STREAM, 1, b"\x02" + message(b"hi") + bytes(2)))
    assert (await client.answers())[1][0] == message(b"hi")


async def test_a_ping_is_answered_with_what_it_said():
    client = Client()
    client.feed(frames.frame(frames.PING, 0, 0, b"12345678") + frames.frame(frames.PING, frames.ACK, 0, b"87654321"))
    assert await client.frames() == [(frames.PING, frames.ACK, 0, b"12345678")]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frames.HEAD.pack(256, 0, frames.DATA, 0, 1), frames.FRAME_SIZE_ERROR),  # 65,536 bytes
        (frames.frame(frames.DATA, 0, 1, b""), frames.PROTOCOL_ERROR),  # of a stream that was never begun
        (frames.frame(frames.DATA, 0, 0, b""), frames.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 2, opening()), frames.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x80"), frames.COMPRESSION_ERROR),
        (frames.frame(frames.HEADERS, 0, 1) + frames.frame(frames.PING, 0, 0, bytes(8)), frames.PROTOCOL_ERROR),
        (frames.frame(frames.CONTINUATION, 0, 1), frames.PROTOCOL_ERROR),
        (
            frames.frame(frames.HEADERS, 0, 1) + 3 * frames.frame(frames.CONTINUATION, 0, 1, bytes(16_000)),
            frames.ENHANCE_YOUR_CALM,
        ),
        (frames.frame(frames.PUSH_PROMISE, 0, 1), frames.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 1, bytes(4)), frames.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 1, bytes(3)), frames.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, bytes(5)), frames.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, 0, 1, bytes(6)), frames.PROTOCOL_ERROR),
        (frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}), frames.FLOW_CONTROL_ERROR),
        (frames.window_update(0, 0), frames.PROTOCOL_ERROR),
        (frames.window_update(0, (1 << 31) - 1), frames.FLOW_CONTROL_ERROR),
        (frames.window_update(9, 1), frames.PROTOCOL_ERROR),
        (frames.frame(frames.PING, 0, 0, bytes(7)), frames.FRAME_SIZE_ERROR),
        (call(1, b"Once", end=False) + frames.frame(frames.DATA, frames.PADDED, 1, b"\x05a"), frames.PROTOCOL_ERROR),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection_with_a_word(sent: bytes, code: int):
    client = Client()
    client.feed(sent)
    assert await client.gone_away() == code
    assert client.transport.is_closed


async def test_another_protocol_is_told_at_once():
    client = Client()
    other = Connection(client.site, lambda _: None)
    transport = Transport()
    other.connection_made(transport)
    other.data_received(b"GET / HTTP/1.1\r\n")
    assert transport.is_closed
    other.connection_lost(None)


async def test_a_call_that_is_answered_leaves_nothing_for_the_garbage_collector():
    client = Client()
    gc.collect()
    gc.disable()
    try:
        client.feed(call(1, b"Once", b"hello"))
        await client.answers()
        assert client.ended == {"OK": 1}
        assert not [each for each in gc.get_objects() if type(each) is Call]
    finally:
        gc.enable()
