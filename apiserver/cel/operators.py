"""CEL's operators on values of every type. Pure."""

from __future__ import annotations

import math
from typing import Any, Final

from apiserver.cel import values
from apiserver.cel.library import TEXT_MAX, Function
from apiserver.cel.times import duration_of, timestamp_of
from apiserver.cel.values import (
    Duration,
    Failure,
    Timestamp,
    UInt,
    checked_int,
    checked_uint,
    contains,
    equal,
    is_number,
    less,
    no_overload,
    type_name,
)


def add(left: Any, right: Any) -> Any:
    """Return the sum of two values, or one after the other."""
    match left, right:
        case (UInt(), UInt()):
            return checked_uint(int(left) + int(right))
        case (bool(), _) | (_, bool()) | (UInt(), _) | (_, UInt()):
            raise no_overload("_+_", left, right)
        case (int(), int()):
            return checked_int(left + right)
        case (float(), float()):
            return left + right
        case (str(), str()) | (bytes(), bytes()):
            if len(left) + len(right) > TEXT_MAX:
                raise Failure("string too large")
            return left + right
        case (list(), list()):
            return _joined(left, right)
        case (Duration(), Duration()):
            return duration_of(left.nanos + right.nanos)
        case (Timestamp(), Duration()):
            return timestamp_of(left.nanos + right.nanos, left.offset_s)
        case (Duration(), Timestamp()):
            return timestamp_of(left.nanos + right.nanos, right.offset_s)
    raise no_overload("_+_", left, right)


def _joined(left: list[Any], right: list[Any]) -> list[Any]:
    if len(left) + len(right) > TEXT_MAX:
        raise Failure("list too large")
    if not isinstance(left, values.Unordered):
        return [*left, *right]
    made = values.Unordered(left)
    made.keys = left.keys
    places = {_hashable(left.key_of(item)): i for i, item in enumerate(left)}
    for item in right:
        place = places.get(_hashable(left.key_of(item)))
        if place is None:
            made.append(item)
        else:
            made[place] = item
    return made


def _hashable(value: Any) -> Any:
    return repr(value)


def _subtract(left: Any, right: Any) -> Any:
    match left, right:
        case (UInt(), UInt()):
            return checked_uint(int(left) - int(right))
        case (bool(), _) | (_, bool()) | (UInt(), _) | (_, UInt()):
            raise no_overload("_-_", left, right)
        case (int(), int()):
            return checked_int(left - right)
        case (float(), float()):
            return left - right
        case (Duration(), Duration()):
            return duration_of(left.nanos - right.nanos)
        case (Timestamp(), Timestamp()):
            return duration_of(left.nanos - right.nanos)
        case (Timestamp(), Duration()):
            return timestamp_of(left.nanos - right.nanos, left.offset_s)
    raise no_overload("_-_", left, right)


def _numbers(name: str, left: Any, right: Any) -> str:
    """Return which arithmetic two numbers need: int, uint or double; both must be of one type."""
    kind = type_name(left)
    if kind != type_name(right) or not is_number(left):
        raise no_overload(name, left, right)
    return kind


def _multiply(left: Any, right: Any) -> Any:
    match _numbers("_*_", left, right):
        case "int":
            return checked_int(left * right)
        case "uint":
            return checked_uint(int(left) * int(right))
    return left * right


def _divide(left: Any, right: Any) -> Any:
    kind = _numbers("_/_", left, right)
    if kind == "double":
        if right == 0:
            return (
                math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
            )
        return left / right
    if right == 0:
        raise Failure("division by zero")
    quotient = abs(int(left)) // abs(int(right))
    signed = quotient if (left < 0) is (right < 0) else -quotient
    return checked_uint(signed) if kind == "uint" else checked_int(signed)


def _modulo(left: Any, right: Any) -> Any:
    kind = _numbers("_%_", left, right)
    if kind == "double":
        raise no_overload("_%_", left, right)
    if right == 0:
        raise Failure("modulus by zero")
    rest = (
        int(math.copysign(abs(int(left)) % abs(int(right)), left))
        if abs(left) < 2**52
        else left - right * int(_divide(left, right))
    )
    return UInt(rest) if kind == "uint" else rest


def _negate(value: Any) -> Any:
    if isinstance(value, float):
        return -value
    if type_name(value) == "int":
        return checked_int(-value)
    if isinstance(value, Duration):
        return duration_of(-value.nanos)
    raise no_overload("-_", value)


def _not(value: Any) -> bool:
    if not isinstance(value, bool):
        raise no_overload("!_", value)
    return not value


def _in(value: Any, container: Any) -> bool:
    if isinstance(container, list):
        return contains(container, value)
    if isinstance(container, dict):
        return not isinstance(value, (list, dict)) and value in container
    raise no_overload("@in", value, container)


OPERATORS: Final[dict[str, Function]] = {
    "_==_": equal,
    "_!=_": lambda left, right: not equal(left, right),
    "_<_": less,
    "_>_": lambda left, right: less(right, left),
    "_<=_": lambda left, right: less(left, right) or equal(left, right),
    "_>=_": lambda left, right: less(right, left) or equal(left, right),
    "_+_": add, "_-_": _subtract, "_*_": _multiply, "_/_": _divide, "_%_": _modulo, "-_": _negate, "!_": _not,
    "@in": _in,
}  # fmt: skip
"""By their names in the tree."""
