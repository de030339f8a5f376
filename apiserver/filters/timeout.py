"""A deadline for every request that is not a stream: 60 s, or less where the client says so (`?timeout=5s`)."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, Final

from api.errors import BadRequest, Timeout
from apiserver.request import Call, Handler

TIMEOUT_S: Final = 60.0
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|μs|ns|h|m|s)", re.ASCII)
_NUMBER: Final = re.compile(r"\d*(?:\.\d*)?", re.ASCII)
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_WRITES: Final = ("create", "update", "patch", "delete", "deletecollection")
_TOO_LONG: Final = "Timeout: request did not complete within the allotted timeout"
_TOO_LATE: Final = "Timeout: request did not complete within requested timeout - context deadline exceeded"
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
            raise Timeout(_TOO_LATE if call.info.verb in _WRITES else _TOO_LONG) from None

    return handle


def _timeout_s(call: Call) -> float:
    text = call.options.get("timeout", "")
    if not text or call.info.verb == "watch":
        return TIMEOUT_S
    try:
        asked = duration_s(text)
    except ValueError as error:
        raise BadRequest(f"invalid timeout specified in the request URL - {error}") from None
    return min(asked, TIMEOUT_S) if asked > 0 else TIMEOUT_S


def duration_s(text: str) -> float:
    """Return a duration such as `1h30m`, `-1.5s` or `0`, in seconds.

    Raises:
        ValueError: it is none; why, in the words of Go's time package.
    """
    quoted = json.dumps(text, ensure_ascii=False)
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    if unsigned == "0":
        return 0.0
    total, at = 0.0, 0
    if not unsigned:
        raise ValueError(f"time: invalid duration {quoted}")
    while at < len(unsigned):
        part = _PART.match(unsigned, at)
        if part is None:
            raise ValueError(_fault(unsigned, at, quoted))
        total, at = total + float(part[1]) * _UNITS[part[2]], part.end()
    return -total if text[0] == "-" else total


def _fault(text: str, at: int, quoted: str) -> str:
    number = _NUMBER.match(text, at)
    assert number is not None
    if not number[0].strip("."):
        return f"time: invalid duration {quoted}"
    unit = re.split(r"[\d.]", text[number.end() :], maxsplit=1, flags=re.ASCII)[0]
    if not unit:
        return f"time: missing unit in duration {quoted}"
    return f"time: unknown unit {json.dumps(unit, ensure_ascii=False)} in duration {quoted}"
