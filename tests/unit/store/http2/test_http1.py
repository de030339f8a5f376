"""HTTP/1.1 as clients write it is answered, however it is cut into pieces; what is malformed ends the connection."""

from __future__ import annotations

import asyncio

import pytest

from store.http2 import http1
from store.http2.call import Code, Refusal
from store.http2.http1 import Http1
from store.http2.web import Asked, Page


class Transport:
    """What the connection writes to."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close


class Echo:
    """Answers with what it was asked; `/stream` goes on for as many pieces as its query says."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    async def answer(self, asked: Asked) -> Page:
        self.asked.append(asked)
        if asked.path == "/fail":
            raise RuntimeError("a mistake of ours")
        if asked.path == "/stream":

            async def stream(write) -> None:
                for number in range(int(asked.query)):
                    await write(b"piece %d\n" % number)

            return Page(200, "text/plain", b"", stream=stream)
        return Page(200, "text/plain", asked.method.encode() + b" " + asked.body)


class Client:
    """The other side of one connection."""

    def __init__(self, refusal: Refusal | None = None) -> None:
        self.web, self.transport, self.others = Echo(), Transport(), set()
        self.connection = Http1(self.web, self.others, frozenset({"anna"}), "anna", refusal)
        self.connection.connection_made(self.transport)

    async def send(self, *pieces: bytes) -> bytes:
        before = len(self.transport.written)
        for piece in pieces:
            self.connection.data_received(piece)
        for _ in range(10):
            await asyncio.sleep(0)
        return self.transport.written[before:]


WITH_LENGTH = b"POST /v3/kv/put?x=1 HTTP/1.1\r\nHost: h\r\nAuthorization: t\r\nContent-Length: 5\r\n\r\nhello"
IN_CHUNKS = (
    b"POST /v3/kv/put?x=1 HTTP/1.1\r\nHost: h\r\nauthorization:t\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;name=value\r\nllo\r\n0\r\nTrailer: x\r\n\r\n"
)


@pytest.mark.parametrize("request_", [WITH_LENGTH, IN_CHUNKS])
async def test_a_request_is_the_same_in_one_piece_and_byte_by_byte(request_: bytes):
    whole, slow = Client(), Client()
    first = await whole.send(request_)
    assert await slow.send(*(request_[at : at + 1] for at in range(len(request_)))) == first
    assert first.startswith(b"HTTP/1.1 200 OK\r\n") and first.endswith(b"Content-Length: 10\r\n\r\nPOST hello")
    (asked,) = slow.web.asked
    assert asked == Asked("POST", "/v3/kv/put", "x=1", "t", frozenset({"anna"}), "anna", b"hello")
    assert not slow.transport.is_closed


async def test_requests_follow_each_other_on_one_connection_also_at_once():
    client = Client()
    assert (await client.send(WITH_LENGTH + IN_CHUNKS + b"GET / HTTP/1.1\r\n\r\n")).count(b"200 OK") == 3
    assert [asked.method for asked in client.web.asked] == ["POST", "POST", "GET"]
    assert b"Connection: close" in await client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.transport.is_closed


async def test_a_stream_comes_in_chunks_and_the_connection_goes_on():
    client = Client()
    answer = await client.send(b"GET /stream?2 HTTP/1.1\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in answer
    assert answer.endswith(b"8\r\npiece 0\n\r\n8\r\npiece 1\n\r\n0\r\n\r\n")
    assert b"200 OK" in await client.send(b"GET / HTTP/1.1\r\n\r\n")


async def test_whoever_asks_first_is_told_to_go_on():
    client = Client()
    head, body = WITH_LENGTH[:-5].replace(b"Host", b"Expect: 100-continue\r\nHost"), b"hello"
    assert await client.send(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"200 OK" in await client.send(body)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", 413),
        (b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000, 431),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 40_000, 400),
    ],
)
async def test_what_is_malformed_or_too_large_ends_the_connection(monkeypatch, request_: bytes, status: int):
    monkeypatch.setattr(http1, "LINGER_S", 0.01)
    client = Client()
    assert (await client.send(request_)).startswith(b"HTTP/1.1 %d " % status)
    assert not await client.send(WITH_LENGTH)  # it may end what it is sending, so that it comes to read the answer
    await asyncio.sleep(0.05)
    assert client.transport.is_closed and not client.web.asked


async def test_who_is_not_admitted_is_told_so_and_our_mistakes_are_ours():
    client = Client(Refusal(Code.PERMISSION_DENIED, "you are not admitted"))
    assert b"403 Forbidden" in (answer := await client.send(WITH_LENGTH)) and b"you are not admitted" in answer
    assert not client.web.asked
    assert b"500 Internal Server Error" in await Client().send(b"GET /fail HTTP/1.1\r\n\r\n")


async def test_a_client_that_goes_away_ends_what_it_asked_for(monkeypatch):
    client = Client()
    gone = asyncio.Event()

    async def answer(asked: Asked) -> Page:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError

    client.web.answer = answer
    await client.send(WITH_LENGTH)
    client.connection.connection_lost(None)
    await asyncio.wait_for(gone.wait(), 1)
    assert not client.others


async def test_one_that_says_nothing_more_is_closed_after_a_while(monkeypatch):
    monkeypatch.setattr(http1, "REQUEST_WITHIN_S", 0.01)
    client = Client()
    await client.send(b"GET / HT")
    await asyncio.sleep(0.05)
    assert client.transport.is_closed
    client.connection.connection_lost(None)
