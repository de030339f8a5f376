import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.batch.index_text import first_in_both, read_intervals
from controllers.job.indexes import parse, render

INDEXES = st.sets(st.integers(0, 30))


@given(INDEXES)
def test_what_a_controller_writes_is_read_back(indexes: set[int]) -> None:
    text = render(indexes)
    assert {n for first, last in read_intervals(text, 31) for n in range(first, last + 1)} == indexes
    assert parse(text, 31) == indexes


@given(INDEXES, INDEXES)
def test_the_lowest_index_in_both_is_found(some: set[int], others: set[int]) -> None:
    found = first_in_both(read_intervals(render(some), 31), read_intervals(render(others), 31))
    assert found == min(some & others, default=None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5", 'too large index: "5"'),
        ("1-5", 'too large index: "5"'),
        ("9" * 5000, "too large index"),
        ("3-1", "non-increasing order, previous: 3, current: 1"),
        ("2-2", "non-increasing order, previous: 2, current: 2"),
        ("2,1", "non-increasing order, previous: 2, current: 1"),
        ("1-2,2", "non-increasing order, previous: 2, current: 2"),
        ("1-2-3", 'the fragment "1-2-3" violates'),
        ("1,", 'cannot convert string to integer for index: ""'),
        ("a", 'cannot convert string to integer for index: "a"'),
        ("٣", "cannot convert"),
    ],
)
def test_what_is_no_list_of_indexes_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="^" + why.replace("(", r"\(")):
        read_intervals(text, 5)
