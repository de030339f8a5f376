"""Answers of an HTTP server that does not say what it is made of."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from component.unnamed import unnamed


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="well", headers={"Server": "somebody/1"} if request.path == "/passed-on" else {})


@pytest.mark.parametrize(
    ("asked", "status", "server"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200", None),
        (b"GET /passed-on HTTP/1.1\r\nHost: a\r\n\r\n", "200", "somebody/1"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno field at all\r\n\r\n", "400", None),
    ],
)
async def test_a_server_names_no_library_and_passes_on_what_others_say(asked: bytes, status: str, server: str | None):
    http = unnamed(web.Server(answer))
    listener = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(asked)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
        writer.close()
    finally:
        listener.close()
        await http.shutdown()
    first, *fields = head.strip().split("\r\n")
    assert first.split()[1] == status
    named = dict(field.split(": ", 1) for field in fields)
    assert named.get("Server") == server
    assert "Date" in named
