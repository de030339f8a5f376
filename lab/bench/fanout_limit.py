"""The limit that watch fan-out is held against: a bare loop that sends the same bytes to as many TLS connections.

One process, told what to do by a line of JSON on stdin; it prints its port, accepts the watchers, and from the next
line on sends one event at a time, until a third line asks what it cost. No HTTP, no cache, no selection: the least that
any server in this language pays for TLS and the kernel's part of sending.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time

import msgspec

from lab.bench.watch_load import MARK


class Order(msgspec.Struct, frozen=True):
    """What to do."""

    cert: str
    key: str
    watchers: int
    event_bytes: int
    rate: float
    """Events a second; 0 sends the next as soon as all have the last."""


class Outcome(msgspec.Struct, frozen=True):
    """What it cost."""

    delivered: int
    seconds: float
    cpu_seconds: float


def frame(event_bytes: int) -> bytes:
    """Return an event of about that size, sent now."""
    head = b'{"type":"MODIFIED","object":{"metadata":{"annotations":{%b%d"}},"pad":"' % (MARK, time.monotonic_ns())
    line = head + b"x" * max(0, event_bytes - len(head) - 4) + b'"}}\n'
    return b"%x\r\n%b\r\n" % (len(line), line)


def _set_at_next_line(stop: threading.Event) -> None:
    sys.stdin.readline()
    stop.set()


def main() -> None:
    """Run the order on stdin."""
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(order.cert, order.key)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    connections = []
    for _ in range(order.watchers):
        plain, _ = listener.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections.append(tls.wrap_socket(plain, server_side=True))
    stop = threading.Event()
    sys.stdin.readline()
    threading.Thread(target=_set_at_next_line, args=(stop,), daemon=True).start()
    began, cpu, delivered = time.monotonic(), time.process_time(), 0
    due = began
    while not stop.is_set():
        if order.rate:
            due += 1 / order.rate
            time.sleep(max(0.0, due - time.monotonic()))
        line = frame(order.event_bytes)
        for connection in connections:
            connection.sendall(line)
        delivered += len(connections)
    outcome = Outcome(delivered, time.monotonic() - began, time.process_time() - cpu)
    print(msgspec.json.encode(outcome).decode(), flush=True)


if __name__ == "__main__":
    main()
