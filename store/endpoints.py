"""Which member a client talks to: one at a time, the next when that one is gone, silent, or has no leader.

All requests of a client go to one member, so that they share messages and see one member's order. Moving on is quick
and cheap: the other members are as good. What was unanswered there is the caller's to settle (see `client`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc.aio

from component.certificates import LOOK_EVERY_S, Fresh
from component.serve import Identity, client_context, grpc_channel

LEFT_GRACE_S = 10.0
"""What was asked of a member before it was left may still be answered for so long."""


class Endpoint:
    """One member, and the channel to it once there is one."""

    def __init__(self, address: str, channel: grpc.aio.Channel) -> None:
        self.address = address
        self.channel = channel
        self.streams: set[Any] = set()
        """Calls to be cancelled when the client moves on: watches, which would otherwise wait for a dead member."""


class Endpoints:
    """The members a client knows, one of them current."""

    def __init__(self, addresses: Sequence[str], identity: Identity, server_name: str | None) -> None:
        self._addresses = tuple(addresses)
        self._identity = identity
        self._server_name = server_name
        self._position = 0
        self._current: Endpoint | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.moves = 0

    @property
    def are_several(self) -> bool:
        """Whether there is anywhere to go."""
        return len(self._addresses) > 1

    @property
    def current(self) -> Endpoint:
        """The member to talk to now."""
        if self._current is None:
            address = self._addresses[self._position]
            channel = grpc_channel([address], self._identity, server_name=self._server_name)
            self._current = Endpoint(address, channel)
        return self._current

    async def follow_certificate(self) -> None:
        """Connect anew whenever our certificate, or the CA that we believe members by, has changed; until cancelled.

        gRPC reads them once a channel. What is under way on the old one may end; streams begin again on the new.
        """
        identity = self._identity
        fresh = Fresh((identity.cert, identity.key, identity.ca), lambda: client_context(identity))
        seen = fresh.current()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = fresh.current()
            if now is not seen:
                seen = now
                if self._current is not None:
                    self._retire(self._current)

    def leave(self, endpoint: Endpoint) -> None:
        """Move on, unless that was done already; streams on the old channel end, single calls have a little time."""
        if endpoint is not self._current or not self.are_several:
            return
        self._position = (self._position + 1) % len(self._addresses)
        self.moves += 1
        self._retire(endpoint)

    def _retire(self, endpoint: Endpoint) -> None:
        self._current = None
        for stream in tuple(endpoint.streams):
            stream.cancel()
        # A channel that nobody closes goes on connecting to its member for as long as the process lives.
        closing = asyncio.create_task(_close_in_time(endpoint.channel))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close every channel, also those of members that were left."""
        closing = tuple(self._closing)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        if self._current is not None:
            await self._current.channel.close()


async def _close_in_time(channel: grpc.aio.Channel) -> None:
    try:
        await asyncio.sleep(
            LEFT_GRACE_S
        )  # a channel's own grace, once cancelled, leaves it open for ever (grpc.aio 1.85)
    finally:
        await channel.close()
