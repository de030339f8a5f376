"""What may be a CronJob's schedule: five fields as in crontab(5), or a word such as `@daily`, or `@every 1h30m`."""

from __future__ import annotations

import re
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
