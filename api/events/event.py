"""Event of events.k8s.io: the newer form of what core/v1 calls an Event; one object, served in both (KEP-383)."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.core import event as core
from api.core.event import EventSource
from api.core.references import ObjectReference
from api.meta import ObjectMeta
from api.resource import Column, Resource, Storage
from api.schema import Int32, MicroTime, Struct, Time, always, field, wire


class EventSeries(Struct):
    """How often an event happened again, and when it last did.

    Attributes:
        count: How often it happened until then.
        last_observed_time: When it last happened.
    """

    count: Annotated[Int32, wire(1, required=True)] = always(0)
    last_observed_time: Annotated[MicroTime, wire(2, required=True)] = ""


class Event(Struct):
    """Something that happened to an object, told in a sentence and kept for a while (an hour by default).

    Attributes:
        event_time: When it first happened.
        series: How often it happened again; unset if it happened once.
        reporting_controller: The controller that tells of it, such as kubernetes.io/kubelet.
        reporting_instance: Which instance of that controller, such as a node's or pod's name.
        action: What was done, or tried, with the object, as one word such as Binding.
        reason: Why, as one CamelCase word, such as FailedScheduling.
        regarding: What the event is about, mostly the object that the controller acts on.
        related: Another object that had to do with it.
        note: What happened, for people; at most 1 KiB.
        type: Normal or Warning; others may follow.
        deprecated_source: Who tells of it, in the older form of the core group.
        deprecated_first_timestamp: When it first happened, in the older form.
        deprecated_last_timestamp: When it last happened, in the older form.
        deprecated_count: How often it has happened, in the older form.
    """

    api_version: str = always("events.k8s.io/v1")
    kind: str = always("Event")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    event_time: Annotated[MicroTime, wire(2, required=True)] = ""
    series: Annotated[EventSeries | None, wire(3)] = None
    reporting_controller: Annotated[str, wire(4)] = ""
    reporting_instance: Annotated[str, wire(5)] = ""
    action: Annotated[str, wire(6)] = ""
    reason: Annotated[str, wire(7)] = ""
    regarding: Annotated[ObjectReference, wire(8)] = field(default_factory=ObjectReference)
    related: Annotated[ObjectReference | None, wire(9)] = None
    note: Annotated[str, wire(10)] = ""
    type: Annotated[str, wire(11)] = ""
    deprecated_source: Annotated[EventSource, wire(12)] = field(default_factory=EventSource)
    deprecated_first_timestamp: Annotated[Time, wire(13)] = ""
    deprecated_last_timestamp: Annotated[Time, wire(14)] = ""
    deprecated_count: Annotated[Int32, wire(15)] = 0


def to_stored(event: Event) -> core.Event:
    """Return the same event as core/v1 has it."""
    return core.Event(
        metadata=event.metadata,
        involved_object=event.regarding,
        reason=event.reason,
        message=event.note,
        source=event.deprecated_source,
        first_timestamp=event.deprecated_first_timestamp,
        last_timestamp=event.deprecated_last_timestamp,
        count=event.deprecated_count,
        type=event.type,
        event_time=event.event_time,
        series=None
        if event.series is None
        else core.EventSeries(count=event.series.count, last_observed_time=event.series.last_observed_time),
        action=event.action,
        related=event.related,
        reporting_component=event.reporting_controller,
        reporting_instance=event.reporting_instance,
    )


def from_stored(event: core.Event) -> Event:
    """Return the same event as events.k8s.io has it."""
    return Event(
        metadata=event.metadata,
        regarding=event.involved_object,
        reason=event.reason,
        note=event.message,
        deprecated_source=event.source,
        deprecated_first_timestamp=event.first_timestamp,
        deprecated_last_timestamp=event.last_timestamp,
        deprecated_count=event.count,
        type=event.type,
        event_time=event.event_time,
        series=None
        if event.series is None
        else EventSeries(count=event.series.count, last_observed_time=event.series.last_observed_time),
        action=event.action,
        related=event.related,
        reporting_controller=event.reporting_component,
        reporting_instance=event.reporting_instance,
    )


_CONTROLLER: Final = "reportingController"


def validate(new: Event, old: Event | None) -> v.Errors:
    """Check it as core/v1 does, and as strictly as the newer form wants: complete, short, and written once.

    What is wrong is told by the names that fields have in core/v1, as upstream does.
    """
    event = to_stored(new)
    yield from core.check_event(event, controller=_CONTROLLER)
    if old is None:
        yield from _check_series(event)
        if not event.event_time:
            yield v.required("eventTime")
        if event.type not in ("Normal", "Warning"):
            yield v.invalid("type", "", f"has invalid value: {event.type}")
        for name, is_set in (
            ("firstTimestamp", event.first_timestamp),
            ("lastTimestamp", event.last_timestamp),
            ("count", event.count),
            ("source", event.source != EventSource()),
        ):
            if is_set:
                yield v.invalid(name, "", "needs to be unset")
        return
    before = to_stored(from_stored(to_stored(old)))
    if event.series != before.series:
        yield from _check_series(event)
    for field_name, json_name in zip(event.__struct_fields__, event.__struct_encode_fields__, strict=True):
        if field_name not in ("api_version", "kind", "metadata", "series"):
            name = _CONTROLLER if field_name == "reporting_component" else json_name
            yield from v.check_immutable(name, getattr(event, field_name), getattr(before, field_name))


def _check_series(event: core.Event) -> v.Errors:
    if event.series is None:
        return
    if event.series.count < 2:
        yield v.invalid("series.count", "", "should be at least 2")
    if not event.series.last_observed_time:
        yield v.required("series.lastObservedTime")


RESOURCE: Final[Resource[Event]] = Resource(
    type=Event,
    group="events.k8s.io",
    version="v1",
    kind="Event",
    plural="events",
    namespaced=True,
    short_names=("ev",),
    validate=validate,
    columns=tuple(
        Column(
            column.name,
            column.type,
            lambda event, now, cell=column.cell: cell(to_stored(event), now),  # type: ignore[misc]
            column.description,
            column.format,
            column.priority,
        )
        for column in core.RESOURCE.columns
    ),
    selectable_fields={
        "reason": lambda event: event.reason,
        "regarding.apiVersion": lambda event: event.regarding.api_version,
        "regarding.fieldPath": lambda event: event.regarding.field_path,
        "regarding.kind": lambda event: event.regarding.kind,
        "regarding.name": lambda event: event.regarding.name,
        "regarding.namespace": lambda event: event.regarding.namespace,
        "regarding.resourceVersion": lambda event: event.regarding.resource_version,
        "regarding.uid": lambda event: event.regarding.uid,
        "reportingController": lambda event: event.reporting_controller,
        "type": lambda event: event.type,
    },
    storage=Storage(core.RESOURCE, from_stored, to_stored),
)
