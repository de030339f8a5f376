"""How two pod specs differ, printed as upstream does: its types' names, `-` before what was, `+` before what is. Pure.

What is alike is counted, not shown; upstream shows a little of it, and pads names, in a form that go-cmp says is not to
be relied on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

import msgspec

from api.go_types import quoted

_NAMES: Final = {word: word.upper() for word in ("dns", "os", "uid", "tty", "http", "tcp", "grpc", "ip")}
"""Beginnings of names, whole words, that are written in capitals."""


def difference(old: msgspec.Struct, new: msgspec.Struct) -> str:
    """Return the difference of two structs, a line each for what differs; empty if nothing does."""
    return "\n".join(_differences("", old, new, 0)) if old != new else ""


def _differences(label: str, old: Any, new: Any, depth: int) -> Iterator[str]:
    """Yield lines; `label` is the field's name with a colon, empty for what has none."""
    indent = "\t" * depth
    comma = "," if depth else ""
    type_ = "" if depth and not label else f"core.{type(new).__name__}"
    if isinstance(old, msgspec.Struct) and type(old) is type(new):
        yield f"  {indent}{label}{type_}{{"
        names = zip(new.__struct_fields__, new.__struct_encode_fields__, strict=True)
        pairs = [(f"{_go_name(shown)}: ", getattr(old, name), getattr(new, name)) for name, shown in names]
        yield from _parts(pairs, "field", depth + 1)
        yield f"  {indent}}}{comma}"
    elif _are_alike_in_form(old, new):
        yield f"  {indent}{label}[]core.{type(new[0]).__name__}{{"
        yield from _parts([("", before, now) for before, now in zip(old, new, strict=True)], "element", depth + 1)
        yield f"  {indent}}}{comma}"
    else:
        yield f"- {indent}{label}{_shown(old)}{comma}"
        yield f"+ {indent}{label}{_shown(new)}{comma}"


def _parts(pairs: list[tuple[str, Any, Any]], what: str, depth: int) -> Iterator[str]:
    for is_same, group in groupby(pairs, lambda pair: bool(pair[1] == pair[2])):
        found = list(group)
        if is_same:
            indent = "\t" * depth
            yield f"  {indent}... // {len(found)} identical {what}{'s' if len(found) > 1 else ''}"
            continue
        for label, before, now in found:
            yield from _differences(label, before, now, depth)


def _are_alike_in_form(old: Any, new: Any) -> bool:
    """Whether two lists hold as many structs, so that each can be held against its counterpart."""
    is_same_length = isinstance(old, list) and isinstance(new, list) and len(old) == len(new) > 0
    return is_same_length and all(isinstance(each, msgspec.Struct) for each in (*old, *new))


def _go_name(name: str) -> str:
    word = next((each for each in _NAMES if name == each or (name.startswith(each) and name[len(each)].isupper())), "")
    return _NAMES[word] + name[len(word) :] if word else name[:1].upper() + name[1:]


def _shown(value: Any) -> str:
    """Return a value in Go's form, without its type; fields that say nothing are left out."""
    match value:
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case msgspec.Struct():
            names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
            fields = [(shown, getattr(value, name)) for name, shown in names]
            said = [(name, each) for name, each in fields if each or (each == 0 and each is not False)]
            return _braced(f"{_go_name(name)}: {_shown(each)}" for name, each in said)
        case list():
            return _braced(map(_shown, value)) if value else "nil"
        case dict():
            return _braced(f"{quoted(key)}: {_shown(value[key])}" for key in sorted(value)) if value else "nil"
    return str(value)


def _braced(parts: Iterable[str]) -> str:
    return "{" + ", ".join(parts) + "}"
