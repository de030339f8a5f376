"""How many seats a request takes, and for how long after it is answered: pure (KEP-1040, "Request Width").

A list takes a seat for each hundred objects that it has to look at; a write keeps some seats for a moment after its
answer, while watchers are told. Everything else takes one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

OBJECTS_PER_SEAT: Final = 100
WATCHERS_PER_SEAT: Final = 10
SEATS_MAX: Final = 10
"""No request takes more, and none more than 15 % of its level's nominal seats."""
LEVEL_SHARE_MAX: Final = 0.15
EVENT_S: Final = 0.005
"""How long telling one batch of watchers is taken to last."""


@dataclass(frozen=True, slots=True)
class Width:
    """What a request takes."""

    initial_seats: int = 1
    final_seats: int = 0
    additional_s: float = 0.0


ONE: Final = Width()


def seats_max(nominal: int) -> int:
    """Return the most seats that one request may take at a level of so many."""
    return max(1, min(SEATS_MAX, math.ceil(nominal * LEVEL_SHARE_MAX)))


def list_width(stored: int, limit: int, *, is_selecting: bool, is_from_cache: bool, most: int) -> Width:
    """Return what a list takes.

    Args:
        stored: how many objects of the kind there are.
        limit: how many are asked for; 0 for all.
        is_selecting: whether labels or fields are selected by.
        is_from_cache: whether the cache answers, which goes through all of them whatever the limit.
        most: the most seats that may come out.
    """
    if is_from_cache or not limit or limit > stored:
        looked_at = stored
    elif is_selecting:
        looked_at = stored + limit
    else:
        looked_at = 2 * limit
    return Width(min(max(1, math.ceil(looked_at / OBJECTS_PER_SEAT)), most))


def write_width(watchers: int, most: int) -> Width:
    """Return what a write takes that so many watchers will be told of."""
    seats = math.ceil(watchers / WATCHERS_PER_SEAT)
    if not seats:
        return ONE
    work = seats * EVENT_S
    taken = min(seats, most)
    return Width(1, taken, work / taken)
