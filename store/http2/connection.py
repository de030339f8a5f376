"""One client's connection, for gRPC and what else is asked of a store's client port: who it is, and what it calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from component.http2 import connection as http2
from component.http2 import frames
from component.http2.frames import Fault
from component.http2.hpack import Headers
from store import counts
from store.http2.call import (
    NO_LEADER,
    Call,
    Code,
    Method,
    Opening,
    Refusal,
    StatusOf,
    read_headers,
    refuse,
    refuse_http,
)
from store.http2.page import PageCall
from store.http2.web import Web

LIMITS = http2.Limits()
_OPENINGS_MAX = 256


class Guest(Protocol):
    """A connection that speaks another protocol than this."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def data_received(self, data: bytes) -> None: ...

    def leave(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(slots=True)
class Site:
    """What all connections of a server share."""

    methods: Mapping[bytes, Method]
    status_of: StatusOf
    has_leader: Callable[[], bool] = lambda: True
    web: Web | None = None
    """Answers what is not gRPC's."""
    http1: Callable[[frozenset[str], str, Refusal | None], Guest] | None = None
    """Makes what speaks HTTP/1.1 with a client, given its certificate's names and why it is refused."""
    guests: set[Guest] = field(default_factory=set)
    """Clients that speak HTTP/1.1."""
    connections: set[Connection] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while there are no connections."""
    ending: set[asyncio.Task[None]] = field(default_factory=set)
    """Tasks that were told to end and have not yet: somebody must know them."""


class Connection(http2.Connection[Call | PageCall]):
    """The server's side of one connection."""

    def __init__(self, site: Site, refusal_of: Any) -> None:
        """Prepare.

        Args:
            site: what is shared.
            refusal_of: from the common names of the client's certificate to why its calls are refused, or None.
        """
        super().__init__(LIMITS)
        self.stream_window = LIMITS.stream_window_bytes
        self.status_of = site.status_of
        self.names: frozenset[str] = frozenset()
        self.common_name = ""
        self._site = site
        self._refusal_of = refusal_of
        self._refusal: Refusal | None = None
        self._openings: dict[Headers, Opening] = {}

    def made(self, transport: asyncio.Transport) -> None:
        """Find out who it is."""
        self._site.connections.add(self)
        self._site.empty.clear()
        certificate = transport.get_extra_info("peercert") or {}
        fields = [field for relative in certificate.get("subject", ()) for field in relative]
        names = [value for name, value in fields if name == "commonName"]
        self.names, self.common_name = frozenset(names), names[-1] if names else ""
        self._refusal = self._refusal_of(self.names)

    def lost(self) -> None:
        """Let go of it."""
        self._site.connections.discard(self)
        if not self._site.connections:
            self._site.empty.set()

    def count(self, *, received: int = 0, sent: int = 0) -> None:
        """Take note of bytes that came or left."""
        if received:
            counts.CLIENT_RECEIVED.add(amount=received)
        else:
            counts.CLIENT_SENT.add(amount=sent)

    def end_leaderless(self) -> None:
        """End the streams that are to have a leader."""
        for call in list(self.calls.values()):
            if call.needs_leader:
                call.end_leaderless()

    def cancel(self, task: asyncio.Task[None]) -> None:
        """End a method that nobody waits for."""
        task.cancel()
        self._site.ending.add(task)
        task.add_done_callback(self._site.ending.discard)

    def hand_over(self, data: bytes) -> None:
        """Have another protocol go on from here: the client does not speak this one."""
        if self._site.http1 is None:
            raise Fault(frames.PROTOCOL_ERROR, "this port speaks gRPC over HTTP/2")
        transport = self.release()
        guest = self._site.http1(self.names, self.common_name, self._refusal)
        transport.set_protocol(cast(asyncio.Protocol, guest))
        guest.connection_made(transport)
        guest.data_received(data)

    def begin(self, stream: int, headers: Headers, window: int, *, has_ended: bool) -> Call | PageCall | None:
        """Return the call that a client's headers begin, or refuse it."""
        opening = self._openings.get(headers)
        if opening is None:
            opening = read_headers(headers)
            if len(self._openings) >= _OPENINGS_MAX:
                self._openings.clear()
            self._openings[headers] = opening
        method = self._site.methods.get(opening.path)
        refusal = self._refusal or opening.refusal
        if refusal is None and opening.needs_leader and not self._site.has_leader():
            refusal = NO_LEADER
        if opening.http_status and self._site.web is not None and refusal is None:
            return PageCall(self, stream, window, headers, self._site.web)
        if opening.http_status:
            is_barred = refusal is not None and self._site.web is not None
            answer = refuse_http(stream, b"403" if is_barred else opening.http_status)
        elif refusal is not None:
            answer = refuse(stream, refusal)
        elif method is None:
            shown = opening.path.decode(errors="replace")
            answer = refuse(stream, Refusal(Code.UNIMPLEMENTED, f"unknown method {shown}"))
        else:
            method.begun()
            return Call(self, stream, window, opening, method)
        self.send(answer)
        if not has_ended and opening.http_status:
            self.let_pass(stream)  # curl takes a reset for a failure, if it is still sending
        elif not has_ended:
            self.reset(stream, frames.NO_ERROR)
        return None
