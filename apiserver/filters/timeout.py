"""A deadline for every request that is not a stream: 60 s, or less where the client says so (`?timeout=5s`)."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from api.errors import BadRequest, Timeout
from apiserver.request import Call, Handler

TIMEOUT_S: Final = 60.0
_PART: Final = re.compile(r"(\d+(?:\.\d*)?)(ms|us|ns|h|m|s)")
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_STREAMS: Final = ("log", "exec", "attach", "portforward", "proxy")


def is_stream(call: Call) -> bool:
    """Whether what answers a call may go on for as long as the client likes; a watch is another matter."""
    return call.info.subresource.partition("/")[0] in _STREAMS


def with_timeout(then: Handler) -> Handler:
    """Return `then`, ended by Timeout when it takes too long. A watch is only timed until it begins."""

    async def handle(call: Call) -> Any:
        if is_stream(call):
            return await then(call)
        try:
            async with asyncio.timeout(_timeout_s(call)) as scope:
                call.deadline = scope.when() or call.deadline
                return await then(call)
        except TimeoutError:
            # No Retry-After: clients would send it again by themselves, and it may have been done.
            raise Timeout("Timeout: request did not complete within the allotted timeout") from None

    return handle


def _timeout_s(call: Call) -> float:
    text = call.options.get("timeout", "")
    if not text or call.info.verb == "watch":
        return TIMEOUT_S
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        fault = "missing unit in" if text.replace(".", "", 1).isdigit() else "invalid"
        raise BadRequest(f'invalid timeout specified in the request URL - time: {fault} duration "{text}"')
    return min(sum(float(number) * _UNITS[unit] for number, unit in parts) or TIMEOUT_S, TIMEOUT_S)
