"""What an object says it is, `apiVersion` and `kind`, held against what the path it was sent to takes. Pure.

Of a built-in kind neither need be said. An object of a custom kind must say both: nothing but its text makes it one.
The words are upstream's, which clients match: it looks for a type registered under those names, then for a way from
that type to the one wanted.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from api import custom
from api.errors import BadRequest, Invalid
from api.reader import WrongType, json_type
from api.resource import Resource
from api.validation import invalid, refuse_named

_SCHEME: Final = "pkg/api/legacyscheme/scheme.go:30"
FIELDS: Final = ("apiVersion", "kind")
_SUMMARY_LENGTH: Final = 30
_BODY_SHOWN: Final = 4096


NO_KIND: Final = "couldn't get version/kind; json parse error: "
"""What is said before anything about the JSON of a body: its kind is what is looked for first."""
_META: Final = (
    'Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
    'Kind string "json:\\"kind,omitempty\\"" }'
)


class Unreadable(BadRequest):
    """A value is no object of its kind; `why` is the reason alone, for who puts other words around it."""

    def __init__(self, message: str, why: str, mismatch: WrongType | None = None) -> None:
        super().__init__(message)
        self.why = why
        self.mismatch = mismatch
        """Where a value of the wrong type is the reason."""


def cannot_handle(
    kind: str, version: str, resource: Resource[Any], why: str, mismatch: WrongType | None = None
) -> Unreadable:
    """Return the error for what says that it is one thing, and cannot be read as an object of `resource`."""
    message = f'{kind} in version "{version}" cannot be handled as a {resource.kind}: {why}'
    return Unreadable(message, why, mismatch)


def check_readable(value: Any, resource: Resource[Any], body: bytes) -> None:
    """Refuse a body that does not get as far as saying what it is: no object, or words where there are none.

    Raises:
        BadRequest: it does not.
    """
    if value is None:
        raise _without_kind(resource, body.decode("utf-8", "replace"), is_strict=False)
    if not isinstance(value, dict):
        raise unreadable(resource, body, f"{NO_KIND}json: cannot unmarshal {json_type(value)} into {_META}")
    for field in FIELDS:
        said = value.get(field)
        if said is not None and not isinstance(said, str):
            what = f"json: cannot unmarshal {json_type(said)} into Go struct field .{field} of type string"
            raise unreadable(resource, body, NO_KIND + what)
    version = value.get("apiVersion") or ""
    if version.count("/") > 1:
        raise unreadable(resource, body, f"unexpected GroupVersion string: {version}")


def check(value: dict[str, Any], resource: Resource[Any], *, is_strict: bool, body: bytes | None) -> None:
    """Refuse an object that says it is something else.

    Args:
        value: the object.
        resource: what it should be.
        is_strict: whether unknown fields are looked for, which changes the words.
        body: what it was read from; None for what a patch has made of an object, which is held to other words.

    Raises:
        BadRequest, Invalid: it does.
    """
    said = {field: told for field in FIELDS if isinstance(told := value.get(field), str)}
    if custom.is_custom(resource.type):
        api_version, kind = said.get("apiVersion", ""), said.get("kind", "")
        if not kind:
            raise _without_kind(resource, _text(value, body), is_strict=is_strict and body is not None)
        if api_version != resource.api_version and body is not None:
            raise _other_version(api_version, resource)
        if (api_version, kind) != (resource.api_version, resource.kind):
            raise _not_this(value, api_version, kind, resource)
    else:
        _check_built_in(said.get("apiVersion") or resource.api_version, said.get("kind") or resource.kind, resource)


def _check_built_in(api_version: str, kind: str, resource: Resource[Any]) -> None:
    if (api_version, kind) == (resource.api_version, resource.kind):
        return
    from api.discover import by_kind  # Late, because finding the kinds imports every one of them.

    version = api_version.rpartition("/")[2]
    found = by_kind(api_version, kind)
    if found is None:
        what = f'no kind "{kind}" is registered for version "{api_version}" in scheme "{_SCHEME}"'
        raise cannot_handle(kind, version, resource, what)
    if (found.group, found.kind) != (resource.group, resource.kind):
        package = resource.group.partition(".")[0] or "core"
        what = f"converting ({version}.{kind}) to ({package}.{resource.kind}): unknown conversion"
        raise cannot_handle(kind, version, resource, what)
    raise _other_version(api_version, resource)


def _without_kind(resource: Resource[Any], text: str, *, is_strict: bool) -> Unreadable:
    shown = text if len(text) <= _BODY_SHOWN else text[:_BODY_SHOWN] + "..."
    what = f"Object 'Kind' is missing in '{shown}'"
    if not is_strict:
        return cannot_handle(resource.kind, resource.version, resource, what)
    return _unrecognized(resource, what, text.encode())


def unreadable(resource: Resource[Any], body: bytes, why: str) -> Unreadable:
    """Return the error for a body that is not even a text of its media type."""
    return _unrecognized(resource, why, body)


def _unrecognized(resource: Resource[Any], why: str, body: bytes) -> Unreadable:
    shown = _summary(body)
    return Unreadable(f"the object provided is unrecognized (must be of type {resource.kind}): {why} ({shown})", why)


def _other_version(api_version: str, resource: Resource[Any]) -> Unreadable:
    what = (
        f"the API version in the data ({api_version}) does not match the expected API version ({resource.api_version})"
    )
    return Unreadable(what, what)


def _not_this(value: dict[str, Any], api_version: str, kind: str, resource: Resource[Any]) -> Invalid:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else ""
    told = (("kind", kind, resource.kind), ("apiVersion", api_version, resource.api_version))
    errors = [invalid(field, said, f"must be {wanted}") for field, said, wanted in told if said != wanted]
    return refuse_named(api_version.rpartition("/")[0], kind, name if isinstance(name, str) else "", errors)


def _text(value: dict[str, Any], body: bytes | None) -> str:
    return body.decode("utf-8", "replace") if body is not None else msgspec.json.encode(value).decode()


def _summary(body: bytes) -> str:
    """Return the beginning of a body; one that is no JSON object is shown in hexadecimal."""
    if not body:
        return "<empty>"
    begin = body[:_SUMMARY_LENGTH]
    shown = begin.decode("utf-8", "replace") if begin.startswith(b"{") else begin.hex()
    return shown if len(body) <= _SUMMARY_LENGTH else f"{shown} ..."
