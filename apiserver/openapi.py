"""OpenAPI made from the declarations: one v3 document a group version, an index with hashes, and one v2 document.

kubectl cannot do without: apply and edit read merge keys from it, create and replace check fields, explain prints it,
and all of them look at the parameters of PATCH to learn whether the server validates fields. `documents` maps
`api/v1` or `apis/apps/v1` to what is served below `/openapi/v3/`; with `?hash=` in the URL it never changes, so clients
may keep it (KEP-2896). What is said of types is in `openapi_schemas.py`, of operations in `openapi_paths.py`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from api.discover import RESOURCES
from api.resource import Resource
from apiserver import openapi_protobuf, openapi_v3_protobuf
from apiserver.openapi_discovery import root_paths, version_paths
from apiserver.openapi_paths import path_v2, paths_of, prefix
from apiserver.openapi_schemas import FORMS_V2, REF_V2, REF_V3, Definitions, Schema
from apiserver.registry.kinds import Kinds


@dataclass(frozen=True, slots=True)
class Document:
    """One encoded document; `hash` names its content."""

    json: bytes
    """Its JSON; the protobuf form's bytes where that was asked for."""
    hash: str


def _document(content: Mapping[str, Any]) -> Document:
    encoded = msgspec.json.encode(content)
    return Document(encoded, _hash(encoded))


def _hash(encoded: bytes) -> str:
    return hashlib.sha512(encoded).hexdigest().upper()


def documents(kinds: Kinds | None = None) -> Mapping[str, Document]:
    """Return the v3 documents by the path below `/openapi/v3/`, such as `apis/apps/v1`."""
    return _documents(kinds.custom) if kinds is not None else _built_in()


@functools.cache
def _built_in() -> Mapping[str, Document]:
    pairs = sorted({(resource.group, resource.version) for resource in RESOURCES})
    found = {prefix(group, version): _document(_build(group, version, RESOURCES)) for group, version in pairs}
    definitions = Definitions(REF_V3, {})
    for where, paths in root_paths(sorted({group for group, _ in pairs}), definitions).items():
        found[where] = _document(_v3(paths, _spoken_of(paths, definitions.found)))
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=4)
def _documents(custom: tuple[Resource[Any], ...]) -> Mapping[str, Document]:
    found = dict(_built_in())
    for group, version in sorted({(resource.group, resource.version) for resource in custom}):
        members = tuple(one for one in custom if (one.group, one.version) == (group, version))
        found.setdefault(prefix(group, version), _custom_document(members))
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=512)
def _custom_document(members: tuple[Resource[Any], ...]) -> Document:
    return _document(_build(members[0].group, members[0].version, members))


@functools.lru_cache(maxsize=64)
def in_protobuf(json: bytes) -> bytes:
    """Return a v3 document in protocol buffers; raises ValueError where somebody else's cannot be put so."""
    try:
        return openapi_v3_protobuf.encode(msgspec.json.decode(json))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no document of OpenAPI v3") from error


def index(kinds: Kinds | None = None) -> Document:
    """Return the document at `/openapi/v3`: where each group version's is, with its hash."""
    return _index(kinds.custom if kinds is not None else ())


@functools.lru_cache(maxsize=4)
def _index(custom: tuple[Resource[Any], ...]) -> Document:
    return _document(
        {
            "paths": {
                path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={document.hash}"}
                for path, document in _documents(custom).items()
            }
        }
    )


def document_v2(kinds: Kinds | None = None) -> Document:
    """Return the one v2 document, with all kinds, in JSON."""
    return _document_v2(kinds.custom if kinds is not None else ())


@functools.lru_cache(maxsize=2)
def _document_v2(custom: tuple[Resource[Any], ...]) -> Document:
    return _document(_build_v2(custom))


def document_v2_protobuf(kinds: Kinds | None = None) -> Document:
    """Return the v2 document in the form that older clients of the API ask for (`openapi_protobuf.MEDIA_TYPE`)."""
    return _document_v2_protobuf(kinds.custom if kinds is not None else ())


@functools.lru_cache(maxsize=2)
def _document_v2_protobuf(custom: tuple[Resource[Any], ...]) -> Document:
    encoded = openapi_protobuf.encode(_build_v2(custom))
    return Document(encoded, _hash(encoded))


def _build_v2(custom: tuple[Resource[Any], ...]) -> Schema:
    built_in = _built_in_v2()
    definitions = Definitions(REF_V2, FORMS_V2)
    paths: dict[str, Any] = {}
    for resource in custom:
        for path, item in paths_of(resource, definitions).items():
            paths[path] = path_v2(item)
    found = {**definitions.found, **built_in["definitions"]}
    return {**built_in, "paths": {**paths, **built_in["paths"]}, "definitions": dict(sorted(found.items()))}


@functools.cache
def _built_in_v2() -> Schema:
    definitions = Definitions(REF_V2, FORMS_V2)
    paths: dict[str, Any] = {}
    for resource in RESOURCES:
        for path, item in paths_of(resource, definitions).items():
            paths[path] = path_v2(item)
    versions = sorted({(resource.group, resource.version) for resource in RESOURCES})
    others = [*root_paths(sorted({group for group, _ in versions}), definitions).values()]
    others += [version_paths(group, version, definitions) for group, version in versions]
    for found in others:
        paths |= {path: path_v2(item) for path, item in found.items()}
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.32.0"},
        "paths": paths,
        "definitions": definitions.found,
    }


def _build(group: str, version: str, resources: Iterable[Resource[Any]]) -> Schema:
    definitions = Definitions(REF_V3, {})
    paths: dict[str, Any] = {}
    for resource in resources:
        if (resource.group, resource.version) == (group, version):
            paths |= paths_of(resource, definitions)
    if resources is RESOURCES:
        paths |= version_paths(group, version, definitions)
    return _v3(paths, definitions.found)


def _spoken_of(value: Any, schemas: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return those of some schemas that paths or schemas refer to, and what these refer to in turn."""
    if isinstance(value, list):
        return {name: schema for item in value for name, schema in _spoken_of(item, schemas).items()}
    if not isinstance(value, dict):
        return {}
    found = _spoken_of(list(value.values()), schemas)
    name = str(value.get("$ref", "")).removeprefix(REF_V3)
    if name in schemas:
        found |= {name: schemas[name], **_spoken_of(schemas[name], schemas)}
    return found


def _v3(paths: Schema, schemas: Mapping[str, Schema]) -> Schema:
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.32.0"},
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }
