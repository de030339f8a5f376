"""Server-side apply's arithmetic: documents and sets of fields (KEP-555). Pure; who owns what is decided elsewhere.

Documents are plain JSON values, and nothing is changed in place. Four questions about them are answered along a
`Shape`:

- `fields_in`: which fields does a configuration set?
- `merge`: what does the live object become when a configuration is laid over it?
- `prune`: and when fields are taken out that were applied before, and that nobody holds any more?
- `compare`: which fields were added, changed and removed from one document to another?
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.patch.failure import PatchFailure
from api.patch.fieldset import HERE, MEMBER, FieldSet, difference, intersection, is_member, render, union
from api.patch.shape import LEAF, UNTYPED, Shape

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which fields differ between two documents."""

    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    @property
    def is_same(self) -> bool:
        """Whether none does."""
        return not (self.added or self.modified or self.removed)

    @property
    def written(self) -> FieldSet:
        """What someone who made the second document of the first has set."""
        return union(self.added, self.modified)


def _effective(shape: Shape, value: Any) -> Shape:
    """Return the shape that a value has: untyped objects are taken for maps, untyped lists are atomic."""
    if shape.kind == "untyped":
        return _UNTYPED_MAP if isinstance(value, dict) else LEAF
    return shape


_UNTYPED_MAP: Final = Shape("map", item=UNTYPED)


# --- list items -----------------------------------------------------------------------------------------------------


def element_of(shape: Shape, item: Any) -> str:
    """Return the path element of a list's item."""
    if shape.kind == "set":
        return f"v:{_compact(item)}"
    keys: dict[str, Any] = {}
    if isinstance(item, dict):
        for key in shape.keys:
            value = item.get(key, shape.key_defaults.get(key))
            if value is not None:
                keys[key] = value
    return f"k:{_compact(keys)}"


_KEYLESS: Final = "k:{}"
"""An item without any of its keys: validation refuses it, so it is met only on the way there."""


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _by_element(shape: Shape, items: Any) -> dict[str, Any]:
    """Return a list's items by path element; of items that are the same, which only stored lists can have, the last.

    Raises PatchFailure when one has no key to tell it by.
    """
    found = {element_of(shape, item): item for item in items} if items else {}
    if _KEYLESS in found:
        raise PatchFailure("associative list with keys has an element that omits all key fields")
    return found


def _all_by_element(shape: Shape, items: list[Any]) -> dict[str, list[Any]]:
    """Return a list's items by path element, several where the stored list repeats one."""
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(element_of(shape, item), []).append(item)
    return found


# --- which fields a configuration sets ------------------------------------------------------------------------------


def fields_in(config: Mapping[str, Any], shape: Shape) -> FieldSet:
    """Return the fields that `config` sets; raises PatchFailure, of all of them, when lists give an item twice."""
    problems: list[str] = []
    found = _children_in(config, shape, "", problems)
    if problems:
        raise PatchFailure(problems[0] if len(problems) == 1 else "\n  ".join(["errors:", *problems]))
    return found


def _children_in(value: Mapping[str, Any], shape: Shape, path: str, problems: list[str]) -> FieldSet:
    found: FieldSet = {}
    for key, item in value.items():
        is_map = key not in shape.fields  # of a map, or not known to the schema that preserves it
        child = _effective(shape.child(key), item)
        below = _below(item, child, f"{path}.{key}", problems)
        if not below:
            # A leaf, or an empty object or list: its being there is what was said.
            if child.kind == "leaf" or item is None or item == {} or is_map:
                found[f"f:{key}"] = MEMBER
        else:
            found[f"f:{key}"] = {HERE: MEMBER, **below} if is_map else below
    return found


def _below(value: Any, shape: Shape, path: str, problems: list[str]) -> FieldSet:
    if shape.kind in ("object", "map"):
        return _children_in(value, shape, path, problems) if isinstance(value, dict) else {}
    if shape.kind not in ("items", "set") or not isinstance(value, list):
        return {}
    assert shape.item is not None
    found: FieldSet = {}
    for i, item in enumerate(value):
        element = element_of(shape, item)
        if element in found:
            problems.append(f"{path}: duplicate entries for key {_shown(element)}")
            found[element] = MEMBER
            continue
        if element == _KEYLESS:
            names = " ".join(json.dumps(key) for key in shape.keys)
            problems.append(
                f"{path}: element {i}: associative list with keys has an element that omits all key fields [{names}] "
                "(and doesn't have default values for any key fields)"
            )
            continue
        below = _below(item, _effective(shape.item, item), path + _shown(element), problems)
        found[element] = {HERE: MEMBER, **below} if below else MEMBER
    return found


def _shown(element: str) -> str:
    return render((element,))


# --- a configuration laid over a document ---------------------------------------------------------------------------


def merge(live: Any, config: Any, shape: Shape) -> Any:
    """Return `live` with what `config` says laid over it."""
    if live is _ABSENT or live is None:
        return config
    if config is None:
        # Nothing laid over what has fields or items of its own leaves those; anything else becomes nothing.
        return live if live and _effective(shape, live).kind != "leaf" else None
    shape = _effective(shape, config)
    if shape.kind in ("object", "map"):
        if not isinstance(live, dict) or not isinstance(config, dict):
            return config
        merged = dict(live)
        for key, value in config.items():
            merged[key] = merge(live.get(key, _ABSENT), value, shape.child(key))
        return merged
    if shape.kind in ("items", "set") and isinstance(live, list) and isinstance(config, list):
        return _merge_items(live, config, shape)
    return config


def _merge_items(live: list[Any], config: list[Any], shape: Shape) -> list[Any]:
    """Merge item by item: the configuration's in its order, the others where they stood between them.

    Items that the live list repeats are kept as they are, or give way to the configuration's one.
    """
    assert shape.item is not None
    wanted = _by_element(shape, config)
    pending = list(wanted)
    present = {element: found[0] for element, found in _all_by_element(shape, live).items() if len(found) == 1}
    merged: list[Any] = []
    position = 0
    done: set[str] = set()

    def take_until(element: str | None) -> Iterator[Any]:
        nonlocal position
        while position < len(pending):
            current = pending[position]
            position += 1
            done.add(current)
            yield merge(present.get(current, _ABSENT), wanted[current], shape.item or UNTYPED)
            if current == element:
                return

    for item in live:
        element = element_of(shape, item)
        if element not in wanted:
            merged.append(item)
        elif element not in done:
            merged.extend(take_until(element))
    merged.extend(take_until(None))
    return merged


# --- fields that nobody holds any more ------------------------------------------------------------------------------


def prune(document: Any, former: FieldSet, held: FieldSet, shape: Shape) -> Any:
    """Return `document` without what is in `former` and not in `held`.

    Who holds something below a field holds the field; below an item of a list or an entry of a map, which is there only
    if somebody says so, he does not: it goes with all that is in it. What nobody ever held stays, and what it is in.
    """
    if not former:
        return document
    was = _with_fields_above(former, shape)
    whole = _with_fields_above(_fields_there(document, shape), shape)
    left = _fields_there(_without(document, was, shape), shape)
    kept = union(_with_fields_above(left, shape), _with_fields_above(held, shape))
    left = _fields_there(_without(document, difference(whole, kept), shape), shape)
    gone = difference(whole, _with_fields_above(left, shape))
    return _without(document, intersection(gone, was), shape)


def _fields_there(document: Any, shape: Shape) -> FieldSet:
    """Return the fields of a document in which lists may repeat items."""
    return _children_in(document, shape, "", []) if isinstance(document, dict) else {}


def _with_fields_above(fields: FieldSet, shape: Shape) -> FieldSet:
    """Return a set together with the fields that a schema names and that something in the set is below of."""
    found: FieldSet = {}
    for element, node in fields.items():
        if element == HERE or not node:
            found[element] = node
            continue
        child, is_named = UNTYPED, False
        if element.startswith("f:"):
            child, is_named = shape.child(element[2:]), element[2:] in shape.fields
        elif shape.item is not None:
            child = shape.item
        below = _with_fields_above(node, child)
        found[element] = {HERE: MEMBER, **below} if is_named else below
    return found


def _without(value: Any, doomed: FieldSet, shape: Shape) -> Any:
    """Return a value without the members of `doomed`; what was full is left empty, what is one whole goes as one."""
    shape = _effective(shape, value)
    if shape.kind in ("object", "map") and isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            node = doomed.get(f"f:{key}")
            if node is None:
                kept[key] = item
            elif not is_member(node):
                kept[key] = _without(item, node, shape.child(key))
        return kept
    if shape.kind in ("items", "set") and isinstance(value, list):
        assert shape.item is not None
        items = []
        for item in value:
            node = doomed.get(element_of(shape, item))
            if node is None:
                items.append(item)
            elif not is_member(node):
                items.append(_without(item, node, shape.item))
        return items
    return None if isinstance(value, (dict, list)) else value


# --- a schema that has changed since ----------------------------------------------------------------------------------


def reconciled(fields: FieldSet, shape: Shape) -> FieldSet:
    """Return a set as it is said today, where what had fields of its own has become one thing (atomic) meanwhile."""
    kept: FieldSet = {}
    for element, node in fields.items():
        below: Shape | None = None
        if element.startswith("f:") and shape.kind in ("object", "map"):
            below = shape.child(element[2:])
        elif shape.kind in ("items", "set"):
            below = shape.item
        if below is None or not node:
            kept[element] = node
        else:
            kept[element] = MEMBER if below.kind == "leaf" else reconciled(node, below)
    return kept


# --- what differs ---------------------------------------------------------------------------------------------------


class _Differences:
    """Collects the paths that differ; a path's node is made only when something below it is found."""

    __slots__ = ("added", "modified", "removed")

    def __init__(self) -> None:
        self.added: FieldSet = {}
        self.modified: FieldSet = {}
        self.removed: FieldSet = {}


def compare(before: Mapping[str, Any], after: Mapping[str, Any], shape: Shape) -> Comparison:
    """Return which fields differ."""
    if before == after:
        return Comparison({}, {}, {})
    found = _compare_maps(before, after, shape)
    return Comparison(found.added, found.modified, found.removed)


def everything_in(document: Mapping[str, Any], shape: Shape) -> FieldSet:
    """Return what was set from nothing to `document`: zeros that are always shown were not."""
    found = _compare_maps({}, _without_zeros(document, shape), shape)
    return union(found.added, found.modified)


def _without_zeros(document: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    kept = {}
    for key, value in document.items():
        child = shape.child(key)
        if child.kind == "object" and child.is_always_there and isinstance(value, dict):
            kept[key] = _without_zeros(value, child)
        elif value or not child.is_scalar_by_value:
            kept[key] = value
    return kept


def _compare_maps(before: Mapping[str, Any], after: Mapping[str, Any], shape: Shape) -> _Differences:
    found = _Differences()
    for key, new in after.items():
        old = before.get(key, _ABSENT)
        if old is not _ABSENT and old == new and type(old) is type(new):
            continue
        _compare_one(f"f:{key}", old, new, shape.child(key), found)
    for key, old in before.items():
        if key not in after:
            _compare_one(f"f:{key}", old, _ABSENT, shape.child(key), found)
    return found


def _compare_one(element: str, old: Any, new: Any, shape: Shape, found: _Differences) -> None:
    is_there = old is not _ABSENT and old is not None and new is not _ABSENT and new is not None
    if shape.kind == "untyped" and is_there and isinstance(old, dict) != isinstance(new, dict):
        _compare_kinds(element, old, new, found)
        return
    shape = _effective(shape, old if new is _ABSENT or new is None else new)
    if shape.is_always_there:
        nothing: Any = [] if shape.kind == "items" else {} if shape.kind == "object" else None
        old, new = (nothing if value is _ABSENT or value is None or value == {} else value for value in (old, new))
        if old == new:
            return
    if old is _ABSENT:
        _insert(found.added, element, _whole(new, shape))
    elif new is _ABSENT:
        _insert(found.removed, element, _whole(old, shape))
    else:
        below: _Differences | None = None
        if not old and not new:
            pass  # An empty value and null are told apart, as leaves.
        elif shape.kind in ("object", "map") and _is_or_null(old, dict) and _is_or_null(new, dict):
            below = _compare_maps(old or {}, new or {}, shape)
        elif shape.kind in ("items", "set") and _is_or_null(old, list) and _is_or_null(new, list):
            below = _compare_items(old or [], new or [], shape)
        if below is None:
            found.modified[element] = MEMBER
            return
        for ours, theirs in (
            (found.added, below.added), (found.modified, below.modified), (found.removed, below.removed)
        ):  # fmt: skip
            if theirs:
                ours[element] = theirs


def _compare_kinds(element: str, old: Any, new: Any, found: _Differences) -> None:
    """Note that an untyped value is a map now and was none, or the other way around; what is in the map differs."""
    found.modified[element] = MEMBER
    if isinstance(new, dict) and new:
        found.added[element] = _whole_map(new, _UNTYPED_MAP)
    if isinstance(old, dict) and old:
        found.removed[element] = _whole_map(old, _UNTYPED_MAP)


def _is_or_null(value: Any, kind: type[Any]) -> bool:
    return value is None or isinstance(value, kind)


def _compare_items(before: list[Any], after: list[Any], shape: Shape) -> _Differences:
    """Compare by item; the order of the items is nobody's.

    Items that a list repeats are one thing of which nobody owns a part: together they are there, or differ, or not.
    """
    assert shape.item is not None
    found = _Differences()
    old, new = _by_element(shape, before), _by_element(shape, after)
    if len(old) != len(before) or len(new) != len(after):
        for element, (was, item) in _take_repeated(old, new, before, after, shape).items():
            if len(was) > 1 and len(item) > 1:
                if was != item:
                    found.modified[element] = MEMBER
            elif len(was) > 1:
                _insert(found.added, element, _whole(item[0], shape.item) if item else None)
                found.removed[element] = MEMBER
            else:
                _insert(found.removed, element, _whole(was[0], shape.item) if was else None)
                found.added[element] = MEMBER
    for element, item in new.items():
        was = old.get(element, _ABSENT)
        if was is _ABSENT or was != item:
            _compare_one(element, was, item, shape.item, found)
    for element, item in old.items():
        if element not in new:
            _compare_one(element, item, _ABSENT, shape.item, found)
    return found


def _take_repeated(
    old: dict[str, Any], new: dict[str, Any], before: list[Any], after: list[Any], shape: Shape
) -> dict[str, tuple[list[Any], list[Any]]]:
    """Take what either list repeats out of `old` and `new`, and return it by path element, before and after."""
    was, item = _all_by_element(shape, before), _all_by_element(shape, after)
    repeated = {
        element: (was.get(element, []), item.get(element, []))
        for element in {**was, **item}
        if len(was.get(element, ())) > 1 or len(item.get(element, ())) > 1
    }
    for element in repeated:
        old.pop(element, None)
        new.pop(element, None)
    return repeated


def _insert(fields: FieldSet, element: str, node: FieldSet | None) -> None:
    if node is not None:
        fields[element] = node


def _whole(value: Any, shape: Shape) -> FieldSet | None:
    """Return the node of a value that is there as a whole."""
    kind = shape.kind
    if kind == "leaf":
        return MEMBER
    below: FieldSet = {}
    if kind in ("object", "map"):
        if isinstance(value, dict):
            below = _whole_map(value, shape)
    elif isinstance(value, list):
        item_shape = shape.item
        assert item_shape is not None
        for item in value:
            element = element_of(shape, item)
            if element == _KEYLESS:
                raise PatchFailure("associative list with keys has an element that omits all key fields")
            node = _whole(item, _effective(item_shape, item)) if element not in below else MEMBER
            if node is not None:
                below[element] = node
    return {HERE: MEMBER, **below} if below else MEMBER


def _whole_map(value: Mapping[str, Any], shape: Shape) -> FieldSet:
    found: FieldSet = {}
    for key, item in value.items():
        child = shape.child(key)
        kind = child.kind
        if kind == "leaf":
            found[f"f:{key}"] = MEMBER
            continue
        node = _whole(item, _effective(child, item) if kind == "untyped" else child)
        if node is not None:
            found[f"f:{key}"] = node
    for key, child in shape.always.items():
        if key not in value:
            found[f"f:{key}"] = _whole({}, child) or MEMBER
    return found
