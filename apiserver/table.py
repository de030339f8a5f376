"""Objects as `kubectl get` wants them: Tables whose cells the server computes, and bare metadata.

A client asks in its Accept header (`application/json;as=Table;v=v1;g=meta.k8s.io`); `negotiate` reads that. A Table has
one row an object; a watch sends each event as a Table of one row. `PartialObjectMetadata` is an object without
spec and status, which generic controllers watch. Rows embed the object's JSON as it is, never encoded again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from api import protobuf
from api.columns import AGE
from api.errors import BadRequest, NotAcceptable
from api.resource import Column, Resource
from api.schema import Struct
from api.validation import show

Form = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"]
IncludeObject = Literal["None", "Metadata", "Object"]

_FORMS: Final[tuple[Form, ...]] = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
_META_VERSIONS: Final = ("v1", "v1beta1")

_NAME: Final[Column[Any]] = Column(
    "Name",
    "string",
    lambda obj, now: obj.metadata.name,
    "Name must be unique within a namespace. Cannot be updated.",
    format="name",
)


@dataclass(frozen=True, slots=True)
class Rendering:
    """How answers shall look: `form` is empty for the objects themselves."""

    form: Form = ""
    version: str = "v1"
    """Of the group meta.k8s.io."""
    is_yaml: bool = False
    is_protobuf: bool = False


PLAIN: Final = Rendering()
JSON: Final = "application/json"
ANY_JSON: Final = (JSON, "*/*", "application/*")
"""What is answered with JSON."""
YAML: Final = "application/yaml"
SERVED: Final = (JSON, YAML, protobuf.MEDIA)


def negotiate(accept: str, *, has_tables: bool = True, has_forms: bool = True, has_messages: bool = True) -> Rendering:
    """Return the rendering in an Accept header that is liked best of those that are served.

    Kinds that are only asked questions of have no tables, custom kinds no messages of protobuf; `has_forms` is false of
    what is no object. Tables have no messages either.

    Raises:
        NotAcceptable: none is served.
    """
    if not accept.strip():
        return PLAIN
    forms = (_FORMS if has_tables else _FORMS[1:]) if has_forms else ()
    for media, given in choices(accept):
        is_yaml, is_protobuf = media == YAML, media == protobuf.MEDIA
        if not is_yaml and not is_protobuf and media not in ANY_JSON:
            continue
        if given.get("stream", "") not in (("",) if is_yaml else ("", "watch")):
            continue
        if given.keys().isdisjoint(("as", "g", "v")):
            if is_protobuf and not has_messages:
                continue
            return Rendering(is_yaml=is_yaml, is_protobuf=is_protobuf)
        wanted = given.get("as", "")
        version = given.get("v", "v1")
        for form in forms:
            if form == "Table" and is_protobuf:
                continue
            if wanted == form and given.get("g") == "meta.k8s.io" and version in _META_VERSIONS:
                return Rendering(form, version, is_yaml, is_protobuf)
    raise NotAcceptable(f"only the following media types are accepted: {', '.join(SERVED)}")


def takes_json(accept: str) -> bool:
    """Whether an Accept header takes plain JSON, however little it is liked."""
    return not accept.strip() or any(media in ANY_JSON for media, _ in choices(accept))


@functools.lru_cache(maxsize=256)  # Every request has one of a few.
def choices(accept: str) -> tuple[tuple[str, Mapping[str, str]], ...]:
    """Return what an Accept header lists, with its parameters: by quality, then what names more (RFC 9110, 12.5.1)."""
    found = []
    for choice in accept.split(","):
        media, *parameters = (part.strip() for part in choice.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        try:
            quality = float(given.get("q", "1"))
        except ValueError:
            quality = 1.0
        kind, _, subtype = media.partition("/")
        found.append(((-quality, kind == "*", subtype == "*"), media, given))
    return tuple((media, given) for _, media, given in sorted(found, key=lambda each: each[0]))


def include_object(query: str) -> IncludeObject:
    """Return what the query parameter `includeObject` asks for; the default is Metadata. Raises BadRequest."""
    match query:
        case "" | "Metadata":
            return "Metadata"
        case "None":
            return "None"
        case "Object":
            return "Object"
    why = "Unable to convert to Table as requested"
    raise BadRequest(
        f"{why}: includeObject: Invalid value: {show(query)}: must be 'Metadata', 'Object', 'None', or empty"
    )


def columns_of(resource: Resource[Any]) -> Sequence[Column[Any]]:
    """Return all columns of a kind: Name first, but for kinds that show it elsewhere (Event)."""
    columns = tuple(resource.columns) or (AGE,)
    return columns if any(column.name == "Name" for column in columns) else (_NAME, *columns)


def column_definitions(resource: Resource[Any]) -> list[dict[str, Any]]:
    """Return the columns as a Table declares them."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns_of(resource)
    ]


def row(
    resource: Resource[Any],
    obj: Struct,
    json: bytes,
    now: float,
    include: IncludeObject = "Metadata",
    version: str = "v1",
) -> msgspec.Raw:
    """Return one encoded row: the cells of `obj`, and of its JSON what `include` says."""
    made: dict[str, Any] = {"cells": [column.cell(obj, now) for column in columns_of(resource)], "object": None}
    if include == "Object":
        made["object"] = msgspec.Raw(json)
    elif include == "Metadata":
        made["object"] = msgspec.Raw(partial_metadata(obj, version))
    return msgspec.Raw(msgspec.json.encode(made))


def table(
    resource: Resource[Any],
    rows: Iterable[msgspec.Raw],
    list_metadata: Mapping[str, Any],
    *,
    version: str = "v1",
    with_columns: bool = True,
) -> bytes:
    """Return a Table: of a list, of one object, or of a watch event.

    `list_metadata` holds resourceVersion, and continue and remainingItemCount where there is more. Later events of
    a watch leave out the columns.
    """
    return msgspec.json.encode(
        {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": list_metadata,
            "columnDefinitions": column_definitions(resource) if with_columns else None,
            "rows": list(rows),
        }
    )


def partial_metadata(obj: Struct, version: str = "v1") -> bytes:
    """Return an object's PartialObjectMetadata."""
    metadata: Any = obj.metadata  # type: ignore[attr-defined]
    return msgspec.json.encode(
        {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": metadata}
    )


def partial_metadata_list(objects: Iterable[Struct], list_metadata: Mapping[str, Any], version: str = "v1") -> bytes:
    """Return a PartialObjectMetadataList."""
    return msgspec.json.encode(
        {
            "kind": "PartialObjectMetadataList",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": list_metadata,
            "items": [msgspec.Raw(partial_metadata(obj, version)) for obj in objects],
        }
    )
