"""The store's gRPC server as grpcio's client finds it, over TLS; etcdctl and aetcd have tests of their own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest

from component.serve import Identity, grpc_channel
from store.http2.call import Code, Method, Refusal
from store.http2.server import Server
from tests.integration.store_process import Authority
from tests.ports import free_port

LARGE = 9 << 20


@dataclass
class Running:
    server: Server
    address: str
    authority: Authority
    client: Identity
    cancelled: asyncio.Queue[str]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    authority = Authority(tmp_path)
    cancelled: asyncio.Queue[str] = asyncio.Queue()

    async def once(request: bytes) -> bytes:
        if request == b"wait":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.put_nowait("once")
                raise
        if request == b"refuse":
            raise Refusal(Code.OUT_OF_RANGE, "too far – by 3%")
        return request

    async def both(requests, answers) -> None:
        try:
            async for request in requests:
                await answers.write(request)
        except asyncio.CancelledError:
            cancelled.put_nowait("both")
            raise

    async def many(request: bytes, answers) -> None:
        for _ in range(int(request)):
            await answers.write(bytes(1 << 20))

    methods = {
        "/t.T/Once": Method("unary", once, bytes),
        "/t.T/Both": Method("stream", both, bytes),
        "/t.T/Many": Method("server-stream", many, bytes),
    }

    def status_of(error: Exception) -> tuple[Code, str]:
        return (error.code, error.message) if isinstance(error, Refusal) else (Code.INTERNAL, repr(error))

    server = Server(methods, status_of, lambda names: None if names & {"friend"} else f"not {sorted(names)}")
    address = f"127.0.0.1:{free_port()}"
    await server.start(address, authority.issue("server"))
    yield Running(server, address, authority, authority.issue("friend"), cancelled)
    await server.stop(0.1)


@pytest.fixture
async def channel(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc_channel([running.address], running.client) as channel:
        yield channel


async def test_calls_of_any_size_are_answered_many_at_a_time(channel: grpc.aio.Channel):
    once = channel.unary_unary("/t.T/Once")
    bodies = [b"", b"a", bytes(16_379), bytes(16_380), bytes(65_530), bytes(65_536), bytes(LARGE)] * 3
    assert await asyncio.gather(*(once(body, timeout=30) for body in bodies)) == bodies
    assert all(await asyncio.gather(*(once(b"x" * 100, timeout=30) for _ in range(2000))))


async def test_compressed_calls_are_answered(channel: grpc.aio.Channel):
    for how in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert await channel.unary_unary("/t.T/Once")(bytes(5000), timeout=10, compression=how) == bytes(5000)


async def test_a_request_that_is_too_large_is_refused_with_a_word(running: Running):
    parts = (running.client.ca, running.client.key, running.client.cert)
    credentials = grpc.ssl_channel_credentials(*(part.read_bytes() for part in parts))
    unbounded = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.secure_channel(running.address, credentials, options=unbounded) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/t.T/Once")(bytes((16 << 20) + 1), timeout=10)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max (16777217 vs. 16777216)" in refused.value.details()


async def test_a_stream_goes_both_ways_in_order_and_ends_when_the_client_has(channel: grpc.aio.Channel):
    stream = channel.stream_stream("/t.T/Both")()
    bodies = [bytes([number % 256]) * (number * 37) for number in range(500)]

    async def send() -> None:
        for body in bodies:
            await stream.write(body)
        await stream.done_writing()

    sending = asyncio.create_task(send())
    assert [body async for body in stream] == bodies
    await sending
    assert await stream.code() == grpc.StatusCode.OK


async def test_errors_reach_the_client_as_they_were_meant(channel: grpc.aio.Channel):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary("/t.T/Once")(b"refuse", timeout=5)
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "too far – by 3%")
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await channel.unary_unary("/t.T/None")(b"", timeout=5)
    assert (unknown.value.code(), unknown.value.details()) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "unknown method /t.T/None",
    )


async def test_a_call_that_is_given_up_ends_on_the_server_too(running: Running, channel: grpc.aio.Channel):
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await channel.unary_unary("/t.T/Once")(b"wait", timeout=0.2)
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    stream = channel.stream_stream("/t.T/Both")()
    await stream.write(b"a")
    assert await stream.read() == b"a"
    stream.cancel()
    async with asyncio.timeout(5):
        assert sorted([await running.cancelled.get(), await running.cancelled.get()]) == ["both", "once"]


async def test_a_reader_that_stops_reading_holds_up_nobody_else(channel: grpc.aio.Channel):
    slow = channel.unary_stream("/t.T/Many")(b"200")
    assert len(await slow.read()) == 1 << 20
    for _ in range(20):
        assert await channel.unary_unary("/t.T/Once")(b"quick", timeout=5) == b"quick"
    assert sum([len(await slow.read()) for _ in range(199)]) == 199 << 20
    assert await slow.read() is grpc.aio.EOF


async def test_stopping_ends_streams_as_unavailable_and_refuses_new_calls(running: Running, channel: grpc.aio.Channel):
    stream = channel.stream_stream("/t.T/Both")()
    await stream.write(b"a")
    assert await stream.read() == b"a"
    await running.server.stop(0.1)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stream.read()
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary("/t.T/Once")(b"a", timeout=2)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_only_those_with_the_right_certificate_are_served(running: Running, tmp_path: Path):
    async with grpc_channel([running.address], running.authority.issue("stranger")) as stranger:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stranger.unary_unary("/t.T/Once")(b"a", timeout=5)
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not ['stranger']")
    foreign = Authority(tmp_path / "other", "other").issue("friend")
    foreign = Identity(foreign.cert, foreign.key, running.client.ca)
    async with grpc_channel([running.address], foreign) as forger:
        with pytest.raises(grpc.aio.AioRpcError) as unreachable:
            await forger.unary_unary("/t.T/Once")(b"a", timeout=5)
    assert unreachable.value.code() == grpc.StatusCode.UNAVAILABLE
    host, port = running.address.split(":")
    bare = ssl.create_default_context(cafile=str(running.client.ca))
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(host, int(port), ssl=bare, server_hostname="localhost")
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert await reader.read() == b""
