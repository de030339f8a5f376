"""What a schema may say, what its defaults may be, and what an update may leave as it is."""

from typing import Any

import pytest

from apiserver.crd.schema_check import Held, check_schema, held_after

STRING = {"type": "string"}
BEYOND = "must be empty to be structural"


def told(schema: dict[str, Any], *, has_status: bool = False, held: Held = Held()) -> list[str]:
    """Return what is wrong with a schema."""
    return [f"{e.path}: {e.message}" for e in check_schema(schema, "s", has_status=has_status, held=held)]


def told_of(place: dict[str, Any]) -> list[str]:
    """Return what is wrong with a place in a schema."""
    found = told({"type": "object", "properties": {"p": place}})
    return [each.removeprefix("s.properties[p]").removeprefix(".") for each in found]


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ({"type": "null"}, [
            'type: Unsupported value: "null": supported values: "array", "boolean", "integer", "number", "object", '
            '"string"',
            "type: Forbidden: type cannot be set to null, use nullable as an alternative",
        ]),
        ({"x-kubernetes-list-type": "set", "x-kubernetes-preserve-unknown-fields": True}, [
            "type: Required value: must be array if x-kubernetes-list-type is specified"
        ]),
        ({"x-kubernetes-map-type": "atomic", "x-kubernetes-preserve-unknown-fields": True}, [
            "type: Required value: must be object if x-kubernetes-map-type is specified"
        ]),
        ({"type": "string", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}, [
            'type: Invalid value: "string": must be object if x-kubernetes-embedded-resource is true'
        ]),
        ({"type": "array", "items": STRING, "x-kubernetes-list-type": "odd"}, [
            'x-kubernetes-list-type: Unsupported value: "odd": supported values: "atomic", "set", "map"'
        ]),
        ({"type": "array", "items": STRING, "x-kubernetes-list-map-keys": ["a"]}, [
            "x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty"
        ]),
        ({"type": "array", "items": {"type": "object", "x-kubernetes-map-type": "granular"}, "x-kubernetes-list-type": "set"}, [  # noqa: E501
            'items.x-kubernetes-map-type: Invalid value: "null": must be atomic as item of a list with '
            "x-kubernetes-list-type=set"
        ]),
        ({"type": "object", "properties": {"a": STRING}, "additionalProperties": False}, [
            "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"
        ]),
        ({"type": "string", "minLength": -1}, []),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": False}, [
            "x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"
        ]),
        ({"x-kubernetes-preserve-unknown-fields": True, "x-kubernetes-validations": [{"rule": "true"}]}, [
            "x-kubernetes-validations: Internal error: internal error: failed to construct type information for "
            "x-kubernetes-validations rules: unable to convert structural schema to CEL declarations"
        ]),
    ],
)  # fmt: skip
def test_a_place_must_be_what_its_keywords_need(place: dict[str, Any], wanted: list[str]) -> None:
    assert told_of(place) == wanted


def test_below_logic_nothing_is_said_of_structure_and_patterns_are_read() -> None:
    part = {"type": "string", "x-kubernetes-embedded-resource": True, "pattern": "["}
    assert told_of({"type": "object", "allOf": [part]}) == [
        'allOf[0].pattern: Invalid value: "[": must be a valid regular expression, but isn\'t: error parsing regexp: '
        "missing closing ]: `[`",
        "allOf[0].type: Forbidden: must be empty to be structural",
        "allOf[0].x-kubernetes-embedded-resource: Forbidden: must be false to be structural",
    ]


def test_what_only_logic_knows_of_is_missed_once_and_itself_judged() -> None:
    bar = {"type": "object", "description": "x", "properties": {"deep": {"type": "string"}}}
    assert sorted(told_of({"type": "object", "anyOf": [{"properties": {"bar": bar}}]})) == [
        "anyOf[0].properties[bar].description: Forbidden: must be empty to be structural",
        "anyOf[0].properties[bar].properties[deep].type: Forbidden: must be empty to be structural",
        "anyOf[0].properties[bar].type: Forbidden: must be empty to be structural",
        "properties[bar]: Required value: because it is defined in s.properties[p].anyOf[0].properties[bar]",
    ]


def test_no_object_is_embedded_in_metadata_and_no_default_stands_in_it_at_the_root() -> None:
    inner = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    metadata = {"type": "object", "properties": {"a": inner}}
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"metadata": metadata}}
    assert told_of(embedded) == [
        "properties[metadata].properties[a].x-kubernetes-embedded-resource: Forbidden: must not be used inside of "
        "resource meta"
    ]
    named = {"type": "object", "properties": {"name": {**STRING, "default": "a"}}}
    assert told({"type": "object", "properties": {"metadata": named}}) == [
        "s.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata"
    ]


def test_with_a_status_of_its_own_the_root_is_an_object_and_says_little() -> None:
    assert told({"type": "object", "properties": {"a": STRING}}, has_status=True) == []
    (first, *_) = told({"type": "string"}, has_status=True)
    assert first == (
        's.type: Invalid value: "string": only "object" is allowed as the type at the root of the schema if the status '
        "subresource is enabled"
    )
    (only,) = told({"type": "object", "minProperties": 1, "maxProperties": 2}, has_status=True)
    assert "fields are allowed at the root of the schema if the status subresource is enabled" in only


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ({"type": "object", "properties": {"a": STRING}, "default": {"a": "x", "b": 1}}, [
            'default: Invalid value: map[string]interface {}{"a":"x", "b":1}: must not have unknown fields'
        ]),
        ({"type": "object", "required": ["a"], "properties": {"a": {**STRING, "default": "x"}}, "default": {}}, [
            "default.a: Required value"
        ]),
        ({"type": "array", "items": {**STRING, "enum": ["a"], "default": "b"}}, [
            'items.default: Unsupported value: "b": supported values: "a"'
        ]),
        ({"type": "array", "items": STRING, "x-kubernetes-list-type": "set", "default": ["x", "x"]}, []),
    ],
)  # fmt: skip
def test_a_default_must_keep_its_own_schema(place: dict[str, Any], wanted: list[str]) -> None:
    assert told_of(place) == wanted


def test_a_default_within_an_embedded_object_must_make_a_good_one() -> None:
    def of(**properties: Any) -> list[str]:
        return told_of({"type": "object", "x-kubernetes-embedded-resource": True, "properties": properties})

    labels = {"type": "object", "additionalProperties": STRING, "default": {"a": "x y"}}
    (error,) = of(metadata={"type": "object", "properties": {"labels": labels}})
    assert error.startswith(
        'properties[metadata].properties[labels].default: Invalid value: map[string]interface {}{"a":"x y"}: '
        "must result in valid metadata: "
        'metadata.labels: Invalid value: "x y": a valid label'
    )
    (error,) = of(metadata={"type": "object", "properties": {"name": {"type": "integer", "default": 1}}})
    assert error == (
        "properties[metadata].properties[name].default: Invalid value: 1: must result in valid metadata: metadata: "
        'Invalid value: map[string]interface {}{"name":1}: '
        "json: cannot unmarshal number into Go struct field ObjectMeta.name of type string"
    )
    assert of(kind={**STRING, "default": "Pod"}, metadata={"type": "object", "default": {"name": "a"}}) == []


def test_a_default_that_is_an_embedded_object_is_a_whole_one() -> None:
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    assert told_of({**embedded, "default": {"kind": "Pod"}}) == ["default.apiVersion: Required value"]
    assert told_of({**embedded, "default": {"apiVersion": "v1", "kind": "", "metadata": 1}}) == [
        "default.metadata: Invalid value: 1: json: cannot unmarshal number into Go value of type v1.ObjectMeta"
    ]
    assert told_of({**embedded, "default": {"apiVersion": "a/b/c", "kind": ""}}) == [
        'default.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
        'default.kind: Invalid value: "": must not be empty',
    ]


def test_rules_wait_until_all_else_is_well_at_their_place_and_below() -> None:
    ruled = {"type": "object", "properties": {"a": STRING}, "x-kubernetes-validations": [{"rule": "self.b"}]}
    assert len(told_of(ruled)) == 1
    broken = {**ruled, "properties": {"a": {"type": "string", "x-kubernetes-list-type": "set"}}}
    assert told_of(broken) == [
        'properties[a].type: Invalid value: "string": must be array if x-kubernetes-list-type is specified'
    ]


@pytest.mark.parametrize(
    ("path", "is_good"),
    [
        (".a.b", True),
        (".m['x.y']", True),
        (".a['b']", True),
        (r".m['it\'s']", True),
        (r".m['\q']", False),
        (".m[x]", False),
        (".l[0]", False),
        (".a.c", False),
        ("a", False),
        (".", False),
        (".a[", False),
        (".a['b'", False),
    ],
)
def test_a_rule_blames_a_field_that_there_is(path: str, is_good: bool) -> None:
    fields = {
        "a": {"type": "object", "properties": {"b": STRING}},
        "m": {"type": "object", "additionalProperties": STRING},
        "l": {"type": "array", "items": STRING},
    }
    rule = {"rule": "true", "fieldPath": path}
    found = told_of({"type": "object", "properties": fields, "x-kubernetes-validations": [rule]})
    assert [each.rpartition(": ")[2] for each in found] == ([] if is_good else ["fieldPath must be a valid path"])


def test_a_rule_has_a_text_and_one_line_of_message() -> None:
    rules = [
        {"rule": " "},
        {"rule": "true", "message": " "},
        {"rule": "true\n"},
        {"rule": "tr\nue"},
        {"rule": "true", "messageExpression": " "},
        {"rule": "true", "fieldPath": " "},
    ]
    found = told_of({**STRING, "x-kubernetes-validations": rules})
    assert [each.removeprefix("x-kubernetes-validations") for each in found] == [
        "[0].rule: Required value: rule is not specified",
        '[1].message: Invalid value: " ": message must be non-empty if specified',
        "[3].message: Required value: message must be specified if rule contains line breaks",
        "[4].messageExpression: Required value: messageExpression must be non-empty if specified",
        '[5].fieldPath: Invalid value: " ": fieldPath must be non-empty if specified',
        '[5].fieldPath: Invalid value: " ": fieldPath must be a valid path',
    ]


@pytest.mark.parametrize(
    "place",
    [
        {"type": "odd"},
        {"type": "object", "default": {"a": 1}},
        {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"},
        {"type": "array", "items": {**STRING, "nullable": True}, "x-kubernetes-list-type": "set"},
        {
            "type": "array",
            "items": {"type": "object", "properties": {"k": STRING}},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
        },
    ],
)
def test_what_a_former_schema_broke_a_new_one_may_break(place: dict[str, Any]) -> None:
    old = {"type": "object", "properties": {"old": place}}
    new = {"type": "object", "properties": {"new": place}}
    assert len(told(new)) == len(told(new, held=held_after([{"type": "object"}]))) == 1
    assert told(new, held=held_after([old])) == []


def test_structure_is_not_asked_of_what_had_none() -> None:
    loose = {"properties": {"a": {"description": "anything"}}}
    assert not held_after([loose]).structure
    assert told(loose, held=held_after([loose])) == []


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "missing closing ): `(`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("+", "missing argument to repetition operator: `+`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
    ],
)
def test_what_is_wrong_with_a_pattern_is_told_in_gos_words(pattern: str, why: str) -> None:
    (error,) = told_of({"type": "string", "pattern": pattern})
    assert error.endswith(f"but isn't: error parsing regexp: {why}")


def test_a_rule_that_does_not_compile_uses_no_old_value() -> None:
    rule = {"rule": "self.nope == oldSelf", "optionalOldSelf": True}
    (first, second) = told_of({"type": "object", "properties": {}, "x-kubernetes-validations": [rule]})
    assert "compilation failed" in first
    assert second.endswith("optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule")


def test_defaults_are_told_of_where_they_stand() -> None:
    listed = {"type": "array", "maxItems": 1, "items": STRING, "default": ["a", 1]}
    assert told_of(listed) == [
        "default: Too many: 2: must have at most 1 items",
        'default.[1]: Invalid value: "integer": [1] in body must be of type string: "integer"',
    ]
