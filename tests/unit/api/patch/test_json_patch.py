import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.patch import json_patch
from api.patch.dispatch import JSON_PATCH, MERGE_PATCH, faults_of
from api.patch.failure import PatchFailure

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("document", "operation", "expected"),
    [
        ({"a": 1}, {"op": "add", "path": "/b", "value": 2}, {"a": 1, "b": 2}),
        ({"a": [1, 3]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2, 3]}),
        ({"a": [1]}, {"op": "add", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
        ({"a": 1}, {"op": "replace", "path": "", "value": {"b": 2}}, {"b": 2}),
        ({"a": 1}, {"op": "replace", "path": "", "value": [2]}, [2]),
        ({"a": 1}, {"op": "replace", "path": "", "value": 2}, {"a": 1}),
        ({"a": 1}, {"op": "replace", "path": ""}, {"a": 1}),
        ({"a": 1}, {"op": "test", "path": "", "value": {"a": 1}}, {"a": 1}),
        ({"a": 1}, {"op": "add", "path": "x/b", "value": 2}, {"a": 1, "b": 2}),
        ({}, {"op": "copy", "from": "/a", "path": "/b"}, {"b": None}),
        ({"a": 1}, {"op": "replace", "path": "/a", "value": None}, {"a": None}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/0"}, {"a": [2]}),
        ({"a": {"b": 1}, "c": {}}, {"op": "move", "from": "/a/b", "path": "/c/d"}, {"a": {}, "c": {"d": 1}}),
        ({"a": [1]}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": [1], "b": [1]}),
        ({"a/b": {"~": 1}}, {"op": "test", "path": "/a~1b/~0", "value": 1}, {"a/b": {"~": 1}}),
        ({"": 1}, {"op": "remove", "path": "/"}, {}),
        ({}, {"op": "replace", "path": "/a", "value": 1}, {"a": 1}),
        ({}, {"op": "add", "path": "/a"}, {"a": None}),
        ({}, {"op": "test", "path": "/a", "value": None}, {}),
        ({"a": [1, 3]}, {"op": "add", "path": "/a/-2", "value": 2}, {"a": [1, 2, 3]}),
        ({"a": [1, 2]}, {"op": "add", "path": "/a/-1", "value": 3}, {"a": [1, 2, 3]}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/-1"}, {"a": [1]}),
        ({"a": [1, 3]}, {"op": "add", "path": "/a/01", "value": 2}, {"a": [1, 2, 3]}),
    ],
)
def test_operations_do_what_the_rfc_and_the_library_upstream_say(
    document: object, operation: dict, expected: object
) -> None:
    before = copy.deepcopy(document)
    assert json_patch.apply(document, [operation]) == expected
    assert document == before


@pytest.mark.parametrize(
    ("operation", "is_malformed"),
    [
        ({"op": "remove", "path": "/missing"}, False),
        ({"op": "replace", "path": "/missing/x", "value": 1}, False),
        ({"op": "replace", "path": "/one/x", "value": 1}, False),
        ({"op": "remove", "path": "/list/-2"}, False),
        ({"op": "test", "path": "/missing", "value": 1}, False),
        ({"op": "add", "path": "/list/5", "value": 1}, False),
        ({"op": "add", "path": "/list/x", "value": 1}, False),
        ({"op": "add", "path": "/one/x", "value": 1}, False),
        ({"op": "test", "path": "/one", "value": True}, False),
        ({"op": "move", "from": "/deep", "path": "/deep/er"}, False),
        ({"op": "remove", "path": ""}, False),
        ({"op": "add", "path": "", "value": {}}, False),
        ({"op": "copy", "path": "/one", "from": ""}, False),
        ({"op": "move", "path": "", "from": "/one"}, False),
        ({"op": "move", "path": "/x", "from": "/y"}, False),
        ({"op": "add", "path": "one", "value": 1}, False),
        ({"op": "add"}, False),
        ({"op": "frob", "path": "/one"}, False),
        ({"path": "/one"}, False),
        ("x", True),
    ],
)
def test_what_cannot_be_done_is_refused(operation: object, is_malformed: bool) -> None:
    with pytest.raises(PatchFailure) as caught:
        json_patch.apply({"one": 1, "list": [1], "deep": {"er": {}}}, [operation])
    assert caught.value.is_malformed is is_malformed


def test_copying_over_and_over_is_stopped() -> None:
    document = {"a": "x" * 1000, "b": []}
    operations = [{"op": "copy", "from": "/a", "path": "/b/-"}] + [{"op": "copy", "from": "/b", "path": "/b/-"}] * 40
    with pytest.raises(PatchFailure, match="add up"):
        json_patch.apply(document, operations)


@given(values, values)
def test_testing_what_was_added_succeeds(document: object, value: object) -> None:
    holder = {"document": document}
    operations = [
        {"op": "add", "path": "/x", "value": value},
        {"op": "test", "path": "/x", "value": value},
        {"op": "remove", "path": "/x"},
    ]
    assert json_patch.apply(holder, operations) == holder


def test_strict_validation_names_what_an_operation_says_twice_or_in_vain() -> None:
    body = (
        b'[{"op":"add","path":"/a","value":1,"foo":"bar"},{"op":"add","path":"/b","path":"/c","value":{"k":1,"k":2}}]'
    )
    assert faults_of(body, JSON_PATCH) == [
        'json patch unknown field "[0].foo"',
        'json patch duplicate field "[1].path"',
        'json patch duplicate field "[1].value.k"',
    ]
    assert faults_of(b'{"a":1,"a":2}', MERGE_PATCH) == ['duplicate field "a"']
