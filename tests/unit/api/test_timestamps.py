import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import timestamps


@given(st.integers(0, 4_000_000_000))
def test_a_rendered_moment_parses_back(seconds: int) -> None:
    assert timestamps.parse(timestamps.render(seconds)) == seconds
    assert timestamps.parse(timestamps.render_micro(seconds + 0.25)) == seconds + 0.25


def test_offsets_and_fractions_are_understood() -> None:
    assert timestamps.parse("2024-01-01T02:00:00+02:00") == timestamps.parse("2024-01-01T00:00:00Z")
    assert timestamps.parse("2024-01-01T00:00:00.123456789Z") == timestamps.parse("2024-01-01T00:00:00Z") + 0.123456


@pytest.mark.parametrize("text", ["", "2024-01-01", "2024-13-01T00:00:00Z", "now", "2024-01-01T00:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        timestamps.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-0.5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (600, "10m"),
        (10740, "179m"), (10800, "3h"), (10860, "3h1m"), (28800, "8h"), (172799, "47h"), (172800, "2d"),
        (180000, "2d2h"), (691200, "8d"), (63072000, "2y"), (64368000, "2y15d"), (252288000, "8y"),
    ],
)  # fmt: skip
def test_ages_get_coarser_as_they_grow(seconds: float, text: str) -> None:
    assert timestamps.human_duration(seconds) == text
