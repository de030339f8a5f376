"""RFC 3339 to seconds since the epoch and back, and ages as `kubectl get` shows them."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SYNTAX: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> float:
    """Return seconds since the epoch; raises ValueError. Takes any offset and any fraction of a second."""
    found = _SYNTAX.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is not a time as RFC 3339 writes it, such as "2024-01-01T00:00:00Z"')
    year, month, day, hour, minute, second = (int(found[group]) for group in range(1, 7))
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    zone = found[8]
    if zone not in "Zz":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        moment = moment + offset if zone[0] == "-" else moment - offset
    fraction = int(found[7].ljust(6, "0")[:6]) if found[7] else 0
    whole = moment - _EPOCH
    return whole.days * 86400 + whole.seconds + fraction / 1e6


def render(seconds: float) -> str:
    """Return a moment to the second, `2024-01-01T00:00:00Z`, cutting off the fraction."""
    return _render_second(int(seconds // 1))


@functools.lru_cache(maxsize=64)
def _render_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def render_micro(seconds: float) -> str:
    """Return a moment to the microsecond, `2024-01-01T00:00:00.000000Z`."""
    micros = round(seconds * 1e6)
    return f"{_render_second(micros // 10**6)[:-1]}.{micros % 10**6:06d}Z"


def day_of(seconds: float) -> str:
    """Return the day of a moment in UTC, `2024-01-01`."""
    return render(seconds)[:10]


def is_day(text: str) -> bool:
    """Return whether a text is a day as `day_of` writes it."""
    try:
        parse(f"{text}T00:00:00Z")
    except ValueError:
        return False
    return True


def human_duration(seconds: float) -> str:
    """Return an age in at most two units, coarser the longer it is: `45s`, `3m20s`, `5h`, `12d`, `2y15d`."""
    if seconds < -1:
        return "<invalid>"
    whole = max(int(seconds), 0)
    minutes, hours = whole // 60, whole // 3600
    days = hours // 24
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def age(timestamp: str, now: float) -> str:
    """Return how long ago `timestamp` was, or `<unknown>` when it is unset."""
    return human_duration(now - parse(timestamp)) if timestamp else "<unknown>"
