from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from apiserver.registry.fanout import Watcher
from apiserver.rest.websocket import WebSocketWatch

HEAD = (
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
)
TOKEN = "base64url.bearer.authorization.k8s.io.dG9rZW4"


class Silent:
    """A watcher that never has anything to tell."""

    error = None
    has_pending = False
    on_ready = None

    def take(self, _: int) -> list[object]:
        return []

    def close(self) -> None:
        pass


async def serve(request: web.BaseRequest) -> web.StreamResponse:
    watcher: Watcher = Silent()  # type: ignore[assignment]
    return await WebSocketWatch(watcher, (None, None), wants_bookmarks=False).run(request, 0.01)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [("", None), ("binary.k8s.io", b"binary.k8s.io"), (f"{TOKEN}, base64.binary.k8s.io", b"base64.binary.k8s.io")],
)
async def test_a_watch_agrees_to_the_subprotocol_that_is_offered(offered: str, agreed: bytes | None) -> None:
    server = await asyncio.get_running_loop().create_server(web.Server(serve), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        async with asyncio.timeout(10):
            writer.write(HEAD.format(more=f"Sec-WebSocket-Protocol: {offered}\r\n" if offered else "").encode())
            head = await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        server.close()
    assert head.startswith(b"HTTP/1.1 101 ")
    headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    assert headers.get(b"Sec-WebSocket-Protocol") == agreed
