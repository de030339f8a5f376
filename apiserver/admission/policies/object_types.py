"""The types that objects of each kind have in expressions: by declared fields, or by a custom kind's schema. Pure."""

from __future__ import annotations

import functools
from typing import Any

from api.custom import is_custom
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import TypeSchema, fields_of
from apiserver.cel.types import BOOL, BYTES, DOUBLE, DYN, INT, STRING, Type, list_of, map_of
from apiserver.crd.structural import Node

_TIMESTAMP = Type("timestamp")


def of_resource(resource: Resource[Any]) -> Type:
    """Return the type of a kind's objects."""
    name = f"{resource.api_version}.{resource.kind}"
    if is_custom(resource.type):
        node: Node = resource.type.shape.node  # type: ignore[attr-defined]
        return _of_node(node, name, is_root=True)
    struct: Any = resource.type
    return _of_struct(struct)


@functools.cache
def _of_struct(struct: Any) -> Type:
    def field(name: str) -> Type | None:
        found = fields_of(struct).get(name)
        return _of_schema(found.type) if found is not None else None

    return Type(struct.__name__, fields=field)


def _of_schema(schema: TypeSchema) -> Type:
    match schema.kind:
        case "struct":
            assert schema.struct is not None
            return _of_struct(schema.struct)
        case "list":
            return list_of(_of_schema(schema.item)) if schema.item is not None else DYN
        case "map":
            return map_of(STRING, _of_schema(schema.item)) if schema.item is not None else DYN
        case "string":
            return _TIMESTAMP if schema.form in ("date-time", "micro-time") else STRING
        case "integer":
            return INT
        case "number":
            return DOUBLE
        case "boolean":
            return BOOL
        case "bytes":
            return BYTES
    return DYN


def _of_node(node: Node, name: str, *, is_root: bool = False) -> Type:
    if node.int_or_string or (node.preserves and not node.properties):
        return DYN
    match node.type:
        case "object":
            if isinstance(node.additional, Node):
                return map_of(STRING, _of_node(node.additional, f"{name}.value"))
            return _of_object(node, name, is_root=is_root or node.is_embedded)
        case "array":
            return list_of(_of_node(node.items, f"{name}.item")) if node.items is not None else DYN
        case "string":
            return {"byte": BYTES, "duration": Type("duration"), "date": _TIMESTAMP, "date-time": _TIMESTAMP}.get(
                node.format, STRING
            )
    return {"integer": INT, "number": DOUBLE, "boolean": BOOL}.get(node.type, DYN)


def _of_object(node: Node, name: str, *, is_root: bool) -> Type:
    def field(key: str) -> Type | None:
        if is_root and key in ("apiVersion", "kind"):
            return STRING
        if is_root and key == "metadata":
            return _of_struct(ObjectMeta)
        found = node.properties.get(key)
        if found is not None:
            return _of_node(found, f"{name}.{key}")
        return DYN if node.preserves or node.additional is True else None

    return Type(name, fields=field)
