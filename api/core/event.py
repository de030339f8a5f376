"""Event: a sentence about what happened to an object, kept for a while.

Events come in two forms that share this type: an older one with `count`, `firstTimestamp` and `source`, and the form
of events.k8s.io with `eventTime`, `series` and `reportingController` (KEP-383).
"""

from __future__ import annotations

from typing import Annotated, Final

from api import names, timestamps
from api import validation as v
from api.core.references import ObjectReference
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, MicroTime, Struct, Time, always, field, wire


class EventSeries(Struct):
    """How often an event happened again, and when it last did.

    Attributes:
        count: How often it happened until then.
        last_observed_time: When it last happened.
    """

    count: Annotated[Int32, wire(1)] = 0
    last_observed_time: Annotated[MicroTime, wire(2)] = ""


class EventSource(Struct):
    """Who tells of an event.

    Attributes:
        component: The program, such as kubelet.
        host: The node that it runs on; empty if that does not matter.
    """

    component: Annotated[str, wire(1)] = ""
    host: Annotated[str, wire(2)] = ""


class Event(Struct):
    """Something that happened to an object, told in a sentence and kept for a while (an hour by default).

    Attributes:
        involved_object: What the event is about.
        reason: What happened, as one CamelCase word, such as FailedScheduling.
        message: What happened, for people.
        source: Who tells of it; reportingComponent is the newer form.
        first_timestamp: When it first happened.
        last_timestamp: When it last happened.
        count: How often it has happened.
        type: Normal or Warning; others may follow.
        event_time: When it first happened, to the microsecond; the newer form of firstTimestamp.
        series: How often it happened again; unset if it happened once.
        action: What was done, or tried, with the object, as one word such as Binding.
        related: Another object that had to do with it.
        reporting_component: The controller that tells of it, such as kubernetes.io/kubelet.
        reporting_instance: Which instance of that controller, such as a node's or pod's name.
    """

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
    reporting_component: Annotated[str, wire(14)] = always("")
    reporting_instance: Annotated[str, wire(15)] = always("")


_LIMITS: Final = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}
"""How many bytes the newer form may have in each."""


def validate(new: Event, old: Event | None) -> v.Errors:
    """Check the namespace, and of the newer form that it is complete and short."""
    yield from check_event(new, controller="reportingComponent")


def check_event(event: Event, *, controller: str) -> v.Errors:
    """Check what both kinds of events must satisfy; `controller` is what the kind calls who reports.

    An event lies in the namespace of what it is about, or in `default` where that has none. The newer form, which has
    an eventTime, is free in that if it is about something in a namespace, and may lie in `kube-system` too.
    """
    about, lies_in = event.involved_object.namespace, event.metadata.namespace
    homes = ("default", "kube-system") if event.event_time else ("default",)
    is_strayed = lies_in not in homes if not about else not event.event_time and lies_in != about
    if is_strayed:
        yield v.invalid("involvedObject.namespace", about, "does not match event.namespace")
    if not event.event_time:
        return
    if not event.reporting_component:
        yield v.required(controller)
    for message in names.check_qualified_name(event.reporting_component):
        yield v.invalid(controller, event.reporting_component, message)
    for name, value in (
        ("reportingInstance", event.reporting_instance),
        ("action", event.action),
        ("reason", event.reason),
        ("message", event.message),
    ):
        if not value and name != "message":
            yield v.required(name)
        if len(value.encode()) > _LIMITS[name]:
            yield v.invalid(name, "", f"can have at most {_LIMITS[name]} characters")


def _first_seen(event: Event, now: float) -> str:
    return timestamps.age(event.first_timestamp or event.event_time, now)


def _last_seen(event: Event, now: float) -> str:
    if event.series is not None:
        return timestamps.age(event.series.last_observed_time, now)
    return timestamps.age(event.last_timestamp or event.first_timestamp or event.event_time, now)


def _count(event: Event, now: float) -> int:
    return event.series.count if event.series is not None else event.count or 1


def _object(event: Event, now: float) -> str:
    kind = event.involved_object.kind.lower()
    return f"{kind}/{event.involved_object.name}" if event.involved_object.name else kind


def _source(event: Event, now: float) -> str:
    component = event.source.component or event.reporting_component
    host = event.source.host or event.reporting_instance
    return f"{component}, {host}" if host else component


RESOURCE: Final[Resource[Event]] = Resource(
    type=Event,
    group="",
    version="v1",
    kind="Event",
    plural="events",
    namespaced=True,
    short_names=("ev",),
    validate=validate,
    columns=(
        Column("Last Seen", "string", _last_seen, "How long ago it last happened."),
        Column("Type", "string", lambda event, now: event.type, "Normal, or Warning."),
        Column("Reason", "string", lambda event, now: event.reason, "What happened, in one word."),
        Column("Object", "string", _object, "What it happened to."),
        Column(
            "Subobject",
            "string",
            lambda event, now: event.involved_object.field_path,
            "Which part of the object.",
            priority=1,
        ),
        Column("Source", "string", _source, "Who says so.", priority=1),
        Column("Message", "string", lambda event, now: event.message.strip(), "What happened, in a sentence."),
        Column("First Seen", "string", _first_seen, "How long ago it first happened.", priority=1),
        Column("Count", "string", _count, "How often it happened.", priority=1),
        Column(
            "Name",
            "string",
            lambda event, now: event.metadata.name,
            "The name of the event.",
            format="name",
            priority=1,
        ),
    ),
    selectable_fields={
        "involvedObject.apiVersion": lambda event: event.involved_object.api_version,
        "involvedObject.fieldPath": lambda event: event.involved_object.field_path,
        "involvedObject.kind": lambda event: event.involved_object.kind,
        "involvedObject.name": lambda event: event.involved_object.name,
        "involvedObject.namespace": lambda event: event.involved_object.namespace,
        "involvedObject.resourceVersion": lambda event: event.involved_object.resource_version,
        "involvedObject.uid": lambda event: event.involved_object.uid,
        "reason": lambda event: event.reason,
        "reportingComponent": lambda event: event.reporting_component,
        "source": lambda event: event.source.component or event.reporting_component,
        "type": lambda event: event.type,
    },
)
