"""Carries connections to API servers; cuts those to one that has fallen silent, so that their clients start again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Sequence
from typing import Final

from balancer.backends import Backend, Health, choose
from balancer.probe import EVERY_S, Probe
from component.relay import Connection, relay

log = logging.getLogger(__name__)

CONNECT_WITHIN_S: Final = 1.0
CONNECTIONS_MAX: Final = 10_000
UNREADY_MAX: Final = 4
"""Answers in a row that say "not ready" after which connections are moved, if there is somewhere to go."""


class Proxy:
    """Listens for clients; `run` must be running."""

    def __init__(self, addresses: Sequence[str], tls: ssl.SSLContext) -> None:
        """Name the API servers; `tls` is how their answers to our questions are believed."""
        self.backends = [Backend(address) for address in addresses]
        self._tls = tls
        self._carried = {backend.address: set[tuple[Connection, Connection]]() for backend in self.backends}

    def check(self) -> str | None:
        """Return why no API server can be reached, or None."""
        if any(backend.health >= Health.UNREADY for backend in self.backends):
            return None
        return "; ".join(f"{backend.address}: {backend.problem or 'not asked yet'}" for backend in self.backends)

    async def run(self) -> None:
        """Follow every API server's health until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for backend in self.backends:
                tasks.create_task(self._follow(backend), name=f"probe {backend.address}")

    async def _follow(self, backend: Backend) -> None:
        probe = Probe(backend, self._tls)
        unready = 0
        try:
            while True:
                health, problem = await probe.ask()
                if health is not backend.health:
                    level = logging.INFO if health is Health.READY else logging.WARNING
                    log.log(level, "an API server is %s", health.name.lower(),
                            extra={"address": backend.address, "problem": problem})  # fmt: skip
                backend.health, backend.problem = health, problem
                unready = unready + 1 if health is Health.UNREADY else 0
                if health is Health.DOWN or (unready >= UNREADY_MAX and self._has_ready()):
                    self._cut(backend)
                await asyncio.sleep(EVERY_S)
        finally:
            probe.close()

    def _has_ready(self) -> bool:
        return any(backend.health is Health.READY for backend in self.backends)

    def _cut(self, backend: Backend) -> None:
        for client, server in tuple(self._carried[backend.address]):
            client.abort()
            server.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one client's connection to its end."""
        client = Connection(reader, writer)
        tried: set[str] = set()
        while (backend := choose(self.backends, tried)) is not None:
            tried.add(backend.address)
            if backend.connections >= CONNECTIONS_MAX:
                continue
            try:
                async with asyncio.timeout(CONNECT_WITHIN_S):
                    server = Connection(*await asyncio.open_connection(backend.host, backend.port))
            except (OSError, TimeoutError) as error:
                backend.health, backend.problem = Health.DOWN, str(error) or "no connection in time"
                continue
            await self._relay(backend, client, server)
            return
        client.abort()

    async def _relay(self, backend: Backend, client: Connection, server: Connection) -> None:
        carried = self._carried[backend.address]
        backend.connections += 1
        carried.add((client, server))
        try:
            with contextlib.suppress(OSError):
                await relay(client, server)
        finally:
            carried.discard((client, server))
            backend.connections -= 1
