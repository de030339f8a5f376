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


@pytest.mark.parametrize("text", ["a", "=b", "a=b=c", r"a=\x"])
def test_what_is_no_field_selector_is_refused(text: str) -> None:
    with pytest.raises(selectors.BadSelector):
        selectors.parse_fields(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=b,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be "
            "an integer",
        ),
    ],
)
def test_what_is_wrong_with_a_label_selector_is_told_in_these_words(text: str, message: str) -> None:
    with pytest.raises(selectors.BadSelector) as refused:
        selectors.parse_labels(text)
    assert refused.value.message == message


def test_numbers_to_compare_labels_with_are_values_of_labels() -> None:
    with pytest.raises(selectors.BadSelector, match=r'values\[0\]\[a\]: Invalid value: "-1": a valid label'):
        selectors.parse_labels("a>-1")


def test_escapes_that_are_none_are_told_in_these_words() -> None:
    with pytest.raises(selectors.BadSelector) as refused:
        selectors.parse_fields("metadata.name=a\\b")
    assert refused.value.message == "invalid field selector: invalid escape sequence: \\b"
    with pytest.raises(selectors.BadSelector) as refused:
        selectors.parse_fields("metadata.name=a=b")
    assert refused.value.message == "invalid field selector: unescaped character in value: 61"
