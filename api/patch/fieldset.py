"""Sets of fields, as server-side apply writes them into `managedFields` (KEP-555, "FieldsV1").

A set is a tree of plain dicts, the very JSON that is stored, so nothing needs to be parsed before it can be worked
with. Keys are path elements:

    f:replicas            a field of an object, or a key of a map
    k:{"name":"web"}      the item of a list whose keys have these values
    v:"finalizer"         an element of a set
    .                     the path itself, where fields below it are in the set as well

An empty dict says that the path is in the set, and nothing below it. The root is a set, never a member: empty, it is
the empty set. All functions return new sets and share what is unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

FieldSet = dict[str, Any]

HERE: Final = "."
MEMBER: Final[FieldSet] = {}
"""A path that is in the set, with nothing below it. Shared: never change it."""


def is_member(node: FieldSet) -> bool:
    """Whether the path that leads to `node` (not the root) is itself in the set."""
    return not node or HERE in node


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return all that is in either."""
    if not right or left is right:
        return left
    if not left:
        return right
    merged = dict(left)
    for element, theirs in right.items():
        ours = merged.get(element)
        merged[element] = theirs if ours is None else _unite(ours, theirs)
    return merged


def _unite(ours: FieldSet, theirs: FieldSet) -> FieldSet:
    if ours == theirs:
        return ours
    if not ours:
        return {HERE: MEMBER, **theirs}
    if not theirs:
        return {HERE: MEMBER, **ours}
    return union(ours, theirs)


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return what is in `left` and not in `right`."""
    if not left or not right:
        return left
    kept: FieldSet = {}
    for element, ours in left.items():
        theirs = right.get(element)
        if theirs is None:
            kept[element] = ours
        elif element != HERE:
            rest = _minus(ours, theirs)
            if rest is not None:
                kept[element] = rest
    return kept


def _minus(ours: FieldSet, theirs: FieldSet) -> FieldSet | None:
    stays = is_member(ours) and not is_member(theirs)
    below = difference(_below(ours), _below(theirs))
    return _node(stays, below)


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """Return what is in both."""
    if not left or not right:
        return {}
    kept: FieldSet = {}
    for element, ours in left.items():
        theirs = right.get(element)
        if theirs is None or element == HERE:
            continue
        both = _node(is_member(ours) and is_member(theirs), intersection(_below(ours), _below(theirs)))
        if both is not None:
            kept[element] = both
    return kept


def without_trees(fields: FieldSet, doomed: FieldSet) -> FieldSet:
    """Return `fields` without the paths in `doomed` and all that is below them."""
    kept: FieldSet = {}
    for element, node in fields.items():
        found = doomed.get(element)
        if found is None:
            kept[element] = node
        elif not is_member(found):
            rest = _node(is_member(node), without_trees(_below(node), found))
            if rest is not None:
                kept[element] = rest
    return kept


def _below(node: FieldSet) -> FieldSet:
    return {element: below for element, below in node.items() if element != HERE} if HERE in node else node


def _node(is_in: bool, below: FieldSet) -> FieldSet | None:
    if is_in:
        return {HERE: MEMBER, **below} if below else MEMBER
    return below or None


def insert(fields: FieldSet, *path: str) -> None:
    """Put one path into a set that is still being built."""
    *parents, last = path
    for element in parents:
        fields = fields.setdefault(element, {})
    fields[last] = MEMBER


def paths(fields: FieldSet) -> Iterator[tuple[str, ...]]:
    """Yield every path in the set: those of one level before those below them, each in the order of their elements."""
    elements = sorted(element for element in fields if element != HERE)
    for element in elements:
        if is_member(fields[element]):
            yield (element,)
    for element in elements:
        for path in paths(fields[element]):
            yield (element, *path)


def render(path: tuple[str, ...]) -> str:
    """Return a path as messages show it: `.spec.containers[name="web"].image`."""
    return "".join(map(_render, path))


def _render(element: str) -> str:
    kind, _, text = element.partition(":")
    match kind:
        case "f":
            return f".{text}"
        case "k":
            keys: dict[str, Any] = json.loads(text)
            return f"[{','.join(f'{name}={json.dumps(value)}' for name, value in sorted(keys.items()))}]"
        case "v":
            return f"[={text}]"
    return f"[{text}]"


def problem_of(fields: Any, depth: int = 0) -> str | None:
    """Say what is wrong with a set that a client wrote, or None."""
    if not isinstance(fields, dict):
        return "it must be an object"
    if depth > 100:
        return "it nests too deeply"
    for element, below in fields.items():
        kind, colon, text = element.partition(":")
        if element != HERE and (not colon or kind not in ("f", "k", "v", "i")):
            return f"missing or unknown kind of path element: {json.dumps(element)}"
        if kind in ("k", "v", "i") and colon:
            try:
                value = json.loads(text)
            except ValueError:
                return f"the path element {json.dumps(element)} does not hold JSON"
            if kind == "k" and (not isinstance(value, dict) or not value):
                return f"the path element {json.dumps(element)} names no keys"
        found = problem_of(below, depth + 1)
        if found is not None:
            return found
    return None
