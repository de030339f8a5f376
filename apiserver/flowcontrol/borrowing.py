"""How levels lend each other seats that they do not need: pure arithmetic, done every ten seconds.

KEP-1040, "Dispatching" and "Seat Borrowing": a level's nominal limit is its share of the server's seats; part of that
it may lend (`lendablePercent`), and beyond it it may borrow (`borrowingLimitPercent`). Each is given what it
wants, in proportion, between what it must have and what it may have at most.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

PERIOD_S = 10.0
_SMOOTHING = 0.977
"""Of the demand remembered, what is left after each period in which less was wanted: half of it after five minutes."""
_NO_DEMAND = 1e-6
"""Seats; less than this is none."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a level may have: 0 <= low <= nominal <= high."""

    nominal: int
    low: int
    """What it never lends."""
    high: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a level should have next."""

    low: float
    high: float
    target: float


def bounds(
    server_seats: int, shares: int, shares_total: int, lendable_percent: int, borrowing_percent: int | None
) -> Bounds:
    """Return a level's limits; no borrowing limit means that it may borrow all there is."""
    nominal = math.ceil(server_seats * shares / shares_total) if shares_total else 0
    lendable = round(nominal * lendable_percent / 100)
    borrowing = server_seats if borrowing_percent is None else round(nominal * borrowing_percent / 100)
    return Bounds(nominal, nominal - lendable, nominal + borrowing)


def smooth(before: float, mean: float, deviation: float) -> float:
    """Return the demand to plan for: it follows a rise at once, and a fall slowly."""
    envelope = mean + deviation
    return max(envelope, _SMOOTHING * before + (1 - _SMOOTHING) * envelope)


def claim(allowed: Bounds, demand: float, peak: float) -> Claim:
    """Return what a level claims: at least what it lately needed of its own, at most what it may borrow."""
    low = max(float(allowed.low), min(float(allowed.nominal), peak))
    return Claim(low, float(allowed.high), max(low, demand))


def allocate(seats: float, claims: Sequence[Claim]) -> list[float]:
    """Return for each claim `fraction * target` within its bounds, with the one fraction that hands out all `seats`.

    Where even the least is too much, everybody gets their least; where the most is not enough, their most.
    """
    # Demand that nobody has any more is halved for ever, down to where no fraction of it can be told from nothing.
    claims = [one if one.target > _NO_DEMAND else dataclasses.replace(one, target=0.0) for one in claims]

    def given(fraction: float) -> list[float]:
        return [min(one.high, max(one.low, fraction * one.target)) for one in claims]

    if sum(one.low for one in claims) >= seats:
        return [one.low for one in claims]
    if sum(one.high if one.target > 0 else one.low for one in claims) <= seats:
        return [one.high if one.target > 0 else one.low for one in claims]
    least, most = 0.0, 1.0
    while sum(given(most)) < seats:
        most *= 2
    # Sixty halvings leave less than a millionth of a seat.
    for _ in range(60):
        middle = (least + most) / 2
        least, most = (middle, most) if sum(given(middle)) < seats else (least, middle)
    return given(most)
