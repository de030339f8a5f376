"""The errors of storing and finding objects, worded as upstream words them, since people and scripts read them."""

from __future__ import annotations

import json
from typing import Any

from api.errors import AlreadyExists, BadRequest, Cause, Conflict, Expired, Invalid, MethodNotAllowed, NotFound, Timeout
from api.go_types import quoted
from api.resource import Resource


def no_such_resource() -> NotFound:
    """Return the error for a path that leads to no resource."""
    return NotFound("the server could not find the requested resource")


def no_such_verb() -> MethodNotAllowed:
    """Return the error for a method that the resource does not take."""
    return MethodNotAllowed("the server does not allow this method on the requested resource")


def not_supported(resource: Resource[Any], verb: str) -> MethodNotAllowed:
    """Return the error for a verb that a custom kind does not have."""
    message = f'{verb} is not supported on resources of kind "{resource}"'
    return MethodNotAllowed(message, group=resource.group, kind=resource.plural)


def broken_name(name: str) -> BadRequest | None:
    """Return the error for a name that no path of an object can carry, None where it can."""
    if name in (".", ".."):
        return BadRequest(f"Name parameter invalid: {quoted(name)}: may not be '{name}'")
    if "%" in name:
        return BadRequest(f"Name parameter invalid: {quoted(name)}: may not contain '%'")
    return None


def no_namespace() -> BadRequest:
    """Return the error for an object whose path has a place for a namespace, and none in it."""
    return BadRequest("Namespace parameter required.")


def not_found(resource: Resource[Any], name: str) -> NotFound:
    """Return the error for an object that is not there."""
    return NotFound(f'{resource} "{name}" not found', group=resource.group, kind=resource.plural, name=name)


def already_exists(resource: Resource[Any], name: str) -> AlreadyExists:
    """Return the error for a create whose name is taken."""
    message = f'{resource} "{name}" already exists'
    return AlreadyExists(message, group=resource.group, kind=resource.plural, name=name)


def conflict(resource: Resource[Any], name: str, why: str) -> Conflict:
    """Return the error for a write that does not fit what is stored."""
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return Conflict(message, group=resource.group, kind=resource.plural, name=name)


def other_than_meant(resource: Resource[Any], name: str, why: str) -> Conflict:
    """Return the error for a delete of what is not there any more; here upstream names the kind."""
    shown = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    message = f'Operation cannot be fulfilled on {shown} "{name}": {why}'
    return Conflict(message, group=resource.group, kind=resource.kind, name=name)


def unversioned(resource: Resource[Any], name: str) -> Invalid:
    """Return the error for a replacement that does not say of which version, where it has to."""
    why = "Invalid value: 0x0: must be specified for an update"
    cause = Cause("FieldValueInvalid", why, "metadata.resourceVersion")
    text = f'{resource} "{name}" is invalid: metadata.resourceVersion: {why}'
    return Invalid(text, group=resource.group, kind=resource.plural, name=name, causes=[cause])


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
"""Why a write conditional on a resourceVersion did not happen."""


def too_old(revision: int, oldest: int) -> Expired:
    """Return the error for a watch from before what is remembered."""
    return Expired(f"too old resource version: {revision} ({oldest})")


def list_too_old() -> Expired:
    """Return the error for a list at a revision that is compacted."""
    return Expired("The resourceVersion for the provided list is too old.")


def continue_expired(token: str) -> Expired:
    """Return the error for the next page of a list whose revision is compacted; `token` goes on at the present one."""
    return Expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        continue_token=token,
    )


class TooLargeVersion(Timeout):
    """A resourceVersion is from the future."""


def too_large(revision: int, current: int, *, retry_after_s: int = 1) -> TooLargeVersion:
    """Return the error for a resourceVersion from the future; clients wait a second and try again, or never."""
    return TooLargeVersion(
        f"Timeout: Too large resource version: {revision}, current: {current}",
        causes=[Cause("ResourceVersionTooLarge", "Too large resource version")],
        retry_after_s=retry_after_s,
    )


def invalid_options(kind: str, field: str, reason: str, message: str) -> Invalid:
    """Return the error for an option of a request that breaks a rule; `kind` is the options', such as PatchOptions."""
    text = f'{kind}.meta.k8s.io "" is invalid: {field}: {message}'
    return Invalid(text, group="meta.k8s.io", kind=kind, causes=[Cause(reason, message, field)])


class Redefined(Expired):
    """A custom kind's definition has changed: what was asked of its former one is to be asked of the present one.

    Who watches sees the watch end, without a word, and goes on from where it was.
    """


def bad_resource_version(text: str) -> BadRequest:
    """Return the error for a resourceVersion that is not one of ours."""
    shown = json.dumps(text, ensure_ascii=False)
    why = "value out of range" if text.isascii() and text.isdigit() else "invalid syntax"
    return BadRequest(
        f"invalid resource version: resourceVersion: Invalid value: {shown}: strconv.ParseUint: parsing {shown}: {why}"
    )
