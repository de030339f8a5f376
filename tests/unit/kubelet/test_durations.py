"""Durations in the words of Go."""

from __future__ import annotations

import pytest

from kubelet.durations import as_go


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0s"),
        (0.0004, "0s"),
        (0.0391, "39ms"),
        (1.0, "1s"),
        (1.0456, "1.045s"),
        (12.5, "12.5s"),
        (300.0, "5m0s"),
        (90.25, "1m30.25s"),
        (3602.0, "1h0m2s"),
    ],
)
def test_a_duration_is_said_as_go_says_it(seconds: float, said: str) -> None:
    assert as_go(seconds) == said
