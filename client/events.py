"""Records what happened to an object as Event objects, without flooding the API server.

`EventRecorder.event` never waits: it puts a note in a bounded queue (dropping it when that is full) and `run` writes.
Three things keep the number of writes down, in this order, as upstream's recorder does: an object that causes events
without end is limited to a burst of 25 and then one in five minutes; more than ten events alike but for their message
become one "(combined from similar events)"; and an event that was there before only has its count raised, by a patch.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from api import timestamps
from api.core import event as events
from api.core.references import ObjectReference
from api.errors import ApiError, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from api.schema import Struct
from client.verbs import Client
from component.clock import Clock

NORMAL = "Normal"
WARNING = "Warning"

QUEUE_LENGTH_MAX = 1000
REMEMBERED_MAX = 4096
"""How many events, groups and sources are remembered; the least recently used is forgotten."""
SIMILAR_MAX = 10
"""The so-many-th event alike but for its message is the first of those that are combined."""
SIMILAR_WINDOW_S = 600.0
BURST = 25
REFILL_S = 300.0
MESSAGE_LENGTH_MAX = 1024
TRIES_MAX = 5

log = logging.getLogger(__name__)

V = TypeVar("V")


class Recorder(Protocol):
    """What those who have something to tell are given."""

    def event(
        self, about: Struct | ObjectReference, type: str, reason: str, message: str, *, field_path: str = ""
    ) -> None:
        """Note an event; `type` is Normal or Warning, `reason` one CamelCase word, `message` a sentence."""
        ...


def reference_to(obj: Struct, field_path: str = "") -> ObjectReference:
    """Return a reference to any object."""
    wide: Any = obj
    return ObjectReference(
        api_version=wide.api_version,
        kind=wide.kind,
        namespace=wide.metadata.namespace,
        name=wide.metadata.name,
        uid=wide.metadata.uid,
        resource_version=wide.metadata.resource_version,
        field_path=field_path,
    )


class _Remembered(Generic[V]):
    """A dict that forgets what was used longest ago."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: Hashable, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > REMEMBERED_MAX:
            self._entries.popitem(last=False)


@dataclass(slots=True)
class _Source:
    """A token bucket: one object's right to events."""

    tokens: float
    at: float


@dataclass(slots=True)
class _Group:
    """Events alike but for their message."""

    last: float
    messages: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Written:
    """An event that is at the server."""

    key: ObjectKey
    count: int


@dataclass(frozen=True, slots=True)
class Note:
    """An event as it was told, before it is decided whether and how to write it."""

    about: ObjectReference
    type: str
    reason: str
    message: str
    at: float
    """Wall time, seconds since the epoch."""
    is_combined: bool = False
    """Stands for several alike but for their message; the message is the last one's."""


class Correlator:
    """Decides which notes are written, and which are combined. No I/O; time comes with each note."""

    def __init__(self) -> None:
        self._sources: _Remembered[_Source] = _Remembered()
        self._groups: _Remembered[_Group] = _Remembered()

    def correlate(self, note: Note, component: str = "") -> Note | None:
        """Return the note to write, maybe with a combined message, or None to drop it.

        Each component has its own right to events about an object. Notes are similar whatever part of
        the object they are about (upstream's record.EventAggregatorByReasonFunc).
        """
        about = note.about
        identity = (component, about.kind, about.namespace, about.name, about.uid, about.api_version)
        source = self._sources.get(identity)
        if source is None:
            source = _Source(BURST, note.at)
            self._sources.put(identity, source)
        source.tokens = min(BURST, source.tokens + max(0.0, note.at - source.at) / REFILL_S)
        source.at = note.at
        if source.tokens < 1:
            return None
        source.tokens -= 1
        similar = (*identity, note.type, note.reason)
        group = self._groups.get(similar)
        if group is None or note.at - group.last > SIMILAR_WINDOW_S:
            group = _Group(note.at)
            self._groups.put(similar, group)
        group.last = note.at
        if len(group.messages) < SIMILAR_MAX - 1:
            group.messages.add(note.message)
        if note.message in group.messages:
            return note
        message = f"(combined from similar events): {note.message}"
        return Note(about, note.type, note.reason, message, note.at, is_combined=True)


class EventRecorder:
    """Writes one component's events. Call `event` from anywhere in the loop; keep `run` running."""

    def __init__(self, client: Client, component: str, *, clock: Clock, rng: random.Random, host: str = "") -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock
        self._rng = rng
        self._correlator = Correlator()
        self._written: _Remembered[_Written] = _Remembered()
        self._queue: asyncio.Queue[tuple[Note, str]] = asyncio.Queue(QUEUE_LENGTH_MAX)

    def event(
        self, about: Struct | ObjectReference, type: str, reason: str, message: str, *, field_path: str = ""
    ) -> None:
        """Note an event; returns at once, and drops it when too many wait already."""
        self.event_from(self._component, about, type, reason, message, field_path=field_path)

    def event_from(
        self,
        component: str,
        about: Struct | ObjectReference,
        type: str,
        reason: str,
        message: str,
        *,
        field_path: str = "",
    ) -> None:
        """Like `event`, in another component's name: one process's controllers share a recorder."""
        reference = about if isinstance(about, ObjectReference) else reference_to(about, field_path)
        note = Note(reference, type, reason, message[:MESSAGE_LENGTH_MAX], self._clock.now())
        try:
            self._queue.put_nowait((note, component))
        except asyncio.QueueFull:
            log.warning("event dropped: too many wait to be written", extra={"reason": reason})

    async def run(self) -> None:
        """Write events until cancelled. What cannot be written after a few tries is dropped."""
        while True:
            note, component = await self._queue.get()
            chosen = self._correlator.correlate(note, component)
            if chosen is None:
                continue
            for attempt in range(1, TRIES_MAX + 1):
                try:
                    await self._write(chosen, component)
                    break
                except (ValueError, TypeError, OverflowError):
                    # One that cannot even be sent must not end the rest of the process.
                    log.exception("event not written", extra={"reason": chosen.reason})
                    break
                except ApiError as error:
                    # Only what says nothing about the event itself is worth another try.
                    if error.code not in (429, 500, 503, 504) or attempt == TRIES_MAX:
                        log.debug("event not written", extra={"reason": chosen.reason, "error": error.message})
                        break
                await self._clock.sleep(attempt * (0.5 + self._rng.random()))

    async def _write(self, note: Note, component: str) -> None:
        about = note.about
        identity = (component, about.kind, about.namespace, about.name, about.uid, about.api_version)
        particular = (True,) if note.is_combined else (False, about.field_path, note.message)
        same = (*identity, note.type, note.reason, *particular)
        stamp = timestamps.render(note.at)
        written = self._written.get(same)
        if written is not None:
            patch = {"count": written.count + 1, "lastTimestamp": stamp, "message": note.message}
            try:
                await self._client.patch(events.RESOURCE, written.key, patch)
            except NotFound:
                pass  # Events are deleted an hour after they were last written: this one starts anew.
            else:
                written.count += 1
                return
        # Names as upstream makes them; the random part keeps two of the same instant apart.
        unique = f"{int(note.at * 1e6):x}{self._rng.getrandbits(12):03x}"
        key = ObjectKey(about.namespace or "default", f"{about.name}.{unique}")
        made = events.Event(
            metadata=ObjectMeta(namespace=key.namespace, name=key.name),
            involved_object=about,
            reason=note.reason,
            message=note.message,
            source=events.EventSource(component=component, host=self._host),
            first_timestamp=stamp,
            last_timestamp=stamp,
            count=1,
            type=note.type,
            reporting_component=component,
            reporting_instance=self._host,
        )
        await self._client.create(events.RESOURCE, made)
        self._written.put(same, _Written(key, 1))
