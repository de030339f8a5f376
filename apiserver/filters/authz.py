"""What they may do: whatever the authorizer does not allow is Forbidden."""

from __future__ import annotations

from typing import Any

from apiserver.auth.rbac import forbidden
from apiserver.request import Authorizer, Call, Handler


def with_authorization(then: Handler, authorizer: Authorizer) -> Handler:
    """Return `then` for those who may."""

    async def handle(call: Call) -> Any:
        decision = authorizer.authorize(call.user, call.info)
        if not decision.allowed:
            raise forbidden(call.user, call.info, decision.reason)
        return await then(call)

    return handle
