"""The watchers of `steer bench watch`: one process of them, told what to do by a line of JSON on stdin.

It answers `ready` when every watch is open, and at the next line on stdin prints what arrived since as JSON. It reads
with one epoll loop and no event loop, looks for a few bytes in what arrives instead of decoding it, and reports what
it spent of its core, so that a figure that is really the client's can be told.

Each event carries, once, the time it was written (CLOCK_MONOTONIC, one for all processes of a machine) as an
annotation: `"sent":"NS"`.
"""

from __future__ import annotations

import asyncio
import json
import re
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from component.http2 import frames
from lab.bench import http2
from lab.bench.kubeconfig import ClientTls

MARK: Final = b'"sent":"'
_SENT = re.compile(rb'"sent":"(\d+)"')
READ_BYTES: Final = 256 * 1024
LATENCIES_MAX: Final = 200_000


class Order(msgspec.Struct, frozen=True):
    """What to do."""

    transport: str
    """rest, http2, grpc, or raw: a server that just sends (`lab.bench.fanout_limit`)."""
    address: tuple[str, int]
    server_name: str
    path: str
    """Of the watch: for rest with its query, for grpc the namespace."""
    resource_version: str
    watchers: int
    stalled: int
    """How many of them read nothing at all."""
    tls: ClientTls
    token: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What arrived since the last outcome."""

    events: int
    seconds: float
    cpu_share: float
    """Of one core, spent by this process."""
    latencies_ms: list[float]
    """Of the oldest event in each piece that arrived."""
    ended: int
    """Watches that the server has ended, of those that read."""
    evicted: int
    """Watches that the server has ended, of those that do not."""


class Tally:
    """Counts what arrives."""

    def __init__(self) -> None:
        self.events, self.ended, self.evicted = 0, 0, 0
        self._latencies: list[float] = []
        self._began, self._cpu = time.monotonic(), time.process_time()

    def piece(self, data: bytes) -> None:
        """Count the events in a piece, and time the oldest of them."""
        count = data.count(MARK)
        self.events += count
        if count and len(self._latencies) < LATENCIES_MAX:
            found = _SENT.search(data)
            if found:
                self._latencies.append((time.monotonic_ns() - int(found[1])) / 1e6)

    def outcome(self) -> Outcome:
        """Return what arrived, and begin anew."""
        now, cpu = time.monotonic(), time.process_time()
        seconds = now - self._began
        made = Outcome(self.events, seconds, (cpu - self._cpu) / seconds, self._latencies, self.ended, self.evicted)
        self.events, self._latencies, self._began, self._cpu = 0, [], now, cpu
        return made


class Reader:
    """One watch over TLS, read without blocking. A mark cut in two by the end of a piece is counted with the next."""

    def __init__(self, order: Order, tls: ssl.SSLContext) -> None:
        plain = socket.create_connection(order.address, timeout=30)
        self.socket = tls.wrap_socket(plain, server_hostname=order.server_name)
        if order.transport == "rest":
            token = [f"Authorization: Bearer {order.token}"] if order.token else []
            lines = (f"GET {order.path} HTTP/1.1", f"Host: {order.server_name}", "Accept: application/json", *token)
            self.socket.sendall("".join(line + "\r\n" for line in (*lines, "")).encode())
            head = b""
            while b"\r\n\r\n" not in head:
                piece = self.socket.recv(4096)
                if not piece:
                    raise ConnectionError("the server closed the watch at once")
                head += piece
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise ConnectionError(head.decode(errors="replace")[:500])
        self.socket.setblocking(False)
        self._rest = b""

    def read(self, buffer: bytearray, tally: Tally) -> bool:
        """Read all that is there; returns False when the server has ended the watch."""
        while True:
            try:
                size = self.socket.recv_into(buffer)
            except (ssl.SSLWantReadError, BlockingIOError):
                return True
            except OSError:
                return False
            if not size:
                return False
            data = self._rest + bytes(memoryview(buffer)[:size])
            tally.piece(data)
            cut = len(data) - len(MARK) + 1
            self._rest = data[max(cut, 0) :]


class Http2Reader:
    """As many watches as share a connection, over HTTP/2, as Go's clients have them.

    Those that stall are streams whose window is not opened again, so that the others of the connection go on.
    """

    def __init__(self, order: Order, tls: ssl.SSLContext, watches: int, stalled: int) -> None:
        plain = socket.create_connection(order.address, timeout=30)
        self.socket = tls.wrap_socket(plain, server_hostname=order.server_name)
        if self.socket.selected_alpn_protocol() != "h2":
            raise ConnectionError("the server does not speak HTTP/2")
        fields = {":method": "GET", ":scheme": "https", ":authority": order.server_name, ":path": order.path}
        fields |= {"accept": "application/json"} | ({"authorization": f"Bearer {order.token}"} if order.token else {})
        self._streams = {2 * number + 1: http2.STREAM_WINDOW_BYTES for number in range(watches)}
        """How much each may still be sent."""
        self._stalled = set(list(self._streams)[:stalled])
        self._rests = dict.fromkeys(self._streams, b"")
        self._unopened = len(self._streams)
        self._session = http2.Session()
        block = http2.block(fields.items())
        self._session.out += b"".join(http2.request(stream, block) for stream in self._streams)
        unheard = Tally()
        while True:
            self.socket.sendall(self._session.out)
            self._session.out = b""
            if not self._unopened:
                break
            data = self.socket.recv(READ_BYTES)
            if not data:
                raise ConnectionError("the server closed the connection at once")
            self._take(data, unheard)
        self.socket.setblocking(False)

    def read(self, buffer: bytearray, tally: Tally) -> bool:
        """Read all that is there; returns False when the server has closed the connection, or ended every watch."""
        while True:
            try:
                size = self.socket.recv_into(buffer)
                if size:
                    self._take(bytes(memoryview(buffer)[:size]), tally)
                if self._session.out:
                    self._session.out = self._session.out[self.socket.send(self._session.out) :]
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                return True
            except OSError:
                size = 0
            if not size or not self._streams:
                tally.ended += len(self._streams.keys() - self._stalled)
                tally.evicted += len(self._streams.keys() & self._stalled)
                return False

    def _take(self, data: bytes, tally: Tally) -> None:
        for piece in self._session.pieces(data):
            if piece.status:
                if piece.status != HTTPStatus.OK:
                    raise ConnectionError(f"the server answers {piece.status}")
                self._unopened -= 1
            elif piece.data and piece.stream in self._streams:
                self._on_data(piece.stream, piece.data, tally)
            if piece.has_ended:
                self._end(piece.stream, tally)

    def _on_data(self, stream: int, payload: bytes, tally: Tally) -> None:
        piece = self._rests[stream] + payload
        tally.piece(piece)
        self._rests[stream] = piece[max(len(piece) - len(MARK) + 1, 0) :]
        if stream not in self._stalled:
            left = self._streams[stream] - len(payload)
            if left < http2.STREAM_WINDOW_BYTES // 2:
                self._session.out += frames.window_update(stream, http2.STREAM_WINDOW_BYTES - left)
                left = http2.STREAM_WINDOW_BYTES
            self._streams[stream] = left

    def _end(self, stream: int, tally: Tally) -> None:
        if self._streams.pop(stream, None) is not None:
            if stream in self._stalled:
                tally.evicted += 1
            else:
                tally.ended += 1


def watch_rest(order: Order, tally: Tally) -> None:
    """Open the watches, then read until told to stop."""
    tls = order.tls.context()
    stalled: list[Reader] = []
    reading: list[Reader | Http2Reader]
    if order.transport == "http2":
        tls.set_alpn_protocols(["h2"])
        connections = http2.connections_for(order.watchers)
        reading = [
            Http2Reader(
                order,
                tls,
                len(range(number, order.watchers, connections)),
                len(range(number, order.stalled, connections)),
            )
            for number in range(connections)
        ]
    else:
        readers = [Reader(order, tls) for _ in range(order.watchers)]
        stalled, reading = readers[: order.stalled], [*readers[order.stalled :]]
    print("ready", flush=True)
    poll = select.epoll()
    by_descriptor = {reader.socket.fileno(): reader for reader in reading}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    poll.register(sys.stdin.fileno(), select.EPOLLIN)
    for reader in stalled:
        # Nothing but the end is waited for.
        poll.register(reader.socket.fileno(), select.EPOLLHUP | select.EPOLLERR)
    buffer = bytearray(READ_BYTES)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == sys.stdin.fileno():
                if not sys.stdin.readline():
                    return
                print(msgspec.json.encode(tally.outcome()).decode(), flush=True)
                continue
            known = by_descriptor.get(descriptor)
            if known is None:
                tally.evicted += 1
                poll.unregister(descriptor)
            elif not known.read(buffer, tally):
                if isinstance(known, Reader):
                    tally.ended += 1
                poll.unregister(descriptor)


async def watch_grpc(order: Order, tally: Tally, read: Callable[[str], bytes]) -> None:
    """The same over the component API: a stream a watcher, its batches left undecoded."""
    import grpc.aio

    from proto.steersman.v1 import resources_pb2 as pb

    credentials = grpc.ssl_channel_credentials(read(order.tls.ca), read(order.tls.key), read(order.tls.cert))
    options: list[tuple[str, Any]] = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.ssl_target_name_override", order.server_name),
        ("grpc.max_receive_message_length", 64 << 20),
    ]
    host, port = order.address
    command = pb.WatchCommand(
        add=pb.WatchAdd(
            watch=1,
            resource=pb.Resource(version="v1", plural="configmaps"),
            namespace=order.path,
            resource_version=order.resource_version,
        )
    )

    async def one(number: int) -> None:
        async with grpc.aio.secure_channel(f"{host}:{port}", credentials, options=options) as channel:
            stream = channel.stream_stream(
                "/steersman.v1.Resources/Watch",
                request_serializer=pb.WatchCommand.SerializeToString,
                response_deserializer=_as_it_is,
            )()
            await stream.write(command)
            opened.release()
            if number < order.stalled:
                await asyncio.Event().wait()
            while (data := await stream.read()) is not grpc.aio.EOF:
                tally.piece(cast(bytes, data))
            tally.ended += 1

    opened = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(one(number)) for number in range(order.watchers)]
    for _ in tasks:
        await opened.acquire()
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(msgspec.json.encode(tally.outcome()).decode(), flush=True)
    for task in tasks:
        task.cancel()


def _as_it_is(raw: bytes) -> bytes:
    return raw


def main() -> None:
    """Run the order on stdin."""
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    tally = Tally()
    try:
        if order.transport == "grpc":
            asyncio.run(watch_grpc(order, tally, lambda path: Path(path).read_bytes()))
        else:
            watch_rest(order, tally)
    except (OSError, ssl.SSLError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
