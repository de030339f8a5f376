"""What aggregated servers add to OpenAPI: their paths and types, beside this server's own. Pure.

A definition that both have under one name is this server's: types of apimachinery, which are the same everywhere.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from apiserver import openapi_protobuf
from apiserver.openapi import Document


@functools.lru_cache(maxsize=2)
def index(own: bytes, others: tuple[tuple[str, str], ...]) -> Document:
    """Return OpenAPI v3's index with the documents of other servers: path and URL of each."""
    found = msgspec.json.decode(own)
    for path, url in others:
        found["paths"].setdefault(path, {"serverRelativeURL": url})
    found["paths"] = dict(sorted(found["paths"].items()))
    return _document(msgspec.json.encode(found))


@functools.lru_cache(maxsize=1)
def document_v2(own: bytes, others: tuple[tuple[str, bytes], ...]) -> Document:
    """Return the v2 document with what other servers have below their prefix (`/apis/GROUP/VERSION`)."""
    return _document(msgspec.json.encode(_merged(own, others)))


@functools.lru_cache(maxsize=1)
def document_v2_protobuf(own: bytes, others: tuple[tuple[str, bytes], ...]) -> Document:
    """Return the same in protocol buffers, with other servers' types but not their paths.

    Clients that ask for this form look types up in it, and nothing else; a type that cannot be put so is left out.
    """
    merged: dict[str, Any] = msgspec.json.decode(own)
    for _, body in others:
        for name, definition in msgspec.json.decode(body)["definitions"].items():
            if name not in merged["definitions"] and _can_be_encoded(name, definition):
                merged["definitions"][name] = definition
    return _document(openapi_protobuf.encode(merged))


def _can_be_encoded(name: str, definition: Any) -> bool:
    empty = {"swagger": "2.0", "info": {"title": "", "version": ""}, "paths": {}, "definitions": {name: definition}}
    try:
        openapi_protobuf.encode(empty)
    except (KeyError, TypeError, AttributeError, ValueError):
        return False
    return True


def _merged(own: bytes, others: tuple[tuple[str, bytes], ...]) -> dict[str, Any]:
    merged: dict[str, Any] = msgspec.json.decode(own)
    for prefix, body in others:
        theirs: Mapping[str, Any] = msgspec.json.decode(body)
        for path, item in (theirs.get("paths") or {}).items():
            if f"{path}/".startswith(f"{prefix}/"):
                merged["paths"].setdefault(path, item)
        for name, definition in theirs["definitions"].items():
            merged["definitions"].setdefault(name, definition)
    return merged


def _document(encoded: bytes) -> Document:
    return Document(encoded, hashlib.sha512(encoded).hexdigest().upper())
