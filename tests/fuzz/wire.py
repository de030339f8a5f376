"""HTTP/1.1 as bytes: sends what no client library would, and reads what comes back."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

LIMIT: Final = 1 << 26


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `target` is sent as it stands."""

    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes = b""
    """Sent instead of all that, if there is any."""

    def encode(self) -> bytes:
        """Return the bytes to send."""
        if self.raw:
            return self.raw
        headers = {"Host": "localhost", "User-Agent": "fuzz/1", **self.headers}
        if self.body or self.method in ("POST", "PUT", "PATCH"):
            headers.setdefault("Content-Length", str(len(self.body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{self.method} {self.target} HTTP/1.1\r\n{head}\r\n".encode("latin-1", "replace") + self.body

    def to_json(self) -> dict[str, Any]:
        """Return what a saved case holds of it: bodies as text where they are text."""
        saved: dict[str, Any] = {"method": self.method, "target": self.target, "headers": dict(self.headers)}
        for name, data in (("body", self.body), ("raw", self.raw)):
            try:
                saved[name] = data.decode()
            except UnicodeDecodeError:
                saved[f"{name}_base64"] = base64.b64encode(data).decode()
        return saved

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Request:
        """Undo `to_json`."""

        def data(name: str) -> bytes:
            encoded = saved.get(f"{name}_base64")
            return base64.b64decode(encoded) if encoded else str(saved.get(name, "")).encode()

        return cls(saved["method"], saved["target"], data("body"), saved["headers"], data("raw"))

    def __str__(self) -> str:
        if self.raw:
            return repr(self.raw[:60])
        return f"{self.method} {self.target[:160]}"


@dataclass(frozen=True, slots=True)
class Response:
    """What came back; status 0 when the connection was closed without an answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""
    body: bytes = b""

    @property
    def value(self) -> Any:
        """The body as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def is_json(self) -> bool:
        """Whether it says that it is JSON."""
        return self.headers.get("content-type", "").startswith("application/json")


class Connection:
    """A connection that is opened anew when the server has closed it."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self._port = port
        self._tls = tls
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: Request) -> Response:
        """Send a request and return the answer."""
        was_open = self._writer is not None
        try:
            response = await self._ask(request)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            response = Response(0)
        if response.status == 0 and was_open:
            # The server may have closed an idle connection just then.
            self.close()
            try:
                response = await self._ask(request)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                response = Response(0)
        if response.status == 0 or request.raw or response.headers.get("connection", "").lower() == "close":
            self.close()
        return response

    async def stream(self, request: Request) -> tuple[Response, AsyncIterator[bytes]]:
        """Send a request and return the head of the answer, and its chunks as they come."""
        await self._send(request)
        assert self._reader is not None
        status, headers = await _head(self._reader)
        if status == 200 and headers.get("transfer-encoding") == "chunked":
            return Response(status, headers), _chunks(self._reader)
        return Response(status, headers, await _body(self._reader, status, headers, "GET")), _nothing()

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _send(self, request: Request) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._port, ssl=self._tls, server_hostname="localhost", limit=LIMIT
            )
        self._writer.write(request.encode())
        await self._writer.drain()

    async def _ask(self, request: Request) -> Response:
        await self._send(request)
        assert self._reader is not None and self._writer is not None
        if request.raw:
            self._writer.transport.write(b"")
        status, headers = await _head(self._reader)
        while 100 <= status < 200:
            status, headers = await _head(self._reader)
        body = await _body(self._reader, status, headers, request.method)
        return Response(status, headers, gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    return status, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}


async def _body(reader: asyncio.StreamReader, status: int, headers: Mapping[str, str], method: str) -> bytes:
    if method == "HEAD" or status in (204, 304):
        return b""
    if headers.get("transfer-encoding") == "chunked":
        return b"".join([chunk async for chunk in _chunks(reader)])
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readline()).strip() or b"0", 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
