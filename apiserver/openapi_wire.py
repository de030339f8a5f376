"""What both versions of OpenAPI have in common in protocol buffers: fields, and gnostic's way with maps and extensions.

Facts: the encoding of Protocol Buffers; gnostic's openapi_v2 and openapi_v3 messages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from api.protobuf_writer import varint


def message(number: int, payload: bytes) -> bytes:
    """Return a field whose value is a message, or bytes."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def text(number: int, value: str) -> bytes:
    """Return a field of text; nothing where it is empty."""
    return message(number, value.encode()) if value else b""


def texts(number: int, values: Iterable[str]) -> bytes:
    """Return a repeated field of texts."""
    return b"".join(message(number, value.encode()) for value in values)


def flag(number: int, value: bool) -> bytes:
    """Return a field that is true; nothing where it is not."""
    return varint(number << 3) + b"\x01" if value else b""


def count(number: int, value: int) -> bytes:
    """Return a field of a whole number; nothing where it is 0."""
    return varint(number << 3) + varint(value) if value else b""


def double(number: int, value: float) -> bytes:
    """Return a field of a number; nothing where it is 0."""
    return varint(number << 3 | 1) + struct.pack("<d", value) if value else b""


def named(number: int, values: Mapping[str, Any], encode_value: Any) -> bytes:
    """Encode a map as the repeated pairs of name (1) and value (2) that gnostic has for one."""
    return b"".join(message(number, text(1, name) + message(2, encode_value(value))) for name, value in values.items())


def any_value(value: Any) -> bytes:
    """Return a value of any kind, as the JSON that gnostic keeps of it."""
    return message(2, msgspec.json.encode(value))


def extensions(number: int, value: Mapping[str, Any]) -> bytes:
    """Return what a document says in fields that begin with `x-`."""
    return named(number, {key: item for key, item in value.items() if key.startswith("x-")}, any_value)
