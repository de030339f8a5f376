"""Eviction: asks to take a pod away, if its budgets allow; the body of the `eviction` subresource of pods."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import DeleteOptions, ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, wire


class Eviction(Struct):
    """Asks to take a pod away, which its PodDisruptionBudgets may refuse for now (429).

    Attributes:
        delete_options: How to delete the pod, if it may go.
    """

    api_version: str = always("policy/v1")
    kind: str = always("Eviction")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    delete_options: Annotated[DeleteOptions | None, wire(2)] = None


RESOURCE: Final[Resource[Eviction]] = Resource(
    type=Eviction,
    group="policy",
    version="v1",
    kind="Eviction",
    plural="",
    namespaced=True,
    verbs=(),
)
