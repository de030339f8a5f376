"""Watchers of the bench over HTTP/2, against a server that is a thread with a script."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from component.http2 import frames
from component.http2.frames import Splitter, frame
from component.http2.hpack import literal
from lab.bench import http2
from lab.bench.kubeconfig import ClientTls
from lab.bench.watch_load import READ_BYTES, Http2Reader, Order, Tally

OK = literal(b":status", b"200")


class Plain(socket.socket):
    """A socket that says it is TLS."""

    def selected_alpn_protocol(self) -> str:
        return "h2"


class NoTls:
    def wrap_socket(self, sock: socket.socket, server_hostname: str) -> Plain:
        wrapped = Plain(fileno=sock.detach())
        wrapped.settimeout(5)
        return wrapped


@contextmanager
def reader_of(watches: int, stalled: int, status: bytes = b"200") -> Iterator[tuple[Http2Reader, socket.socket]]:
    """A reader of so many open watches, and the server's end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ends: list[socket.socket] = []

        def open_all() -> None:
            end, _ = listening.accept()
            ends.append(end)
            splitter, opened = Splitter(), 0
            rest = b""
            while len(rest) < len(frames.PREFACE):
                rest += end.recv(4096)
            data = rest[len(frames.PREFACE) :]
            while True:
                for kind, flags, stream, _ in splitter.split(data):
                    if kind == frames.HEADERS:
                        assert flags & frames.END_STREAM
                        opened += 1
                        end.sendall(frame(frames.HEADERS, frames.END_HEADERS, stream, literal(b":status", status)))
                if opened == watches:
                    return
                data = end.recv(4096)

        server = threading.Thread(target=open_all)
        server.start()
        try:
            order = Order("http2", listening.getsockname(), "s", "/w", "1", watches, stalled, ClientTls("", "", ""))
            reader = Http2Reader(order, NoTls(), watches, stalled)  # type: ignore[arg-type]
            try:
                yield reader, ends[0]
            finally:
                reader.socket.close()
        finally:
            server.join(5)
            for end in ends:
                end.close()


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(frames.DATA, flags, stream, payload)


def test_events_of_streams_that_mix_are_counted_once_though_their_marks_are_cut_in_two():
    with reader_of(2, 0) as (reader, server):
        tally = Tally()
        for piece in (data(1, b'{"sen'), data(3, b'x"sent":"1" y"sent":"2"'), data(1, b't":"3"}'), data(3, b'"sen')):
            server.sendall(piece)
            assert reader.read(bytearray(READ_BYTES), tally)
        assert tally.events == 3


def test_streams_that_end_are_counted_by_whether_they_were_to_stall_and_the_last_ends_the_reading():
    with reader_of(3, 1) as (reader, server):
        tally, buffer = Tally(), bytearray(READ_BYTES)
        server.sendall(frames.reset(1, frames.CANCEL) + data(3, b"", frames.END_STREAM))
        assert reader.read(buffer, tally)
        assert (tally.ended, tally.evicted) == (1, 1)
        server.shutdown(socket.SHUT_WR)
        assert not reader.read(buffer, tally)
        assert (tally.ended, tally.evicted) == (2, 1)


def test_a_window_is_opened_again_for_who_reads_and_never_for_who_stalls():
    with reader_of(2, 1) as (reader, server):
        half = http2.STREAM_WINDOW_BYTES // 2 // frames.FRAME_BYTES_MAX + 1
        told: dict[int, int] = {}

        def hear() -> None:
            server.settimeout(0.3)
            splitter = Splitter()
            try:
                while True:
                    for kind, _, stream, payload in splitter.split(server.recv(4096)):
                        if kind == frames.WINDOW_UPDATE:
                            told[stream] = told.get(stream, 0) + frames.number_from(payload, "")
            except TimeoutError:
                pass

        for _ in range(half):
            for stream in (1, 3):
                server.sendall(data(stream, bytes(frames.FRAME_BYTES_MAX)))
                reader.read(bytearray(READ_BYTES), Tally())
        hear()
        assert set(told) == {3} and told[3] >= http2.STREAM_WINDOW_BYTES // 2


def test_a_ping_is_answered_and_a_refusal_is_told():
    with reader_of(1, 0) as (reader, server):
        server.sendall(frame(frames.PING, 0, 0, b"12345678"))
        reader.read(bytearray(READ_BYTES), Tally())
        server.settimeout(5)
        assert frame(frames.PING, frames.ACK, 0, b"12345678") in server.recv(4096)
    refused: Any = pytest.raises(ConnectionError, match="answers 403")
    with refused, reader_of(1, 0, b"403"):
        pass
