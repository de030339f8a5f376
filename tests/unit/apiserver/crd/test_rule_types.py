"""What rules in CEL may say of which schemas, and how they see values."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.crd.rules import Checker
from apiserver.crd.schema_check import Held, check_schema
from apiserver.crd.structural import Node
from apiserver.crd.values import check

STRING = {"type": "string"}
INT = {"type": "integer"}
ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}
NAME = {"type": "string", "maxLength": 20}
PERSON = {"type": "object", "properties": {"name": NAME, "nick": NAME}}
SHAPES: dict[str, Any] = {
    "text": STRING,
    "maybe": {"type": "string", "nullable": True},
    "count": INT,
    "share": {"type": "number"},
    "port": {"x-kubernetes-int-or-string": True},
    "since": {"type": "string", "format": "date-time"},
    "wait": {"type": "string", "format": "duration"},
    "labels": {"type": "object", "additionalProperties": STRING, "maxProperties": 10},
    "people": {"type": "array", "items": PERSON, "maxItems": 10},
    "team": {
        "type": "array", "items": {**PERSON, "required": ["name"]}, "maxItems": 10,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
    },
    "tags": {"type": "array", "items": STRING, "maxItems": 10, "x-kubernetes-list-type": "set"},
    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"known": INT}},
    "any": ANYTHING,
    "anys": {"type": "array", "items": ANYTHING},
    "inner": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    "namespace": STRING, "while": INT, "a-b": INT,
}  # fmt: skip
VALUE: dict[str, Any] = {
    "text": "abc", "maybe": None, "count": 3, "share": 1, "port": "25%", "since": "2024-01-02T03:04:05Z", "wait": "90s",
    "labels": {"x": "1", "y": "2"}, "people": [{"name": "ann"}, {"name": "bob", "nick": "b"}],
    "team": [{"name": "ann"}, {"name": "bob"}], "tags": ["u", "v"], "open": {"known": 1, "more": 2}, "any": 1,
    "anys": [1, "a"], "inner": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}},
    "namespace": "ns", "while": 1, "a-b": 2,
}  # fmt: skip


def problems(rule: str, **more: Any) -> list[str]:
    """Return what is wrong with a rule, or with the value by it."""
    shape = {"type": "object", "properties": SHAPES, "x-kubernetes-validations": [{"rule": rule, **more}]}
    schema = {"type": "object", "properties": {"spec": shape}}
    refused = [error.message for error in check_schema(schema, "")]
    return refused or [error.message for error in Checker(Node(schema)).check({"spec": VALUE}, None)]


@pytest.mark.parametrize(
    "rule",
    [
        "self.share == 1.0 && self.count < self.share + 5.0",
        "type(self.port) == int ? self.port > 0 : self.port.matches('^[0-9]+%$')",
        "self.port != 1 && self.port == '25%'",
        "self.since < timestamp('2030-01-01T00:00:00Z') && self.since.getFullYear() == 2024",
        "self.wait == duration('1m30s')",
        "self.labels.all(k, size(self.labels[k]) == 1) && has(self.labels.x) && !('z' in self.labels)",
        "self.people.all(a, self.people.exists_one(b, a.name == b.name))",
        "self.people.exists(p, p.nick == 'b') && self.people.map(p, p.name) == ['ann', 'bob']",
        "self.team == [self.team[1], self.team[0]] && self.tags == ['v', 'u']",
        "self.?text.orValue('') == 'abc' && self.labels[?'q'].orValue('none') == 'none'",
        "self.open.known == 1 && has(self.inner)",
        "self.inner.kind == 'Pod' && self.inner.metadata.name == 'p'",
        "self.namespace == 'ns' && self.while == 1",
        "self.__namespace__ == 'ns' && self.__while__ == 1 && self.a__dash__b == 2",
        "[has(self.text), has(self.maybe)].exists_one(x, x)",
        "(has(self.text) ? 1 : 0) + (has(self.maybe) ? 1 : 0) == 1",
    ],
)
def test_what_fits_the_schema_is_let_through_and_holds(rule: str) -> None:
    assert problems(rule) == []


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("self.text > 1", "found no matching overload for '_>_' applied to '(string, int)'"),
        ("self.count == 1.0", "found no matching overload for '_==_' applied to '(int, double)'"),
        ("self.text == null", "found no matching overload for '_==_' applied to '(string, null)"),
        ("self.people[0] == {'name': 'ann'}", "found no matching overload for '_==_'"),
        ("self.people[0] == self.team[0]", "found no matching overload for '_==_'"),
        ("self.open['known'] == 1", "found no matching overload for '_[_]'"),
        ("self.labels.all(k, k > 3)", "found no matching overload for '_>_'"),
        ("has(self.open.more)", "undefined field 'more'"),
        ("has(self.any)", "undefined field 'any'"),
        ("has(self.anys)", "undefined field 'anys'"),
        ("has(self.inner.spec)", "undefined field 'spec'"),
        ("has(self.inner.metadata.namespace)", "undefined field 'namespace'"),
        ("self.true == 1", "mismatched input 'true' expecting IDENTIFIER"),
        ("self.text.matches('[')", "invalid matches argument"),
        ("self.wait > duration('soon')", "invalid duration argument"),
        ("['a'].sum() == 'a'", "found no matching overload for 'sum' applied to 'list(string).()"),
    ],
)
def test_what_cannot_fit_the_schema_is_refused_when_it_is_declared(rule: str, why: str) -> None:
    (problem,) = problems(rule)
    assert "compilation failed" in problem
    assert why in problem


def test_a_rule_must_be_true_or_false() -> None:
    (problem,) = problems("self.text")
    assert problem.endswith("}: cel expression must evaluate to a bool")
    assert problem.startswith('Invalid value: apiextensions.ValidationRule{Rule:"self.text", Message:"", ')


def test_a_message_must_be_a_text() -> None:
    assert problems("self.count > 5", messageExpression="'only %d'.format([self.count])") == [
        'Invalid value: "object": only 3'
    ]
    (problem,) = problems("self.count > 5", messageExpression="self.count")
    assert "messageExpression must evaluate to a string" in problem


@pytest.mark.parametrize(
    ("list_type", "is_told"),
    [({}, False), ({"x-kubernetes-list-type": "set"}, False), ({"x-kubernetes-list-type": "atomic"}, False)]
    + [({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}, True)],
)
def test_a_past_is_only_asked_for_where_it_can_be_told(list_type: dict[str, Any], is_told: bool) -> None:
    """Only keys say which element was which."""
    item = {
        "type": "object",
        "properties": {"name": STRING, "deep": {**STRING, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}},
        "required": ["name"],
        "x-kubernetes-map-type": "atomic",
    }
    listed = {"type": "array", "items": item, "maxItems": 4, **list_type}
    found = [error.message for error in check_schema({"type": "object", "properties": {"all": listed}}, "s")]
    why = "oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[all]"
    assert found == ([] if is_told else [f'Invalid value: "self == oldSelf": {why}'])


def test_an_optional_past_is_a_value_of_its_own() -> None:
    rule = {"rule": "!oldSelf.hasValue() || oldSelf.value() == self", "optionalOldSelf": True}
    schema = {"type": "object", "properties": {"a": {**STRING, "x-kubernetes-validations": [rule]}}}
    assert not list(check_schema(schema, ""))
    rule["optionalOldSelf"] = False
    assert [error.path.rpartition(".")[2] for error in check_schema(schema, "")] == ["rule", "optionalOldSelf"]


def test_a_place_below_lists_of_any_length_is_counted_by_what_a_request_can_hold() -> None:
    """However lists nest, three megabytes hold only so many of what is in them."""
    rule = {"rule": "self.a != 'x' || self.b != 'y' || self.c.startsWith('z')"}
    inner = {
        "type": "object", "required": ["a", "b", "c"], "properties": dict.fromkeys("abc", STRING),
        "x-kubernetes-validations": [rule],
    }  # fmt: skip
    listed = {"type": "array", "items": {"type": "array", "items": {"type": "array", "items": inner}}}
    assert not list(check_schema({"type": "object", "properties": {"all": listed}}, ""))
    inner["properties"]["c"] = {"type": "string", "maxLength": 100}
    rule["rule"] = "self.c.matches('^a')"
    assert not list(check_schema({"type": "object", "properties": {"all": listed}}, ""))
    rule["rule"] = "self.c.matches('^[a-z]+$')"
    (error,) = check_schema({"type": "object", "properties": {"all": listed}}, "")
    assert "estimated rule cost exceeds budget by factor of 1.101005x" in error.message


def test_rules_that_cost_too_much_together_are_named() -> None:
    def ruled(length: int) -> dict[str, Any]:
        return {"type": "string", "maxLength": length, "x-kubernetes-validations": [{"rule": "self.contains(self)"}]}

    # A character may be four bytes, and each costs a tenth: 7,100 of them come to the square of 2,840.
    few = {f"f{i}": ruled(7_100) for i in range(12)}
    assert not list(check_schema({"type": "object", "properties": few}, "s"))
    many = {**few, **{f"g{i}": ruled(7_900) for i in range(2)}, "h": ruled(10)}
    found = list(check_schema({"type": "object", "properties": many}, "s"))
    assert [error.path for error in found] == [
        *(f"s.properties[{name}].x-kubernetes-validations[0].rule" for name in ("g0", "g1", "f0", "f1")), "s",
    ]  # fmt: skip
    assert (
        "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema" in found[0].message
    )
    assert found[4].message.startswith(
        "Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by "
        "factor of 1."
    )


def test_a_rule_of_a_schema_that_is_stored_already_may_cost_what_it_does() -> None:
    rule = {"rule": "self.contains(self)"}
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9_000}}}
    schema["properties"]["a"]["x-kubernetes-validations"] = [rule]
    (error,) = check_schema(schema, "")
    assert "estimated rule cost exceeds budget by factor of 1.296000x" in error.message
    assert not list(check_schema(schema, "", held=Held(costs=False)))


def test_a_default_keeps_the_rules_of_its_own_place() -> None:
    ruled = {**INT, "x-kubernetes-validations": [{"rule": "self > 1"}]}
    assert not list(check_schema({"type": "object", "properties": {"a": {**ruled, "default": 2}}}, ""))
    (error,) = check_schema({"type": "object", "properties": {"a": {**ruled, "default": 1}}}, "")
    assert (error.path, error.message) == (
        ".properties[a].default",
        'Invalid value: "integer": failed rule: self > 1',
    )
    ruled["x-kubernetes-validations"] = [{"rule": "oldSelf.hasValue()", "optionalOldSelf": True}]
    (error,) = check_schema({"type": "object", "properties": {"a": {**ruled, "default": 1}}}, "")
    assert error.message == 'Invalid value: "integer": failed rule: oldSelf.hasValue()'


def kept(shape: dict[str, Any], old: Any, new: Any) -> list[str]:
    """Return what is wrong with a change of a field, all of which was let in before."""
    node = Node({"type": "object", "properties": {"f": shape}})
    errors = [*check({"f": new}, node, old={"f": old}), *Checker(node).check({"f": new}, {"f": old})]
    return [error.path for error in errors]


def test_items_told_apart_by_keys_may_change_places_in_what_would_not_be_let_in_any_more() -> None:
    item = {"type": "object", "properties": {"k": {"type": "string", "minLength": 2}, "v": INT}, "required": ["k"]}
    listed = {
        "type": "array", "items": item, "maxItems": 1,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
        "x-kubernetes-validations": [{"rule": "size(self) < 2"}],
    }  # fmt: skip
    one, two = {"k": "a", "v": 1}, {"k": "b", "v": 2}
    assert kept(listed, [one, two], [two, one]) == []
    assert kept(listed, [one, two], [two, {**one, "v": 3}]) == ["f", "f"]
    assert "f[1].k" in kept(listed, [one, two], [two, {"k": "c"}])
    plain = {**listed, "x-kubernetes-list-type": "atomic"}
    assert kept(plain, [one, two], [two, one])[0] == "f"


def test_a_rule_names_another_place_as_errors_do() -> None:
    rules = [{"rule": "false", "fieldPath": path} for path in (".a", "['a']", ".b['x'].c", ".b.x")]
    thing = {"type": "object", "properties": {"c": INT}}
    fields = {"a": INT, "b": {"type": "object", "additionalProperties": thing}}
    shape = {"type": "object", "properties": fields, "x-kubernetes-validations": rules}
    found = Checker(Node({"type": "object", "properties": {"s": shape}})).check({"s": {}}, None)
    assert [error.path for error in found] == ["s.a", "s.a", "s.b[x].c", "s.b[x]"]


def test_the_sum_of_no_lengths_of_time_is_one() -> None:
    ruled = {"x-kubernetes-validations": [{"rule": "self.filter(w, w > duration('0s')).sum() < duration('1h')"}]}
    waits = {"type": "array", "items": {"type": "string", "format": "duration"}, "maxItems": 5, **ruled}
    checker = Checker(Node({"type": "object", "properties": {"waits": waits}}))
    assert [len(list(checker.check({"waits": each}, None))) for each in ([], ["0s"], ["30m"], ["30m", "40m"])] == [
        0, 0, 0, 1,
    ]  # fmt: skip
