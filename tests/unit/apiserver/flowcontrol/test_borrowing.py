from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.flowcontrol import borrowing, width
from apiserver.flowcontrol.borrowing import Bounds, Claim
from apiserver.flowcontrol.width import Width


def test_a_level_has_its_share_lends_a_part_and_borrows_up_to_its_limit() -> None:
    assert borrowing.bounds(600, 40, 245, 25, None) == Bounds(nominal=98, low=74, high=698)
    assert borrowing.bounds(600, 40, 245, 25, 50) == Bounds(nominal=98, low=74, high=147)


def test_demand_rises_at_once_and_falls_slowly() -> None:
    assert borrowing.smooth(10.0, 50.0, 5.0) == 55.0
    assert 9.7 < borrowing.smooth(10.0, 0.0, 0.0) < 10.0


def test_an_idle_level_claims_no_more_than_what_it_never_lends() -> None:
    assert borrowing.claim(Bounds(100, 20, 300), 0.0, 0.0).low == 20.0


def test_seats_that_nobody_else_wants_go_to_the_busy_level() -> None:
    busy, idle = Claim(50.0, 200.0, 500.0), Claim(10.0, 200.0, 10.0)
    given_busy, given_idle = borrowing.allocate(100, [busy, idle])
    assert given_busy == pytest.approx(90, abs=0.01)
    assert given_idle == 10


def up_to(most: int) -> st.SearchStrategy[float]:
    """Seats by the thousandth, not by the smallest float."""
    return st.integers(0, most * 1000).map(lambda thousandths: thousandths / 1000)


claims = st.lists(
    st.tuples(up_to(50), up_to(200), up_to(500)).map(lambda t: Claim(t[0], t[0] + t[1], max(t[0], t[2]))),
    min_size=1,
    max_size=8,
)


@given(st.integers(1, 600), claims)
def test_allocation_stays_in_bounds_and_hands_out_all_that_may_be(seats: int, all_claims: list[Claim]) -> None:
    given_seats = borrowing.allocate(seats, all_claims)
    for got, claim in zip(given_seats, all_claims, strict=True):
        assert claim.low <= got <= claim.high
    least = sum(one.low for one in all_claims)
    most = sum(one.high if one.target > 0 else one.low for one in all_claims)
    assert sum(given_seats) == pytest.approx(min(max(seats, least), max(most, least)), abs=1e-3)


@pytest.mark.parametrize("almost_nothing", [5e-324, 1e-310, 1e-300, 1e-7])
def test_demand_that_has_all_but_faded_is_none(almost_nothing: float) -> None:
    faded, idle = Claim(0, 100, almost_nothing), Claim(0, 50, 0)
    assert borrowing.allocate(60, [faded, idle]) == [0, 0]
    busy = Claim(10, 100, 40)
    assert borrowing.allocate(60, [busy, faded, idle]) == [pytest.approx(60), 0, 0]


def test_a_list_takes_a_seat_for_each_hundred_objects_it_looks_at() -> None:
    assert width.list_width(950, 0, is_selecting=False, is_from_cache=True, most=10) == Width(10)
    assert width.list_width(950, 100, is_selecting=False, is_from_cache=False, most=10) == Width(2)
    assert width.list_width(950, 100, is_selecting=True, is_from_cache=False, most=20) == Width(11)
    assert width.list_width(5000, 0, is_selecting=False, is_from_cache=True, most=3) == Width(3)


def test_a_write_keeps_seats_while_watchers_are_told() -> None:
    assert width.write_width(0, 10) == Width()
    assert width.write_width(25, 10) == Width(1, 3, 0.005)
    assert width.write_width(1000, 10) == Width(1, 10, 0.05)
