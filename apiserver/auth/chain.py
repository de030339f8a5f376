"""Authenticators in order: the first that knows the credentials decides."""

from __future__ import annotations

from collections.abc import Sequence

from api.errors import Unauthorized
from apiserver.request import Authenticator, Credentials, User


class AuthenticationChain:
    """Tries each authenticator; what none of them knows is refused, and nothing at all is nobody.

    An Authorization header of another scheme (Basic) is nothing: nobody here reads it.
    """

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self._authenticators = tuple(authenticators)

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the user, or None for a request that shows no credentials (the caller makes it ANONYMOUS).

        Raises:
            Unauthorized: credentials were shown, and nobody here believes them.
        """
        for authenticator in self._authenticators:
            user = await authenticator.authenticate(credentials)
            if user is not None:
                return user
        if credentials.token or credentials.certificate:
            raise Unauthorized("Unauthorized")
        return None
