"""What a rule can be told before it runs: that its types fit the schema, and about what it may cost at worst. Pure.

A place whose type the schema does not say (unknown fields that are preserved, lists and maps of such) has no type, and
rules cannot name it. How large values can be follows from the schema's bounds, and where it sets none from how much
fits into a request.
"""

from __future__ import annotations

import functools
from typing import Final

from apiserver.cel import check, costs, types
from apiserver.cel.program import BadProgram, escape, is_keyword, unescape
from apiserver.cel.types import Type
from apiserver.crd.structural import Node

COST_MAX: Final = 10_000_000
"""What one rule may cost by estimate, over all places at which it is evaluated."""
SCHEMA_COST_MAX: Final = 100_000_000
"""What all rules of a schema may cost together."""
_BODY_BYTES_MAX: Final = 3 * 1024 * 1024
_SMALLEST: Final = {"integer": 1, "number": 1, "boolean": 4, "array": 2, "object": 2}
_SMALLEST_STRINGS: Final = {"date": 12, "date-time": 21, "duration": 3}
"""The fewest bytes that a value takes in JSON."""
_LARGEST_STRINGS: Final = {"date": 12, "date-time": 32, "duration": 32}
_CHARACTER_BYTES_MAX: Final = 4

_STRING: Final = Node({"type": "string"})
_METADATA: Final = Node(
    {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}
)
_HEAD: Final = {"apiVersion": _STRING, "kind": _STRING, "metadata": _METADATA}

_SELF: Final = "selfType"
"""What messages call the type of `self`; the types of places below are named by their paths."""
_STRINGS: Final = {
    "byte": types.BYTES,
    "date": Type("timestamp"),
    "date-time": Type("timestamp"),
    "duration": Type("duration"),
}
"""Types of strings by their format, where it is not `string`."""


class WrongResult(BadProgram):
    """An expression that gives something else than is wanted of it."""


def weigh(text: str, self_node: Node, *, is_root: bool, takes_optional: bool = False, wanted: Type = types.BOOL) -> int:
    """Check that an expression's types fit and that it gives what is wanted; return what it may cost at one place.

    Raises:
        WrongResult: it gives something else.
        BadProgram: the types don't fit.
    """
    is_object = is_root or self_node.is_embedded
    checked = check_types(text, self_node, is_root=is_root, takes_optional=takes_optional)
    if checked.type.name not in (wanted.name, "dyn"):
        what = "cel expression" if wanted is types.BOOL else "messageExpression"
        raise WrongResult(f"{what} must evaluate to a {wanted}")
    return costs.cost_max(checked, functools.partial(_size_at, self_node, is_object))


def check_types(text: str, self_node: Node, *, is_root: bool, takes_optional: bool = False) -> check.Checked:
    """Return an expression about a place with the types of its parts; raises BadProgram where they don't fit."""
    self_type = type_of(self_node, _SELF, is_object=is_root or self_node.is_embedded)
    if self_type is None:
        raise BadProgram("rules cannot be about what has no type")
    old = types.optional_of(self_type) if takes_optional else self_type
    return check.checked(text, {"self": self_type, "oldSelf": old})


def type_of(node: Node, name: str, *, is_object: bool) -> Type | None:
    """Return the type of a place, None where the schema does not say it; `is_object` for roots and embedded objects."""
    if node.int_or_string:
        return types.DYN
    match node.type:
        case "array":
            item = _below(node.items, f"{name}.@idx")
            return types.list_of(item) if item is not None else None
        case "object" if isinstance(node.additional, Node):
            value = _below(node.additional, f"{name}.@elem")
            return types.map_of(types.STRING, value) if value is not None else None
        case "object":
            return Type(name, fields=lambda field: _field_type(node, name, field, is_object=is_object))
        case "string":
            return _STRINGS.get(node.format, types.STRING)
        case "integer":
            return types.INT
        case "number":
            return types.DOUBLE
        case "boolean":
            return types.BOOL
    return None


def _below(node: Node | None, name: str) -> Type | None:
    return type_of(node, name, is_object=node.is_embedded) if node is not None else None


def _field_type(node: Node, name: str, field: str, *, is_object: bool) -> Type | None:
    plain = unescape(field)
    if escape(plain) != field and not is_keyword(field):
        return None  # A name that must be escaped, and is not.
    return _below(_field(node, plain, is_object=is_object), f"{name}.{plain}")


def _field(node: Node, plain: str, *, is_object: bool) -> Node | None:
    child = node.properties.get(plain)
    return _HEAD[plain] if is_object and plain in _HEAD and (child is None or plain == "metadata") else child


def _size_at(node: Node, is_object: bool, path: costs.Path) -> int | None:
    """Return how large a value at a path below a variable can be, 0 where it has no size, None where it is unknown."""
    for step in path[1:]:
        child: Node | None
        if step == costs.KEYS:
            return 0 if isinstance(node.additional, Node) else None
        if step in (costs.ITEMS, costs.VALUES):
            child = node.additional if isinstance(node.additional, Node) else node.items
        elif node.type == "object" and not isinstance(node.additional, Node):
            child = _field(node, unescape(step), is_object=is_object)
        else:
            child = None
        if child is None:
            return None
        node, is_object = child, child.is_embedded
    return _size_max(node)


def _size_max(node: Node) -> int:
    """Return how many characters, bytes or elements a value can have; 0 where it has no such size."""
    text_max = _BODY_BYTES_MAX - 2
    if node.int_or_string:
        return _CHARACTER_BYTES_MAX * int(node.max_length) if node.max_length is not None else text_max
    match node.type:
        case "array":
            if node.max_items is not None or node.items is None:
                return int(node.max_items or 0)
            return text_max // (_smallest(node.items) + 1)  # A comma.
        case "object" if isinstance(node.additional, Node):
            if node.max_properties is not None:
                return int(node.max_properties)
            return text_max // (_smallest(node.additional) + 6)  # A comma, and a key of its own.
        case "string" if node.format in _LARGEST_STRINGS:
            return _LARGEST_STRINGS[node.format]
        case "string" if node.max_length is not None:
            return int(node.max_length) * (1 if node.format == "byte" else _CHARACTER_BYTES_MAX)
        case "string" if node.enum and node.format != "byte":
            return max((len(each.encode()) for each in node.enum if isinstance(each, str)), default=0)
        case "string":
            return text_max
    return 0


def places_max(node: Node) -> int:
    """Return how often something can be in an object, where nothing above it says how often."""
    return _BODY_BYTES_MAX // (_smallest(node) + 1)


def _smallest(node: Node) -> int:
    if node.int_or_string:
        return 1
    if node.type == "string":
        return _SMALLEST_STRINGS.get(node.format, 2)
    if isinstance(node.additional, Node):
        return 2
    size = _SMALLEST.get(node.type, 1)
    for name in node.required if node.type == "object" else ():
        child = node.properties.get(name)
        if child is not None and not child.has_default:
            size += len(name) + 4 + _smallest(child)
    return size
