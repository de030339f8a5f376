"""What every answer must satisfy, whatever was asked."""

from __future__ import annotations

import json
from typing import Any, Final

from api import serde, validation
from api.discover import by_kind
from api.errors import ApiError
from tests.fuzz.objects import Plain
from tests.fuzz.wire import Request, Response

SLOW_S: Final = 5.0
HUNG_S: Final = 20.0
"""Waited for at most. Between the two an answer is slow only if this process was busy with it, not the machine."""
DOCUMENTED: Final = (501, 503, 504)
"""Not implemented by HTTP itself, not answering now, took too long."""


def judge(request: Request, response: Response) -> str | None:
    """Return what is wrong with an answer, or None."""
    status = response.status
    is_expected = status in DOCUMENTED or _is_of_no_type(request, response) or _is_unconverted(response)
    if status >= 500 and not is_expected:
        return f"status-{status}: {response.body[:300]!r}"
    if status == 0:
        return None if request.raw else "closed: the connection was closed without an answer"
    if status >= 400 and response.is_json and request.method != "HEAD":
        told = response.value
        if not isinstance(told, dict) or told.get("kind") != "Status" or told.get("status") != "Failure":
            return f"not-a-status: {status} {response.body[:200]!r}"
        if told.get("code") != status or not told.get("message"):
            return f"bad-status: {status} {response.body[:200]!r}"
    if status < 300 and response.is_json and response.body and request.method != "HEAD":
        # The old paths of watches answer with one event a line, asked for or not.
        is_watch = "/watch/" in request.target
        try:
            for text in response.body.splitlines() if is_watch else [response.body]:
                json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            return f"bad-json: {error}"
    return None


def _is_of_no_type(request: Request, response: Response) -> bool:
    """Whether what was applied, or what is there, does not fit its kind: upstream answers with 500 and no reason."""
    told = response.value if response.is_json and request.method == "PATCH" else None
    is_bare = isinstance(told, dict) and "reason" not in told
    return is_bare and str(told.get("message")).startswith(
        ("failed to create typed patch object", "failed to create typed live")
    )


def _is_unconverted(response: Response) -> bool:
    """Whether a definition's webhook could not be reached, which upstream answers with 500, too."""
    told = response.value if response.is_json else None
    return isinstance(told, dict) and is_failed_conversion(told.get("message"))


def is_failed_conversion(error: object) -> bool:
    """Whether an error is of a webhook that was to convert objects: the fuzzer names one that nobody answers at."""
    return str(error).startswith("conversion webhook for ")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def stored(value: Plain) -> str | None:
    """Return why an object that the server holds could not be written as it stands; None for what may be."""
    resource = by_kind(value.get("apiVersion", ""), value.get("kind", ""))
    if resource is None:
        return None
    try:
        obj = serde.decode(json.dumps(value).encode(), resource, field_validation="Strict").object
        before = serde.encode(obj)
        resource.default(obj)
        if serde.encode(obj) != before:
            return f"not-defaulted: {resource.kind}: {_difference(json.loads(before), json.loads(serde.encode(obj)))}"
        errors = list(validation.find_errors(resource, obj, obj))
    except ApiError as error:
        return f"stored-unreadable: {resource.kind}: {error}"
    return f"stored-invalid: {resource.kind}: {errors[0].path}: {errors[0].message}" if errors else None


def _difference(left: Any, right: Any, path: str = "") -> str:
    """Return the first place where two values differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in left.keys() | right.keys():
            if left.get(key) != right.get(key):
                return _difference(left.get(key), right.get(key), f"{path}.{key}")
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            if one != other:
                return _difference(one, other, f"{path}[{at}]")
    return f"{path}: {json.dumps(left)[:120]} != {json.dumps(right)[:120]}"


def same(answered: bytes, read: bytes) -> str | None:
    """Return where what was answered and what is read back differ."""
    if answered == read:
        return None
    return f"read-back: {_difference(json.loads(answered), json.loads(read))}"
