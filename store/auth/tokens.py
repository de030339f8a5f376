"""Tokens: by what a caller is known that has shown its password. In memory alone, on every member, as in etcd.

Applying hands them out; how long they were not used is each member's own affair, and nothing that is applied depends on
it. After a restart there are none: a client is told so, and shows its password again.
"""

from __future__ import annotations

LASTING_S = 300.0
"""How long a token is good for after it was last used; as in etcd."""
PER_USER_MAX = 10_000
"""The oldest go first: a client that logs in for each request uses up its own."""


class Tokens:
    """Those of one member."""

    def __init__(self) -> None:
        self._users: dict[str, str] = {}
        self._used_at: dict[str, float] = {}
        """When each was last used, from the first look at it on."""
        self._by_user: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._users)

    def assign(self, token: str, user: str) -> None:
        """Have a token stand for a user."""
        self._users[token] = user
        own = self._by_user.setdefault(user, {})
        own[token] = None
        if len(own) > PER_USER_MAX:
            self._drop(next(iter(own)))

    def user_of(self, token: str, now: float) -> str | None:
        """Return whom a token stands for, and have it last from `now` on; None where it stands for nobody."""
        user = self._users.get(token)
        if user is None:
            return None
        if self._used_at.get(token, now) < now - LASTING_S:
            self._drop(token)
            return None
        self._used_at[token] = now
        return user

    def sweep(self, now: float) -> None:
        """Drop those that were not used for too long."""
        for token in list(self._users):
            if self._used_at.setdefault(token, now) < now - LASTING_S:
                self._drop(token)

    def forget(self, user: str) -> None:
        """Drop a user's."""
        for token in list(self._by_user.get(user, ())):
            self._drop(token)

    def clear(self) -> None:
        """Drop all."""
        for each in (self._users, self._used_at, self._by_user):
            each.clear()

    def _drop(self, token: str) -> None:
        user = self._users.pop(token)
        self._used_at.pop(token, None)
        own = self._by_user[user]
        del own[token]
        if not own:
            del self._by_user[user]
