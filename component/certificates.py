"""Certificates that are renewed while a process runs: new connections use the new ones, those that stand go on.

Files are looked at every few seconds, so whoever renews them need tell nobody. A pair that does not fit together yet,
or a file that is half written, is left for the next look: the process goes on with what it had.

A context is made anew when its files change, so a CA that was taken out of its file is trusted no more.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from component.expiry import EndWatch
from component.serve import Identity, client_context, server_context

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0


class Fresh:
    """A TLS context that is made anew whenever its files have changed.

    Args:
        files: what it is made of.
        make: makes it; raises OSError or ssl.SSLError where the files cannot be used.
    """

    def __init__(self, files: Sequence[Path], make: Callable[[], ssl.SSLContext]) -> None:
        self._files = tuple(files)
        self._make = make
        self._seen = self._stamps()
        self._context = make()
        self._last_problem = ""
        self._end = EndWatch(self._files[0])

    def current(self) -> ssl.SSLContext:
        """Return the context of the files as they are now, or as they were when they last could be used."""
        stamps = self._stamps()
        if stamps == self._seen:
            self._end.look()
            return self._context
        try:
            self._context = self._make()
        except (OSError, ssl.SSLError) as error:
            if str(error) != self._last_problem:
                self._last_problem = str(error)
                where = {"file": str(self._files[0]), "why": str(error)}
                log.warning("certificates have changed and can't be used yet", extra=where)
            return self._context
        self._seen, self._last_problem = stamps, ""
        self._end.read()
        log.info("certificates renewed", extra={"file": str(self._files[0])})
        return self._context

    def serving(self) -> ssl.SSLContext:
        """Return a context for a listener: each connection is taken by the files as they are then.

        No sessions are resumed: the certificate that one began with would not be looked at again.
        """
        first = self._make()

        def take(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            connection.context = self.current()

        # Called for clients that name no server, too. OpenSSL takes certificate, CAs and protocols from the new one.
        first.sni_callback = take
        first.num_tickets = 0
        first.options |= ssl.OP_NO_TICKET
        return first

    async def follow(self) -> None:
        """Look again and again until cancelled, for a listener that few may connect to: what is amiss gets logged."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.current()

    def _stamps(self) -> tuple[object, ...]:
        return tuple(stamp(path) for path in self._files)


def fresh_server(
    identity: Identity,
    *,
    client_certificates: ssl.VerifyMode,
    cas: Sequence[Path] = (),
    protocols: Sequence[str] = ("http/1.1",),
) -> Fresh:
    """Return the context of a server; `cas` sign client certificates beside `identity.ca`; `protocols`: for ALPN."""

    def make() -> ssl.SSLContext:
        context = server_context(identity, client_certificates=client_certificates, protocols=protocols)
        for ca in cas:
            context.load_verify_locations(cafile=str(ca))
        return context

    return Fresh((identity.cert, identity.key, identity.ca, *cas), make)


def fresh_client(identity: Identity) -> Fresh:
    """Return the context of a client."""
    return Fresh((identity.cert, identity.key, identity.ca), lambda: client_context(identity))


async def ca_changes(ca: Path) -> AsyncIterator[None]:
    """Yield each time that a file of CAs says something else: who is connected may not be believed any more."""
    trusted = _content(ca)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        found = _content(ca)
        if found and found != trusted:
            trusted = found
            yield


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from an earlier one of its name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
