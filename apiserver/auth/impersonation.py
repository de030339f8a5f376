"""Acting as someone else: the Impersonate-* headers (`kubectl --as`), for those whom RBAC lets.

Each name asked for is a permission of its own: verb `impersonate` on users, groups, serviceaccounts, uids, or
`userextras/<key>`. Without Impersonate-User the other headers mean nothing and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from api.errors import BadRequest, Forbidden
from apiserver.auth.certificates import AUTHENTICATED
from apiserver.auth.rbac import forbidden
from apiserver.auth.tokens import USERNAME_PREFIX, groups_of
from apiserver.request import ANONYMOUS, Authorizer, RequestInfo, User, decided

UNAUTHENTICATED = "system:unauthenticated"
_EXTRA = "impersonate-extra-"


async def impersonate(user: User, headers: Mapping[str, tuple[str, ...]], authorizer: Authorizer) -> User:
    """Return who `user` acts as: itself when no Impersonate header came.

    Raises:
        BadRequest: groups, uid or extras without a user. Upstream answers 500; it is the client's fault all the same.
        Forbidden: `user` may not be one of them.
    """
    if not headers:
        return user
    names = headers.get("impersonate-user", ())
    if not names or not names[0]:
        raise BadRequest("requested impersonation of groups, a uid or extras without impersonating a user")
    name, groups = names[0], headers.get("impersonate-group", ())
    uids = headers.get("impersonate-uid", ())
    extra = {unquote(key[len(_EXTRA) :]): values for key, values in headers.items() if key.startswith(_EXTRA)}
    for asked in _permissions(name, groups, uids, extra):
        decision = await decided(authorizer.authorize(user, asked))
        if not decision.allowed:
            error: Forbidden = forbidden(user, asked, decision.reason)
            raise error
    if not groups and (account := _account(name)):
        groups = groups_of(account[0])
    return User(name, uids[0] if uids else "", _with_everybody(name, groups), extra)


def _with_everybody(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return the groups with that of everybody, known or not, added unless one of the two is asked for."""
    if name == ANONYMOUS.name:
        return groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
    return groups if AUTHENTICATED in groups or UNAUTHENTICATED in groups else (*groups, AUTHENTICATED)


def _permissions(
    name: str, groups: tuple[str, ...], uids: tuple[str, ...], extra: Mapping[str, tuple[str, ...]]
) -> list[RequestInfo]:
    account = _account(name)
    if account:
        asked = [RequestInfo("impersonate", "", "", "v1", "serviceaccounts", "", *account)]
    else:
        asked = [RequestInfo("impersonate", "", "", "v1", "users", name=name)]
    asked += [RequestInfo("impersonate", "", "", "v1", "groups", name=group) for group in groups]
    kind = "authentication.k8s.io"
    asked += [RequestInfo("impersonate", "", kind, "v1", "uids", name=uid) for uid in uids]
    for key, values in extra.items():
        asked += [RequestInfo("impersonate", "", kind, "v1", "userextras", key, name=value) for value in values]
    return asked


def _account(name: str) -> tuple[str, str] | None:
    if not name.startswith(USERNAME_PREFIX):
        return None
    namespace, _, account = name[len(USERNAME_PREFIX) :].partition(":")
    return (namespace, account) if namespace and account else None
