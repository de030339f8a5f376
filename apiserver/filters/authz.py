"""What they may do: whatever the authorizer does not allow is Forbidden."""

from __future__ import annotations

import time
from typing import Any, Final

from apiserver.auth.rbac import forbidden
from apiserver.request import Authorizer, Call, Handler
from component.metrics import Spread

DECISION: Final = "authorization.k8s.io/decision"
REASON: Final = "authorization.k8s.io/reason"


def with_authorization(then: Handler, authorizer: Authorizer, durations: Spread) -> Handler:
    """Return `then` for those who may; `durations` is how long deciding took, by `result`."""
    allowed, denied = durations.of(("allowed",)), durations.of(("denied",))

    async def handle(call: Call) -> Any:
        began = time.perf_counter()
        decision = authorizer.authorize(call.user, call.info)
        (allowed if decision.allowed else denied).observe(time.perf_counter() - began)
        call.annotate(DECISION, "allow" if decision.allowed else "forbid")
        call.annotate(REASON, decision.reason)
        if not decision.allowed:
            raise forbidden(call.user, call.info, decision.reason)
        return await then(call)

    return handle
