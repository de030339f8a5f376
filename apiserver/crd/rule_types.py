"""What a rule can be told before it runs: that the fields it names exist, and about what it may cost at worst. Pure.

Types are followed as far as the schema says them; what it does not say (unknown fields that are preserved, results of
most functions) may be anything. The cost is a lower bound of the worst case: each step counts one, a macro counts its
body as often as its list may have elements. So what is refused here would be refused by upstream's estimate as well,
and what is let through by mistake is still stopped while it runs.
"""

from __future__ import annotations

from typing import Any, Final

from apiserver.cel.program import BadProgram, unescape
from apiserver.cel.syntax import Call, Comprehension, Index, ListOf, MapOf, Name, Select, Tree, parse
from apiserver.crd.structural import Node

COST_MAX: Final = 10_000_000
"""What one rule may cost by estimate, over all places at which it is evaluated."""
_BODY_BYTES_MAX: Final = 3 * 1024 * 1024
_SMALLEST: Final = {"integer": 2, "number": 2, "boolean": 5, "string": 3, "array": 3, "object": 3}
"""The fewest bytes that a value takes in JSON, with its comma."""

_STRING: Final = Node({"type": "string"})
_METADATA: Final = Node(
    {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}
)
_HEAD: Final = {"apiVersion": _STRING, "kind": _STRING, "metadata": _METADATA}

Known = Node | None
"""What is known of a value's type; None is nothing."""


def check(text: str, self_node: Node, *, is_root: bool) -> int:
    """Return what a rule may cost at one place.

    Raises:
        BadProgram: it names a field that is not there.
    """
    walk = _Walk(text, self_node if is_root else None)
    _, cost = walk.of(parse(text), {"self": self_node, "oldSelf": self_node})
    return cost


def size_max(node: Node) -> int:
    """Return how many elements a list or map can have at most."""
    declared = node.max_items if node.type == "array" else node.max_properties
    if declared is not None:
        return int(declared)
    below = node.items if node.type == "array" else node.additional if isinstance(node.additional, Node) else None
    smallest = _SMALLEST.get(below.type, 3) if below is not None else 3
    if below is not None and below.type == "object":
        smallest += sum(len(name) + 4 for name in below.required)
    return _BODY_BYTES_MAX // (smallest if node.type == "array" else smallest + 4)


class _Walk:
    def __init__(self, text: str, root: Known) -> None:
        self._text = text
        self._root = root

    def of(self, tree: Tree, names: dict[str, Known]) -> tuple[Known, int]:
        """Return what is known of a tree's value, and its cost."""
        match tree:
            case Name(name):
                return names.get(name), 1
            case Select():
                node, cost = self.of(tree.operand, names)
                return self._field(node, tree.field), cost + 1
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

    def _field(self, node: Known, field: str) -> Known:
        if node is None or not node.type or node.int_or_string:
            return None
        if node.type != "object":
            if node.type in ("string", "integer", "number", "boolean"):
                return None
            raise self._failure(field, "type 'list' does not support field selection")
        name = field if field in node.properties else unescape(field)
        found = node.child(name)
        if found is None and (node.is_embedded or node is self._root):
            found = _HEAD.get(name)
        if found is None and not node.preserves and node.additional is not True:
            raise self._failure(field, f"undefined field '{field}'")
        return found

    def _failure(self, field: str, why: str) -> BadProgram:
        at = self._text.find(f".{field}")
        return BadProgram(f"ERROR: <input>:1:{max(at, 0) + 1}: {why}")


def _element(node: Any) -> Known:
    if node is None:
        return None
    if node.type == "array":
        found: Known = node.items
        return found
    return node.additional if isinstance(node.additional, Node) else None
