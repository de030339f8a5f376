from __future__ import annotations

import pytest

from api import go_types
from api.core.node import Taint
from api.core.security_context import SecurityContext
from api.meta import LabelSelector, LabelSelectorRequirement, OwnerReference
from api.validation import duplicate, invalid, show


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a é 世", '"a é 世"'),
        ('a"b\\', r'"a\"b\\"'),
        ("\n\t\x07\x00\x7f", r'"\n\t\a\x00\x7f"'),
        ("\u00a0\u200b\U000e0001", r'"\u00a0\u200b\U000e0001"'),
    ],
)
def test_a_text_is_quoted_as_go_quotes_it(text: str, shown: str) -> None:
    assert show(text) == shown


def test_what_is_declared_is_shown_as_go_source() -> None:
    selector = LabelSelector(
        match_labels={"b": "2", "a": "1"},
        match_expressions=[LabelSelectorRequirement(key="k", operator="In", values=["v"])],
    )
    assert show(selector) == (
        'v1.LabelSelector{MatchLabels:map[string]string{"a":"1", "b":"2"}, MatchExpressions:'
        '[]v1.LabelSelectorRequirement{v1.LabelSelectorRequirement{Key:"k", Operator:"In", Values:[]string{"v"}}}}'
    )
    assert show([Taint(key="a")]) == (
        '[]core.Taint{core.Taint{Key:"a", Value:"", Effect:"", TimeAdded:(*v1.Time)(nil)}}'
    )
    shown = show(OwnerReference(api_version="v1", kind="A", name="a", uid="u", controller=True))
    assert shown == (
        'v1.OwnerReference{APIVersion:"v1", Kind:"A", Name:"a", UID:"u", Controller:&true, '
        "BlockOwnerDeletion:(*bool)(nil)}"
    )


def test_bytes_are_shown_one_by_one_and_abbreviations_keep_their_capitals() -> None:
    assert show(go_types.octets(b"a\0")) == "[]byte{0x61, 0x0}"
    assert show(go_types.octets(b"")) == "[]byte(nil)"
    assert "SELinuxOptions:(*core.SELinuxOptions)(nil)" in show(SecurityContext())


def test_lists_and_maps_of_texts_say_what_they_are() -> None:
    assert show(["a", "b"]) == '[]string{"a", "b"}'
    assert show([]) == "[]string(nil)"
    assert show({"a": "b"}) == 'map[string]string{"a":"b"}'
    assert show(go_types.texts("core.IPFamily", ["IPv4"])) == '[]core.IPFamily{"IPv4"}'


def test_what_is_a_number_or_a_text_is_shown_with_its_type() -> None:
    assert show(go_types.int_or_string("20%")) == 'intstr.IntOrString{Type:1, IntVal:0, StrVal:"20%"}'
    assert show(go_types.int_or_string(0)) == 'intstr.IntOrString{Type:0, IntVal:0, StrVal:""}'


def test_plain_values_are_shown_plainly() -> None:
    assert (show(1), show(True), show(None)) == ("1", "true", '"null"')
    assert invalid("a", 3, "no").message == "Invalid value: 3: no"
    assert duplicate("a", "x").message == 'Duplicate value: "x"'


def test_documents_have_types_of_their_own() -> None:
    assert go_types.literal({"a": [1, None]}) == 'map[string]interface {}{"a":[]interface {}{1, interface {}(nil)}}'
