"""JSON patch, RFC 6902: a list of operations at JSON pointers (RFC 6901), all of which must succeed.

Like the library that upstream uses it is laxer than the RFC: a field that is not there can be replaced, is null to a
test and a copy, places in lists may be counted from behind, a value that is left out is null, and what stands before a
pointer's first slash counts for nothing. And it is stricter: the whole document can be tested, or replaced by another
object or list, and nothing else be done with it.

Two limits keep a small patch from becoming a large document: how many operations there are, and how much `copy`
may copy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

from api.patch.failure import PatchFailure

FIELDS: Final = ("op", "path", "from", "value")
"""What an operation consists of."""
OPERATIONS_MAX: Final = 10_000
COPIED_BYTES_MAX: Final = 3 * 2**20

_OPERATIONS: Final = ("add", "remove", "replace", "move", "copy", "test")
_INDEX: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)


def apply(document: Any, operations: Sequence[Any]) -> Any:
    """Return `document` after all operations; raises PatchFailure, naming the operation."""
    copied_bytes = 0
    for number, operation in enumerate(operations):
        if not isinstance(operation, dict):
            raise PatchFailure(f"operation {number} is not an object", is_malformed=True)
        try:
            if operation.get("op") == "copy":
                copied_bytes += len(json.dumps(_find(document, _source(operation))))
                if copied_bytes > COPIED_BYTES_MAX:
                    raise PatchFailure(f"its copies add up to more than {COPIED_BYTES_MAX} bytes")
            document = _apply_one(document, operation)
        except PatchFailure as failure:
            name, path = operation.get("op"), operation.get("path")
            raise PatchFailure(
                f"operation {number} ({name} {path}): {failure}", is_malformed=failure.is_malformed
            ) from None
    return document


def _apply_one(document: Any, operation: dict[str, Any]) -> Any:
    name = operation.get("op")
    if name not in _OPERATIONS:
        raise PatchFailure(f"unknown operation {json.dumps(name)}: there are {', '.join(_OPERATIONS)}")
    path = _pointer(operation, "path")
    match name:
        case "add":
            return _add(document, path, _value(operation))
        case "remove":
            return _remove(document, path)
        case "replace":
            value = _value(operation)
            if not path:
                return value if isinstance(value, (dict, list)) else document
            return _change(document, path, lambda parent, key: _put(parent, key, value))
        case "move":
            source = _source(operation)
            if path[: len(source)] == source and path != source:
                raise PatchFailure("a value cannot move into itself")
            value = _get(document, source)
            return _add(_remove(document, source), path, value) if path != source else document
        case "copy":
            return _add(document, path, _find(document, _source(operation)))
        case "test":
            if not _equal(_find(document, path), _value(operation)):
                raise PatchFailure("the test failed: the value there is another")
            return document
    raise AssertionError(f"{name} is one of {_OPERATIONS}")


def _pointer(operation: dict[str, Any], member: str) -> tuple[str, ...]:
    text = operation.get(member)
    if not isinstance(text, str):
        raise PatchFailure(f'"{member}" is missing', is_malformed=text is not None)
    if not text:
        return ()
    if "/" not in text:
        raise PatchFailure(f'"{member}" must start with a slash (RFC 6901)')
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])


def _source(operation: dict[str, Any]) -> tuple[str, ...]:
    """Return whence a value is moved or copied."""
    return _pointer(operation, "from") or _no_document("taken from")


def _value(operation: dict[str, Any]) -> Any:
    """Return the value, which is null where it is left out."""
    return operation.get("value")


def _index(parent: list[Any], key: str, *, last: int) -> int:
    """Return a place in a list; what is negative counts from behind, -1 being `last`."""
    if not _INDEX.fullmatch(key) or len(key) > 9 or not -last - 1 <= int(key) <= last:
        raise PatchFailure(f'a list of {len(parent)} has no place "{key}"')
    return int(key) if int(key) >= 0 else int(key) + last + 1


def _step(parent: Any, key: str) -> Any:
    if isinstance(parent, dict):
        if key not in parent:
            raise PatchFailure(f'there is no "{key}"')
        return parent[key]
    if isinstance(parent, list):
        return parent[_index(parent, key, last=len(parent) - 1)]
    raise PatchFailure(f'there is no "{key}" in a value that is neither an object nor a list')


def _get(document: Any, path: Sequence[str]) -> Any:
    for key in path:
        document = _step(document, key)
    return document


def _find(document: Any, path: Sequence[str]) -> Any:
    """Return what stands at a path, which a field that is not there does as null."""
    parent = _get(document, path[:-1])
    if path and isinstance(parent, dict):
        return parent.get(path[-1])
    return _get(document, path)


def _change(document: Any, path: Sequence[str], change: Callable[[Any, str], Any]) -> Any:
    """Return `document` with the parent of `path` changed, copying only what lies on the way."""
    key = path[0]
    if len(path) == 1:
        return change(document, key)
    changed = _change(_step(document, key), path[1:], change)
    return _put(document, key, changed)


def _put(parent: Any, key: str, value: Any) -> Any:
    if isinstance(parent, list):
        index = _index(parent, key, last=len(parent) - 1)
        return [*parent[:index], value, *parent[index + 1 :]]
    if isinstance(parent, dict):
        return {**parent, key: value}
    raise PatchFailure(f'there is no "{key}" in a value that is neither an object nor a list')


def _add(document: Any, path: Sequence[str], value: Any) -> Any:
    def add(parent: Any, key: str) -> Any:
        if isinstance(parent, list):
            index = len(parent) if key == "-" else _index(parent, key, last=len(parent))
            return [*parent[:index], value, *parent[index:]]
        if isinstance(parent, dict):
            return {**parent, key: value}
        raise PatchFailure(f'"{key}" cannot be added to a value that is neither an object nor a list')

    return _change(document, path or _no_document("added"), add)


def _remove(document: Any, path: Sequence[str]) -> Any:
    def remove(parent: Any, key: str) -> Any:
        _step(parent, key)
        if isinstance(parent, list):
            index = _index(parent, key, last=len(parent) - 1)
            return [*parent[:index], *parent[index + 1 :]]
        return {name: value for name, value in parent.items() if name != key}

    return _change(document, path or _no_document("removed"), remove)


def _no_document(verb: str) -> NoReturn:
    raise PatchFailure(f"the whole document cannot be {verb}")


def _equal(left: Any, right: Any) -> bool:
    """Compare as RFC 6902 section 4.6 does: true is not 1, though Python says so."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return type(left) is type(right) and left == right if isinstance(left, str) else bool(left == right)
