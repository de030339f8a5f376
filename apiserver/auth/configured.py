"""The file of `--authentication-config`, followed: what it says holds at once, if it makes sense."""

from __future__ import annotations

import logging
from pathlib import Path

from apiserver.auth.configuration import Anonymous, BadConfiguration, Configuration, parse
from apiserver.auth.oidc import OidcAuthenticator
from apiserver.request import Credentials, User
from component.certificates import LOOK_EVERY_S
from component.clock import Clock

log = logging.getLogger(__name__)


class Configured:
    """An `Authenticator` for every provider that the file names; `follow` must be running."""

    def __init__(self, path: Path, clock: Clock, *, own_issuer: str = "") -> None:
        """Read the file, which cannot be about the issuer of our own tokens.

        Raises:
            BadConfiguration: it cannot be used. OSError: it cannot be read.
        """
        self._path = path
        self._clock = clock
        self._own_issuer = own_issuer
        self._read = path.read_bytes()
        try:
            self._take(parse(self._read))
        except BadConfiguration as error:
            raise BadConfiguration(f"--authentication-config {path}: {error}") from None

    def _take(self, configuration: Configuration) -> None:
        if any(issuer.url == self._own_issuer for issuer in configuration.issuers):
            raise BadConfiguration(f"jwt: {self._own_issuer} is the issuer of this cluster's own tokens")
        self._issuers = [OidcAuthenticator(issuer, self._clock) for issuer in configuration.issuers]
        self.anonymous: Anonymous | None = configuration.anonymous

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the token's user; None when no provider of the file's has issued it.

        Raises:
            Unauthorized: one of them has, or so it says, and it is forged, expired, for others or not welcome.
        """
        for issuer in self._issuers:
            user = await issuer.authenticate(credentials)
            if user is not None:
                return user
        return None

    def look(self) -> None:
        """Read the file again, if it has changed."""
        try:
            found = self._path.read_bytes()
        except OSError as error:
            log.warning("the authentication configuration cannot be read", extra={"why": str(error)})
            return
        if found == self._read:
            return
        self._read = found
        try:
            self._take(parse(found))
        except BadConfiguration as error:
            log.warning("the changed authentication configuration cannot be used", extra={"why": str(error)})
        else:
            log.info("authentication configuration read again", extra={"file": str(self._path)})

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            self.look()
