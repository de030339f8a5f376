"""Who is asking: credentials become a user, who may then act as another (`kubectl --as`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from api.errors import Unauthorized
from apiserver.auth.impersonation import impersonate
from apiserver.request import ANONYMOUS, Authenticator, Authorizer, Call, Handler
from component.metrics import Spread

MayBeAnonymous = Callable[[str], bool]


def anybody(path: str) -> bool:
    """Let everybody be anonymous; what comes then is up to the authorizer."""
    return True


def with_authentication(
    then: Handler,
    authenticator: Authenticator,
    durations: Spread,
    on_failure: Callable[[Call, Unauthorized], None] | None = None,
    may_be_anonymous: MayBeAnonymous = anybody,
) -> Handler:
    """Return `then`, with `call.user` set; credentials that are wrong raise Unauthorized, after `on_failure`.

    Args:
        then: the rest of the chain.
        authenticator: knows them.
        durations: how long it took, by `result`.
        on_failure: told of who is refused.
        may_be_anonymous: whether a request for a path may come without credentials.
    """
    succeeded = durations.of(("success",))

    async def handle(call: Call) -> Any:
        began = time.perf_counter()
        try:
            user = await authenticator.authenticate(call.credentials)
            if user is None and not may_be_anonymous(call.info.path):
                raise Unauthorized("Unauthorized")
            call.user = user or ANONYMOUS
            succeeded.observe(time.perf_counter() - began)
        except Unauthorized as error:
            durations.of(("failure",)).observe(time.perf_counter() - began)
            if on_failure is not None:
                on_failure(call, error)
            raise
        finally:
            noted = call.credentials.notes.take()
            call.warnings.extend(noted.warnings)
            for key, value in noted.annotations.items():
                call.annotate(key, value)
        return await then(call)

    return handle


def with_impersonation(then: Handler, authorizer: Authorizer) -> Handler:
    """Return `then`, with `call.user` set to whom the user acts as."""

    async def handle(call: Call) -> Any:
        if call.credentials.impersonate:
            call.user = await impersonate(call.user, call.credentials.impersonate, authorizer)
        return await then(call)

    return handle
