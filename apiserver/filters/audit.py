"""One line a request, behind a flag: who did what to which object, and how it went.

Never a body, so never a Secret's value.
"""

from __future__ import annotations

import logging
from typing import Any

from api.errors import ApiError
from apiserver.request import Call, Handler
from component.clock import Clock

log = logging.getLogger("audit")


def with_audit(then: Handler, clock: Clock) -> Handler:
    """Return `then`, logged."""

    async def handle(call: Call) -> Any:
        started = clock.monotonic()
        code = 500
        try:
            answer = await then(call)
            code = getattr(answer, "code", 200)
            return answer
        except ApiError as error:
            code = error.code
            raise
        finally:
            info = call.info
            resource = f"{info.plural}.{info.group}" if info.group else info.plural
            if info.subresource:
                resource += f"/{info.subresource}"
            extra = {"user": call.user.name, "verb": info.verb, "code": code, "remote": call.remote}
            extra |= {"agent": call.user_agent, "ms": round((clock.monotonic() - started) * 1000, 1)}
            if resource:
                extra |= {"resource": resource, "namespace": info.namespace, "object": info.name}
            else:
                extra["path"] = info.path
            log.info("request", extra=extra)

    return handle
