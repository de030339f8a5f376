"""The errors of storing and finding objects, worded as upstream words them, since people and scripts read them."""

from __future__ import annotations

from typing import Any

from api.errors import AlreadyExists, BadRequest, Conflict, Expired, MethodNotAllowed, NotFound
from api.resource import Resource


def no_such_resource() -> NotFound:
    """Return the error for a path that leads to no resource."""
    return NotFound("the server could not find the requested resource")


def no_such_verb() -> MethodNotAllowed:
    """Return the error for a method that the resource does not take."""
    return MethodNotAllowed("the server does not allow this method on the requested resource")


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


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
"""Why a write conditional on a resourceVersion did not happen."""


def too_old(revision: int, oldest: int) -> Expired:
    """Return the error for a watch from before what is remembered."""
    return Expired(f"too old resource version: {revision} ({oldest})")


def continue_expired() -> Expired:
    """Return the error for the next page of a list whose revision is compacted."""
    return Expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter."
    )


def bad_resource_version(text: str) -> BadRequest:
    """Return the error for a resourceVersion that is not one of ours."""
    return BadRequest(f'Invalid value: "{text}": resourceVersion must be a decimal number that the server handed out')
