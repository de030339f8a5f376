"""Indexes of an indexed Job as text: `1,3-5`, numbers and ranges in rising order. Pure."""

from __future__ import annotations

Interval = tuple[int, int]
"""First and last."""


def read_intervals(text: str, completions: int) -> list[Interval]:
    """Return the intervals that `text` names; none for no text.

    Raises:
        ValueError: it is not of that form, or names an index that is not below `completions`.
    """
    intervals: list[Interval] = []
    for part in text.split(",") if text else ():
        interval = _read_interval(part, completions)
        if intervals and intervals[-1][1] >= interval[0]:
            raise ValueError(f"non-increasing order, previous: {intervals[-1][1]}, current: {interval[0]}")
        intervals.append(interval)
    return intervals


def _read_interval(part: str, completions: int) -> Interval:
    limits = part.split("-")
    if len(limits) > 2:
        why = "violates the requirement that an index interval can have at most two parts separated by '-'"
        raise ValueError(f'the fragment "{part}" {why}')
    numbers = []
    for limit in limits:
        if not (limit.isascii() and limit.isdecimal()):
            raise ValueError(f'cannot convert string to integer for index: "{limit}"')
        if int(limit[-20:]) >= completions or len(limit) > 20:
            raise ValueError(f'too large index: "{limit}"')
        numbers.append(int(limit))
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]


def first_in_both(some: list[Interval], others: list[Interval]) -> int | None:
    """Return the lowest index that both name, or None; both are in rising order."""
    i = j = 0
    while i < len(some) and j < len(others):
        (first, last), (other_first, other_last) = some[i], others[j]
        if first <= other_last and other_first <= last:
            return max(first, other_first)
        if last < other_first:
            i += 1
        else:
            j += 1
    return None
