"""ControllerRevision: what a DaemonSet's or StatefulSet's template was at one time; written once."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.columns import AGE, NONE
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int64, RawExtension, Struct, always, field, wire


class ControllerRevision(Struct):
    """What a DaemonSet's or StatefulSet's template was at one time, to compare with and to go back to. Written once.

    Attributes:
        data: The template, as a patch that brings the object back to it. Never changes.
        revision: Its number: a later one is higher.
    """

    api_version: str = always("apps/v1")
    kind: str = always("ControllerRevision")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    data: Annotated[RawExtension, wire(2)] = None
    revision: Annotated[Int64, wire(3, required=True)] = always(0)


def validate(new: ControllerRevision, old: ControllerRevision | None) -> v.Errors:
    """Check the number, and that the content stays what it was."""
    yield from v.check_not_negative("revision", new.revision)
    if new.data is None:
        yield v.required("data", "data is mandatory")
    if old is not None:
        yield from v.check_immutable("data", new.data, old.data)


def _controller(revision: ControllerRevision, now: float) -> str:
    for owner in revision.metadata.owner_references:
        if owner.controller:
            group = owner.api_version.rpartition("/")[0]
            kind = owner.kind.lower()
            return f"{kind}.{group}/{owner.name}" if group else f"{kind}/{owner.name}"
    return NONE


RESOURCE: Final[Resource[ControllerRevision]] = Resource(
    type=ControllerRevision,
    group="apps",
    version="v1",
    kind="ControllerRevision",
    plural="controllerrevisions",
    namespaced=True,
    validate=validate,
    columns=(
        Column("Controller", "string", _controller, "Whose template it was."),
        Column("Revision", "string", lambda revision, now: revision.revision, "Its number, which only grows."),
        AGE,
    ),
)
