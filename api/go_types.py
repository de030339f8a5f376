"""How Go names and writes the values of JSON: messages that clients know show them so. Pure.

Facts: what `%T` and `%#v` print of a decoded document.
"""

from __future__ import annotations

from typing import Any

from api.validation import show


def type_of(value: Any) -> str:
    """Return what a value's type is called."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int64"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case dict():
            return "map[string]interface {}"
    return "<nil>"


def literal(value: Any) -> str:
    """Return a value as Go source has it; plain values inside are as messages show them."""
    match value:
        case dict():
            inside = ", ".join(f"{show(key)}:{literal(item)}" for key, item in sorted(value.items()))
            return f"{type_of(value)}{{{inside}}}"
        case list():
            return f"{type_of(value)}{{{', '.join(map(literal, value))}}}"
        case None:
            return "interface {}(nil)"
    return show(value)
