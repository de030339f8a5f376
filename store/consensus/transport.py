"""What raft needs of the wire between members; `peers.py` has the real one, and tests one that loses and delays.

Messages are mappings of names to ints, bytes, bools, strings and lists of them. A peer is its member id in hex.
Raft copes with any message being lost, late, or never sent; what it can't cope with is a forged one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Message = Mapping[str, Any]


class Receiver(Protocol):
    """What a transport tells its member."""

    def on_message(self, peer: str, message: Message) -> None:
        """Take one message; `peer` is proven by its certificate."""
        ...

    def on_connected(self, peer: str) -> None:
        """The peer can be sent to from now on."""
        ...

    def on_disconnected(self, peer: str) -> None:
        """The peer is out of reach until `on_connected`; messages under way may be lost."""
        ...


class PeerTransport(Protocol):
    """Carries messages to the other members: in order while connected, each at most once."""

    async def start(self, receiver: Receiver) -> None:
        """Begin to hand over what comes, and to keep the peers connected."""
        ...

    async def stop(self) -> None:
        """Close every connection."""
        ...

    def send(self, peer: str, message: Message) -> bool:
        """Queue a message; False when the peer is out of reach."""
        ...

    def has_room(self, peer: str) -> bool:
        """Whether the peer keeps up: entries and snapshots wait while it does not."""
        ...

    def add_peer(self, peer: str, name: str, address: str) -> None:
        """Talk to a member at `address` (host:port); again with other values where they changed."""
        ...

    def drop_peer(self, peer: str) -> None:
        """Stop talking to a member, and refuse it from now on."""
        ...


class Alone:
    """The transport of a cluster of one: nobody to talk to."""

    async def start(self, receiver: Receiver) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""

    def send(self, peer: str, message: Message) -> bool:
        """Refuse: there are no peers."""
        return False

    def has_room(self, peer: str) -> bool:
        """Refuse: there are no peers."""
        return False

    def add_peer(self, peer: str, name: str, address: str) -> None:
        """Do nothing: it will be out of reach."""

    def drop_peer(self, peer: str) -> None:
        """Do nothing: there is no such peer."""
