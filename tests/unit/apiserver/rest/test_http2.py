"""Requests over HTTP/2, asked by a client that holds us to the protocol: the `h2` library."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import pytest
from aiohttp import hdrs, web
from hypothesis import given
from hypothesis import strategies as st

from apiserver.rest import http2, request_body
from component.http2 import frames
from component.http2.hpack import literal

HEAD = [(":method", "GET"), (":scheme", "https"), (":authority", "steersman:6443"), (":path", "/api/v1/pods?limit=5")]
POST = [(":method", "POST"), *HEAD[1:]]


class Transport(asyncio.Transport):
    """What the connection writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = self.is_aborted = False

    def write(self, data) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("192.0.2.7", 4711)}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Client:
    """The other end."""

    def __init__(self, server: http2.Server) -> None:
        self.transport = Transport()
        self.connection = server()
        self.connection.connection_made(self.transport)
        self.h2 = h2.connection.H2Connection()
        self.h2.initiate_connection()
        self.statuses: dict[int, int] = {}
        self.headers: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaway: int | None = None
        self.informed: list[int] = []
        self.takes = True
        """Whether what is read makes room for more."""

    async def exchange(self, turns: int = 20) -> None:
        for _ in range(turns):
            if sent := self.h2.data_to_send():
                self.connection.data_received(sent)
            await asyncio.sleep(0)
            written, self.transport.written = self.transport.written, b""
            for event in self.h2.receive_data(written) if written else ():
                self._see(event)

    def _see(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                found = {name.decode(): value.decode() for name, value in event.headers}
                self.statuses[event.stream_id] = int(found[":status"])
                self.headers[event.stream_id] = found
                self.bodies[event.stream_id] = b""
            case h2.events.InformationalResponseReceived():
                self.informed.append(event.stream_id)
            case h2.events.DataReceived():
                self.bodies[event.stream_id] += event.data
                if self.takes:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.ended.add(event.stream_id)
            case h2.events.StreamReset():
                self.resets[event.stream_id] = event.error_code
            case h2.events.ConnectionTerminated():
                self.goaway = event.error_code

    def ask(self, head: list[tuple[str, str]], body: bytes | None = None, *, ends: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, head, end_stream=body is None and ends)
        if body is not None:
            for at in range(0, len(body), 16384):
                self.h2.send_data(stream, body[at : at + 16384])
            if ends:
                self.h2.end_stream(stream)
        return stream


async def say_hello(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(
        text=f"{request.method} {request.path} {request.query['limit']} {request.host} {request.remote}"
    )


@contextlib.asynccontextmanager
async def client_of(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[Client]:
    server = http2.Server(handler)
    client = Client(server)
    yield client
    client.connection.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not server.connections and not server.ending and not client.connection.running


async def test_a_request_is_answered_like_one_of_http_1_but_for_what_only_that_has():
    async with client_of(say_hello) as client:
        stream = client.ask(HEAD)
        await client.exchange()
        assert client.statuses[stream] == 200 and stream in client.ended
        assert client.bodies[stream] == b"GET /api/v1/pods 5 steersman:6443 192.0.2.7"
        names = set(client.headers[stream])
        assert "content-length" in names and not names & {"connection", "transfer-encoding", "server", "keep-alive"}


async def test_requests_are_answered_side_by_side_and_not_in_turn():
    gate = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/slow":
            await gate.wait()
        return web.Response(text=request.path)

    async with client_of(handler) as client:
        slow, fast = client.ask([*HEAD[:3], (":path", "/slow")]), client.ask([*HEAD[:3], (":path", "/fast")])
        await client.exchange()
        assert client.ended == {fast}
        gate.set()
        await client.exchange()
        assert client.ended == {fast, slow}


async def test_a_body_is_read_in_pieces_as_large_as_its_reader_takes():
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=str(len(await request_body.read(request))))

    async with client_of(handler) as client:
        stream, left = client.ask(POST, ends=False), 1_000_000
        while left:
            room = min(client.h2.local_flow_control_window(stream), 16384, left)
            if room:
                client.h2.send_data(stream, bytes(room))
                left -= room
            await client.exchange(2)
        client.h2.end_stream(stream)
        await client.exchange()
        assert client.bodies[stream] == b"1000000"


async def test_a_body_that_nobody_reads_is_not_taken():
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async with client_of(handler) as client:
        stream, sent = client.ask(POST, ends=False), 0
        await client.exchange()
        while room := min(client.h2.local_flow_control_window(stream), 16384):
            client.h2.send_data(stream, bytes(room))
            sent += room
            await client.exchange(2)
        assert sent <= 2 * http2.STREAM_WINDOW_BYTES
        raw = frames.frame(frames.DATA, 0, stream, bytes(16384))
        for _ in range(http2.STREAM_WINDOW_BYTES // 16384 + 1):
            client.connection.data_received(raw)
        await client.exchange()
        assert client.resets[stream] == frames.FLOW_CONTROL_ERROR


async def test_a_body_too_large_is_refused_while_its_sender_still_sends():
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        try:
            await request_body.read(request)
        except Exception as error:
            return web.Response(status=getattr(error, "code", 500))
        raise AssertionError

    async with client_of(handler) as client:
        announced = (hdrs.CONTENT_LENGTH.lower(), str(request_body.BODY_BYTES_MAX + 1))
        stream = client.ask([*POST, announced], ends=False)
        await client.exchange()
        assert client.statuses[stream] == 413 and client.resets[stream] == frames.NO_ERROR


@pytest.mark.parametrize("sent", [b"four", b"sixsix"])
async def test_a_body_of_another_length_than_announced_is_no_body(sent: bytes):
    asked = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(await request_body.read(request))
        raise AssertionError

    async with client_of(handler) as client:
        client.h2.config.validate_outbound_headers = False
        raw = b"".join(literal(name.encode(), value.encode()) for name, value in [*POST, ("content-length", "5")])
        client.h2.get_next_available_stream_id()
        await client.exchange()
        client.connection.data_received(
            frames.frame(frames.HEADERS, frames.END_HEADERS, 1, raw)
            + frames.frame(frames.DATA, frames.END_STREAM, 1, sent)
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert frames.reset(1, frames.PROTOCOL_ERROR) in client.transport.written and not asked
        client.transport.written = b""


async def test_a_sender_that_waits_to_be_invited_is_invited():
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=await request_body.read(request))

    async with client_of(handler) as client:
        stream = client.ask([*POST, ("expect", "100-continue")], ends=False)
        await client.exchange()
        assert client.informed == [stream]
        client.h2.send_data(stream, b"here", end_stream=True)
        await client.exchange()
        assert client.bodies[stream] == b"here"


async def test_a_large_answer_waits_for_room_and_holds_up_no_other():
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * 200_000 if request.path == "/large" else b"small")

    async with client_of(handler) as client:
        client.takes = False
        client.h2.increment_flow_control_window(1_000_000)
        large = client.ask([*HEAD[:3], (":path", "/large")])
        await client.exchange()
        small = client.ask(HEAD)
        await client.exchange()
        assert len(client.bodies[large]) == 65_535 and client.bodies[small] == b"small" and small in client.ended
        client.h2.increment_flow_control_window(200_000, large)
        await client.exchange()
        assert client.bodies[large] == b"x" * 200_000 and large in client.ended


async def test_who_gives_a_request_up_has_it_cancelled():
    cancelled = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with client_of(handler) as client:
        stream = client.ask(HEAD)
        await client.exchange()
        client.h2.reset_stream(stream)
        await client.exchange()
        assert cancelled.is_set() and client.connection.running == 0 and client.goaway is None


async def test_work_for_requests_that_were_given_up_counts_until_it_has_ended():
    released = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()
        return web.Response()

    async with client_of(handler) as client:
        for _ in range(http2.STREAMS_MAX):
            stream = client.ask(HEAD)
            await client.exchange(3)
            client.h2.reset_stream(stream)
        await client.exchange()
        assert client.connection.running == http2.STREAMS_MAX and not client.connection.calls
        stream = client.ask(HEAD)
        await client.exchange()
        assert client.resets == {stream: frames.REFUSED_STREAM}
        released.set()
        await asyncio.sleep(0.01)
        stream = client.ask(HEAD)
        await client.exchange()
        assert client.statuses == {stream: 200}


async def test_a_failed_handler_ends_its_stream_alone(caplog: pytest.LogCaptureFixture):
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/bad":
            raise RuntimeError("oh")
        return web.Response()

    async with client_of(handler) as client:
        bad, good = client.ask([*HEAD[:3], (":path", "/bad")]), client.ask(HEAD)
        await client.exchange()
        assert client.resets == {bad: frames.INTERNAL_ERROR} and client.statuses[good] == 200
        assert "a request failed" in caplog.text


async def test_an_answer_that_breaks_off_does_not_look_whole():
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with client_of(handler) as client:
        stream = client.ask(HEAD)
        await client.exchange()
        assert client.bodies[stream] == b"half" and client.resets[stream] == frames.INTERNAL_ERROR
        assert stream not in client.ended and not client.transport.is_closed


async def test_an_answer_to_head_has_no_body():
    async with client_of(say_hello) as client:
        stream = client.ask([(":method", "HEAD"), *HEAD[1:]])
        await client.exchange()
        assert client.statuses[stream] == 200 and client.bodies[stream] == b"" and stream in client.ended
        assert int(client.headers[stream]["content-length"]) > 0


async def test_leaving_lets_requests_end_and_takes_no_new_ones():
    gate = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await gate.wait()
        return web.Response(text="done")

    async with client_of(handler) as client:
        stream = client.ask(HEAD)
        await client.exchange()
        client.connection.server.leave()
        await asyncio.sleep(0)
        goaway = frames.goaway(stream, frames.NO_ERROR)
        assert client.transport.written == goaway and not client.transport.is_closed
        gate.set()
        for _ in range(5):
            await asyncio.sleep(0)
        written = client.transport.written.removeprefix(goaway)
        client.transport.written = b""
        for event in client.h2.receive_data(written):
            client._see(event)
        assert client.bodies[stream] == b"done" and stream in client.ended and client.transport.is_closed


async def test_shutting_down_ends_what_does_not_end_by_itself():
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async with client_of(handler) as client:
        stream = client.ask(HEAD)
        await client.exchange()
        server = client.connection.server
        await server.shutdown(0.01)
        assert frames.reset(stream, frames.CANCEL) in client.transport.written and client.transport.is_closed


@pytest.mark.looptime
async def test_a_connection_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http2, "LIMITS", http2.http2.Limits(idle_s=20))
    async with client_of(say_hello) as client:
        client.ask(HEAD)
        await client.exchange()
        assert client.goaway is None
        await asyncio.sleep(50)
        await client.exchange()
        assert client.goaway == frames.NO_ERROR and client.transport.is_closed


@pytest.mark.parametrize(
    "head",
    [
        HEAD[:3],
        [*HEAD, (":path", "/twice")],
        [*HEAD, ("accept", "*/*"), (":status", "200")],
        [*HEAD, ("Accept", "*/*")],
        [*HEAD, ("connection", "close")],
        [*HEAD, ("upgrade", "websocket")],
        [*HEAD, ("te", "gzip")],
        [*HEAD, ("x", "a\r\nb")],
        [*HEAD, ("", "nameless")],
        [*HEAD, ("a b", "space")],
        [*HEAD, ("content-length", "-1")],
        [*HEAD, ("content-length", "9" * 5000)],
        [*HEAD, ("content-length", "0"), ("content-length", "1")],
        [*HEAD[:2], (":authority", "a\r\nx: y"), HEAD[3]],
        [*HEAD[:2], (":authority", "a "), HEAD[3]],
        [*HEAD[:3], (":path", "relative")],
        [*HEAD[:3], (":path", "/a b")],
        [(":method", "G T"), *HEAD[1:]],
        [(":method", "CONNECT"), HEAD[2]],
    ],
)
async def test_a_malformed_request_ends_its_stream_and_no_other(head: list[tuple[str, str]]):
    async with client_of(say_hello) as client:
        await client.exchange()
        block = b"".join(literal(name.encode(), value.encode()) for name, value in head)
        client.connection.data_received(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, block))
        await asyncio.sleep(0)
        assert client.transport.written == frames.reset(1, frames.PROTOCOL_ERROR)
        client.transport.written = b""
        client.h2.get_next_available_stream_id()
        client.connection.data_received(
            frames.frame(
                frames.HEADERS,
                frames.END_HEADERS | frames.END_STREAM,
                3,
                b"".join(literal(name.encode(), value.encode()) for name, value in HEAD),
            )
        )
        for _ in range(5):
            await asyncio.sleep(0)
        assert b"steersman:6443" in client.transport.written


def test_blanks_at_the_ends_of_a_value_are_no_part_of_it():
    block = [*HEAD, ("user-agent", "\te2e.test -- waits for a timeout "), ("x", " ")]
    head = http2.request_head(tuple((name.encode(), value.encode()) for name, value in block), {})
    assert head.headers["User-Agent"] == "e2e.test -- waits for a timeout"
    assert head.headers["x"] == ""


async def test_headers_of_more_than_is_taken_are_answered_so():
    async with client_of(say_hello) as client:
        long = client.ask([*HEAD, *((f"x-{number}", "y" * 8000) for number in range(9))])
        other = client.ask(HEAD)
        await client.exchange()
        assert client.statuses == {long: 431, other: 200} and {long, other} <= client.ended and client.goaway is None


async def test_an_answer_that_nobody_takes_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http2, "TAKEN_WITHIN_S", 0.02)
    async with client_of(say_hello) as client:
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        stream = client.ask(HEAD)
        await client.exchange()
        assert client.statuses[stream] == 200 and client.connection.calls
        await asyncio.sleep(0.05)
        await client.exchange()
        assert client.resets == {stream: frames.CANCEL} and not client.connection.calls


async def test_headers_longer_than_a_frame_are_continued():
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(text="x")
        for number in range(5):
            response.headers.add(hdrs.WARNING, f'299 - "{number}{"w" * 7_000}"')
        return response

    async with client_of(handler) as client:
        client.h2.max_inbound_frame_size = 16384
        client.h2.decoder.max_header_list_size = 1 << 20
        stream = client.ask(HEAD)
        await client.exchange()
        assert client.statuses[stream] == 200 and client.bodies[stream] == b"x"


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(0, 9), st.integers(0, 255), st.integers(0, 7))
def test_whatever_bytes_come_nothing_is_raised_and_nothing_is_left(pieces, kind, flags, stream):
    async def run() -> None:
        async with client_of(say_hello) as client:
            if stream & 1:
                await client.exchange()
            for piece in pieces:
                client.connection.data_received(frames.frame(kind, flags, stream, piece) if stream else piece)
                await asyncio.sleep(0)

    asyncio.run(run())


def test_a_path_is_as_a_url_writes_it_whatever_bytes_were_sent():
    asked = http2.request_head(((b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/a\xff\xc3\xa9?b=\xff")), {})
    assert (asked.path, asked.url.raw_path) == ("/a%FF%C3%A9?b=%FF", "/a%FF%C3%A9")
