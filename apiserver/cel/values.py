"""What values are in CEL, and how they compare. Pure.

Null, booleans, strings, bytes, lists and maps are Python's own; an `int` is signed with 64 bits, a `UInt` unsigned, a
`float` a double. True is not 1 here: comparisons look at the type first.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any, Final

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
UINT_MAX: Final = 2**64 - 1


class Failure(Exception):
    """An evaluation that has no value: a missing key, a division by zero, an operation on the wrong types."""


class UInt(int):
    """An unsigned integer."""


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time."""

    nanos: int


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment, in nanoseconds since 1970 in UTC."""

    nanos: int
    offset_s: int = field(default=0, compare=False)
    """How far east the clock stood that it was read from: it is shown by that clock, and is the same moment by any."""

    def at(self, zone: datetime.tzinfo) -> datetime.datetime:
        """Return it as a calendar has it."""
        return datetime.datetime.fromtimestamp(self.nanos // 10**9, datetime.UTC).astimezone(zone)


@dataclass(frozen=True, slots=True)
class Type:
    """A type as a value, as `type(x)` gives it."""

    name: str


@dataclass(frozen=True, slots=True)
class Optional:
    """A value or none."""

    value: Any = None
    is_present: bool = False


class Unordered(list[Any]):
    """A list that is a set, or a map by keys: equal to another whatever their order is."""

    keys: tuple[str, ...] = ()

    def key_of(self, item: Any) -> Any:
        """Return what tells an element from others."""
        if self.keys and isinstance(item, dict):
            return tuple(item.get(key) for key in self.keys)
        return item


def type_name(value: Any) -> str:
    """Return what CEL calls a value's type."""
    match value:
        case None:
            return "null_type"
        case bool():
            return "bool"
        case UInt():
            return "uint"
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "string"
        case bytes():
            return "bytes"
        case list():
            return "list"
        case dict():
            return "map"
        case Duration():
            return "google.protobuf.Duration"
        case Timestamp():
            return "google.protobuf.Timestamp"
        case Type():
            return "type"
        case Optional():
            return "optional_type"
    return str(getattr(value, "cel_type", type(value).__name__))


def is_number(value: Any) -> bool:
    """Whether a value is an int, a uint or a double."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equal(left: Any, right: Any) -> bool:
    """Whether two values are equal; values of different types are not, but numbers compare by value."""
    if is_number(left) and is_number(right):
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        return _equal_lists(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return len(left) == len(right) and all(key in right and equal(value, right[key]) for key, value in left.items())
    if isinstance(left, Optional) and isinstance(right, Optional):
        return left.is_present is right.is_present and (not left.is_present or equal(left.value, right.value))
    return type_name(left) == type_name(right) and bool(left == right)


def _equal_lists(left: list[Any], right: list[Any]) -> bool:
    if len(left) != len(right):
        return False
    if isinstance(left, Unordered):
        return all(contains(right, item) for item in left)
    return all(equal(one, other) for one, other in zip(left, right, strict=True))


def contains(items: list[Any], value: Any) -> bool:
    """Whether a list has an element equal to `value`."""
    return any(equal(item, value) for item in items)


def less(left: Any, right: Any) -> bool:
    """Whether `left` comes before `right`.

    Raises:
        Failure: they have no order.
    """
    if is_number(left) and is_number(right):
        return bool(left < right)
    if type_name(left) == type_name(right) and isinstance(left, (str, bytes, bool, Duration, Timestamp)):
        return bool(left < right)
    raise no_overload("_<_", left, right)


def no_overload(function: str, *values: Any) -> Failure:
    """Return the failure of a function that takes no such values."""
    return Failure(f"no such overload: {function}({', '.join(type_name(value) for value in values)})")


def checked_int(value: int) -> int:
    """Return an int, unless it has more than 64 bits."""
    if not INT_MIN <= value <= INT_MAX:
        raise Failure("integer overflow")
    return value


def checked_uint(value: int) -> UInt:
    """Return a uint, unless it is negative or has more than 64 bits."""
    if not 0 <= value <= UINT_MAX:
        raise Failure("unsigned integer overflow")
    return UInt(value)
