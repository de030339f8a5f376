import copy

from hypothesis import given

from api.patch import merge_patch
from tests.unit.api.patch.test_json_patch import values


def test_the_examples_of_the_rfc() -> None:
    cases = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    for document, patch, expected in cases:
        assert merge_patch.apply(document, patch) == expected


@given(values, values)
def test_a_merge_patch_applied_twice_is_applied_once_and_touches_nothing(document: object, patch: object) -> None:
    before = copy.deepcopy((document, patch))
    once = merge_patch.apply(document, patch)
    assert merge_patch.apply(once, patch) == once
    assert (document, patch) == before


def test_null_says_nothing_within_what_replaces_something() -> None:
    patch = {"list": [{"a": None, "b": 1}, None], "new": {"a": {"b": None}}}
    assert merge_patch.apply({"list": [1]}, patch) == {"list": [{"b": 1}], "new": {"a": {}}}
