"""The listener: TLS with client certificates, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from component.certificates import Fresh, ca_changes
from component.serve import Identity, server_context
from store.http2.call import Code, Method, Refusal, StatusOf
from store.http2.connection import Connection, Site
from store.http2.http1 import Http1
from store.http2.web import Web

HANDSHAKE_WITHIN_S = 10.0
LEAVE_S: Final = 2.0
"""How long calls under way may take on connections that are to be made anew."""
LEADERLESS_S = 3.0
LEADERLESS_LOOKS = 6
"""Streams that need a leader are ended after so long without one, looked at so many times: as etcd, three elections."""

Admit = Callable[[frozenset[str]], str | None]
"""From the common names of a client's certificate to why it is not admitted, or None."""


class Server:
    """Serves methods to clients with certificates."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        status_of: StatusOf,
        admit: Admit,
        has_leader: Callable[[], bool] = lambda: True,
        web: Web | None = None,
    ) -> None:
        """Prepare.

        Args:
            methods: by path, `/service/Method`.
            status_of: from what a method raised to how the call ends.
            admit: asked once for every connection.
            has_leader: asked for calls that are only to be taken while there is a leader.
            web: answers requests that are not gRPC's; None: they are refused.
        """
        self._site = Site({path.encode(): method for path, method in methods.items()}, status_of, has_leader)
        self._site.empty.set()
        if web is not None:
            self._site.web, self._site.http1 = web, partial(Http1, web, self._site.guests)
        self._admit = admit
        self._listener: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, address: str, identity: Identity) -> None:
        """Listen on `address` (host:port).

        Raises:
            OSError: the port is taken.
        """
        host, _, port = address.rpartition(":")

        def make() -> ssl.SSLContext:
            context = server_context(identity, client_certificates=ssl.CERT_REQUIRED)
            context.set_alpn_protocols(["h2", "http/1.1"] if self._site.http1 is not None else ["h2"])
            return context

        fresh = Fresh((identity.cert, identity.key, identity.ca), make)
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                lambda: Connection(self._site, self._refusal_of),
                host.strip("[]") or None,
                int(port),
                ssl=fresh.serving(),
                ssl_handshake_timeout=HANDSHAKE_WITHIN_S,
                backlog=1024,
            )
        except OSError as error:
            raise OSError(f"can't listen on {address}: {error}") from None
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow_trust(identity.ca)), loop.create_task(self._end_leaderless())]

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let those under way end for `grace_s`, then end them."""
        if self._listener is None:
            return
        for task in self._tasks:
            task.cancel()
        self._listener.close()
        for connection in (*self._site.connections, *self._site.guests):
            connection.leave()
        await self._wait_empty(grace_s)
        for connection in (*self._site.connections, *self._site.guests):
            connection.stop()
        await self._wait_empty(grace_s)
        if self._site.ending:
            await asyncio.wait(set(self._site.ending), timeout=grace_s)
        for connection in list(self._site.connections):
            connection.abort()

    async def _follow_trust(self, ca: Path) -> None:
        """When other CAs are trusted than before, have every client come again and show who it is."""
        async for _ in ca_changes(ca):
            there = list(self._site.connections)
            for connection in (*there, *self._site.guests):
                connection.leave()
            await asyncio.sleep(LEAVE_S)
            for connection in set(there) & set(self._site.connections):
                connection.abort()

    async def _end_leaderless(self) -> None:
        """End streams that are to have a leader once there was none for a while; a short absence is an election."""
        missing = 0
        while True:
            await asyncio.sleep(LEADERLESS_S / LEADERLESS_LOOKS)
            missing = 0 if self._site.has_leader() else missing + 1
            if missing >= LEADERLESS_LOOKS:
                for connection in list(self._site.connections):
                    connection.end_leaderless()

    async def _wait_empty(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._site.empty.wait()

    def _refusal_of(self, names: frozenset[str]) -> Refusal | None:
        why = self._admit(names)
        return None if why is None else Refusal(Code.PERMISSION_DENIED, why)
