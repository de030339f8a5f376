"""Who is asking: credentials become a user, who may then act as another (`kubectl --as`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api.errors import Unauthorized
from apiserver.auth.impersonation import impersonate
from apiserver.request import ANONYMOUS, Authenticator, Authorizer, Call, Handler


def with_authentication(
    then: Handler, authenticator: Authenticator, on_failure: Callable[[Call, Unauthorized], None] | None = None
) -> Handler:
    """Return `then`, with `call.user` set; credentials that are wrong raise Unauthorized, after `on_failure`."""

    async def handle(call: Call) -> Any:
        try:
            call.user = await authenticator.authenticate(call.credentials) or ANONYMOUS
        except Unauthorized as error:
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
            call.user = impersonate(call.user, call.credentials.impersonate, authorizer)
        return await then(call)

    return handle
