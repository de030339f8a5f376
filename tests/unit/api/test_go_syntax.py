from __future__ import annotations

import pytest

from api import bodies


def said(body: str, content_type: str = "application/json") -> str:
    with pytest.raises(bodies.Malformed) as refused:
        bodies.parse(body.encode(), content_type)
    return refused.value.message


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "unexpected end of JSON input"),
        ('{"a": ', "unexpected end of JSON input"),
        ('{"a": "b', "unexpected end of JSON input"),
        (r'"\ud83d', "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("[1, ]", "invalid character ']' looking for beginning of value"),
        ("[NaN]", "invalid character 'N' looking for beginning of value"),
        ("-Infinity", "invalid character 'I' in numeric literal"),
        ("{a", "invalid character 'a' looking for beginning of object key string"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ('{"a" 1', "invalid character '1' after object key"),
        ('[{"a":[1]}, {"a]":1 "b"', "invalid character '\"' after object key:value pair"),
        ('{"a":[{"]":1} 2', "invalid character '2' after array element"),
        ("{} '", r"invalid character '\'' after top-level value"),
        ("nul", "invalid character ' ' in literal null (expecting 'l')"),
        ("[trUe]", "invalid character 'U' in literal true (expecting 'u')"),
        ("[-]", "invalid character ']' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("[1.5.2]", "invalid character '.' after array element"),
        ("[1e+]", "invalid character ']' in exponent of numeric literal"),
        ("[01]", "invalid character '1' after array element"),
        ('"a\nb"', r"invalid character '\n' in string literal"),
        ('"a\x01b"', r"invalid character '\x01' in string literal"),
        (r'"\q"', "invalid character 'q' in string escape code"),
        (r'"\u12g4"', r"invalid character 'g' in \u hexadecimal character escape"),
        ("é", "invalid character 'Ã' looking for beginning of value"),
    ],
)
def test_a_text_that_is_no_json_is_refused_in_gos_words(body: str, why: str) -> None:
    assert said(body) == why


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{"a":', "yaml: line 1: did not find expected node content"),
        ("a: b: c", "yaml: mapping values are not allowed in this context"),
        ("a: b\nc: [\n", "yaml: line 2: did not find expected node content"),
        ("a:\n  b\n c: d: e", "yaml: line 3: mapping values are not allowed in this context"),
        ("a: *b", "yaml: unknown anchor 'b' referenced"),
        ("&a [*a]", "yaml: anchor 'a' value contains itself"),
    ],
)
def test_a_text_that_is_no_yaml_is_refused_in_gos_words(body: str, why: str) -> None:
    assert said(body, "application/yaml") == why


def test_only_the_first_document_of_yaml_is_looked_at() -> None:
    assert bodies.parse(b'{"a": 1}}', "application/yaml")[0] == {"a": 1}
    assert bodies.parse(b"a: 1\n---\n{", "application/yaml")[0] == {"a": 1}
    assert bodies.parse(b" \n", "application/yaml")[0] is None
