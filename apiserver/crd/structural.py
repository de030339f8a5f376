"""A structural schema (KEP-20190425), compiled from JSON, and what it does to values: pruning and defaulting. Pure.

A schema is structural when every field that anything is said of has a type at its place in the tree; what stands
below allOf, anyOf, oneOf and not only judges values. So there is one node for each place, and walking a value and
the nodes side by side is enough to tell what is known (kept) from what is not (pruned).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from apiserver.crd.formats import known_format

Plain = dict[str, Any]

META_FIELDS: Final = ("apiVersion", "kind", "metadata")
"""What every object has beside what its schema says."""


class Node:
    """One place in a schema. Attributes are named as the keywords are; `source` is the JSON it was made from."""

    __slots__ = (
        "additional", "all_of", "any_of", "default", "enum", "exclusive_maximum", "exclusive_minimum", "format",
        "has_default", "has_defaults", "int_or_string", "is_embedded", "items", "list_keys", "list_type", "max_items",
        "max_length", "max_properties", "maximum", "min_items", "min_length", "min_properties", "minimum",
        "multiple_of", "negated", "nullable", "one_of", "pattern", "preserves", "properties", "required", "rules",
        "source", "type", "unique_items",
    )  # fmt: skip

    def __init__(self, source: Mapping[str, Any]) -> None:
        get = source.get
        self.source = source
        self.type: str = get("type") or ""
        self.format: str = known_format(self.type, get("format") or "")
        self.nullable = bool(get("nullable"))
        self.int_or_string = bool(get("x-kubernetes-int-or-string"))
        self.preserves = bool(get("x-kubernetes-preserve-unknown-fields"))
        self.is_embedded = bool(get("x-kubernetes-embedded-resource"))
        self.list_type: str = get("x-kubernetes-list-type") or ""
        self.list_keys: tuple[str, ...] = tuple(get("x-kubernetes-list-map-keys") or ())
        self.rules: tuple[Plain, ...] = tuple(get("x-kubernetes-validations") or ())
        self.properties = {name: Node(each) for name, each in (get("properties") or {}).items()}
        items = get("items")
        self.items = Node(items) if isinstance(items, Mapping) else None
        additional = get("additionalProperties")
        self.additional: Node | bool | None = Node(additional) if isinstance(additional, Mapping) else additional
        self.default = get("default")
        self.has_default = self.default is not None
        self.required: tuple[str, ...] = tuple(get("required") or ())
        self.enum: list[Any] | None = get("enum") or None
        self.pattern: str = get("pattern") or ""
        self.min_length, self.max_length = get("minLength"), get("maxLength")
        self.minimum, self.maximum = get("minimum"), get("maximum")
        self.exclusive_minimum = bool(get("exclusiveMinimum"))
        self.exclusive_maximum = bool(get("exclusiveMaximum"))
        self.multiple_of = get("multipleOf")
        self.min_items, self.max_items = get("minItems"), get("maxItems")
        self.unique_items = bool(get("uniqueItems"))
        self.min_properties, self.max_properties = get("minProperties"), get("maxProperties")
        self.all_of = [Node(each) for each in get("allOf") or ()]
        self.any_of = [Node(each) for each in get("anyOf") or ()]
        self.one_of = [Node(each) for each in get("oneOf") or ()]
        negated = get("not")
        self.negated = Node(negated) if isinstance(negated, Mapping) else None
        below = [*self.properties.values(), *([self.items] if self.items else [])]
        if isinstance(self.additional, Node):
            below.append(self.additional)
        self.has_defaults: bool = self.has_default or any(node.has_defaults for node in below)
        """Whether there is a default here or below: where not, defaulting need not look."""

    def child(self, name: str) -> Node | None:
        """Return the node of a field, declared or of a map; None where nothing is known of it."""
        found = self.properties.get(name)
        if found is None and isinstance(self.additional, Node):
            return self.additional
        return found


def prune(value: Any, node: Node | None, unknown: list[str], path: str = "", *, is_root: bool = False) -> None:
    """Take out of `value`, in place, each field that the schema does not know, and note its path in `unknown`.

    At the root, and where a whole object is embedded, apiVersion, kind and metadata are known without being said; what
    metadata may hold is for `embedded`. Where unknown fields are preserved, so are those of the elements of lists
    there, whatever those say themselves. A map that says nothing of its values but `additionalProperties: true` keeps
    no fields of theirs.
    """
    if node is not None and node.preserves:
        _prune_below(value, node, unknown, path, is_root=is_root)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            prune(item, node.items if node is not None else None, unknown, f"{path}[{i}]")
    elif isinstance(value, dict):
        is_object = node is not None and (is_root or node.is_embedded)
        for name in list(value):
            where = f"{path}.{name}" if path else name
            if is_object and name in META_FIELDS:
                continue
            if node is None or (name not in node.properties and node.additional is None):
                del value[name]
                unknown.append(where)
            else:
                prune(value[name], node.child(name), unknown, where)


def _prune_below(value: Any, node: Node | None, unknown: list[str], path: str, *, is_root: bool = False) -> None:
    """Prune what is below a place that preserves unknown fields."""
    if node is None:
        return
    if isinstance(value, list):
        for i, item in enumerate(value):
            _prune_below(item, node.items, unknown, f"{path}[{i}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            if (is_root or node.is_embedded) and name in META_FIELDS:
                continue
            if name in node.properties or node.additional is not None:
                prune(item, node.child(name), unknown, f"{path}.{name}" if path else name)


def drop_nulls(value: Any, node: Node | None) -> None:
    """Take out, in place, each null of a field that may not be null and has no default to stand in for it."""
    if node is None:
        return
    if isinstance(value, list):
        for item in value:
            drop_nulls(item, node.items)
    elif isinstance(value, dict):
        for name in list(value):
            child = node.child(name)
            if value[name] is None and child is not None and not child.nullable and not child.has_default:
                del value[name]
            else:
                drop_nulls(value[name], child)


def apply_defaults(value: Any, node: Node) -> None:
    """Fill in, in place, what is absent and has a default; null counts as absent where it is not allowed."""
    if not node.has_defaults:
        return
    if isinstance(value, list):
        if node.items is not None:
            for i, item in enumerate(value):
                value[i] = _defaulted(item, node.items)
        return
    if not isinstance(value, dict):
        return
    for name, child in node.properties.items():
        if child.has_default and name not in value:
            value[name] = copy.deepcopy(child.default)
        if name in value:
            value[name] = _defaulted(value[name], child)
    if isinstance(node.additional, Node):
        for name, item in value.items():
            if name not in node.properties:
                value[name] = _defaulted(item, node.additional)


def _defaulted(value: Any, node: Node) -> Any:
    if value is None and node.has_default and not node.nullable:
        value = copy.deepcopy(node.default)
    apply_defaults(value, node)
    return value
