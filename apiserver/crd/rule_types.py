"""What a rule can be told before it runs: that its types fit the schema, and about what it may cost at worst. Pure.

A place whose type the schema does not say (unknown fields that are preserved, lists and maps of such) has no type, and
rules cannot name it. The cost is a lower bound of the worst case: each step counts one, a macro counts its body as
often as its list may have elements. So what is refused here would be refused by upstream's estimate as well, and what
is let through by mistake is still stopped while it runs.
"""

from __future__ import annotations

from typing import Any, Final

from apiserver.cel import types
from apiserver.cel.check import check as check_types
from apiserver.cel.program import BadProgram, escape, unescape
from apiserver.cel.syntax import Call, Comprehension, Index, ListOf, MapOf, Name, Select, Tree, parse
from apiserver.cel.types import Type
from apiserver.crd.structural import Node

COST_MAX: Final = 10_000_000
"""What one rule may cost by estimate, over all places at which it is evaluated."""
_BODY_BYTES_MAX: Final = 3 * 1024 * 1024
_SMALLEST: Final = {"integer": 1, "number": 1, "boolean": 4, "array": 2, "object": 2}
_SMALLEST_STRINGS: Final = {"date": 12, "date-time": 22, "duration": 4}
"""The fewest bytes that a value takes in JSON."""

_STRING: Final = Node({"type": "string"})
_METADATA: Final = Node(
    {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}
)
_HEAD: Final = {"apiVersion": _STRING, "kind": _STRING, "metadata": _METADATA}

Known = Node | None
"""What is known of a value's type; None is nothing."""


_SELF: Final = "selfType"
"""What messages call the type of `self`; the types of places below are named by their paths."""
_STRINGS: Final = {
    "byte": types.BYTES,
    "date": Type("timestamp"),
    "date-time": Type("timestamp"),
    "duration": Type("duration"),
}
"""Types of strings by their format, where it is not `string`."""


def check(
    text: str, self_node: Node, *, is_root: bool, takes_optional: bool = False, wanted: Type = types.BOOL
) -> None:
    """Check that an expression's types fit, and that it gives what is wanted (`dyn` may be that).

    Raises:
        BadProgram: they don't.
    """
    self_type = type_of(self_node, _SELF, is_object=is_root or self_node.is_embedded)
    if self_type is None:
        raise BadProgram("rules cannot be about what has no type")
    old = types.optional_of(self_type) if takes_optional else self_type
    found = check_types(text, {"self": self_type, "oldSelf": old})
    if found.name not in (wanted.name, "dyn"):
        what = "cel expression" if wanted is types.BOOL else "messageExpression"
        raise BadProgram(f"{what} must evaluate to a {wanted}")


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
    if escape(plain) != field:
        return None  # A name that must be escaped, and is not.
    child = node.properties.get(plain)
    if is_object and plain in _HEAD and (child is None or plain == "metadata"):
        child = _HEAD[plain]
    return _below(child, f"{name}.{plain}")


def cost_of(text: str, self_node: Node) -> int:
    """Return what an expression, whose types fit, may cost at one place."""
    _, cost = _Walk().of(parse(text), {"self": self_node, "oldSelf": self_node})
    return cost


def size_max(node: Node) -> int:
    """Return how many elements a list or map can have at most."""
    declared = node.max_items if node.type == "array" else node.max_properties
    if declared is not None:
        return int(declared)
    below = node.items if node.type == "array" else node.additional if isinstance(node.additional, Node) else None
    smallest = _smallest(below) if below is not None else 1
    return (_BODY_BYTES_MAX - 2) // (smallest + (1 if node.type == "array" else 6))  # a comma; a key of its own too


def places_max(node: Node) -> int:
    """Return how often something can be in an object, where nothing above it says how often."""
    return _BODY_BYTES_MAX // (_smallest(node) + 1)


def _smallest(node: Node) -> int:
    if node.int_or_string:
        return 1
    if node.type == "string":
        return _SMALLEST_STRINGS.get(node.format, 2)
    size = _SMALLEST.get(node.type, 1)
    for name in node.required if node.type == "object" else ():
        child = node.properties.get(name)
        if child is not None and not child.has_default:
            size += len(name) + 4 + _smallest(child)
    return size


class _Walk:
    def of(self, tree: Tree, names: dict[str, Known]) -> tuple[Known, int]:
        """Return what is known of a tree's value, and its cost."""
        match tree:
            case Name(name):
                return names.get(name), 1
            case Select():
                node, cost = self.of(tree.operand, names)
                return _field(node, tree.field), cost + 1
            case Index():
                node, cost = self.of(tree.operand, names)
                _, more = self.of(tree.index, names)
                return _element(node), cost + more + 1
            case Call():
                return self._call(tree, names)
            case ListOf(items):
                return None, 10 + sum(self.of(item, names)[1] for item, _ in items)
            case MapOf(entries):
                return None, 30 + sum(self.of(key, names)[1] + self.of(value, names)[1] for key, value, _ in entries)
            case Comprehension():
                return self._comprehension(tree, names)
        return None, 0

    def _call(self, tree: Call, names: dict[str, Known]) -> tuple[Known, int]:
        cost = 1
        first: Known = None
        if tree.target is not None:
            first, more = self.of(tree.target, names)
            cost += more
        known = [self.of(argument, names) for argument in tree.arguments]
        cost += sum(each for _, each in known)
        match tree.function:
            case "_?_:_":
                return known[1][0] if known[1][0] is known[2][0] else None, cost
            case "orValue" | "value" | "dyn":
                return (first if tree.function != "dyn" else None), cost
        return None, cost

    def _comprehension(self, tree: Comprehension, names: dict[str, Known]) -> tuple[Known, int]:
        node, cost = self.of(tree.operand, names)
        item: Known = None
        key: Known = None
        count = 1
        if node is not None and node.type in ("array", "object"):
            count = size_max(node) if tree.macro not in ("optMap", "optFlatMap") else 1
            item = _element(node)
            key = _STRING if node.type == "object" else None
        if tree.macro in ("optMap", "optFlatMap"):
            first: Known = node
        elif tree.second:
            first = key
        else:
            first = item if node is not None and node.type == "array" else key
        inner = {**names, tree.variable: first} | ({tree.second: item} if tree.second else {})
        _, body = self.of(tree.body, inner)
        if tree.transform is not None:
            _, more = self.of(tree.transform, inner)
            body += more
        return (node if tree.macro == "filter" and node is not None and node.type == "array" else None), (
            cost + count * (body + 2)
        )


def _field(node: Known, field: str) -> Known:
    return node.child(unescape(field)) if node is not None and node.type == "object" else None


def _element(node: Any) -> Known:
    if node is None:
        return None
    if node.type == "array":
        found: Known = node.items
        return found
    return node.additional if isinstance(node.additional, Node) else None
