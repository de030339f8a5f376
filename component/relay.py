"""Upgraded connections: telling them from ordinary requests, and carrying their bytes.

`kubectl exec`, `attach`, `port-forward` and `cp` ask for `Upgrade: SPDY/3.1` (or a WebSocket) and then speak
something that is no longer HTTP. aiohttp's parser would choke on it, so the question is settled before aiohttp
sees a byte: a `Switchboard` reads the first request head of each new connection. Ordinary ones get aiohttp's own
protocol, with every byte replayed, and cost nothing from then on. An upgrade becomes an `Upgrade` and a task.

The other half is the way on: `dial` and `request_upgrade` open the next hop and ask it for the same upgrade;
`relay` then pumps bytes both ways with back-pressure and half-close. What the bytes mean is nobody's business here.

Only a connection's *first* request can become an upgrade. Clients dial afresh for one, and a later one reaches the
ordinary protocol, which should refuse it. HTTP's rules for upgrades: RFC 9110, section 7.8.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 64 * 1024
"""Longest request or response head taken."""
CHUNK_BYTES = 64 * 1024
"""Most that one read takes from a connection; a relay holds a few of these per direction, whatever is sent."""

FLUSH_S = 60.0
"""How long a slow receiver has to take the last bytes of a relay whose sender is done."""

Headers = Sequence[tuple[str, str]]
"""Header fields in the order sent; names as sent, compared without case."""


class BadHead(ValueError):
    """A request or response head that is not HTTP/1.1, or is over the limit."""


def header(headers: Headers, name: str) -> str:
    """Return the values of a header joined by commas, empty if it was not sent (RFC 9110, section 5.3)."""
    wanted = name.lower()
    return ", ".join(value for key, value in headers if key.lower() == wanted)


def tokens(headers: Headers, name: str) -> list[str]:
    """Return the comma-separated values of a header, in order, stripped, case kept."""
    return [token for piece in header(headers, name).split(",") if (token := piece.strip())]


def upgrade_protocol(headers: Headers) -> str:
    """Return what the head asks to become, in lower case (`spdy/3.1`, `websocket`), or empty for no upgrade."""
    if "upgrade" not in (token.lower() for token in tokens(headers, "Connection")):
        return ""
    return header(headers, "Upgrade").strip().lower()


class Reader(asyncio.StreamReader):
    """A reader that can tell how long whoever reads has waited for the peer."""

    _waiting_since: float | None = None

    @property
    def waited_s(self) -> float:
        """For how long nothing has come although it was waited for; 0 while the last that came is still handed on."""
        since = self._waiting_since
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    async def read(self, n: int = -1) -> bytes:
        """As in `asyncio.StreamReader`."""
        with self._waiting():
            return await super().read(n)

    async def readexactly(self, n: int) -> bytes:
        """As in `asyncio.StreamReader`."""
        with self._waiting():
            return await super().readexactly(n)

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waiting_since = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self._waiting_since = None


@dataclass(frozen=True, slots=True)
class Connection:
    """Two byte streams over one transport. `reader` holds at most a few chunks, then the peer is made to wait."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    inward: asyncio.StreamWriter | None = None
    """Holds the transport that the reader reads from, where that is not the writer's (see `dial`)."""

    @property
    def transport(self) -> asyncio.Transport:
        """The transport below, for addresses and certificates."""
        return cast(asyncio.Transport, self.writer.transport)

    def abort(self) -> None:
        """Drop the connection at once, unsent bytes and all."""
        self.transport.abort()
        if self.inward is not None:
            cast(asyncio.Transport, self.inward.transport).abort()

    def end_reading(self) -> None:
        """Have the reader see the end, after what it holds already. For a peer dialled with `is_apart`."""
        assert self.inward is not None, "one transport cannot be ended in one direction"
        cast(asyncio.Transport, self.inward.transport).abort()

    async def close(self, deadline_s: float = 10.0) -> None:
        """Send what is buffered and close; abort a peer that has not taken it by the deadline. Safe to call twice."""
        self.writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self.writer.wait_closed()
            if self.inward is not None:
                self.inward.close()
            return
        self.abort()


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A request to speak another protocol, on a connection that is now the callback's to answer and close."""

    method: str
    target: str
    """Path and query as sent, still percent-encoded."""
    headers: Headers
    protocol: str
    """In lower case: `spdy/3.1`, `websocket`, or what else the switchboard takes."""
    connection: Connection
    """Bytes sent after the head are the first that its reader gives."""
    peer_cert: Mapping[str, Any] | None
    """As `ssl.SSLSocket.getpeercert()` gives it; None or empty when the client showed none."""

    @property
    def certificate(self) -> bytes:
        """The client's certificate in DER, empty when it showed none."""
        tls = self.connection.transport.get_extra_info("ssl_object")
        return (tls.getpeercert(binary_form=True) or b"") if tls is not None else b""

    def header(self, name: str) -> str:
        """Return a header's value, empty if not sent."""
        return header(self.headers, name)

    async def refuse(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        """Answer with an ordinary response instead of the upgrade, and close the connection."""
        fields = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Connection", "close")]
        with contextlib.suppress(OSError):
            self.connection.writer.write(_status_line(status) + encode_fields(fields) + body)
        await self.connection.close()


class Switchboard:
    """Protocol factory for `loop.create_server`: sends each new connection to where its first request belongs.

    Args:
        ordinary: makes the protocol of ordinary requests; an `aiohttp.web.Server` is such a factory.
        takes: given (method, target), says whether an upgrade may be asked for there. Called for every
            connection, so it should be a cheap look at the path.
        on_upgrade: owns the connection of an upgrade until it returns; the connection is closed after it.
        head_deadline_s: how long a client may take to send its first head.
        protocols: what may be upgraded to, in lower case; requests for anything else are ordinary ones.
        http2: makes the protocol of connections whose client chose HTTP/2 in the TLS handshake (RFC 7301).
    """

    def __init__(
        self,
        ordinary: Callable[[], asyncio.BaseProtocol],
        takes: Callable[[str, str], bool],
        on_upgrade: Callable[[Upgrade], Awaitable[None]],
        *,
        head_deadline_s: float = 30.0,
        protocols: Collection[str] = ("spdy/3.1", "websocket"),
        http2: Callable[[], asyncio.BaseProtocol] | None = None,
    ) -> None:
        self.ordinary = ordinary
        self.takes = takes
        self.on_upgrade = on_upgrade
        self.head_deadline_s = head_deadline_s
        self.protocols = protocols
        self.http2 = http2
        self._waiting: set[_Sniffer] = set()
        self._upgraded: dict[asyncio.Task[None], Connection] = {}

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of one new connection."""
        return _Sniffer(self)

    @property
    def upgraded(self) -> int:
        """How many upgraded connections are open."""
        return len(self._upgraded)

    def adopt(
        self, transport: asyncio.Transport, method: str, target: str, headers: Headers, protocol: str
    ) -> asyncio.StreamReader:
        """Take over a connection that asked for an upgrade; return where what it sent after that belongs."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=CHUNK_BYTES, loop=loop)
        streams = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport.set_protocol(streams)
        streams.connection_made(transport)
        connection = Connection(reader, asyncio.StreamWriter(transport, streams, reader, loop))
        _keep_alive(transport)
        peer_cert = transport.get_extra_info("peercert")
        self._start(Upgrade(method, target, headers, protocol, connection, peer_cert))
        return reader

    async def close(self) -> None:
        """End every upgraded connection, and those that have sent no request yet. Ordinary ones are not ours."""
        for sniffer in list(self._waiting):
            sniffer.abort()
        running = list(self._upgraded)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _start(self, upgrade: Upgrade) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(upgrade), name=f"upgrade {upgrade.target}")
        self._upgraded[task] = upgrade.connection
        task.add_done_callback(self._upgraded.pop)

    async def _serve(self, upgrade: Upgrade) -> None:
        try:
            await self.on_upgrade(upgrade)
        except asyncio.CancelledError:
            upgrade.connection.abort()
            raise
        except Exception:
            log.exception("upgraded connection failed", extra={"target": upgrade.target.partition("?")[0]})
            upgrade.connection.abort()
        else:
            await upgrade.connection.close()


class _Sniffer(asyncio.Protocol):
    """Reads one request head, then hands the transport to another protocol and is forgotten."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        http2, tls = self._board.http2, transport.get_extra_info("ssl_object")
        if http2 is not None and tls is not None and tls.selected_alpn_protocol() == "h2":
            self._become(http2())
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._board.head_deadline_s, self.abort)
        self._board._waiting.add(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def eof_received(self) -> bool:
        return False  # nothing was asked: close

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        line_end = self._buffer.find(b"\r\n")
        if line_end < 0 and len(self._buffer) <= HEAD_BYTES_MAX:
            return
        method, target = _request_line(bytes(self._buffer[: max(line_end, 0)]))
        if not method or not self._board.takes(method, target):
            self._become_ordinary()
            return
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0 and len(self._buffer) <= HEAD_BYTES_MAX:
            return
        try:
            headers = parse_fields(bytes(self._buffer[line_end + 2 : head_end]))
        except BadHead:
            self._become_ordinary()  # which will say what is wrong with it
            return
        protocol = upgrade_protocol(headers)
        if head_end < 0 or protocol not in self._board.protocols:
            self._become_ordinary()
            return
        self._become_upgrade(method, target, headers, protocol, bytes(self._buffer[head_end + 4 :]))

    def _leave(self) -> asyncio.Transport:
        assert self._transport is not None
        if self._deadline is not None:
            self._deadline.cancel()
        self._board._waiting.discard(self)
        return self._transport

    def _become_ordinary(self) -> None:
        self._become(self._board.ordinary()).data_received(bytes(self._buffer))

    def _become(self, protocol: asyncio.BaseProtocol) -> asyncio.Protocol:
        transport = self._leave()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return cast(asyncio.Protocol, protocol)

    def _become_upgrade(self, method: str, target: str, headers: Headers, protocol: str, rest: bytes) -> None:
        self._board.adopt(self._leave(), method, target, headers, protocol).feed_data(rest)


async def dial(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    is_apart: bool = False,
    deadline_s: float = 10.0,
) -> Connection:
    """Connect to host:port; with `tls`, verify that the peer is `server_name` (default: the host).

    With `is_apart`, and without TLS, reading and writing fail apart from each other. A peer that closes while it is
    still being sent to resets the connection; the next write would take down the transport, and with it the last that
    the peer had to say. So there are two transports then, on two descriptors of one socket.

    Raises:
        OSError: nothing listens there, or it is not who it should be (ssl.SSLError).
        TimeoutError: it did not answer in time.
    """
    if is_apart and tls is None:
        async with asyncio.timeout(deadline_s):
            return await _dial_apart(host, port)
    opening = asyncio.open_connection(
        host, port, limit=HEAD_BYTES_MAX, ssl=tls, server_hostname=(server_name or host) if tls else None
    )
    async with asyncio.timeout(deadline_s):
        reader, writer = await opening
    _keep_alive(writer.transport)
    return Connection(reader, writer)


async def _dial_apart(host: str, port: int) -> Connection:
    loop = asyncio.get_running_loop()
    reader = Reader(limit=HEAD_BYTES_MAX, loop=loop)
    protocol = _EndOnReset(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, host, port)
    _keep_alive(transport)
    inward = asyncio.StreamWriter(transport, protocol, reader, loop)
    # Nothing has come yet on either descriptor: the peer is a server, and waits for a request.
    twin = socket.socket(fileno=os.dup(inward.get_extra_info("socket").fileno()))
    _, outward = await asyncio.open_connection(sock=twin)
    cast(asyncio.Transport, outward.transport).pause_reading()
    return Connection(reader, outward, inward)


class _EndOnReset(asyncio.StreamReaderProtocol):
    """Takes a reset for an end: a reader that was told of an error would not give what it holds already."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(None)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response head."""

    status: int
    reason: str
    headers: Headers

    @property
    def switched(self) -> bool:
        """Whether the peer agreed to the upgrade: what follows is the new protocol."""
        return self.status == HTTPStatus.SWITCHING_PROTOCOLS


async def request_upgrade(
    connection: Connection, method: str, target: str, headers: Iterable[tuple[str, str]], *, deadline_s: float = 30.0
) -> Answer:
    """Send a request head as given (Host, Connection and Upgrade included) and read the answer's head.

    Whoever relays must look at `Answer.switched` first: a peer that refused is still speaking HTTP, and a client
    joined to it could send it further requests with *our* credentials (that was CVE-2018-1002105).

    Raises:
        BadHead: the answer is not HTTP/1.1.
        OSError, TimeoutError: the connection broke, or no answer came in time.
    """
    connection.writer.write(f"{method} {target} HTTP/1.1\r\n".encode("latin-1") + encode_fields(headers))
    try:
        async with asyncio.timeout(deadline_s):
            await connection.writer.drain()
            head = await connection.reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the connection was closed before an answer came") from error
    except asyncio.LimitOverrunError as error:
        raise BadHead(f"the answer's head is longer than {HEAD_BYTES_MAX} bytes") from error
    line, _, fields = head[:-4].partition(b"\r\n")
    version, _, status = line.decode("latin-1").partition(" ")
    code, _, reason = status.partition(" ")
    if not version.startswith("HTTP/1.") or not code.isdigit():
        raise BadHead(f"not an HTTP answer: {line[:80]!r}")
    return Answer(int(code), reason, parse_fields(fields))


async def read_body(
    connection: Connection, headers: Headers, *, limit_bytes: int = 64 * 1024, deadline_s: float = 10.0
) -> bytes:
    """Return the body after an answer that did not switch, cut at `limit_bytes`; chunked bodies are joined."""
    reader, chunks, size = connection.reader, bytearray(), header(headers, "Content-Length")
    with contextlib.suppress(asyncio.IncompleteReadError, OSError, TimeoutError, ValueError):
        async with asyncio.timeout(deadline_s):
            if "chunked" in header(headers, "Transfer-Encoding").lower():
                while len(chunks) < limit_bytes:
                    length = int((await reader.readline()).split(b";")[0].strip(), 16)
                    if length == 0:
                        break
                    chunks += await reader.readexactly(min(length, limit_bytes))
                    await reader.readline()
            else:
                wanted = min(int(size), limit_bytes) if size else limit_bytes
                while len(chunks) < wanted and (piece := await reader.read(wanted - len(chunks))):
                    chunks += piece
    return bytes(chunks[:limit_bytes])


async def send_switch(connection: Connection, headers: Iterable[tuple[str, str]]) -> None:
    """Tell a client that its upgrade is granted; `headers` include Connection and Upgrade."""
    connection.writer.write(_status_line(HTTPStatus.SWITCHING_PROTOCOLS) + encode_fields(headers))
    await connection.writer.drain()


async def relay(a: Connection, b: Connection) -> None:
    """Pump bytes both ways until both directions ended; then close both connections.

    The end of one direction is passed on as a half-close, and the other goes on. TLS has none in asyncio: there,
    the end of one direction ends both, after what was read has been written. A slow receiver makes the sender
    wait; no more than a few chunks are held. A broken connection on either side breaks both.
    """
    pumps = [asyncio.ensure_future(_pump(a, b)), asyncio.ensure_future(_pump(b, a))]
    try:
        done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        if all(pump.result() for pump in done):
            await asyncio.gather(*pumps)
        await asyncio.gather(a.close(FLUSH_S), b.close(FLUSH_S))
    except OSError:
        a.abort()
        b.abort()
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for connection in (a, b):
            connection.writer.close()
            if connection.inward is not None:
                connection.inward.close()


async def _pump(source: Connection, sink: Connection) -> bool:
    """Copy until `source` ends; return whether the opposite direction may go on."""
    while data := await source.reader.read(CHUNK_BYTES):
        try:
            sink.writer.write(data)
            await sink.writer.drain()
        except OSError:
            if sink.inward is None:
                raise
            return True
    if not sink.writer.can_write_eof() or source.writer.is_closing():
        return False
    sink.writer.write_eof()
    return True


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    """Have the kernel notice a peer that vanished: an idle shell sends nothing for hours."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _request_line(line: bytes) -> tuple[str, str]:
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return "", ""
    return parts[0], parts[1]


def parse_fields(block: bytes) -> Headers:
    """Parse header lines without their final empty line.

    Raises:
        BadHead: a line without a name, folded, or with a space before its colon (RFC 9112, section 5.1).
    """
    fields = []
    for line in block.decode("latin-1").split("\r\n") if block else []:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or any(ch in value for ch in "\r\n\0"):
            raise BadHead(f"not a header line: {line[:80]!r}")
        fields.append((name, value.strip()))
    return fields


def encode_fields(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return header lines and the empty line that ends a head; a line break in a value is an error."""
    lines = []
    for name, value in fields:
        if any(ch in name + value for ch in "\r\n\0"):
            raise BadHead(f"header {name!r} has a line break in it")
        lines.append(f"{name}: {value}\r\n")
    return ("".join(lines) + "\r\n").encode("latin-1")


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Status"
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


def status_body(status: Mapping[str, Any]) -> bytes:
    """Return a `Status` object as the body of a refusal."""
    return json.dumps(status, separators=(",", ":")).encode()
