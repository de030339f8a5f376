from dataclasses import replace

import pytest

from api import selectors
from api.core import configmap, pod
from api.custom import CustomObject
from api.meta import LabelSelector, LabelSelectorRequirement

WEB = {"app": "web", "tier": "front", "version": "3"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True), ("app=web", True), ("app==web", True), ("app!=web", False), ("app in (api, web)", True),
        ("app notin (api)", True), ("missing notin (x)", True), ("missing!=x", True), ("missing=x", False),
        ("tier", True), ("!tier", False), ("!missing", True), ("version>2", True), ("version<3", False),
        ("app=web,tier=back", False), ("app=web , tier in (front)", True), ("app=", False), ("app in (,web)", True),
        ("missing>1", False), ("tier>1", False),
    ],
)  # fmt: skip
def test_label_selectors_mean_what_kubectl_users_expect(text: str, matches: bool) -> None:
    assert selectors.parse_labels(text).matches(WEB) is matches


KEY = "name part must consist of alphanumeric characters"
VALUE = "a valid label must be an empty string or consist of alphanumeric characters"
BAD = "unable to parse requirement: "


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a,", "found '', expected: identifier after ','"),
        ("!a in (b)", "found 'in', expected: ',' or 'end of string'"),
        ("!", f"{BAD}found '', expected: identifier"),
        ("a in b", f"{BAD}found 'b' expected: '('"),
        ("a in (=", f"{BAD}found '=', expected: ',', ')' or identifier"),
        ("a in (b", f"{BAD}found '', expected: ',' or ')'"),
        ("a in (b c)", f"{BAD}found 'c', expected: ',' or ')'"),
        ("a in (b,=)", f"{BAD}found '=', expected: ',', or identifier"),
        ("a in (b,,)", f"{BAD}found ')', expected: ',', or identifier"),
        ("a b", f"{BAD}found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a!b", f"{BAD}found '!', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=!b", f"{BAD}found '!', expected: identifier"),
        ("-a=b", f'{BAD}<nil>: Invalid value: "-a": {KEY}'),
        ("a=_", f'{BAD}values[0][a]: Invalid value: "_": {VALUE}'),
        ("a in (b,_)", f'{BAD}values[0][a]: Invalid value: "_": {VALUE}'),
        ("a in (_,-)", f'{BAD}[values[0][a]: Invalid value: "-": {VALUE}'),
        ("a>x", f"{BAD}values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"),
        ("a>-5", f'{BAD}values[0][a]: Invalid value: "-5": {VALUE}'),
    ],
)
def test_what_is_no_label_selector_is_refused_in_upstreams_words(text: str, why: str) -> None:
    with pytest.raises(selectors.BadSelector) as caught:
        selectors.parse_labels(text)
    assert caught.value.message.startswith(why)


@pytest.mark.parametrize(
    "text", ["a=b", "a!=b", "a in (b,c)", "a notin (b,c)", "a in (b)", "a notin (b)", "a", "!a", "a>1", "a=b,c"]
)
def test_a_selector_prints_as_it_parses(text: str) -> None:
    assert str(selectors.parse_labels(text)) == text


def test_an_absent_selector_matches_nothing_and_an_empty_one_everything() -> None:
    assert not selectors.of_label_selector(None).matches(WEB)
    assert selectors.of_label_selector(LabelSelector()).matches(WEB)


def test_expressions_and_labels_must_all_hold() -> None:
    wanted = LabelSelector(
        match_labels={"app": "web"},
        match_expressions=[LabelSelectorRequirement(key="tier", operator="NotIn", values=["back"])],
    )
    assert selectors.of_label_selector(wanted).matches(WEB)
    assert str(selectors.of_label_selector(wanted)) == "app=web,tier notin (back)"
    assert not selectors.of_label_selector(wanted).matches(WEB | {"tier": "back"})


def test_pods_are_selected_by_node_and_phase() -> None:
    selector = selectors.parse_fields("spec.nodeName=n1,status.phase!=Succeeded")
    predicate = selector.compile(pod.RESOURCE)
    there = pod.Pod(spec=pod.PodSpec(node_name="n1"))
    assert predicate(there)
    there.status.phase = "Succeeded"
    assert not predicate(there)
    assert selector.exact("spec.nodeName") == "n1"
    assert selector.exact("status.phase") is None


def test_a_field_that_cannot_be_selected_by_is_named_in_the_refusal() -> None:
    with pytest.raises(selectors.BadSelector, match="field label not supported: spec.foo"):
        selectors.parse_fields("spec.foo=1").compile(pod.RESOURCE)


def test_escapes_in_field_values_are_undone() -> None:
    [term] = selectors.parse_fields(r"reason=a\,b\=c\\").terms
    assert term.value == "a,b=c\\"
    assert str(selectors.parse_fields(str(term))) == str(term)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("b=c,a", "invalid selector: 'b=c,a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        ("a=\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_what_is_no_field_selector_is_refused_in_upstreams_words(text: str, why: str) -> None:
    with pytest.raises(selectors.BadSelector) as caught:
        selectors.parse_fields(text)
    assert caught.value.message == why


def test_terms_of_fields_are_taken_as_they_stand_and_of_nothing_nothing_is_asked() -> None:
    assert str(selectors.parse_fields("spec.x=v, a=w,=,,==")) == " a=w,spec.x=v"
    with pytest.raises(selectors.BadSelector, match="field label not supported:  metadata.name"):
        selectors.parse_fields(" metadata.name=a").compile(pod.RESOURCE)


def test_what_custom_objects_are_not_selected_by_is_told_as_upstream_tells_it() -> None:
    for kind, why in (
        (CustomObject, "field label not supported: a"),
        (configmap.ConfigMap, '"a" is not a known field'),
    ):
        with pytest.raises(selectors.BadSelector) as caught:
            selectors.parse_fields("a=b").compile(replace(configmap.RESOURCE, type=kind))
        assert caught.value.message.startswith(why)
