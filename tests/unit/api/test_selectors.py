import pytest

from api import selectors
from api.core import pod
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


@pytest.mark.parametrize("text", ["a=b=c", "=x", "a in b", "a in (b", "a b", "a,,b", "-a=b", "a=_", "a>x", ",", "a!b"])
def test_what_is_no_label_selector_is_refused(text: str) -> None:
    with pytest.raises(selectors.BadSelector):
        selectors.parse_labels(text)


@pytest.mark.parametrize("text", ["a=b", "a!=b", "a in (b,c)", "a notin (b,c)", "a", "!a", "a>1", "a=b,c"])
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
    assert str(selectors.of_label_selector(wanted)) == "app=web,tier!=back"
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


@pytest.mark.parametrize("text", ["a", "a=b=c", r"a=\x"])
def test_what_is_no_field_selector_is_refused(text: str) -> None:
    with pytest.raises(selectors.BadSelector):
        selectors.parse_fields(text)


NO_INTEGER = "for 'Gt', 'Lt' operators, the value must be an integer"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x=a,", "found '', expected: identifier after ','"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("x=a b", "found 'b', expected: ',' or 'end of string'"),
        ("!x=a", "found '=', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("x in a", "unable to parse requirement: found 'a' expected: '('"),
        ("x in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("x in (a,(", "unable to parse requirement: found '(', expected: ',', or identifier"),
        ("x=(a)", "unable to parse requirement: found '(', expected: identifier"),
        ("x a", "unable to parse requirement: found 'a', expected: in, notin, =, ==, !=, gt, lt"),
        ("x>y", f'unable to parse requirement: values[0]: Invalid value: "y": {NO_INTEGER}'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_label_selector_is_said_in_upstreams_words(text: str, why: str) -> None:
    with pytest.raises(selectors.BadSelector) as failure:
        selectors.parse_labels(text)
    assert failure.value.message == why


def test_a_label_selectors_bad_key_and_values_are_named() -> None:
    with pytest.raises(
        selectors.BadSelector, match=r'^unable to parse requirement: <nil>: Invalid value: "-x": name p'
    ):
        selectors.parse_labels("-x=1")
    with pytest.raises(selectors.BadSelector) as failure:
        selectors.parse_labels('x in ("a",-)')
    assert 'values[0][x]: Invalid value: "\\"a\\"": a valid label' in failure.value.message
    assert 'values[1][x]: Invalid value: "-": a valid label' in failure.value.message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        ("a=\\", "invalid field selector: invalid escape sequence: \\"),
        ("a", "invalid selector: 'a'; can't understand 'a'"),
    ],
)
def test_what_is_wrong_with_a_field_selector_is_said_in_upstreams_words(text: str, why: str) -> None:
    with pytest.raises(selectors.BadSelector) as failure:
        selectors.parse_fields(text)
    assert failure.value.message == why
