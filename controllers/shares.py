"""Numbers of pods that may also be said as shares: `3`, or `25%` of what there should be."""

from __future__ import annotations


def resolve(value: int | str | None, total: int, *, round_up: bool) -> int:
    """Return a count, or a percentage of `total` such as "25%", as a number of pods."""
    if isinstance(value, str):
        percent = int(value.rstrip("%") or 0)
        return -(-total * percent // 100) if round_up else total * percent // 100
    return value or 0
