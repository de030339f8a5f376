from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop
from aiohttp import web
from cryptography import x509

from component import relay
from component.serve import client_context, server_context
from tests.certificates import Authority


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def runner(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(asyncio.wait_for(main, 20))

    return runner


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


async def hello(request: web.BaseRequest) -> web.StreamResponse:
    text = await request.text()
    return web.Response(text=f"{request.method} {request.path} {text}")


def takes(method: str, target: str) -> bool:
    return "/exec" in target


@contextlib.asynccontextmanager
async def switchboard(
    on_upgrade: Callable[[relay.Upgrade], Awaitable[None]], tls: ssl.SSLContext | None = None, **kwargs: Any
) -> AsyncIterator[tuple[int, relay.Switchboard]]:
    ordinary = web.Server(hello)
    board = relay.Switchboard(ordinary, takes, on_upgrade, **kwargs)
    server = await asyncio.get_running_loop().create_server(board, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], board
    finally:
        server.close()
        await board.close()
        await ordinary.shutdown()


@contextlib.asynccontextmanager
async def backend(serve: Callable[[relay.Connection], Awaitable[None]]) -> AsyncIterator[int]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            await serve(relay.Connection(reader, writer))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def refuse_all(upgrade: relay.Upgrade) -> None:
    await upgrade.refuse(403, b"{}")


UPGRADE = [("Host", "x"), ("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4")]


def test_ordinary_requests_reach_the_ordinary_protocol_with_every_byte(run: Any) -> None:
    async def main() -> None:
        async with switchboard(refuse_all) as (port, _):
            connection = await relay.dial("127.0.0.1", port)
            request = b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde"
            for at in range(len(request)):
                connection.writer.write(request[at : at + 1])
                await connection.writer.drain()
                if at < 12:
                    await asyncio.sleep(0.001)
            head = await connection.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await connection.reader.readexactly(15) == b"POST /api abcde"
            connection.writer.write(b"GET /exec HTTP/1.1\r\nHost: x\r\n\r\n")  # keep-alive: ordinary from now on
            assert b"200" in await connection.reader.readuntil(b"\r\n\r\n")
            await connection.close()

    run(main())


def test_a_plain_get_on_a_streaming_path_is_ordinary(run: Any) -> None:
    async def main() -> None:
        async with switchboard(refuse_all) as (port, _):
            connection = await relay.dial("127.0.0.1", port)
            connection.writer.write(b"GET /exec?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP/1.1 200" in await connection.reader.readuntil(b"\r\n\r\n")
            await connection.close()

    run(main())


def test_garbage_and_endless_heads_are_answered_by_the_ordinary_protocol(run: Any) -> None:
    async def main() -> None:
        async with switchboard(refuse_all) as (port, _):
            for head in (b"\x16\x03\x01 not http\r\n\r\n", b"GET /exec HTTP/1.1\r\nA: " + b"a" * 70_000):
                connection = await relay.dial("127.0.0.1", port)
                connection.writer.write(head)
                assert b" 400 " in await connection.reader.readline()
                await connection.close()

    run(main())


def test_a_client_that_says_nothing_is_dropped_at_the_deadline(run: Any) -> None:
    async def main() -> None:
        async with switchboard(refuse_all, head_deadline_s=0.05) as (port, board):
            connection = await relay.dial("127.0.0.1", port)
            connection.writer.write(b"GET /exec HTTP/1.1\r\nHos")
            with contextlib.suppress(ConnectionError):
                assert await connection.reader.read() == b""
            connection.abort()
            assert not board._waiting

    run(main())


def test_an_upgrade_carries_head_leftover_and_client_certificate_over_tls(run: Any, authority: Authority) -> None:
    seen: list[relay.Upgrade] = []
    rest: list[bytes] = []
    ders: list[bytes] = []

    async def on_upgrade(upgrade: relay.Upgrade) -> None:
        seen.append(upgrade)
        ders.append(upgrade.certificate)
        rest.append(await upgrade.connection.reader.readexactly(5))
        await upgrade.refuse(403, b"no")

    async def main() -> None:
        tls = server_context(authority.issue("kubernetes"), client_certificates=ssl.CERT_OPTIONAL)
        async with switchboard(on_upgrade, tls) as (port, _):
            client = client_context(authority.issue("jane", "dev", "ops"))
            connection = await relay.dial("127.0.0.1", port, tls=client)
            fields = relay.encode_fields(UPGRADE)
            connection.writer.write(b"POST /exec?command=a%20b HTTP/1.1\r\n" + fields + b"early")
            assert (await connection.reader.read()).endswith(b"Connection: close\r\n\r\nno")
            await connection.close()

    run(main())
    assert (seen[0].method, seen[0].target, seen[0].protocol) == ("POST", "/exec?command=a%20b", "spdy/3.1")
    assert seen[0].header("x-stream-protocol-version") == "v4"
    assert rest == [b"early"]
    assert "CN=jane" in x509.load_der_x509_certificate(ders[0]).subject.rfc4514_string()
    assert seen[0].peer_cert is not None
    assert (("commonName", "jane"),) in seen[0].peer_cert["subject"]


async def upgrade_and_shout(connection: relay.Connection) -> None:
    """A backend that grants the upgrade, echoes in capitals until end of input, then says goodbye."""
    head = await connection.reader.readuntil(b"\r\n\r\n")
    assert b"Upgrade: SPDY/3.1" in head
    await relay.send_switch(connection, [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")])
    while data := await connection.reader.read(1000):
        connection.writer.write(data.upper())
        await connection.writer.drain()
    connection.writer.write(b"<bye>")
    await connection.close()


def to_backend(port: int) -> Callable[[relay.Upgrade], Awaitable[None]]:
    async def on_upgrade(upgrade: relay.Upgrade) -> None:
        next_hop = await relay.dial("127.0.0.1", port)
        answer = await relay.request_upgrade(next_hop, upgrade.method, "/x", upgrade.headers)
        if not answer.switched:
            body = await relay.read_body(next_hop, answer.headers)
            next_hop.abort()
            await upgrade.refuse(answer.status, body)
            return
        await relay.send_switch(upgrade.connection, answer.headers)
        await relay.relay(upgrade.connection, next_hop)

    return on_upgrade


def test_bytes_are_relayed_both_ways_and_half_close_is_passed_on(run: Any) -> None:
    async def main() -> None:
        async with (
            backend(upgrade_and_shout) as behind,
            switchboard(to_backend(behind)) as (port, board),
        ):
            connection = await relay.dial("127.0.0.1", port)
            answer = await relay.request_upgrade(connection, "POST", "/exec", UPGRADE)
            assert answer.switched and relay.header(answer.headers, "upgrade") == "SPDY/3.1"
            payload = b"abcdefgh" * 200_000

            async def send() -> None:
                connection.writer.write(payload)
                await connection.writer.drain()
                connection.writer.write_eof()

            sending = asyncio.ensure_future(send())
            assert await connection.reader.read(-1) == payload.upper() + b"<bye>"
            await sending
            await connection.close()
            async with asyncio.timeout(5):
                while board.upgraded:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    run(main())


def test_a_relay_over_tls_delivers_everything_before_the_end(run: Any, authority: Authority) -> None:
    async def blast(connection: relay.Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await relay.send_switch(connection, [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")])
        connection.writer.write(b"z" * 3_000_000)
        await connection.close()

    async def main() -> None:
        tls = server_context(authority.issue("kubernetes"), client_certificates=ssl.CERT_OPTIONAL)
        async with backend(blast) as behind, switchboard(to_backend(behind), tls) as (port, _):
            connection = await relay.dial("127.0.0.1", port, tls=client_context(authority.issue("jane")))
            assert (await relay.request_upgrade(connection, "POST", "/exec", UPGRADE)).switched
            assert len(await connection.reader.read(-1)) == 3_000_000
            await connection.close()

    run(main())


def test_a_receiver_that_stops_reading_makes_the_sender_wait(run: Any) -> None:
    sent = 0

    async def flood(connection: relay.Connection) -> None:
        nonlocal sent
        await connection.reader.readuntil(b"\r\n\r\n")
        await relay.send_switch(connection, [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")])
        while sent < 500_000_000:
            connection.writer.write(b"x" * 65536)
            await connection.writer.drain()
            sent += 65536

    async def main() -> None:
        async with backend(flood) as behind, switchboard(to_backend(behind)) as (port, _):
            connection = await relay.dial("127.0.0.1", port)
            assert (await relay.request_upgrade(connection, "POST", "/exec", UPGRADE)).switched
            connection.transport.pause_reading()
            last = -1
            while last != sent:
                last = sent
                await asyncio.sleep(0.2)
            assert sent < 50_000_000  # what kernel buffers and a few chunks hold
            connection.abort()

    run(main())


def test_a_refusal_behind_is_passed_on_and_the_connection_ends(run: Any) -> None:
    async def refuse(connection: relay.Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        connection.writer.write(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n")
        await connection.reader.read()  # keeps its connection open, as a keep-alive server does

    async def main() -> None:
        async with backend(refuse) as behind, switchboard(to_backend(behind)) as (port, _):
            connection = await relay.dial("127.0.0.1", port)
            answer = await relay.request_upgrade(connection, "POST", "/exec", UPGRADE)
            assert answer.status == 404
            assert await connection.reader.read(-1) == b"nope"
            await connection.close()

    run(main())


def test_closing_the_switchboard_ends_upgraded_connections(run: Any) -> None:
    async def main() -> None:
        async with backend(upgrade_and_shout) as behind, switchboard(to_backend(behind)) as (port, board):
            connection = await relay.dial("127.0.0.1", port)
            assert (await relay.request_upgrade(connection, "POST", "/exec", UPGRADE)).switched
            await board.close()
            with contextlib.suppress(ConnectionError):
                assert await connection.reader.read(-1) == b""
            assert board.upgraded == 0
            connection.abort()

    run(main())


def test_headers_with_line_breaks_or_folding_are_refused() -> None:
    with pytest.raises(relay.BadHead):
        relay.encode_fields([("A", "b\r\nC: d")])
    for block in (b" folded: x", b"no colon", b"a : b"):
        with pytest.raises(relay.BadHead):
            relay.parse_fields(block)


def test_upgrade_protocol_needs_the_connection_token() -> None:
    assert relay.upgrade_protocol([("Connection", "keep-alive, Upgrade"), ("Upgrade", "WebSocket")]) == "websocket"
    assert relay.upgrade_protocol([("Upgrade", "websocket")]) == ""


def test_the_last_words_of_a_peer_that_reads_no_more_are_heard(
    run: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    async def main() -> None:
        async def serve(connection: relay.Connection) -> None:
            await connection.reader.readexactly(1)
            await asyncio.sleep(0.1)  # more comes, and is not read
            connection.writer.write(b"bye")
            connection.writer.close()  # so the kernel resets the connection

        async with backend(serve) as port:
            connection = await relay.dial("127.0.0.1", port, is_apart=True)
            with contextlib.suppress(OSError):
                for _ in range(100):
                    connection.writer.write(b"x" * 100_000)
                    await connection.writer.drain()
                    await asyncio.sleep(0.005)
            assert await connection.reader.readexactly(3) == b"bye"
            connection.abort()

    run(main())
