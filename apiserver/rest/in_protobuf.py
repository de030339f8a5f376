"""Answers as protobuf: objects, lists, bare metadata, refusals, and the events of a watch. Pure.

An object's message is made once and kept with the stored object, for lists and watches alike; around it go the envelope
of `api.protobuf` or a list. Of an event, the envelope is inside: a message with its type and the object, after four
bytes that say how long it is. Tables and custom objects have no messages. Facts: Kubernetes API concepts, "Protobuf
encoding"; the messages of lists, of `meta.k8s.io` and of events in upstream's published .proto files.
"""

from __future__ import annotations

import asyncio
import functools
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from api import protobuf, serde
from api.discover import by_kind
from api.errors import ApiError, NotAcceptable
from api.meta import ListMeta, ObjectMeta, Status
from api.meta_documents import PartialObjectMetadata, of_json
from api.protobuf_writer import message, tagged
from api.resource import Resource
from api.schema import Struct
from apiserver.registry.codec import Stored

STREAM: Final = f"{protobuf.MEDIA};stream=watch"
_AT_ONCE: Final = 100
"""So many messages are made before others have their turn: 10 to 30 ms of work."""
_STATUS: Final = msgspec.json.Decoder(Status)


class _Head(msgspec.Struct):
    api_version: str = msgspec.field(name="apiVersion", default="")
    kind: str = ""


_HEAD: Final = msgspec.json.Decoder(_Head)


def object_body(json: bytes) -> bytes:
    """Return an object that is in JSON; raises NotAcceptable for one of a kind that has no message."""
    head = _HEAD.decode(json)
    if (head.api_version, head.kind) == ("v1", "Status"):
        return protobuf.encode(_STATUS.decode(json), "v1", "Status")
    resource = by_kind(head.api_version, head.kind)
    if resource is None:
        raise NotAcceptable(f"a {head.kind} of {head.api_version} cannot be encoded to a protobuf message")
    type_: type[Struct] = resource.type
    return protobuf.encode(serde.decoder_of(type_).decode(json), head.api_version, head.kind)


@functools.lru_cache(maxsize=64)
def document_body(json: bytes) -> bytes | None:
    """Return a document of discovery that is in JSON; None for one that has no message."""
    found = of_json(json)
    return None if found is None else protobuf.encode(*found)


def refusal_body(error: ApiError) -> bytes:
    """Return the Status that an error is."""
    return protobuf.encode(msgspec.convert(error.status(), Status), "v1", "Status")


def partial_body(metadata: ObjectMeta, version: str) -> bytes:
    """Return an object's PartialObjectMetadata."""
    return protobuf.encode(PartialObjectMetadata(metadata=metadata), f"meta.k8s.io/{version}", "PartialObjectMetadata")


def partial_list_body(objects: Iterable[Any], list_metadata: dict[str, Any], version: str) -> bytes:
    """Return a PartialObjectMetadataList."""
    items = [message(PartialObjectMetadata(metadata=obj.metadata)) for obj in objects]
    return _list(items, list_metadata, f"meta.k8s.io/{version}", "PartialObjectMetadataList")


def list_body(resource: Resource[Any], items: Sequence[Stored], list_metadata: dict[str, Any]) -> bytes:
    """Return a list of objects."""
    return _list([stored.message for stored in items], list_metadata, resource.api_version, resource.lists)


def _list(items: Sequence[bytes], list_metadata: dict[str, Any], api_version: str, kind: str) -> bytes:
    parts = [tagged(1, message(msgspec.convert(list_metadata, ListMeta)))]
    parts += [tagged(2, item) for item in items]
    return protobuf.envelope(b"".join(parts), api_version, kind)


async def prepare(items: Sequence[Stored]) -> None:
    """Make the messages of objects that have none yet, while others have their turns."""
    made = 0
    for stored in items:
        if not stored.has_message:
            assert stored.message is not None
            made += 1
            if made % _AT_ONCE == 0:
                await asyncio.sleep(0)


def event(type: str, body: bytes) -> bytes:
    """Return one event of a watch; `body` is the object with its envelope."""
    content = tagged(1, type.encode()) + tagged(2, tagged(1, body))
    return struct.pack(">I", len(content)) + content
