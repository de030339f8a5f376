"""Binding: the scheduler's word that a pod goes to a node; only ever sent, never stored."""

from __future__ import annotations

from typing import Annotated, Final

from api.core.references import ObjectReference
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, wire


class Binding(Struct):
    """Says that a pod goes to a node; schedulers make it, through the subresource binding.

    Attributes:
        target: Where the pod goes: a reference of kind Node, with a name.
    """

    api_version: str = always("v1")
    kind: str = always("Binding")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    target: Annotated[ObjectReference, wire(2, required=True)] = field(default_factory=ObjectReference)


RESOURCE: Final[Resource[Binding]] = Resource(
    type=Binding,
    group="",
    version="v1",
    kind="Binding",
    plural="bindings",
    namespaced=True,
    verbs=("create",),
)
