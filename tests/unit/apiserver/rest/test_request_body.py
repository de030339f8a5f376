from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from api.errors import RequestEntityTooLarge
from apiserver.rest import request_body

HEAD = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n"
WAITING = "Expect: 100-continue\r\n"
INVITATION = b"HTTP/1.1 100 Continue\r\n\r\n"


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    try:
        return web.Response(body=await request_body.read(request))
    except RequestEntityTooLarge as error:
        return web.Response(status=error.code)


async def refuse(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=403)


async def talk(head: str, body: bytes, *, waits: bool, handler: object = answer) -> tuple[bytes, bytes]:
    """Return what came before the body was sent and what came after it."""
    server = await asyncio.get_running_loop().create_server(web.Server(handler), "127.0.0.1", 0)  # type: ignore[arg-type]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        async with asyncio.timeout(10):
            writer.write(head.encode())
            before = await reader.readuntil(b"\r\n\r\n") if waits else b""
            writer.write(body)
            return before, await reader.read() if body else b""
    finally:
        writer.close()
        server.close()


async def test_who_waits_to_be_invited_is_and_the_answer_is_whole() -> None:
    before, after = await talk(HEAD.format(length=5, more=WAITING), b"hello", waits=True)
    assert before == INVITATION
    assert after.startswith(b"HTTP/1.1 200 OK\r\n")
    assert after.endswith(b"\r\n\r\nhello")


async def test_who_does_not_wait_is_not_invited() -> None:
    _, after = await talk(HEAD.format(length=5, more=""), b"hello", waits=False)
    assert after.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("length", "handler", "status"), [(5, refuse, b"403"), (4 << 20, answer, b"413")])
async def test_who_is_refused_is_not_invited(length: int, handler: object, status: bytes) -> None:
    before, _ = await talk(HEAD.format(length=length, more=WAITING), b"", waits=True, handler=handler)
    assert before.startswith(b"HTTP/1.1 " + status)
