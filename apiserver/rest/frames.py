"""Watch events as lines of JSON or in protobuf: the objects themselves, Tables of one row, or bare metadata.

Each encoding is one object for all watchers that ask alike, so that its frames are shared (see `registry.fanout`).
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from api import protobuf
from api.errors import ApiError
from api.meta import ObjectMeta
from api.meta_documents import PartialObjectMetadata
from api.protobuf_writer import message
from api.resource import Resource
from apiserver import table
from apiserver.registry.fanout import BOOKMARK, Delivery, Encoding
from apiserver.rest import in_protobuf
from apiserver.rest.answers import Form

Now = Callable[[], float]
SIZE_BYTES: Final = 4
"""What a frame of protobuf begins with: the size of the rest."""


class WatchEncoding(Encoding, Protocol):
    """A way to write events that clients of REST ask for."""

    @property
    def is_text(self) -> bool:
        """Whether a frame is a line of text; one that is not begins with its size in four bytes."""
        ...

    def error(self, error: ApiError) -> bytes:
        """Return the last event of a watch that failed."""
        ...


def encodings_of(resource: Resource[Any], form: Form, now: Now) -> tuple[WatchEncoding, WatchEncoding]:
    """Return what a watch with this form writes its first event in, and all that follow: Tables tell columns once."""
    rendering = form.rendering
    if rendering.form == "Table":
        first, later = (
            _tables(resource, form.include, rendering.version, now, with_columns) for with_columns in (True, False)
        )
        return first, later
    encoding: WatchEncoding
    if form.is_protobuf:
        encoding = _partial_messages(rendering.version) if rendering.form else _messages(resource)
    else:
        encoding = _partials(resource, rendering.version) if rendering.form else _objects(resource)
    return encoding, encoding


def refusal_frame(error: ApiError, form: Form) -> bytes:
    """Return the one event of a watch that failed before it began."""
    return _Messages.error(error) if form.is_protobuf else error_frame(error)


class _Lines:
    """What all that is written as lines of JSON has in common."""

    is_text = True

    @staticmethod
    def error(error: ApiError) -> bytes:
        """Return the last event of a watch that failed."""
        return error_frame(error)


class _Messages:
    """What all that is written as protobuf has in common."""

    is_text = False

    @staticmethod
    def error(error: ApiError) -> bytes:
        """Return the last event of a watch that failed."""
        return in_protobuf.event("ERROR", in_protobuf.refusal_body(error))


class Messages(_Messages):
    """The objects, in protobuf."""

    label = "protobuf"

    def __init__(self, resource: Resource[Any]) -> None:
        self._resource = resource

    def frame(self, delivery: Delivery) -> bytes:
        """Return the event."""
        resource, stored = self._resource, delivery.stored
        if stored is None:
            metadata = _bookmarked(delivery, in_protobuf.list_body(resource, [], {}))
            raw, type = message(PartialObjectMetadata(metadata=metadata)), BOOKMARK
        else:
            raw, type = stored.message, delivery.type
        return in_protobuf.event(type, protobuf.envelope(raw, resource.api_version, resource.kind))


class PartialMessages(_Messages):
    """PartialObjectMetadata, in protobuf."""

    label = "metadata in protobuf"

    def __init__(self, version: str) -> None:
        self._version = version

    def frame(self, delivery: Delivery) -> bytes:
        """Return the event."""
        stored = delivery.stored
        if stored is None:
            metadata = _bookmarked(delivery, in_protobuf.partial_list_body([], {}, self._version))
            return in_protobuf.event(BOOKMARK, in_protobuf.partial_body(metadata, self._version))
        obj = stored.codec.decode(stored.json)
        return in_protobuf.event(delivery.type, in_protobuf.partial_body(obj.metadata, self._version))


def _bookmarked(delivery: Delivery, empty: bytes) -> ObjectMeta:
    return msgspec.convert(bookmark_metadata(delivery, empty) | {"creationTimestamp": ""}, ObjectMeta)


def error_frame(error: ApiError) -> bytes:
    """Return the last event of a watch that failed."""
    return line("ERROR", msgspec.json.encode(error.status()))


def line(type: str, object: bytes) -> bytes:
    """Return one event."""
    return b'{"type":"%b","object":%b}\n' % (type.encode(), object)


def bookmark_metadata(delivery: Delivery, empty: bytes = b"") -> dict[str, Any]:
    """Return the metadata of a bookmark's object.

    Args:
        delivery: the bookmark.
        empty: a list of such objects with none in it, as the client would read it. The bookmark that ends the initial
            events bears it: client-go makes the answer of a list from it (KEP-3157).
    """
    metadata: dict[str, Any] = {"resourceVersion": str(delivery.revision), "creationTimestamp": None}
    if delivery.ends_initial:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if empty:
            metadata["annotations"]["kubernetes.io/initial-events-list-blueprint"] = base64.b64encode(empty).decode()
    return metadata


def _empty_list(api_version: str, kind: str) -> bytes:
    return msgspec.json.encode({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": None}) + b"\n"


def in_a_chunk(lines: Sequence[bytes]) -> bytes:
    """Return lines as one chunk of HTTP/1.1 (RFC 9112, section 7.1)."""
    content = b"".join(lines)
    return b"%x\r\n%b\r\n" % (len(content), content)


def in_a_row(lines: Sequence[bytes]) -> bytes:
    """Return lines as they are in HTTP/2, which has frames of its own."""
    return b"".join(lines)


class Objects(_Lines):
    """The objects as they are stored."""

    label = "json"

    def __init__(self, resource: Resource[Any]) -> None:
        self._resource = resource

    def frame(self, delivery: Delivery) -> bytes:
        """Return the event's line."""
        if delivery.stored is None:
            resource = self._resource
            head = {"kind": resource.kind, "apiVersion": resource.api_version}
            metadata = bookmark_metadata(delivery, _empty_list(resource.api_version, resource.lists))
            return line(BOOKMARK, msgspec.json.encode(head | {"metadata": metadata}))
        return line(delivery.type, delivery.stored.json)


class Tables(_Lines):
    """Tables of one row."""

    label = "table"

    def __init__(
        self, resource: Resource[Any], include: table.IncludeObject, version: str, now: Now, with_columns: bool
    ) -> None:
        self._resource = resource
        self._include = include
        self._version = version
        self._now = now
        self._with_columns = with_columns

    def frame(self, delivery: Delivery) -> bytes:
        """Return the event's line."""
        stored, resource = delivery.stored, self._resource
        if stored is None:
            return line(BOOKMARK, self._table([], bookmark_metadata(delivery)))
        obj = stored.codec.decode(stored.json)
        row = table.row(resource, obj, stored.json, self._now(), self._include, self._version)
        return line(delivery.type, self._table([row], {"resourceVersion": str(delivery.revision)}))

    def _table(self, rows: Sequence[msgspec.Raw], metadata: Mapping[str, Any]) -> bytes:
        return table.table(self._resource, rows, metadata, version=self._version, with_columns=self._with_columns)


class Partials(_Lines):
    """PartialObjectMetadata."""

    label = "metadata"

    def __init__(self, resource: Resource[Any], version: str) -> None:
        self._version = version

    def frame(self, delivery: Delivery) -> bytes:
        """Return the event's line."""
        stored = delivery.stored
        if stored is None:
            api_version = f"meta.k8s.io/{self._version}"
            head = {"kind": "PartialObjectMetadata", "apiVersion": api_version}
            metadata = bookmark_metadata(delivery, _empty_list(api_version, "PartialObjectMetadataList"))
            return line(BOOKMARK, msgspec.json.encode(head | {"metadata": metadata}))
        return line(delivery.type, table.partial_metadata(stored.codec.decode(stored.json), self._version))


@functools.cache
def _objects(resource: Resource[Any]) -> WatchEncoding:
    return Objects(resource)


@functools.cache
def _tables(
    resource: Resource[Any], include: table.IncludeObject, version: str, now: Now, with_columns: bool
) -> WatchEncoding:
    return Tables(resource, include, version, now, with_columns)


@functools.cache
def _partials(resource: Resource[Any], version: str) -> WatchEncoding:
    return Partials(resource, version)


@functools.cache
def _messages(resource: Resource[Any]) -> WatchEncoding:
    return Messages(resource)


@functools.cache
def _partial_messages(version: str) -> WatchEncoding:
    return PartialMessages(version)
