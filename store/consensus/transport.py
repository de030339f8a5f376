"""The wire between members: who the peers are, and how raft's messages reach them.

Messages are mappings of names to ints, bytes, bools and lists of entries, as PySyncObj makes them; a transport carries
them as msgpack frames of bounded size over mutual TLS, and never as pickle. A peer is its name, and its certificate
must say so. `Alone` is the transport of a cluster of one.
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
    """Carries messages to the other members, in order, each at most once."""

    async def start(self, receiver: Receiver) -> None:
        """Listen and keep dialling the peers."""
        ...

    async def stop(self) -> None:
        """Close every connection."""
        ...

    def send(self, peer: str, message: Message) -> bool:
        """Queue a message; False when the peer is out of reach. Raft copes with any message being lost."""
        ...

    def add_peer(self, name: str, address: str) -> None:
        """Begin to talk to a new member at `address` (host:port)."""
        ...

    def drop_peer(self, name: str) -> None:
        """Stop talking to a member; its connections are refused from now on."""
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

    def add_peer(self, name: str, address: str) -> None:
        """Refuse: see `Member.change_membership`."""
        raise NotImplementedError("a transport of one has no peers")

    def drop_peer(self, name: str) -> None:
        """Do nothing: there is no such peer."""
