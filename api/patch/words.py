"""What upstream says of a patch that makes of an object what is none: the patch as Go prints it, and why. Pure.

A strategic merge patch is put together as Go maps and turned into an object value by value, so neither it nor its
errors are JSON's. Scripts and people match `unrecognized type: int32`.
"""

from __future__ import annotations

from typing import Any

from api.go_types import type_of
from api.reader import WrongType


def mismatched(error: WrongType) -> str:
    """Return what is wrong with a value that a strategic merge patch has put where another type belongs."""
    found, wanted = _go_kind(error.value), error.type_name
    if error.why:
        return error.why
    if wanted.startswith("v1."):
        return f"cannot restore struct from: {_go_kind(error.value)}"
    if wanted.startswith("map["):
        return f"cannot restore map from {_go_kind(error.value)}"
    if wanted.startswith("[]") and wanted != "[]uint8":
        return f"cannot restore slice from {_go_kind(error.value)}"
    if (found, wanted) in _CONVERTIBLE:
        return f"cannot convert {found} to {wanted}"
    return f"unrecognized type: {wanted}" if wanted in _PLAIN else str(error)


_PLAIN = ("string", "bool", "int32", "int64", "float64")
_CONVERTIBLE = {("int64", "string"), ("float64", "int32"), ("float64", "int64")}
"""What Go's own conversion would take, and the API does not."""


def _go_kind(value: Any) -> str:
    """Return what Go calls the kind of a value's type."""
    if value is None or isinstance(value, dict):
        return "map"
    return "slice" if isinstance(value, list) else type_of(value)
