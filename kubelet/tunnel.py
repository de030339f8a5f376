"""Connections for the API server, from this node to pods and Services: `GET /tunnel/ADDRESS/PORT` with `Upgrade: tcp`.

An API server beside the cluster has no route to pods; nodes have. From the 101 on the bytes are those of a TCP
connection to that address. Who may ask is decided by `kubelet.server`; what this machine alone should answer, or its
neighbours on the wire, is not reached this way.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from component import relay

PATH: Final = "/tunnel/"
PROTOCOL: Final = "tcp"


async def carry(upgrade: relay.Upgrade) -> None:
    """Open the connection and join the two until either ends."""
    try:
        host, port = destination(upgrade.target)
    except ValueError as error:
        await upgrade.refuse(400, str(error).encode(), "text/plain")
        return
    try:
        onward = await relay.dial(host, port)
    except TimeoutError:
        await upgrade.refuse(504, f"dial tcp {host}:{port}: i/o timeout".encode(), "text/plain")
        return
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        await upgrade.refuse(502, f"dial tcp {host}:{port}: connect: {why}".encode(), "text/plain")
        return
    await relay.send_switch(upgrade.connection, [("Connection", "Upgrade"), ("Upgrade", PROTOCOL)])
    await relay.relay(upgrade.connection, onward)


def destination(target: str) -> tuple[str, int]:
    """Return the address and port that a path names.

    Raises:
        ValueError: it names none, or one that is for this machine alone.
    """
    host, _, port = target.removeprefix(PATH).partition("/")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{host!r} is not an IP address: expected {PATH}ADDRESS/PORT") from None
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{port!r} is not a port: expected {PATH}ADDRESS/PORT")
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise ValueError(f"{host} is not reached through a node")
    return host, int(port)
