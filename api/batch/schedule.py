"""A CronJob's schedule: five fields as in crontab(5), or a word such as `@daily`, or `@every 1h30m`; and its times.

Where a clock is set forward, times that do not exist are left out; where it is set back, an hour comes twice, and its
times count once.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: Final[tuple[tuple[str, int, int, dict[str, int]], ...]] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, {name: i for i, name in enumerate(_MONTHS, 1)}),
    ("day of week", 0, 6, {name: i for i, name in enumerate(_DAYS)}),
)
_WORDS: Final = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_every: Final = re.compile(r"@every ([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+").fullmatch


def check_schedule(text: str) -> str:
    """Return what is wrong with a schedule, or nothing."""
    if text.startswith(("TZ=", "CRON_TZ=")):
        text = text.partition(" ")[2].strip()
    if text.startswith("@"):
        return "" if text in _WORDS or _every(text) else f"unrecognized descriptor: {text}"
    fields = text.split()
    if len(fields) != len(_FIELDS):
        return f"expected exactly {len(_FIELDS)} fields, found {len(fields)}: [{' '.join(fields)}]"
    for field, (name, low, high, words) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            wrong = _check_part(part, low, high, words)
            if wrong:
                return f"{name} {wrong}: {part}"
    return ""


def _check_part(part: str, low: int, high: int, words: dict[str, int]) -> str:
    span, slash, step = part.partition("/")
    if slash and (not step.isdecimal() or int(step) == 0):
        return "wants a step that is a positive number"
    if span in ("*", "?"):
        return ""
    ends = [words.get(end.lower(), int(end) if end.isdecimal() else -1) for end in span.split("-")]
    if len(ends) > 2:
        return "has too many hyphens"
    if any(not low <= end <= high for end in ends):
        return f"wants numbers from {low} to {high}"
    if ends[0] > ends[-1]:
        return "begins behind its end"
    return ""


_EXPANDED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_YEARS_MAX: Final = 5
"""A schedule without a time in so many years (the 30th of February) has none."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When things happen, in one time zone."""

    zone: tzinfo
    every_s: int = 0
    """If set, so many seconds after the last time; the rest does not count."""
    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    """0 is Sunday."""
    is_either_day: bool = False
    """Whether a day of the month or one of the week is enough, since both are restricted."""

    def after(self, moment: float) -> float | None:
        """Return the first time after `moment`, both in seconds since the epoch; None if there is none."""
        if self.every_s:
            return float(int(moment) + self.every_s)
        begin = datetime.fromtimestamp(moment, self.zone)
        for day in self._days_from(begin):
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    found = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                    seconds = found.timestamp()
                    exists = datetime.fromtimestamp(seconds, self.zone).replace(tzinfo=None) == found.replace(
                        tzinfo=None
                    )
                    if seconds > moment and exists:
                        return seconds
        return None

    def _days_from(self, begin: datetime) -> Iterator[datetime]:
        day = datetime(begin.year, begin.month, begin.day, tzinfo=UTC)
        for _ in range(_YEARS_MAX * 366):
            if day.month in self.months and self._has(day):
                yield day
            day += timedelta(days=1)

    def _has(self, day: datetime) -> bool:
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.is_either_day else by_month and by_week


def parse_schedule(text: str, zone: tzinfo) -> Schedule:
    """Return the schedule that `text`, which `check_schedule` finds good, describes.

    Raises:
        ValueError: it is none.
        ZoneInfoNotFoundError: it names a time zone that there is not.
    """
    wrong = check_schedule(text)
    if wrong:
        raise ValueError(wrong)
    if text.startswith(("TZ=", "CRON_TZ=")):
        name, _, text = text.partition(" ")
        zone, text = zoneinfo.ZoneInfo(name.partition("=")[2]), text.strip()
    if text.startswith("@every"):
        amounts = re.findall(r"([0-9.]+)(ns|us|µs|ms|s|m|h)", text)
        return Schedule(zone, every_s=max(1, int(sum(float(number) * _UNITS_S[unit] for number, unit in amounts))))
    fields = _EXPANDED.get(text, text).split()
    sets = [
        frozenset(value for part in field.split(",") for value in _values(part, low, high, words))
        for field, (_, low, high, words) in zip(fields, _FIELDS, strict=True)
    ]
    # As in crontab(5): a field that begins with a star does not restrict.
    restricted = [not field.startswith(("*", "?")) for field in fields]
    minutes, hours, days, months, weekdays = sets
    return Schedule(zone, 0, minutes, hours, days, months, weekdays, restricted[2] and restricted[4])


def _values(part: str, low: int, high: int, words: dict[str, int]) -> range:
    span, slash, step = part.partition("/")
    if span in ("*", "?"):
        first, last = low, high
    else:
        ends = [words.get(end.lower(), int(end) if end.isdecimal() else low) for end in span.split("-")]
        # `5/15` is from 5 on.
        first, last = ends[0], high if slash and len(ends) == 1 else ends[-1]
    return range(first, last + 1, int(step) if slash else 1)
