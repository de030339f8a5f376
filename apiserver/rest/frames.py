"""Watch events as lines of JSON: the objects themselves, Tables of one row, or bare metadata.

Each encoding is one object for all watchers that ask alike, so that its frames are shared (see `registry.fanout`).
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from api.errors import ApiError
from api.resource import Resource
from apiserver import table
from apiserver.registry.fanout import BOOKMARK, Delivery, Encoding
from apiserver.rest.answers import Form

Now = Callable[[], float]


def encodings_of(resource: Resource[Any], form: Form, now: Now) -> tuple[Encoding, Encoding]:
    """Return what a watch with this form writes its first event in, and all that follow: Tables tell columns once."""
    rendering = form.rendering
    if rendering.form == "Table":
        first, later = (
            _tables(resource, form.include, rendering.version, now, with_columns) for with_columns in (True, False)
        )
        return first, later
    encoding = _partials(resource, rendering.version) if rendering.form else _objects(resource)
    return encoding, encoding


def error_frame(error: ApiError) -> bytes:
    """Return the last event of a watch that failed."""
    return line("ERROR", msgspec.json.encode(error.status()))


def line(type: str, object: bytes) -> bytes:
    """Return one event."""
    return b'{"type":"%b","object":%b}\n' % (type.encode(), object)


def bookmark_metadata(delivery: Delivery, lists: tuple[str, str] | None = None) -> dict[str, Any]:
    """Return the metadata of a bookmark's object.

    Args:
        delivery: the bookmark.
        lists: apiVersion and kind of a list of such objects. The bookmark that ends the initial events bears such a
            list, empty, as clients would have read it: from it client-go makes the answer of a list (KEP-3157).
    """
    metadata: dict[str, Any] = {"resourceVersion": str(delivery.revision), "creationTimestamp": None}
    if delivery.ends_initial:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if lists is not None:
            api_version, kind = lists
            empty: dict[str, Any] = {"kind": kind, "apiVersion": api_version, "metadata": {}, "items": None}
            shown = base64.b64encode(msgspec.json.encode(empty) + b"\n").decode()
            metadata["annotations"]["kubernetes.io/initial-events-list-blueprint"] = shown
    return metadata


def in_a_chunk(lines: Sequence[bytes]) -> bytes:
    """Return lines as one chunk of HTTP/1.1 (RFC 9112, section 7.1)."""
    content = b"".join(lines)
    return b"%x\r\n%b\r\n" % (len(content), content)


def in_a_row(lines: Sequence[bytes]) -> bytes:
    """Return lines as they are in HTTP/2, which has frames of its own."""
    return b"".join(lines)


class Objects:
    """The objects as they are stored."""

    label = "json"

    def __init__(self, resource: Resource[Any]) -> None:
        self._resource = resource

    def frame(self, delivery: Delivery) -> bytes:
        """Return the event's line."""
        if delivery.stored is None:
            resource = self._resource
            head = {"kind": resource.kind, "apiVersion": resource.api_version}
            metadata = bookmark_metadata(delivery, (resource.api_version, resource.lists))
            return line(BOOKMARK, msgspec.json.encode(head | {"metadata": metadata}))
        return line(delivery.type, delivery.stored.json)


class Tables:
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


class Partials:
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
            metadata = bookmark_metadata(delivery, (api_version, "PartialObjectMetadataList"))
            return line(BOOKMARK, msgspec.json.encode(head | {"metadata": metadata}))
        return line(delivery.type, table.partial_metadata(stored.codec.decode(stored.json), self._version))


@functools.cache
def _objects(resource: Resource[Any]) -> Encoding:
    return Objects(resource)


@functools.cache
def _tables(
    resource: Resource[Any], include: table.IncludeObject, version: str, now: Now, with_columns: bool
) -> Encoding:
    return Tables(resource, include, version, now, with_columns)


@functools.cache
def _partials(resource: Resource[Any], version: str) -> Encoding:
    return Partials(resource, version)
