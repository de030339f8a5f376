"""A version's schema as OpenAPI publishes it, so that kubectl can explain and check. Pure.

Version 3 takes a schema as it is, and spells out what extensions mean. Version 2 knows less: what it cannot say
(alternatives, null, defaults) is left out, and where unknown fields are preserved nothing is said of the fields at all,
since its readers would refuse them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from api.schema import TYPE_META

Plain = dict[str, Any]

_V2_DROPPED: Final = (
    "allOf",
    "anyOf",
    "default",
    "not",
    "nullable",
    "oneOf",
    "$schema",
    "id",
    "definitions",
    "example",
)
_EITHER: Final = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
SELECTABLE: Final = "x-kubernetes-selectable-fields"
_TYPE_META: Final = {
    "apiVersion": {"description": TYPE_META["api_version"], "type": "string"},
    "kind": {"description": TYPE_META["kind"], "type": "string"},
}
_METADATA: Final = "Standard object's metadata: its name, its labels, and what the server keeps about it."


def published(source: Plain, *, v2: bool, metadata: Plain, selectable: Sequence[str] = ()) -> Plain:
    """Return the schema of whole objects.

    Args:
        source: the schema as it was declared.
        v2: whether it is for version 2.
        metadata: a reference to the schema of metadata.
        selectable: the fields by which objects can be selected.
    """
    told = {SELECTABLE: [{"fieldPath": path} for path in selectable]} if selectable else {}
    if not source or (v2 and source.get("x-kubernetes-preserve-unknown-fields")):
        return {"type": "object", **told}
    schema = _convert(source, v2=v2, metadata=metadata) or {"type": "object"}
    return {**_with_head(schema, metadata), **told}


def _with_head(schema: Plain, metadata: Plain) -> Plain:
    properties = {**_TYPE_META, "metadata": {**metadata, "description": _METADATA}}
    return {**schema, "properties": {**schema.get("properties", {}), **properties}}


def _convert(source: Plain, *, v2: bool, metadata: Plain) -> Plain:
    schema = {key: value for key, value in source.items() if not (v2 and key in _V2_DROPPED)}
    if "properties" in schema:
        schema["properties"] = {
            name: _convert(each, v2=v2, metadata=metadata) for name, each in schema["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _convert(schema[key], v2=v2, metadata=metadata)
    if source.get("x-kubernetes-int-or-string") and not v2:
        schema = {**_EITHER, **schema}
    if source.get("x-kubernetes-embedded-resource"):
        schema = _with_head(schema, metadata)
        if not v2:
            named = schema.get("required", [])
            schema["required"] = [*named, *(each for each in ("kind", "apiVersion") if each not in named)]
    return _sayable(schema, source) if v2 else schema


def _sayable(schema: Plain, source: Plain) -> Plain:
    """Take from `schema` what kubectl's readers of version 2 trip over."""
    preserves, nullable = source.get("x-kubernetes-preserve-unknown-fields"), source.get("nullable")
    if preserves or nullable:
        schema.pop("items", None)
        schema.pop("properties", None)
    is_bare_array = schema.get("type") == "array" and "items" not in schema
    if nullable or is_bare_array or (preserves and schema.get("type") == "object"):
        schema.pop("type", None)
    if nullable_fields := {name for name, each in source.get("properties", {}).items() if each.get("nullable")}:
        schema["required"] = [name for name in schema.get("required", ()) if name not in nullable_fields]
    values = source.get("additionalProperties")
    if not schema.get("required") or (isinstance(values, dict) and values.get("nullable")):
        schema.pop("required", None)
    return schema
