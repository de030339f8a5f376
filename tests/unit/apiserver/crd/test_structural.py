"""Schemas: what they keep, fill in and refuse."""

from typing import Any

import pytest

from apiserver.crd import values
from apiserver.crd.rules import Checker
from apiserver.crd.structural import Node, apply_defaults, drop_nulls, prune


def told(value: Any, schema: dict[str, Any], **options: Any) -> list[str]:
    return [f"{error.path}: {error.message}" for error in values.check(value, Node(schema), "spec", **options)]


def test_unknown_fields_are_pruned_and_named() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}}
    value = {"kind": "K", "a": {"b": "1", "c": 2}, "d": 3}
    unknown: list[str] = []
    prune(value, Node(schema), unknown, is_root=True)
    assert value == {"kind": "K", "a": {"b": "1"}}
    assert unknown == ["a.c", "d"]


def test_preserved_fields_are_kept_but_known_ones_below_are_pruned() -> None:
    known = {"type": "object", "properties": {"x": {"type": "string"}}}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"known": known}}
    value = {"any": {"thing": 1}, "known": {"y": 1}}
    prune(value, Node(schema), [])
    assert value == {"any": {"thing": 1}, "known": {}}


def test_maps_and_lists_are_pruned_below() -> None:
    item = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema = {
        "type": "object",
        "properties": {
            "map": {"type": "object", "additionalProperties": item},
            "list": {"type": "array", "items": item},
        },
    }
    value = {"map": {"k": {"a": "", "b": ""}}, "list": [{"b": ""}]}
    prune(value, Node(schema), [])
    assert value == {"map": {"k": {"a": ""}}, "list": [{}]}


def test_defaults_fill_what_is_absent_or_null_where_null_is_not_allowed() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "default": 1},
            "b": {"type": "integer", "default": 2, "nullable": True},
            "c": {"type": "object", "default": {}, "properties": {"d": {"type": "string", "default": "x"}}},
        },
    }
    value: dict[str, Any] = {"a": None, "b": None}
    apply_defaults(value, Node(schema))
    assert value == {"a": 1, "b": None, "c": {"d": "x"}}
    apply_defaults(value, Node(schema))
    assert value == {"a": 1, "b": None, "c": {"d": "x"}}


@pytest.mark.parametrize(
    ("value", "schema", "message"),
    [
        ("a", {"type": "integer"}, 'spec: Invalid value: "string": spec in body must be of type integer: "string"'),
        (None, {"type": "string"}, 'spec: Invalid value: "null": spec in body must be of type string: "null"'),
        (
            0,
            {"type": "integer", "minimum": 1.0},
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            5,
            {"type": "integer", "maximum": 5, "exclusiveMaximum": True},
            "spec: Invalid value: 5: spec in body should be less than 5",
        ),
        ("b", {"type": "string", "pattern": "^a"}, "spec: Invalid value: \"b\": spec in body should match '^a'"),
        ("abc", {"type": "string", "maxLength": 2}, "spec: Too long: may not be more than 2 bytes"),
        (
            "a",
            {"type": "string", "minLength": 2},
            'spec: Invalid value: "a": spec in body should be at least 2 chars long',
        ),
        ("c", {"type": "string", "enum": ["a", "b"]}, 'spec: Unsupported value: "c": supported values: "a", "b"'),
        (
            [1, 2],
            {"type": "array", "maxItems": 1, "items": {"type": "integer"}},
            "spec: Too many: 2: must have at most 1 items",
        ),
        ({}, {"type": "object", "required": ["a"]}, "spec.a: Required value"),
        (
            "x",
            {"type": "string", "format": "date-time"},
            'spec: Invalid value: "x": spec in body must be of type date-time: "x"',
        ),
        (1, {"not": {"enum": [1]}}, '<nil>: Invalid value: "": "spec" must not validate the schema (not)'),
        (
            3,
            {"type": "integer", "oneOf": [{"minimum": 1}, {"minimum": 2}]},
            '<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives',  # noqa: E501
        ),
    ],
)
def test_a_broken_rule_is_told_in_these_words(value: Any, schema: dict[str, Any], message: str) -> None:
    assert told(value, schema) == [message]


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (2.0, {"type": "integer"}),
        (1, {"type": "number"}),
        (None, {"type": "string", "nullable": True}),
        ("5%", {"x-kubernetes-int-or-string": True}),
        (5, {"x-kubernetes-int-or-string": True}),
        ({"a": [1, {}]}, {"x-kubernetes-preserve-unknown-fields": True}),
        (3, {"type": "integer", "anyOf": [{"maximum": 1}, {"minimum": 3}]}),
        ("2024-01-01T00:00:00.5+02:00", {"type": "string", "format": "date-time"}),
    ],
)
def test_what_fits_is_let_through(value: Any, schema: dict[str, Any]) -> None:
    assert told(value, schema) == []


@pytest.mark.parametrize(
    ("value", "schema", "messages"),
    [
        (
            2**31,
            {"type": "integer", "format": "int32"},
            ['<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec'],
        ),
        (
            1.5,
            {"type": "integer"},
            [
                'spec: Invalid value: "number": spec in body must be of type integer: "number"',
                '<nil>: Invalid value: "": Checked value must be of type integer (default format) in spec',
            ],
        ),
        (
            True,
            {"type": "integer", "format": "int64"},
            ['spec: Invalid value: "": spec in body must be of type int64: ""'],
        ),
        (
            "x",
            {"type": "integer", "enum": [1]},
            [
                'spec: Invalid value: "string": spec in body must be of type integer: "string"',
                'spec: Unsupported value: "x": supported values: "1"',
            ],
        ),
        (
            True,
            {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            [
                'spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean"',
                '<nil>: Invalid value: "": "spec" must validate at least one schema (anyOf)',
                'spec: Invalid value: "boolean": spec in body must be of type integer: "boolean"',
            ],
        ),
        (
            5,
            {"type": "integer", "allOf": [{"minimum": 6}, {"maximum": 4}]},
            [
                '<nil>: Invalid value: "": "spec" must validate all the schemas (allOf). None validated',
                "spec: Invalid value: 5: spec in body should be greater than or equal to 6",
                "spec: Invalid value: 5: spec in body should be less than or equal to 4",
            ],
        ),
        (
            {"a": 1},
            {"type": "object", "additionalProperties": False},
            ['spec: Invalid value: "a": spec.a in body is a forbidden property'],
        ),
        (
            0,
            {"type": "integer", "minimum": -1.5},
            ['<nil>: Invalid value: "": Minimum boundary value must be of type integer (default format) in spec'],
        ),
        (
            "x",
            {"type": "string", "enum": [{"a": 1}]},
            ['spec: Unsupported value: "x": supported values: "{\\"a\\":1}"'],
        ),
        (
            {"kind": "b", "n": "x"},
            {
                "type": "object",
                "oneOf": [
                    {"properties": {"kind": {"enum": ["a"]}}},
                    {"properties": {"kind": {"enum": ["b"]}, "n": {"pattern": "y"}}},
                ],
            },
            [
                '<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid',
                "spec.n: Invalid value: \"x\": spec.n in body should match 'y'",
            ],
        ),
    ],
)
def test_all_that_is_wrong_with_a_value_is_told(value: Any, schema: dict[str, Any], messages: list[str]) -> None:
    assert told(value, schema) == messages


def test_what_an_update_leaves_alone_is_not_judged_again() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "maxLength": 1}, "b": {"type": "string", "maxLength": 1}},
    }
    assert told({"a": "long", "b": "long"}, schema, old={"a": "long", "b": "x"}) == [
        "spec.b: Too long: may not be more than 1 bytes"
    ]


def test_elements_of_sets_and_maps_are_unique() -> None:
    schema = {
        "type": "object",
        "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}},
            },
        },
    }
    value = {"set": ["a", "b", "a"], "map": [{"k": "x", "v": 1}, {"k": "x", "v": 2}]}
    found = [f"{error.path}: {error.message}" for error in values.check_lists(value, Node(schema))]
    assert found == ['set[2]: Duplicate value: "a"', 'map[1]: Duplicate value: map[string]interface {}{"k":"x"}']


def test_a_message_about_what_was_before_gives_way_to_the_default_where_nothing_was() -> None:
    rule = {"rule": "self > 3", "messageExpression": "string(oldSelf)"}
    schema = {"type": "integer", "x-kubernetes-validations": [rule]}
    [error] = Checker(Node(schema)).check(1, None)
    assert "failed rule: self > 3" in error.message


def test_where_unknown_fields_are_preserved_elements_of_lists_keep_theirs_too() -> None:
    item = {"type": "object", "properties": {"a": {"type": "object"}}}
    listed = {"type": "array", "items": item, "x-kubernetes-preserve-unknown-fields": True}
    value = {"l": [{"a": {"gone": 1}, "kept": 1}]}
    prune(value, Node({"type": "object", "properties": {"l": listed}}), [])
    assert value == {"l": [{"a": {}, "kept": 1}]}


def test_a_map_of_anything_keeps_no_fields_of_its_values() -> None:
    value = {"m": {"text": "a", "object": {"gone": 1}, "list": [{"gone": 1}]}}
    unknown: list[str] = []
    prune(
        value, Node({"type": "object", "properties": {"m": {"type": "object", "additionalProperties": True}}}), unknown
    )  # noqa: E501
    assert value == {"m": {"text": "a", "object": {}, "list": [{}]}}
    assert unknown == ["m.object.gone", "m.list[0].gone"]


def test_nulls_that_may_not_be_are_dropped_where_no_default_takes_their_place() -> None:
    text = {"type": "string"}
    fields = {"plain": text, "default": {**text, "default": "a"}, "null": {**text, "nullable": True}}
    values_of = {"type": "object", "additionalProperties": text}
    inner = {"type": "object", "properties": fields}
    listed = {"type": "array", "items": inner}
    node = Node({"type": "object", "properties": {**fields, "map": values_of, "list": listed}})
    nulls = dict.fromkeys(fields)
    value = {**nulls, "map": {"k": None, "l": "x"}, "list": [None, dict(nulls)]}
    drop_nulls(value, node)
    kept = {"default": None, "null": None}
    assert value == {**kept, "map": {"l": "x"}, "list": [None, kept]}


def test_defaults_take_the_place_of_nulls_in_lists() -> None:
    value = {"l": [None, 1]}
    item = {"type": "integer", "default": 5}
    apply_defaults(value, Node({"type": "object", "properties": {"l": {"type": "array", "items": item}}}))
    assert value == {"l": [5, 1]}


def told_of_lists(value: Any, schema: dict[str, Any]) -> list[str]:
    return [
        f"{error.path}: {error.message}"
        for error in values.check_lists({"l": value}, Node({"properties": {"l": schema}}))
    ]


def test_what_a_list_repeats_is_told_once() -> None:
    assert told_of_lists(["a", "a", "a"], {"x-kubernetes-list-type": "set"}) == ['l[1]: Duplicate value: "a"']


def test_objects_and_lists_in_messages_are_shown_as_go_writes_them() -> None:
    twice = {"b": [1.5, None, "x"], "a": {}}
    shown = 'map[string]interface {}{"a":map[string]interface {}{}, "b":[]interface {}{1.5, interface {}(nil), "x"}}'
    assert told_of_lists([twice, dict(twice)], {"x-kubernetes-list-type": "set"}) == [f"l[1]: Duplicate value: {shown}"]


def test_keys_that_are_left_out_are_keys_too() -> None:
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"]}
    assert told_of_lists([{"a": 1}, {"a": 1, "c": 2}], keyed) == [
        'l[1]: Duplicate value: map[string]interface {}{"a":1}'
    ]
    assert told_of_lists([{"a": 1}, {"a": 1, "b": None}], keyed) == []
    assert told_of_lists([{"a": 1}, 5, {"a": 1}], keyed) == [
        "l[1]: Invalid value: 5: must be an object for an array of list-type map"
    ]


def rules_told(value: Any, old: Any, schema: dict[str, Any]) -> list[str]:
    node = Node({"type": "object", "properties": {"a": schema, "b": {"type": "string"}}})
    return [
        f"{error.path}: {error.message}" for error in Checker(node).check({"a": value, "b": "new"}, old and {"a": old})
    ]


def test_elements_of_a_list_that_is_as_it_was_may_break_rules() -> None:
    item = {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 1"}]}
    schema = {"type": "array", "items": item}
    assert rules_told([1, 2], [1, 2], schema) == []
    assert rules_told([1, 3], [1, 2], schema) == ['a[0]: Invalid value: "integer": failed rule: self > 1']


def test_a_rule_that_cannot_be_asked_is_told_of_even_where_nothing_changed() -> None:
    schema = {"x-kubernetes-int-or-string": True, "x-kubernetes-validations": [{"rule": " self > 1 "}]}
    assert rules_told("x", "x", {"type": "", **schema}) == [
        "a: Invalid value: \"\": 'no such overload': call arguments did not match a supported operator, "
        "function or macro signature for rule: self > 1"
    ]
    schema = {"type": "integer", "x-kubernetes-validations": [{"rule": "1 / self == 1", "message": "no"}]}
    assert rules_told(0, 0, schema) == ['a: Invalid value: "integer": division by zero evaluating rule: no']


def test_rules_that_cost_too_much_end_the_asking_where_they_stand() -> None:
    costly = {"rule": "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"}
    listed = {"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [costly, {"rule": "false"}]}
    assert rules_told(list(range(100)), None, listed) == [
        "a: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules "
        f"will be run due to call cost exceeds limit for rule: {costly['rule']}"
    ]


def test_too_much_at_the_root_is_told_of_nothing_less() -> None:
    (error,) = values.check({"a": 1, "b": 2}, Node({"type": "object", "maxProperties": 1}))
    assert error.path == "<nil>"


@pytest.mark.parametrize(
    ("schema", "value", "is_fine"),
    [
        ({"type": "string", "format": "date-time"}, ["x"], True),
        ({"type": "string", "format": "date-time"}, 1, False),
        ({"type": "string", "format": "nobody-knows"}, ["x"], False),
        ({"type": "string"}, ["x"], False),
        ({"type": "object", "format": "date-time"}, ["x"], False),
        ({"type": "integer", "format": "int32"}, ["x"], False),
    ],
)
def test_a_list_is_let_through_where_a_text_is_to_have_a_format(
    schema: dict[str, Any], value: Any, is_fine: bool
) -> None:
    assert (told(value, schema) == []) is is_fine


def test_limits_that_nothing_can_keep_are_told_of_as_such() -> None:
    why = "factor MultipleOf declared for spec must be positive"
    assert told(4, {"type": "integer", "multipleOf": 0}) == [f"spec: Invalid value: 0: {why}: 0"]
    assert told(4, {"type": "integer", "multipleOf": -3}) == [f"spec: Invalid value: -3: {why}: -3"]
    assert told("x", {"type": "string", "maxLength": -1}) == ["spec: Too long: value is too long"]
    assert told(["x"], {"type": "array", "maxItems": -1}) == ["spec: Too many: 1: has too many items"]
