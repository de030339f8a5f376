"""Who calls: by a token that was given for a password, or else by the name in its certificate.

What the store does of itself has no caller, and may do everything. So may the trusted: Steersman's own API servers go
on, whatever users somebody makes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proto.steersman.v1 import store_pb2
from store.auth.permissions import READ
from store.auth.state import Auth, AuthRefused, Reason
from store.http2.call import CURRENT, Origin

_NOBODY = store_pb2.Caller()
_TRUSTED = store_pb2.Caller(is_trusted=True)


class Access:
    """Finds out who calls, and asks whether it may."""

    def __init__(
        self,
        auth: Auth,
        trusted: frozenset[str],
        catch_up: Callable[[], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:
        """Prepare.

        Args:
            auth: users and roles.
            trusted: common names of certificates whose holders may do everything.
            catch_up: waits until what was agreed on before is applied here.
            now: a clock that never goes back.
        """
        self._auth = auth
        self._trusted = trusted
        self._catch_up = catch_up
        self._now = now

    @property
    def matters(self) -> bool:
        """Whether it matters who makes the call under way: for most stores, and all of their calls, it does not."""
        call = CURRENT.get()
        return call is not None and (self._auth.is_enabled or bool(call.token))

    async def caller(self) -> store_pb2.Caller | None:
        """Return who makes the call under way; None where that does not matter.

        Raises:
            AuthRefused: it has a token that stands for nobody.
        """
        call = CURRENT.get()
        if call is None or not self.matters:
            return None
        if not call.token:
            return self._by_certificate(call)
        user = self._auth.tokens.user_of(call.token, self._now())
        if user is None:
            await self._catch_up()  # another member may have given it just now
            user = self._auth.tokens.user_of(call.token, self._now())
        if user is None:
            raise AuthRefused(Reason.INVALID_TOKEN)
        return store_pb2.Caller(user=user, auth_revision=self._auth.revision)

    async def require_admin(self) -> None:
        """Raise AuthRefused unless the caller may change anything."""
        caller = await self.caller()
        if caller is not None:
            self._auth.require_admin(caller)

    def require_trusted(self) -> None:
        """Raise AuthRefused unless the caller's certificate alone lets it do everything."""
        if self._auth.is_enabled and (call := CURRENT.get()) is not None:
            self._auth.require_admin(self._by_certificate(call))

    async def require_readable(self, key: bytes, range_end: bytes) -> None:
        """Raise AuthRefused unless the caller may read a range."""
        caller = await self.caller()
        if caller is not None:
            self._auth.require(caller, READ, key, range_end)

    def _by_certificate(self, call: Origin) -> store_pb2.Caller:
        if call.names & self._trusted:
            return _TRUSTED
        if not call.common_name:
            return _NOBODY
        return store_pb2.Caller(user=call.common_name, auth_revision=self._auth.revision)
