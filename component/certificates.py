"""Certificates that are renewed while a process runs: new connections use the new ones, those that stand go on.

Files are looked at every few seconds, so whoever renews them need tell nobody. A pair that does not fit together yet,
or a file that is half written, is left for the next look: the process goes on with what it had. A CA that was added is
trusted as well; one that was taken out of the file stays trusted until the process is started again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from component.expiry import EndWatch
from component.serve import Identity

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0


class Renewal:
    """Watches the files of an identity for the TLS contexts made of it."""

    def __init__(self, identity: Identity, contexts: Sequence[ssl.SSLContext]) -> None:
        """Take the files as they are now for what the contexts have."""
        self._identity = identity
        self._contexts = tuple(contexts)
        self._seen = self._stamps()
        self._last_problem = ""
        self._end = EndWatch(identity.cert)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> bool:
        """Load what has changed; return whether anything was loaded."""
        stamps = self._stamps()
        if stamps == self._seen:
            self._end.look()
            return False
        try:
            # On a context that nobody uses first: one that is in use must not be left with half of a pair.
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._identity)
            for context in self._contexts:
                _load(context, self._identity)
        except (OSError, ssl.SSLError) as error:
            if str(error) != self._last_problem:
                self._last_problem = str(error)
                where = {"certificate": str(self._identity.cert), "why": str(error)}
                log.warning("certificates have changed and can't be used yet", extra=where)
            return False
        self._seen, self._last_problem = stamps, ""
        self._end.read()
        log.info("certificates renewed", extra={"certificate": str(self._identity.cert)})
        return True

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._identity.cert, self._identity.key, self._identity.ca))


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    context.load_cert_chain(identity.cert, identity.key)
    context.load_verify_locations(cafile=str(identity.ca))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
