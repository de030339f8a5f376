"""What they may do: whatever the authorizer does not allow is Forbidden, and what it cannot decide fails."""

from __future__ import annotations

import time
from typing import Any, Final

from apiserver.auth.rbac import forbidden
from apiserver.nowhere import undecided
from apiserver.request import Authorizer, Call, Decision, Handler
from component.metrics import Spread

DECISION: Final = "authorization.k8s.io/decision"
REASON: Final = "authorization.k8s.io/reason"
FAILED: Final = "internal error"
"""The reason of what could not be decided."""


def with_authorization(then: Handler, authorizer: Authorizer, durations: Spread) -> Handler:
    """Return `then` for those who may; `durations` is how long deciding took, by `result`."""
    allowed, denied, failed = (durations.of((result,)) for result in ("allowed", "denied", "error"))

    async def handle(call: Call) -> Any:
        began = time.perf_counter()
        decision = authorizer.authorize(call.user, call.info)
        if not isinstance(decision, Decision):
            decision = await decision
        took = allowed if decision.allowed else failed if decision.error else denied
        took.observe(time.perf_counter() - began)
        if decision.error and not decision.allowed:
            call.annotate(REASON, FAILED)
            raise undecided(call.target or call.info.path, decision.error)
        call.annotate(DECISION, "allow" if decision.allowed else "forbid")
        call.annotate(REASON, decision.reason)
        if not decision.allowed:
            raise forbidden(call.user, call.info, decision.reason)
        return await then(call)

    return handle
