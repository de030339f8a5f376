"""Who is asking: credentials become a user, who may then act as another (`kubectl --as`)."""

from __future__ import annotations

from typing import Any

from apiserver.auth.impersonation import impersonate
from apiserver.request import ANONYMOUS, Authenticator, Authorizer, Call, Handler


def with_authentication(then: Handler, authenticator: Authenticator, authorizer: Authorizer) -> Handler:
    """Return `then`, with `call.user` set; credentials that are wrong raise Unauthorized."""

    async def handle(call: Call) -> Any:
        user = await authenticator.authenticate(call.credentials) or ANONYMOUS
        call.user = impersonate(user, call.credentials.impersonate, authorizer)
        return await then(call)

    return handle
