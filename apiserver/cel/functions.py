"""CEL's library: the standard functions, the string and set extensions, and with them Kubernetes' own. Pure.

A function takes values and returns one; it raises `Failure` where there is none. What takes the wrong types or the
wrong number of values has no such overload.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from apiserver.cel import kubernetes, operators
from apiserver.cel.library import TEXT_MAX, Function, Library, of_text, require_texts
from apiserver.cel.times import duration, milliseconds, part, rfc3339, timestamp
from apiserver.cel.values import (
    Duration,
    Failure,
    Optional,
    Timestamp,
    Type,
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
from apiserver.crd import patterns

_WRITTEN_OUT_MAX: Final = 1e21
"""Go writes numbers from here on with an exponent."""

# --- conversions ----------------------------------------------------------------------------------------------------


def _size(value: Any) -> int:
    if isinstance(value, (str, bytes, list, dict)):
        return len(value)
    raise no_overload("size", value)


def _int(value: Any) -> int:
    match value:
        case bool():
            raise no_overload("int", value)
        case int():
            return checked_int(int(value))
        case float():
            if not -(2.0**63) <= value < 2.0**63:
                raise Failure("integer overflow")
            return int(value)
        case str():
            if not re.fullmatch(r"[+-]?\d+", value, re.ASCII):
                raise Failure("type conversion error from 'string' to 'int'")
            return checked_int(int(value))
        case Timestamp():
            return value.nanos // 10**9
        case Duration():
            return value.nanos
    raise no_overload("int", value)


def _uint(value: Any) -> UInt:
    if isinstance(value, str):
        if not re.fullmatch(r"\d+", value, re.ASCII):
            raise Failure("type conversion error from 'string' to 'uint'")
        return checked_uint(int(value))
    if is_number(value):
        if isinstance(value, float) and not math.isfinite(value):
            raise Failure("unsigned integer overflow")
        return checked_uint(int(value))
    raise no_overload("uint", value)


def _double(value: Any) -> float:
    if is_number(value):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise Failure("type conversion error from 'string' to 'double'") from None
    raise no_overload("double", value)


def _string(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | str():
            return str(value)
        case float():
            if value.is_integer() and abs(value) < _WRITTEN_OUT_MAX:
                return f"{value:.0f}"
            return repr(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise Failure("invalid UTF-8 in bytes, cannot convert to string") from None
        case Timestamp():
            return rfc3339(value)
        case Duration():
            text = f"{Decimal(value.nanos) / 10**9:f}"
            return (text.rstrip("0").rstrip(".") if "." in text else text) + "s"
        case _ if hasattr(value, "cel_text"):
            return str(value.cel_text())
    raise no_overload("string", value)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise no_overload("bytes", value)


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "True", "TRUE", "t", "T", "1"):
        return True
    if value in ("false", "False", "FALSE", "f", "F", "0"):
        return False
    if isinstance(value, str):
        raise Failure("type conversion error from 'string' to 'bool'")
    raise no_overload("bool", value)


# --- strings --------------------------------------------------------------------------------------------------------


def _matches(text: Any, pattern: Any) -> bool:
    require_texts("matches", text, pattern)
    return _pattern(pattern).search(text) is not None


def _pattern(pattern: str) -> Any:
    try:
        return patterns.compile_(pattern)
    except patterns.BadPattern as error:
        raise Failure(str(error)) from None


def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise Failure(f"index out of range: {at}")
    return text[at : at + 1]


def _index_of(value: Any, item: Any, start: int = 0) -> int:
    if isinstance(value, list):
        return next((i for i, each in enumerate(value) if equal(each, item)), -1)
    require_texts("indexOf", value, item)
    if not 0 <= start <= len(value):
        raise Failure(f"index out of range: {start}")
    return int(value.find(item, start))


def _last_index_of(value: Any, item: Any, end: int | None = None) -> int:
    if isinstance(value, list):
        return next((i for i in range(len(value) - 1, -1, -1) if equal(value[i], item)), -1)
    require_texts("lastIndexOf", value, item)
    return int(value.rfind(item) if end is None else value.rfind(item, 0, end + len(item)))


def _join(items: Any, separator: str = "") -> str:
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise no_overload("join", items)
    require_texts("join", separator)
    return separator.join(items)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    if count < 0 and old and len(text) + text.count(old) * len(new) > TEXT_MAX:
        raise Failure("string too large")
    return text.replace(old, new, count)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if not separator:
        letters = list(text)
        return letters if count < 0 or len(letters) <= count else [*letters[: count - 1], "".join(letters[count - 1 :])]
    return text.split(separator, count - 1 if count > 0 else -1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= len(text) or not 0 <= stop <= len(text):
        raise Failure(f"index out of range: {start if not 0 <= start <= len(text) else stop}")
    if stop < start:
        raise Failure(f"invalid substring range. start: {start}, end: {stop}")
    return text[start:stop]


def _ascii(text: str, upper: bool) -> str:
    low, high = ("a", "z") if upper else ("A", "Z")
    return "".join(
        (letter.upper() if upper else letter.lower()) if low <= letter <= high else letter for letter in text
    )


_RAISED: Final = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def _format(text: str, given: Any) -> str:
    if not isinstance(given, list):
        raise no_overload("format", text, given)
    arguments = iter(given)

    def one(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        value = next(arguments, arguments)
        if value is arguments:
            raise Failure(f"index {len(given)} out of range")
        return _formatted(found[2], found[1], value)

    return re.sub(r"%(?:%|(\.\d+)?([a-zA-Z]))", one, text)


def _formatted(verb: str, precision: str | None, value: Any) -> str:
    match verb:
        case "s":
            return _shown(value)
        case "d" if is_number(value):
            return str(int(value))
        case "f" if is_number(value):
            return f"{value:{precision or '.6'}f}"
        case "e" if is_number(value):
            mantissa, _, exponent = f"{value:{precision or '.6'}e}".partition("e")
            return mantissa + (f"×10{exponent.removeprefix('+').translate(_RAISED)}" if exponent else "")
        case "b" if isinstance(value, int):
            return f"{int(value):b}"
        case "o" if isinstance(value, int):
            return f"{int(value):o}"
        case "x" | "X":
            raw = value.encode() if isinstance(value, str) else value
            text = raw.hex() if isinstance(raw, bytes) else f"{int(raw):x}"
            return text.upper() if verb == "X" else text
    raise Failure(f"could not format value of type {type_name(value)} with %{verb}")


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(key)}: {_shown(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, Type):
        return value.name
    return _string(value)


# --- lists and sets -------------------------------------------------------------------------------------------------


def _is_sorted(items: list[Any]) -> bool:
    return all(not less(after, before) for before, after in itertools.pairwise(items))


def _sum(items: list[Any]) -> Any:
    total: Any = None
    for item in items:
        total = item if total is None else operators.add(total, item)
    return 0 if total is None else total


def _extreme(name: str, wants_less: bool) -> Function:
    def call(items: Any) -> Any:
        if not isinstance(items, list):
            raise no_overload(name, items)
        if not items:
            raise Failure(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if less(item, best) if wants_less else less(best, item):
                best = item
        return best

    return call


def _flatten(items: Any, depth: int = 1) -> list[Any]:
    made: list[Any] = []
    for item in items:
        if isinstance(item, list) and depth > 0:
            made.extend(_flatten(item, depth - 1))
        else:
            made.append(item)
    return made


def _lists(name: str, function: Callable[..., Any]) -> Function:
    def call(*given: Any) -> Any:
        if not all(isinstance(value, list) for value in given):
            raise no_overload(name, *given)
        return function(*given)

    return call


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    compiled, at = _pattern(pattern), 0
    found: list[str] = []
    while at <= len(text) and len(found) != limit:
        match = compiled.search(text, at)
        if match is None:
            break
        found.append(match[0])
        at = match.end() if match.end() > match.start() else match.end() + 1
    return found


def _find(text: str, pattern: str) -> str:
    match = _pattern(pattern).search(text)
    return match[0] if match is not None else ""


# --- optional values ------------------------------------------------------------------------------------------------


def _optional(value: Any) -> Optional:
    if not isinstance(value, Optional):
        raise no_overload("optional", value)
    return value


def _value(value: Any) -> Any:
    if not _optional(value).is_present:
        raise Failure("optional.none() dereference")
    return value.value


_ZERO_TIME_NANOS: Final = -62_135_596_800 * 10**9
"""The first moment of the year 1, which is what Go takes for none."""


def _of_non_zero(value: Any) -> Optional:
    match value:
        case Duration():
            is_zero = value.nanos == 0
        case Timestamp():
            is_zero = value.nanos == _ZERO_TIME_NANOS
        case Optional():
            is_zero = not value.is_present
        case _:
            is_zero = not value
    return Optional() if is_zero else Optional(value, True)


_FUNCTIONS: Final[dict[str, Function]] = {
    **operators.OPERATORS,
    "size": _size, "int": _int, "uint": _uint, "double": _double, "string": _string, "bytes": _bytes,
    "bool": _bool, "type": lambda value: Type(type_name(value)), "dyn": lambda value: value, "timestamp": timestamp,
    "duration": duration, "matches": _matches,
    "optional.of": lambda value: Optional(value, True), "optional.none": Optional,
    "optional.ofNonZeroValue": _of_non_zero,
    "sets.contains": _lists("sets.contains", lambda one, other: all(contains(one, item) for item in other)),
    "sets.intersects": _lists("sets.intersects", lambda one, other: any(contains(one, item) for item in other)),
    "sets.equivalent": _lists("sets.equivalent", lambda one, other: all(contains(one, item) for item in other)
                              and all(contains(other, item) for item in one)),
    "strings.quote": of_text("strings.quote", lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'),
    "math.greatest": lambda *given: _extreme("max", False)(_flatten(list(given))),
    "math.least": lambda *given: _extreme("min", True)(_flatten(list(given))),
    **kubernetes.FUNCTIONS,
}  # fmt: skip

_METHODS: Final[dict[str, Function]] = {
    "size": _size, "matches": _matches,
    "contains": of_text("contains", lambda text, part: part in text, 2),
    "startsWith": of_text("startsWith", str.startswith, 2), "endsWith": of_text("endsWith", str.endswith, 2),
    "charAt": of_text("charAt", _char_at), "indexOf": _index_of, "lastIndexOf": _last_index_of, "join": _join,
    "lowerAscii": of_text("lowerAscii", lambda text: _ascii(text, upper=False)),
    "upperAscii": of_text("upperAscii", lambda text: _ascii(text, upper=True)),
    "replace": of_text("replace", _replace, 3), "split": of_text("split", _split, 2),
    "substring": of_text("substring", _substring), "trim": of_text("trim", lambda text: text.strip()),
    "format": of_text("format", _format), "reverse": of_text("reverse", lambda text: text[::-1]),
    "find": of_text("find", _find, 2), "findAll": of_text("findAll", _find_all, 2),
    "getFullYear": part("getFullYear", lambda time: time.year),
    "getMonth": part("getMonth", lambda time: time.month - 1),
    "getDate": part("getDate", lambda time: time.day),
    "getDayOfMonth": part("getDayOfMonth", lambda time: time.day - 1),
    "getDayOfWeek": part("getDayOfWeek", lambda time: time.isoweekday() % 7),
    "getDayOfYear": part("getDayOfYear", lambda time: time.timetuple().tm_yday - 1),
    "getHours": part("getHours", lambda time: time.hour, 3600 * 10**9),
    "getMinutes": part("getMinutes", lambda time: time.minute, 60 * 10**9),
    "getSeconds": part("getSeconds", lambda time: time.second, 10**9), "getMilliseconds": milliseconds,
    "isSorted": _lists("isSorted", _is_sorted), "sum": _lists("sum", _sum), "min": _extreme("min", True),
    "max": _extreme("max", False), "flatten": _flatten,
    "hasValue": lambda value: _optional(value).is_present, "value": _value,
    "or": lambda value, other: value if _optional(value).is_present else _optional(other),
    "orValue": lambda value, other: value.value if _optional(value).is_present else other,
    **kubernetes.METHODS,
}  # fmt: skip

STANDARD: Final = Library(_FUNCTIONS, _METHODS)
"""What every expression can call."""
