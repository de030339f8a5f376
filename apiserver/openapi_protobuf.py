"""The OpenAPI v2 document in protocol buffers, which kubectl up to 1.28 asks for and takes nothing else.

The messages are those of gnostic's `OpenAPIv2.proto` (package openapi.v2); only the fields that our document has are
written. Extensions and defaults travel as YAML text, of which JSON is a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

MEDIA_TYPE: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ACCEPTED: Final = (MEDIA_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
"""What clients ask for; most do by the older name, which is no media type by the letter."""

_METHODS: Final = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a v2 document as an `openapi.v2.Document`."""
    info = document["info"]
    return b"".join(
        [
            _text(1, document["swagger"]),
            _message(2, _text(1, info["title"]) + _text(2, info["version"])),
            _message(8, _named(2, document["paths"], _path_item)),
            _message(9, _named(1, document["definitions"], _schema)),
        ]
    )


# --- the wire -------------------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _message(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _text(number: int, value: str) -> bytes:
    return _message(number, value.encode()) if value else b""


def _texts(number: int, values: Iterable[str]) -> bytes:
    return b"".join(_message(number, value.encode()) for value in values)


def _flag(number: int, value: bool) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _named(number: int, values: Mapping[str, Any], encode_value: Any) -> bytes:
    """Encode a map as the repeated pairs of name (1) and value (2) that gnostic has for one."""
    return b"".join(
        _message(number, _text(1, name) + _message(2, encode_value(value))) for name, value in values.items()
    )


def _any(value: Any) -> bytes:
    return _message(2, msgspec.json.encode(value))


def _extensions(number: int, value: Mapping[str, Any]) -> bytes:
    return _named(number, {key: item for key, item in value.items() if key.startswith("x-")}, _any)


# --- the messages ---------------------------------------------------------------------------------------------------


def _path_item(item: Mapping[str, Any]) -> bytes:
    operations = b"".join(
        _message(number, _operation(item[method])) for method, number in _METHODS.items() if method in item
    )
    return operations + _parameters(9, item.get("parameters", ()))


def _operation(operation: Mapping[str, Any]) -> bytes:
    return b"".join(
        [
            _texts(1, operation["tags"]),
            _text(5, operation["operationId"]),
            _texts(6, operation.get("produces", ())),
            _texts(7, operation.get("consumes", ())),
            _parameters(8, operation["parameters"]),
            _message(9, _named(1, operation["responses"], _response)),
            _extensions(13, operation),
        ]
    )


def _parameters(number: int, parameters: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(_message(number, _message(1, _parameter(parameter))) for parameter in parameters)


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    where, name = parameter["in"], parameter["name"]
    required, description = parameter.get("required", False), parameter.get("description", "")
    if where == "body":
        body = _text(1, description) + _text(2, name) + _text(3, where) + _flag(4, required)
        return _message(1, body + _message(5, _schema(parameter["schema"])))
    shared = _flag(1, required) + _text(2, where) + _text(3, description) + _text(4, name)
    if where == "path":
        return _message(2, _message(4, shared + _text(5, parameter["type"]) + _flag(19, True)))
    return _message(2, _message(3, shared + _text(6, parameter["type"]) + _flag(20, True)))


def _response(response: Mapping[str, Any]) -> bytes:
    payload = _text(1, response["description"])
    if "schema" in response:
        payload += _message(2, _message(1, _schema(response["schema"])))
    return _message(1, payload)


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = [
        _text(1, schema.get("$ref", "")),
        _text(2, schema.get("format", "")),
        _text(4, schema.get("description", "")),
    ]
    if "default" in schema:
        parts.append(_message(5, _any(schema["default"])))
    parts.append(_texts(19, schema.get("required", ())))
    if "additionalProperties" in schema:
        parts.append(_message(21, _message(1, _schema(schema["additionalProperties"]))))
    if "type" in schema:
        parts.append(_message(22, _texts(1, [schema["type"]])))
    if "items" in schema:
        parts.append(_message(23, _message(1, _schema(schema["items"]))))
    if "properties" in schema:
        parts.append(_message(25, _named(1, schema["properties"], _schema)))
    parts.append(_extensions(31, schema))
    return b"".join(parts)
