from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from typing import Any

import pytest

from api.batch.schedule import parse_schedule

BERLIN: Any = zoneinfo.ZoneInfo("Europe/Berlin")


def times(text: str, begin: str, count: int = 3, zone: Any = UTC) -> list[str]:
    schedule, at = parse_schedule(text, zone), datetime.fromisoformat(begin).replace(tzinfo=zone).timestamp()
    found = []
    for _ in range(count):
        following = schedule.after(at)
        if following is None:
            break
        at = following
        found.append(datetime.fromtimestamp(at, zone).strftime("%a %m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/20 * * * *", ["Fri 03-01 10:20", "Fri 03-01 10:40", "Fri 03-01 11:00"]),
        ("5/25 9-10 * * *", ["Fri 03-01 10:05", "Fri 03-01 10:30", "Fri 03-01 10:55"]),
        ("0 0 * * mon,wed", ["Mon 03-04 00:00", "Wed 03-06 00:00", "Mon 03-11 00:00"]),
        ("0 0 31 * *", ["Sun 03-31 00:00", "Fri 05-31 00:00", "Wed 07-31 00:00"]),
        ("0 0 13 * fri", ["Fri 03-08 00:00", "Wed 03-13 00:00", "Fri 03-15 00:00"]),
        ("0 0 29 feb *", ["Tue 02-29 00:00"]),
        ("0 0 30 feb *", []),
        ("@monthly", ["Mon 04-01 00:00", "Wed 05-01 00:00", "Sat 06-01 00:00"]),
        ("@every 1h30m", ["Fri 03-01 11:30", "Fri 03-01 13:00", "Fri 03-01 14:30"]),
    ],
)
def test_times_follow_the_fields(text: str, expected: list[str]) -> None:
    assert times(text, "2024-03-01T10:00:00", max(len(expected), 1)) == expected


def test_an_hour_that_a_clock_skips_has_no_times_and_one_that_comes_twice_counts_once() -> None:
    assert times("30 2 * * *", "2024-03-30T12:00:00", 2, BERLIN) == ["Mon 04-01 02:30", "Tue 04-02 02:30"]
    assert times("30 2 * * *", "2024-10-26T12:00:00", 2, BERLIN) == ["Sun 10-27 02:30", "Mon 10-28 02:30"]
