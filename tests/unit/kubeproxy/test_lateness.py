"""From what a slice says of its cause to how late the rules are."""

from __future__ import annotations

import pytest

from api.discovery.endpointslice import EndpointSlice
from api.meta import ObjectMeta
from client.informer import Change
from kubeproxy.proxy import LAST_CHANGE, last_change

THEN = "2024-01-01T00:00:00Z"


def slice_of(told: str | None) -> EndpointSlice:
    return EndpointSlice(metadata=ObjectMeta(name="web-1", annotations={} if told is None else {LAST_CHANGE: told}))


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        (None, slice_of(THEN), True),
        (slice_of("2023-12-31T23:59:00Z"), slice_of(THEN), True),
        (slice_of(THEN), slice_of(THEN), False),
        (slice_of(THEN), slice_of(None), False),
        (slice_of(THEN), None, False),
        (None, slice_of("yesterday"), False),
    ],
)
def test_a_change_counts_once_and_only_if_it_says_when_it_happened(
    old: EndpointSlice | None, new: EndpointSlice | None, counts: bool
) -> None:
    assert last_change(Change(old, new)) == (1704067200.0 if counts else 0.0)
