"""Scale: how many replicas something should have; the body of the `scale` subresource."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.columns import AGE
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Struct, always, field, wire


class ScaleStatus(Struct):
    """How many replicas there are, and which pods they are.

    Attributes:
        replicas: How many replicas there are.
        selector: Their labels, written as a selector such as app=web, for whoever counts or measures them.
    """

    replicas: Annotated[Int32, wire(1, required=True)] = always(0)
    selector: Annotated[str, wire(2)] = ""


class ScaleSpec(Struct):
    """How many replicas are wanted.

    Attributes:
        replicas: How many there shall be; 0 by default.
    """

    replicas: Annotated[Int32, wire(1)] = 0


class Scale(Struct):
    """How many replicas something has and should have, whatever its kind: what `kubectl scale` and autoscalers read and
    write.
    """

    api_version: str = always("autoscaling/v1")
    kind: str = always("Scale")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[ScaleSpec, wire(2)] = field(default_factory=ScaleSpec)
    status: Annotated[ScaleStatus, wire(3)] = field(default_factory=ScaleStatus)


def validate(new: Scale, old: Scale | None) -> v.Errors:
    """Check the number asked for."""
    yield from v.check_not_negative("spec.replicas", new.spec.replicas)


COLUMNS: Final[tuple[Column[Scale], ...]] = (
    Column("Desired", "integer", lambda scale, now: scale.spec.replicas, "How many there shall be."),
    Column("Available", "integer", lambda scale, now: scale.status.replicas, "How many there are."),
    AGE,
)

RESOURCE: Final[Resource[Scale]] = Resource(
    type=Scale,
    group="autoscaling",
    version="v1",
    kind="Scale",
    plural="",
    namespaced=True,
    verbs=(),
    validate=validate,
    columns=COLUMNS,
)
