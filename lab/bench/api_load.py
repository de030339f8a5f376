"""The clients of `steer bench api`: one process of them, told what to do by a line of JSON on stdin.

It answers `ready` when every connection is up, begins at the next line on stdin, and prints what it measured as JSON.
Each client has one request under way, on a kept-alive HTTP/1.1 connection of its own or, over HTTP/2, on one that a
hundred share, as Go's do; answers are measured, not decoded.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast

import msgspec
import uvloop

from component.http2 import frames
from lab.bench import http2
from lab.bench.kubeconfig import ClientTls

LATENCIES_MAX = 50_000


class Order(msgspec.Struct, frozen=True):
    """What to do."""

    case: str
    address: tuple[str, int]
    base: str
    """Path of the collection that cases are about."""
    clients: int
    seconds: float
    tls: ClientTls
    server_name: str
    token: str = ""
    transport: str = "rest"
    """rest or http2."""
    number: int = 0
    """Of this process, so that no two write the same objects."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of it."""

    count: int
    errors: int
    seconds: float
    received_bytes: int
    latencies_ms: list[float]
    cpu_share: float
    """Of one core, spent by this process while it measured."""
    error: str = ""
    """The first of them."""


class Request(NamedTuple):
    """What is asked."""

    method: str
    path: str
    body: bytes = b""
    kind: str = ""
    """Of the body."""


class Client(Protocol):
    """Asks one request after another."""

    async def ask(self, request: Request) -> tuple[int, int]:
        """Send a request; return its answer's status and size in bytes."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Connection(asyncio.Protocol):
    """One connection of HTTP/1.1: a request, its answer, the next."""

    def __init__(self, host: str = "", token: str = "") -> None:
        self._fields = f"Host: {host}\r\nAccept: application/json\r\n"
        if token:
            self._fields += f"Authorization: Bearer {token}\r\n"
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, int]] | None = None
        self._head = b""
        self._status = 0
        self._left = 0
        self._size = 0
        self._tail = b""
        self._is_chunked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports over TLS are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: Request) -> tuple[int, int]:
        """Send a request; return its answer's status and size in bytes."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._head, self._status, self._size = b"", 0, 0
        about = f"Content-Type: {request.kind}\r\nContent-Length: {len(request.body)}\r\n" if request.kind else ""
        head = f"{request.method} {request.path} HTTP/1.1\r\n{self._fields}{about}\r\n"
        self._transport.write(head.encode() + request.body)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        if not self._status:
            head, found, data = (self._head + data).partition(b"\r\n\r\n")
            if not found:
                self._head = head
                return
            lines = head.lower().split(b"\r\n")
            self._status = int(lines[0].split(b" ")[1])
            headers = dict(line.split(b": ", 1) for line in lines[1:])
            self._is_chunked = headers.get(b"transfer-encoding") == b"chunked"
            self._left = int(headers.get(b"content-length", b"0"))
            self._tail = b""
        self._size += len(data)
        self._left -= len(data)
        if self._is_chunked:
            # The last chunk ends what is sent; nothing of ours holds these five bytes before it.
            self._tail = (self._tail + data)[-5:]
        is_whole = self._tail == b"0\r\n\r\n" if self._is_chunked else self._left <= 0
        if is_whole and self._answer is not None and not self._answer.done():
            self._answer.set_result((self._status, self._size))

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


class Http2Connection(asyncio.Protocol):
    """One connection of HTTP/2, for as many clients as it carries."""

    def __init__(self, host: str, token: str) -> None:
        fields = {":scheme": "https", ":authority": host, "accept": "application/json"}
        self._fields = http2.block((fields | ({"authorization": f"Bearer {token}"} if token else {})).items())
        self._transport: asyncio.Transport | None = None
        self._session = http2.Session(frames.WINDOW_BYTES_MAX)
        self._answers: dict[int, asyncio.Future[tuple[int, int]]] = {}
        self._begun: dict[int, tuple[int, int]] = {}
        """Status and size so far."""
        self._next_stream = 1
        self._is_sending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: Request) -> tuple[int, int]:
        """Send a request; return its answer's status and size in bytes."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        answer: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self._answers[stream] = answer
        own = [(":method", request.method), (":path", request.path)]
        own += [("content-type", request.kind)] if request.kind else []
        # Pseudo-headers come first, as they must.
        self._session.out += http2.request(
            stream, http2.block(own[:2]) + self._fields + http2.block(own[2:]), request.body if request.kind else None
        )
        if not self._is_sending:
            self._is_sending = True
            asyncio.get_running_loop().call_soon(self._send)
        return await answer

    def data_received(self, data: bytes) -> None:
        for piece in self._session.pieces(data):
            answer = self._answers.get(piece.stream)
            if answer is None:
                continue
            status, size = self._begun.get(piece.stream, (0, 0))
            self._begun[piece.stream] = piece.status or status, size + len(piece.data)
            if piece.has_ended:
                came = self._begun.pop(piece.stream)
                del self._answers[piece.stream]
                if piece.is_reset:
                    answer.set_exception(ConnectionResetError("the server has reset a request"))
                else:
                    answer.set_result(came)
        self._send()

    def _send(self) -> None:
        """Send what this turn of the event loop has asked for, in one piece."""
        self._is_sending = False
        if self._session.out and self._transport is not None:
            self._transport.write(self._session.out)
            self._session.out = b""

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


def requests_of(order: Order, client: int) -> Iterator[Request]:
    """Yield a client's requests."""
    own = f"{order.case}-{order.clients}-{order.number}-{client}"

    def request(method: str, path: str, body: dict[str, Any] | None = None, kind: str = "application/json") -> Request:
        return Request(method, path) if body is None else Request(method, path, json.dumps(body).encode(), kind)

    def config_map(name: str, value: str) -> dict[str, Any]:
        data = {"value": value, "pad": "x" * 800}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}

    if order.case == "list":
        # What a client that starts asks for: whatever the server has, at once.
        yield from itertools.repeat(request("GET", f"{order.base}?resourceVersion=0"))
    elif order.case == "get":
        yield from itertools.repeat(request("GET", f"{order.base}/read"))
    elif order.case == "create":
        for number in itertools.count():
            yield request("POST", order.base, config_map(f"{own}-{number}", "0"))
    else:
        yield request("POST", order.base, config_map(own, "0"))
        for number in itertools.count():
            if order.case == "update":
                yield request("PUT", f"{order.base}/{own}", config_map(own, str(number)))
            else:
                patch = {"data": {"value": str(number)}}
                yield request("PATCH", f"{order.base}/{own}", patch, "application/merge-patch+json")


async def run(order: Order, tls: ssl.SSLContext) -> None:
    """Connect, wait, load, tell."""
    loop = asyncio.get_running_loop()
    host, port = order.address
    is_http2 = order.transport == "http2"
    if is_http2:
        tls.set_alpn_protocols(["h2"])

    async def connect() -> Client:
        make = Http2Connection if is_http2 else Connection
        _, made = await loop.create_connection(
            lambda: make(host, order.token), host, port, ssl=tls, server_hostname=order.server_name
        )
        return made

    connections = [await connect() for _ in range(http2.connections_for(order.clients) if is_http2 else order.clients)]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    latencies: list[float] = []
    count = errors = received = 0
    first = ""
    began, cpu = time.monotonic(), time.process_time()
    until = began + order.seconds

    async def client(number: int, connection: Client) -> None:
        nonlocal count, errors, received, first
        try:
            for request in requests_of(order, number):
                asked = time.monotonic()
                if asked >= until:
                    return
                status, size = await connection.ask(request)
                received += size
                if status >= 400:
                    errors += 1
                    first = first or f"{request.method} {request.path}: {status}"
                    continue
                count += 1
                if len(latencies) < LATENCIES_MAX:
                    latencies.append((time.monotonic() - asked) * 1e3)
        except OSError as error:
            errors += 1
            first = first or str(error)

    await asyncio.gather(*(client(number, connections[number % len(connections)]) for number in range(order.clients)))
    seconds = time.monotonic() - began
    share = (time.process_time() - cpu) / seconds
    print(msgspec.json.encode(Outcome(count, errors, seconds, received, latencies, share, first)).decode(), flush=True)
    for connection in connections:
        connection.close()


def main() -> None:
    """Run the order on stdin."""
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    try:
        uvloop.run(run(order, order.tls.context()))
    except (OSError, ssl.SSLError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
