"""Moments and lengths of time in CEL: from texts and back, and their parts. Pure."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from apiserver.cel.library import Function
from apiserver.cel.values import Duration, Failure, Timestamp, checked_int, no_overload, type_name

_TIMESTAMP: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
).fullmatch
_UNITS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def timestamp(value: Any) -> Timestamp:
    """Return a moment from RFC 3339 or from seconds."""
    if isinstance(value, Timestamp):
        return value
    if type_name(value) == "int":
        return timestamp_of(value * 10**9)
    if not isinstance(value, str):
        raise no_overload("timestamp", value)
    found = _TIMESTAMP(value)
    try:
        if found is None:
            raise ValueError
        zone = "+00:00" if found[4] in "Zz" else found[4]
        moment = datetime.datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}")
    except ValueError:
        raise Failure(f'parsing time "{value}" as RFC 3339: cannot parse it') from None
    offset = moment.utcoffset() or datetime.timedelta()
    nanos = int(moment.timestamp()) * 10**9 + int((found[3] or "0").ljust(9, "0"))
    return timestamp_of(nanos, int(offset.total_seconds()))


def timestamp_of(nanos: int, offset_s: int = 0) -> Timestamp:
    """Return a moment; raises Failure where years have not four digits."""
    if not -62135596800 <= nanos // 10**9 <= 253402300799:
        raise Failure("timestamp overflow")
    return Timestamp(nanos, offset_s)


def duration(value: Any) -> Duration:
    """Return a length of time from Go's form of it, `1h30m`."""
    if isinstance(value, Duration):
        return value
    if not isinstance(value, str):
        raise no_overload("duration", value)
    text = value.lstrip("+-")
    parts = _PART.findall(text)
    if text != "0" and (not parts or "".join(number + unit for number, unit in parts) != text):
        raise Failure(f'time: invalid duration "{value}"')
    nanos = sum(int(Decimal(number) * _UNITS[unit]) for number, unit in parts)
    return duration_of(-nanos if value.startswith("-") else nanos)


def duration_of(nanos: int) -> Duration:
    """Return a length of time; raises Failure where it has more than 64 bits."""
    return Duration(checked_int(nanos))


def _zone(name: str) -> datetime.tzinfo:
    found = re.fullmatch(r"([+-]?)(\d{1,2}):(\d{2})", name)
    if found:
        offset = datetime.timedelta(hours=int(found[2]), minutes=int(found[3]))
        return datetime.timezone(-offset if found[1] == "-" else offset)
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise Failure(f"unknown time zone {name}") from None


def part(name: str, of_time: Callable[[datetime.datetime], int], nanos: int | None = None) -> Function:
    """Return a method that gives a part of a moment, or with `nanos` how many such parts a length of time has."""

    def read(value: Any, zone: Any = "UTC") -> int:
        if isinstance(value, Timestamp) and isinstance(zone, str):
            return of_time(value.at(_zone(zone)))
        if isinstance(value, Duration) and nanos is not None:
            return int(value.nanos / nanos)
        raise no_overload(name, value)

    return read


def milliseconds(value: Any, zone: Any = "UTC") -> int:
    """Return those of a moment within its second, or all of a length of time."""
    if isinstance(value, Timestamp):
        return value.nanos // 10**6 % 1000
    if isinstance(value, Duration):
        return int(value.nanos / 10**6)
    raise no_overload("getMilliseconds", value)


def rfc3339(value: Timestamp) -> str:
    """Return a moment as text, by the clock that it was read from."""
    moment = value.at(datetime.timezone(datetime.timedelta(seconds=value.offset_s)))
    text, nanos = moment.strftime("%Y-%m-%dT%H:%M:%S"), value.nanos % 10**9
    zone = moment.strftime("%z") if value.offset_s else ""
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"{text}{fraction}{f'{zone[:3]}:{zone[3:5]}' if zone else 'Z'}"
