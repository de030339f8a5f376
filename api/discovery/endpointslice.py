"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.core.references import ObjectReference
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Int32, Struct, always, field, wire


class EndpointPort(Struct):
    name: Annotated[str | None, wire(1)] = None
    protocol: Annotated[str | None, wire(2)] = None
    port: Annotated[Int32 | None, wire(3)] = None
    app_protocol: Annotated[str | None, wire(4)] = None


class ForZone(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")


class EndpointHints(Struct):
    for_zones: Annotated[list[ForZone], wire(1, list_type="atomic")] = []


class EndpointConditions(Struct):
    ready: Annotated[bool | None, wire(1)] = None
    serving: Annotated[bool | None, wire(2)] = None
    terminating: Annotated[bool | None, wire(3)] = None


class Endpoint(Struct):
    addresses: Annotated[list[str], wire(1, required=True, list_type="set")] = []
    conditions: Annotated[EndpointConditions, wire(2)] = field(default_factory=EndpointConditions)
    hostname: Annotated[str | None, wire(3)] = None
    target_ref: Annotated[ObjectReference | None, wire(4)] = None
    deprecated_topology: Annotated[dict[str, str], wire(5)] = {}
    node_name: Annotated[str | None, wire(6)] = None
    zone: Annotated[str | None, wire(7)] = None
    hints: Annotated[EndpointHints | None, wire(8)] = None


class EndpointSlice(Struct):
    api_version: str = always("discovery.k8s.io/v1")
    kind: str = always("EndpointSlice")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    address_type: Annotated[str, wire(4, required=True)] = always("")
    endpoints: Annotated[list[Endpoint], wire(2, required=True, list_type="atomic")] = []
    ports: Annotated[list[EndpointPort], wire(3, list_type="atomic")] = []


RESOURCE: Final[Resource[EndpointSlice]] = Resource(
    type=EndpointSlice,
    group="discovery.k8s.io",
    version="v1",
    kind="EndpointSlice",
    plural="endpointslices",
    namespaced=True,
    generation=True,
)
