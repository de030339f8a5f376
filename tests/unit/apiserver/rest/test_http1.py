from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from api.errors import BadRequest
from apiserver.rest import http1
from apiserver.rest.request_body import read

HEAD_BYTES_MAX = 4096


async def told(request: web.BaseRequest) -> web.Response:
    return web.Response(status=405, text=f"{request.method} {request.path} {(await request.read()).decode()}")


async def answers(*pieces: bytes) -> list[tuple[int, str]]:
    """Return status and body of each answer to what was sent on one connection, until it is closed."""
    server = http1.Server(
        told, access_log=None, max_line_size=HEAD_BYTES_MAX, max_field_size=HEAD_BYTES_MAX, max_headers=16
    )  # type: ignore[arg-type]
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    found: list[tuple[int, str]] = []
    for piece in pieces:
        writer.write(piece)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length.split(b":")[1]))
        assert head.startswith(b"HTTP/1.1 ")
        found.append((int(head.split(b" ")[1]), body.decode()))
    writer.close()
    listener.close()
    await server.shutdown(0.1)
    return found


def head(line: str, *fields: str) -> bytes:
    return "".join(f"{each}\r\n" for each in (line, "Host: h", *fields, "")).encode()


async def test_a_method_may_be_any_token() -> None:
    assert await answers(
        head("FOO /a HTTP/1.1"),
        head("PUT /b HTTP/1.1", "Content-Length: 2") + b"xy",
        head("A-b /c HTTP/1.1", "Transfer-Encoding: chunked") + b"1\r\nz\r\n0\r\n\r\n",
    ) == [(405, "FOO /a "), (405, "PUT /b xy"), (405, "A-b /c z")]
    assert await answers(head("GET /a HTTP/1.1"), head("FOO /b HTTP/1.1")) == [(405, "GET /a "), (405, "FOO /b ")]


@pytest.mark.parametrize("line", ["F@O /a HTTP/1.1", "GET", "GET /a HTTP/x"])
async def test_what_cannot_be_read_is_not_repeated(line: str) -> None:
    assert await answers(head(line)) == [(400, "400 Bad Request")]
    assert await answers(head("GET /a HTTP/1.1", "a b: c")) == [(400, "400 Bad Request")]
    without_host = b"GET /a HTTP/1.1\r\n\r\n"
    assert await answers(without_host) == [(400, "400 Bad Request: missing required Host header")]


@pytest.mark.parametrize("method", ["GET", "FOO"])
async def test_a_head_that_is_too_long_is_said_to_be(method: str) -> None:
    too_large = [(431, "431 Request Header Fields Too Large")]
    assert await answers(head(f"{method} /a HTTP/1.1", f"X: {'x' * 2 * HEAD_BYTES_MAX}")) == too_large
    assert await answers(head(f"{method} /{'x' * 2 * HEAD_BYTES_MAX} HTTP/1.1")) == too_large
    assert await answers(head(f"{method} /a HTTP/1.1", *(f"X{each}: x" for each in range(20)))) == too_large


@pytest.mark.parametrize("method", ["POST", "FOO"])
@pytest.mark.parametrize("size", ["zz", "f" * 18])
async def test_a_body_that_cannot_be_read_further_is_not_waited_for(method: str, size: str) -> None:
    async def take(request: web.BaseRequest) -> web.Response:
        try:
            await read(request)
        except BadRequest as error:
            return web.Response(status=400, text=str(error))
        raise AssertionError("it was read")

    server = http1.Server(take, access_log=None)  # type: ignore[arg-type]
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    writer.write(head(f"{method} /a HTTP/1.1", "Transfer-Encoding: chunked") + b"2\r\nxy\r\n")
    await asyncio.sleep(0.05)
    writer.write(f"{size}\r\n".encode())
    async with asyncio.timeout(2):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1
    assert b"the body cannot be read" in answer
    writer.close()
    listener.close()
    await server.shutdown(0.1)
