"""What they may do: whatever the authorizer does not allow is Forbidden."""

from __future__ import annotations

from typing import Any, Final

from apiserver.auth.rbac import forbidden
from apiserver.request import Authorizer, Call, Handler

DECISION: Final = "authorization.k8s.io/decision"
REASON: Final = "authorization.k8s.io/reason"


def with_authorization(then: Handler, authorizer: Authorizer) -> Handler:
    """Return `then` for those who may."""

    async def handle(call: Call) -> Any:
        decision = authorizer.authorize(call.user, call.info)
        call.annotate(DECISION, "allow" if decision.allowed else "forbid")
        call.annotate(REASON, decision.reason)
        if not decision.allowed:
            raise forbidden(call.user, call.info, decision.reason)
        return await then(call)

    return handle
