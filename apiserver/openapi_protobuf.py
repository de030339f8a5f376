"""The OpenAPI v2 document in protocol buffers, which kubectl up to 1.28 asks for and takes nothing else.

The messages are those of gnostic's `OpenAPIv2.proto` (package openapi.v2); only the fields that our document has are
written. Extensions and defaults travel as YAML text, of which JSON is a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from apiserver import openapi_wire as wire

MEDIA_TYPE: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ACCEPTED: Final = (MEDIA_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
"""What clients ask for; most do by the older name, which is no media type by the letter."""

_METHODS: Final = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a v2 document as an `openapi.v2.Document`."""
    info = document["info"]
    return b"".join(
        [
            wire.text(1, document["swagger"]),
            wire.message(2, wire.text(1, info["title"]) + wire.text(2, info["version"])),
            wire.message(8, wire.named(2, document["paths"], _path_item)),
            wire.message(9, wire.named(1, document["definitions"], _schema)),
        ]
    )


# --- the messages ---------------------------------------------------------------------------------------------------


def _path_item(item: Mapping[str, Any]) -> bytes:
    operations = b"".join(
        wire.message(number, _operation(item[method])) for method, number in _METHODS.items() if method in item
    )
    return operations + _parameters(9, item.get("parameters", ()))


def _operation(operation: Mapping[str, Any]) -> bytes:
    return b"".join(
        [
            wire.texts(1, operation["tags"]),
            wire.text(5, operation["operationId"]),
            wire.texts(6, operation.get("produces", ())),
            wire.texts(7, operation.get("consumes", ())),
            _parameters(8, operation["parameters"]),
            wire.message(9, wire.named(1, operation["responses"], _response)),
            wire.extensions(13, operation),
        ]
    )


def _parameters(number: int, parameters: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(wire.message(number, wire.message(1, _parameter(parameter))) for parameter in parameters)


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    where, name = parameter["in"], parameter["name"]
    required, description = parameter.get("required", False), parameter.get("description", "")
    if where == "body":
        body = wire.text(1, description) + wire.text(2, name) + wire.text(3, where) + wire.flag(4, required)
        return wire.message(1, body + wire.message(5, _schema(parameter["schema"])))
    shared = wire.flag(1, required) + wire.text(2, where) + wire.text(3, description) + wire.text(4, name)
    if where == "path":
        return wire.message(2, wire.message(4, shared + wire.text(5, parameter["type"]) + wire.flag(19, True)))
    return wire.message(2, wire.message(3, shared + wire.text(6, parameter["type"]) + wire.flag(20, True)))


def _response(response: Mapping[str, Any]) -> bytes:
    payload = wire.text(1, response["description"])
    if "schema" in response:
        payload += wire.message(2, wire.message(1, _schema(response["schema"])))
    return wire.message(1, payload)


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = [
        wire.text(1, schema.get("$ref", "")),
        wire.text(2, schema.get("format", "")),
        wire.text(4, schema.get("description", "")),
    ]
    if "default" in schema:
        parts.append(wire.message(5, wire.any_value(schema["default"])))
    parts.append(wire.texts(19, schema.get("required", ())))
    if "additionalProperties" in schema:
        parts.append(wire.message(21, wire.message(1, _schema(schema["additionalProperties"]))))
    if "type" in schema:
        parts.append(wire.message(22, wire.texts(1, [schema["type"]])))
    if "items" in schema:
        parts.append(wire.message(23, wire.message(1, _schema(schema["items"]))))
    if "properties" in schema:
        parts.append(wire.message(25, wire.named(1, schema["properties"], _schema)))
    parts.append(wire.extensions(31, schema))
    return b"".join(parts)
