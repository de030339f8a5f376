"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.core.references import ObjectReference
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Int32, MicroTime, Struct, Time, always, field, wire


class EventSeries(Struct):
    count: Annotated[Int32, wire(1)] = 0
    last_observed_time: Annotated[MicroTime, wire(2)] = ""


class EventSource(Struct):
    component: Annotated[str, wire(1)] = ""
    host: Annotated[str, wire(2)] = ""


class Event(Struct):
    api_version: str = always("v1")
    kind: str = always("Event")
    metadata: Annotated[ObjectMeta, wire(1, required=True)] = field(default_factory=ObjectMeta)
    involved_object: Annotated[ObjectReference, wire(2, required=True)] = field(default_factory=ObjectReference)
    reason: Annotated[str, wire(3)] = ""
    message: Annotated[str, wire(4)] = ""
    source: Annotated[EventSource, wire(5)] = field(default_factory=EventSource)
    first_timestamp: Annotated[Time, wire(6)] = ""
    last_timestamp: Annotated[Time, wire(7)] = ""
    count: Annotated[Int32, wire(8)] = 0
    type: Annotated[str, wire(9)] = ""
    event_time: Annotated[MicroTime, wire(10)] = ""
    series: Annotated[EventSeries | None, wire(11)] = None
    action: Annotated[str, wire(12)] = ""
    related: Annotated[ObjectReference | None, wire(13)] = None
    reporting_component: Annotated[str, wire(14)] = ""
    reporting_instance: Annotated[str, wire(15)] = ""


RESOURCE: Final[Resource[Event]] = Resource(
    type=Event,
    group="",
    version="v1",
    kind="Event",
    plural="events",
    namespaced=True,
    short_names=("ev",),
)
