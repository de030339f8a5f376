"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, Time, always, field, wire


class NamespaceCondition(Struct):
    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    last_transition_time: Annotated[Time, wire(4)] = ""
    reason: Annotated[str, wire(5)] = ""
    message: Annotated[str, wire(6)] = ""


class NamespaceStatus(Struct):
    phase: Annotated[str, wire(1)] = ""
    conditions: Annotated[
        list[NamespaceCondition], wire(2, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class NamespaceSpec(Struct):
    finalizers: Annotated[list[str], wire(1, list_type="atomic")] = []


class Namespace(Struct):
    api_version: str = always("v1")
    kind: str = always("Namespace")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[NamespaceSpec, wire(2)] = field(default_factory=NamespaceSpec)
    status: Annotated[NamespaceStatus, wire(3)] = field(default_factory=NamespaceStatus)


RESOURCE: Final[Resource[Namespace]] = Resource(
    type=Namespace,
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    namespaced=False,
    short_names=("ns",),
    subresources=("status", "finalize"),
)
