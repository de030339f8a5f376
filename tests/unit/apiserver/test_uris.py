from __future__ import annotations

import pytest

from apiserver.uris import has_broken_pairs, query_of


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("limit=%", []),
        ("limit=%zz&watch=1", [("watch", "1")]),
        ("limit=1;limit=2&a", [("a", "")]),
        ("a=b%20c+d&&x=%", [("a", "b c d")]),
    ],
)
def test_pairs_that_go_refuses_are_no_part_of_a_query(query: str, pairs: list[tuple[str, str]]) -> None:
    assert has_broken_pairs(f"/x?{query}")
    assert list(query_of(f"/x?{query}").items()) == pairs


def test_a_sound_query_is_seen_to_be_one() -> None:
    assert not has_broken_pairs("/x?labelSelector=a%3Db%2Cc&limit=5")
