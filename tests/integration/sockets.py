"""Sockets in other network namespaces, such as a pod's: made there, used from here."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Be in a process's network meanwhile, with this thread alone. Do not await in it."""
    with open("/proc/thread-self/ns/net") as own, open(f"/proc/{pid}/ns/net") as other:
        _enter(other.fileno())
        try:
            yield
        finally:
            _enter(own.fileno())


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter the network")


def udp_client(pid: int, address: str, port: int, own_port: int = 0) -> socket.socket:
    """Return a socket that sends to `address` from a process's network, always from the same port."""
    with network_of(pid):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(1.0)
    made.bind(("0.0.0.0", own_port))
    made.connect((address, port))
    return made


def asked(client: socket.socket) -> str:
    """Return what a UDP server answers, or what went wrong instead."""
    with contextlib.suppress(OSError):
        while client.recv(100, socket.MSG_DONTWAIT):
            pass  # late answers to questions before
    try:
        client.send(b"who?")
        return client.recv(100).decode()
    except OSError as error:
        return type(error).__name__


class UdpServers:
    """Servers in pods' networks, each telling its name to whoever asks, and from which address."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def add(self, pid: int, name: str, port: int) -> None:
        """Serve at a port of a process's network."""
        with network_of(pid):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("0.0.0.0", port))
        self._sockets.append(made)
        threading.Thread(target=_serve, args=(made, name), daemon=True).start()

    def close(self) -> None:
        """Stop them all."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads, though UDP knows no connection
            each.close()


def _serve(made: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            _, client = made.recvfrom(100)
            if client is None:
                return  # shut down
            made.sendto(f"{name} {client[0]}".encode(), client)
