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
NEXT_AFTER_S: Final = 0.2
"""After so long without a connection the next API server is tried as well: on one network it takes a millisecond."""
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
        reached = await self._reach()
        if reached is None:
            client.abort()
        else:
            await self._relay(*reached, client)

    async def _reach(self) -> tuple[Backend, Connection] | None:
        """Connect to the best API server that takes connections; while one is slow to, the next is tried (RFC 8305)."""
        tried: set[str] = set()
        trying: dict[asyncio.Task[Connection | None], Backend] = {}
        try:
            while True:
                backend = choose(self.backends, tried)
                if backend is None and not trying:
                    return None
                if backend is not None:
                    tried.add(backend.address)
                    if backend.connections >= CONNECTIONS_MAX:
                        continue
                    trying[asyncio.create_task(self._connect(backend))] = backend
                patience_s = CONNECT_WITHIN_S if backend is None else NEXT_AFTER_S
                done, _ = await asyncio.wait(trying, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    backend = trying.pop(task)
                    if (server := task.result()) is not None:
                        for slow in trying.values():
                            slow.health = min(slow.health, Health.UNKNOWN)  # until it is asked again
                        return backend, server
        finally:
            for task in trying:
                task.add_done_callback(_drop)
                task.cancel()

    async def _connect(self, backend: Backend) -> Connection | None:
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                return Connection(*await asyncio.open_connection(backend.host, backend.port))
        except (OSError, TimeoutError) as error:
            backend.health, backend.problem = Health.DOWN, str(error) or "no connection in time"
            return None

    async def _relay(self, backend: Backend, server: Connection, client: Connection) -> None:
        carried = self._carried[backend.address]
        backend.connections += 1
        carried.add((client, server))
        try:
            with contextlib.suppress(OSError):
                await relay(client, server)
        finally:
            carried.discard((client, server))
            backend.connections -= 1


def _drop(task: asyncio.Task[Connection | None]) -> None:
    """Close a connection that came too late to be wanted."""
    if not task.cancelled() and (connection := task.result()) is not None:
        connection.abort()
