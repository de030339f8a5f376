"""The documents of OpenAPI v3 in protocol buffers, for clients that would rather read these than JSON.

The messages are those of gnostic's `OpenAPIv3.proto` (package openapi.v3); what our own documents and those of custom
resources may hold is written. Extensions, examples and the values of enumerations travel as YAML text, of which JSON
is a part. A default keeps its value where that is a number, a truth or a text: the format has no room for others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

from apiserver import openapi_wire as wire

MEDIA_TYPE: Final = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
OLD_MEDIA_TYPE: Final = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
"""How older clients ask for the same; it is no well-formed name, so no answer bears it."""

_METHODS: Final = {"get": 4, "put": 5, "post": 6, "delete": 7, "options": 8, "head": 9, "patch": 10, "trace": 11}
_FLAGS: Final = {
    "nullable": 1, "readOnly": 3, "writeOnly": 4, "deprecated": 8, "exclusiveMaximum": 12, "exclusiveMinimum": 14,
    "uniqueItems": 20,
}  # fmt: skip
_NUMBERS: Final = {"multipleOf": 10, "maximum": 11, "minimum": 13}
_COUNTS: Final = {
    "maxLength": 15, "minLength": 16, "maxItems": 18, "minItems": 19, "maxProperties": 21, "minProperties": 22,
}  # fmt: skip
_TEXTS: Final = {"title": 9, "pattern": 17, "type": 25, "description": 34, "format": 35}
_CHOICES: Final = {"allOf": 26, "oneOf": 27, "anyOf": 28}


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a v3 document as an `openapi.v3.Document`."""
    info = document["info"]
    parts = [
        wire.text(1, document["openapi"]),
        wire.message(
            2, wire.text(1, info["title"]) + wire.text(2, info.get("description", "")) + wire.text(6, info["version"])
        ),
        wire.message(4, wire.named(1, document.get("paths") or {}, _path_item)),
    ]
    schemas = (document.get("components") or {}).get("schemas")
    if schemas:
        parts.append(wire.message(5, wire.message(1, wire.named(1, schemas, _schema_or_reference))))
    return b"".join(parts)


# --- the messages ---------------------------------------------------------------------------------------------------


def _path_item(item: Mapping[str, Any]) -> bytes:
    operations = [wire.message(number, _operation(item[name])) for name, number in _METHODS.items() if name in item]
    told = [wire.text(2, item.get("summary", "")), wire.text(3, item.get("description", ""))]
    return b"".join([*told, *operations, _parameters(13, item.get("parameters", ())), wire.extensions(14, item)])


def _operation(operation: Mapping[str, Any]) -> bytes:
    parts = [
        wire.texts(1, operation.get("tags", ())),
        wire.text(2, operation.get("summary", "")),
        wire.text(3, operation.get("description", "")),
        wire.text(5, operation.get("operationId", "")),
        _parameters(6, operation.get("parameters", ())),
    ]
    if "requestBody" in operation:
        parts.append(wire.message(7, wire.message(1, _request_body(operation["requestBody"]))))
    parts += [
        wire.message(8, _responses(operation["responses"])),
        wire.flag(10, operation.get("deprecated", False)),
        wire.extensions(13, operation),
    ]
    return b"".join(parts)


def _parameters(number: int, parameters: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(wire.message(number, wire.message(1, _parameter(parameter))) for parameter in parameters)


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    parts = [
        wire.text(1, parameter["name"]),
        wire.text(2, parameter["in"]),
        wire.text(3, parameter.get("description", "")),
        wire.flag(4, parameter.get("required", False)),
    ]
    if "schema" in parameter:
        parts.append(wire.message(10, _schema_or_reference(parameter["schema"])))
    return b"".join(parts)


def _request_body(body: Mapping[str, Any]) -> bytes:
    content = wire.message(2, _media_types(body["content"]))
    return wire.text(1, body.get("description", "")) + content + wire.flag(3, body.get("required", False))


def _responses(responses: Mapping[str, Any]) -> bytes:
    named = {code: response for code, response in responses.items() if code != "default"}
    usual = wire.message(1, wire.message(1, _response(responses["default"]))) if "default" in responses else b""
    return usual + wire.named(2, named, lambda response: wire.message(1, _response(response)))


def _response(response: Mapping[str, Any]) -> bytes:
    content = wire.message(3, _media_types(response["content"])) if "content" in response else b""
    return wire.text(1, response.get("description", "")) + content


def _media_types(content: Mapping[str, Any]) -> bytes:
    return wire.named(
        1, content, lambda media: wire.message(1, _schema_or_reference(media["schema"])) if media else b""
    )


def _schema_or_reference(schema: Mapping[str, Any]) -> bytes:
    if "$ref" in schema:
        return wire.message(2, wire.text(1, schema["$ref"]) + wire.text(3, schema.get("description", "")))
    return wire.message(1, _schema(schema))


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = [wire.flag(number, schema.get(name, False)) for name, number in _FLAGS.items()]
    parts += [wire.double(number, schema[name]) for name, number in _NUMBERS.items() if name in schema]
    parts += [wire.count(number, schema[name]) for name, number in _COUNTS.items() if name in schema]
    parts += [wire.text(number, schema.get(name, "")) for name, number in _TEXTS.items()]
    parts.append(wire.texts(23, schema.get("required", ())))
    parts += [wire.message(24, wire.any_value(value)) for value in schema.get("enum", ())]
    for name, number in _CHOICES.items():
        parts += [wire.message(number, _schema_or_reference(each)) for each in schema.get(name, ())]
    if "example" in schema:
        parts.append(wire.message(7, wire.any_value(schema["example"])))
    if "externalDocs" in schema:
        told = schema["externalDocs"]
        parts.append(wire.message(6, wire.text(1, told.get("description", "")) + wire.text(2, told.get("url", ""))))
    if "not" in schema:
        parts.append(wire.message(29, _schema(schema["not"])))
    if "items" in schema:
        items = schema["items"] if isinstance(schema["items"], list) else [schema["items"]]
        parts.append(wire.message(30, b"".join(wire.message(1, _schema_or_reference(each)) for each in items)))
    if "properties" in schema:
        parts.append(wire.message(31, wire.named(1, schema["properties"], _schema_or_reference)))
    if "additionalProperties" in schema:
        others = schema["additionalProperties"]
        allowed = (
            b"\x10" + bytes([others]) if isinstance(others, bool) else wire.message(1, _schema_or_reference(others))
        )
        parts.append(wire.message(32, allowed))
    if "default" in schema:
        parts.append(wire.message(33, _default(schema["default"])))
    return b"".join([*parts, wire.extensions(36, schema)])


def _default(value: Any) -> bytes:
    """Encode one alternative of the three: there, a zero is written too."""
    if isinstance(value, bool):
        return b"\x10" + bytes([value])
    if isinstance(value, int | float):
        return b"\x09" + struct.pack("<d", value)
    return wire.message(3, value.encode()) if isinstance(value, str) else b""
