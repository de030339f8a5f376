"""A WebSocket asked for on a connection that has been used before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop
from aiohttp import web

from apiserver.rest.takeover import Takeover
from component import relay

GET = b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
SOCKET = (
    b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def runner(main: Any) -> None:
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(asyncio.wait_for(main, 20))

    return runner


async def plain(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text=f"plain {request.path}")


async def echo(upgrade: relay.Upgrade) -> None:
    await relay.send_switch(upgrade.connection, [("Connection", "Upgrade"), ("Upgrade", upgrade.protocol)])
    while data := await upgrade.connection.reader.read(100):
        upgrade.connection.writer.write(data)
        await upgrade.connection.writer.drain()


@contextlib.asynccontextmanager
async def served(
    on_upgrade: Callable[[relay.Upgrade], Awaitable[None]] = echo,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, relay.Switchboard]]:
    takeover = Takeover(plain)
    ordinary = web.Server(takeover, handler_cancellation=True)
    board = relay.Switchboard(ordinary, lambda _, target: "/exec" in target, on_upgrade)
    takeover.switchboard = board
    server = await asyncio.get_running_loop().create_server(board, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield reader, writer, board
    finally:
        writer.close()
        server.close()
        await board.close()
        await ordinary.shutdown(1)


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(next((line.split(b":")[1] for line in head.lower().split(b"\r\n") if b"content-length" in line), b"0"))
    return head, await reader.readexactly(length)


def test_a_used_connection_becomes_a_websocket_and_keeps_every_byte(run: Any) -> None:
    async def main() -> None:
        async with served() as (reader, writer, board):
            for _ in range(3):
                writer.write(GET)
                assert (await answer(reader))[1] == b"plain /plain"
            writer.write(SOCKET % b"/exec?a=%20b" + b"at once")
            assert (await answer(reader))[0].startswith(b"HTTP/1.1 101")
            assert await reader.readexactly(7) == b"at once"
            for n in range(50):
                writer.write(b"%03d" % n * 1000)
                assert await reader.readexactly(3000) == b"%03d" % n * 1000
            assert board.upgraded == 1
            writer.write_eof()
            assert await reader.read() == b""

    run(main())


def test_what_is_refused_or_not_an_upgrade_path_stays_http(run: Any) -> None:
    async def refuse(upgrade: relay.Upgrade) -> None:
        assert relay.header(upgrade.headers, "Host") == "x" and upgrade.target == "/exec"
        await upgrade.refuse(403, b"{}")

    async def main() -> None:
        async with served(refuse) as (reader, writer, board):
            writer.write(SOCKET % b"/plain")
            assert (await answer(reader))[1] == b"plain /plain"
            assert board.upgraded == 0
        async with served(refuse) as (reader, writer, board):
            writer.write(GET)
            await answer(reader)
            writer.write(SOCKET % b"/exec")
            head, body = await answer(reader)
            assert head.startswith(b"HTTP/1.1 403") and body == b"{}"
            assert await reader.read() == b""

    run(main())
