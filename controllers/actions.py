"""What a controller can ask for: values that name one step each, carried out by the runner.

A step that finds its work already done (created: AlreadyExists; deleted: NotFound) counts as done, since everything
is looked at again. Controllers change objects by merge patches (RFC 7396) of the fields they own, never by writing
whole objects, so that fields newer than our types survive; `difference` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from api.core.references import ObjectReference
from api.errors import ApiError
from api.resource import ObjectKey, Resource
from api.schema import Struct

JSON: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Emit:
    """Record an event. Never fails."""

    about: Struct | ObjectReference
    type: str
    """Normal or Warning."""
    reason: str
    message: str
    component: str = ""
    """Who tells; the controller under its own name if empty."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A live look before a step: skip it unless the object is there, with this uid, and not being deleted."""

    resource: Resource[Any]
    key: ObjectKey
    uid: str


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object. With `generateName`, a twin is prevented by the freshness gate alone."""

    resource: Resource[Any]
    object: Struct
    done: Callable[[Any], Emit] | None = None
    """From the object as created to the event that tells of it."""
    failed: Callable[[ApiError], Emit] | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Change fields by a merge patch; a resourceVersion or uid in `patch`'s metadata is a precondition."""

    resource: Resource[Any]
    key: ObjectKey
    patch: JSON
    subresource: str = ""
    guard: Guard | None = None
    done: Emit | None = None
    failed: Callable[[ApiError], Emit] | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object if it still is the one with this uid."""

    resource: Resource[Any]
    key: ObjectKey
    uid: str
    grace_period_s: int | None = None
    propagation: str = ""
    resource_version: str = ""
    """If set, delete only what has not changed since."""
    done: Emit | None = None
    failed: Callable[[ApiError], Emit] | None = None


@dataclass(frozen=True, slots=True)
class Burst:
    """Steps that do not depend on each other, carried out together.

    With `slow_start` they go in batches of 1, 2, 4, ..., and none follows a batch in which one failed: if a quota
    refuses the first pod, the other four hundred are not tried (upstream's slowStartBatch).
    """

    steps: Sequence[Create | Patch | Delete]
    slow_start: bool = False


Action: TypeAlias = Create | Patch | Delete | Emit | Burst


@dataclass(frozen=True, slots=True)
class Plan:
    """What a reconcile decided."""

    actions: Sequence[Action] = ()
    """Carried out in order; the first that fails ends it, and the key is tried again later."""
    status: Patch | None = None
    """Written last, also after a failure; None when the status is as it should be."""
    status_after_failure: Callable[[Create | Patch | Delete, ApiError], Patch | None] | None = None
    """Instead of `status`, when a step failed."""
    requeue_after_s: float | None = None
    """When time alone will change the decision."""


NOTHING = Plan()


def update_status(resource: Resource[Any], obj: Any, status: Struct, *, checked: bool | None = None) -> Patch | None:
    """Return the patch that makes `obj`'s status into `status`, or None if it is equal.

    `checked` makes it fail with Conflict if the object changed since. Unless told, it is checked when a list changes,
    for a merge patch replaces that whole: a condition that somebody else has just added would be lost.
    """
    change = difference(msgspec.to_builtins(obj.status), msgspec.to_builtins(status))
    if not change:
        return None
    patch: dict[str, JSON] = {"status": change}
    if checked or (checked is None and any(isinstance(value, list) for value in change.values())):
        patch["metadata"] = {"resourceVersion": obj.metadata.resource_version}
    return Patch(resource, ObjectKey(obj.metadata.namespace, obj.metadata.name), patch, "status")


def difference(old: JSON, new: JSON) -> JSON:
    """Return the smallest merge patch from one JSON object to another; empty when they are equal."""
    change: dict[str, JSON] = {}
    for name, value in new.items():
        before = old.get(name)
        if name in old and before == value:
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            change[name] = difference(before, value)
        else:
            change[name] = value
    for name in old:
        if name not in new:
            change[name] = None
    return change
