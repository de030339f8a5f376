"""Bodies that mean harm are refused in bounded time and memory, with a sentence that says why."""

from __future__ import annotations

import time

import pytest

from api import bodies, serde
from api.core import configmap
from api.errors import BadRequest

ALIASES = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(12)
)
MERGES = b"a: &a {x: 1}\n" + b"".join(
    b"%c: &%c {<<: [%s]}\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 200)) for i in range(6)
)
JSON, YAML = "application/json", "application/yaml"
CASES = {
    "a million nested arrays": (b"[" * 1_000_000 + b"]" * 1_000_000, JSON, "nests deeper"),
    "nested objects": (b'{"a":' * 400_000 + b"1" + b"}" * 400_000, JSON, "nests deeper"),
    "nesting just over the limit": (b'{"x":' + b"[" * 250 + b"]" * 250 + b"}", JSON, "nests deeper"),
    "a number of a million digits": (b'{"data":' + b"9" * 1_000_000 + b"}", JSON, "digits"),
    "aliases of aliases": (ALIASES, YAML, "unfolds to more"),
    "merges of merges": (MERGES, YAML, "unfolds to more"),
    "nested flow": (b"[" * 1_000_000, YAML, "nests deeper"),
    "nested block": (b"".join(b" " * i + b"-\n" for i in range(1000)), YAML, "nests deeper"),
    "a number of a million digits, in YAML": (b"a: " + b"9" * 1_000_000, YAML, "a number is too long"),
    "a number that is none": (b"a: !!int ''", YAML, "not what its tag says"),
    "a boolean that is none": (b"a: !!bool x", YAML, "not what its tag says"),
    "a map that is none": (b"a: !!map [x]", YAML, "not what its tag says"),
    "an alias of itself": (b"a: &a [*a]\n", YAML, "value contains itself"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_body_that_means_harm_is_refused_quickly(name: str) -> None:
    body, content_type, why = CASES[name]
    began = time.process_time()
    with pytest.raises(BadRequest, match=why):
        serde.decode(body, configmap.RESOURCE, content_type=content_type, field_validation="Strict")
    assert time.process_time() - began < 5


def test_sexagesimal_numbers_are_text() -> None:
    decoded = serde.decode(b"data: {a: 1:30:00}", configmap.RESOURCE, content_type=YAML)
    assert decoded.object.data == {"a": "1:30:00"}
    serde.decode(b"x: " + b"1:" * 300_000 + b"1", configmap.RESOURCE, content_type=YAML)


def test_only_so_many_repeated_fields_are_listed() -> None:
    body = b'{"x":[' + b'{"a":1,"a":2},' * 5_000 + b"1]}"
    decoded = serde.decode(body, configmap.RESOURCE, field_validation="Warn")
    assert len(decoded.warnings) <= 102


def test_what_nests_to_the_limit_is_taken() -> None:
    depth = bodies.DEPTH_MAX - 1
    value, _ = bodies.parse(b'{"x":' + b"[" * depth + b"]" * depth + b"}")
    assert "x" in value


def test_json_that_is_called_yaml_is_read_as_json() -> None:
    value, duplicates = bodies.parse(b' {"a": {"b": 1,\n "b": 2}}', "application/apply-patch+yaml")
    assert value == {"a": {"b": 2}}
    assert duplicates == [bodies.Duplicate("a.b", "b", 2)]
    assert bodies.parse(b"{a: b}", "application/apply-patch+yaml")[0] == {"a": "b"}


def test_half_a_pair_of_surrogates_is_replaced_and_a_whole_one_kept() -> None:
    body = rb'{"a": "\ud800 \udc00\uD800 \ud83d\ude00 \\ud800 \u00e9"}'
    assert bodies.parse(body)[0] == {"a": "\ufffd \ufffd\ufffd \U0001f600 \\ud800 \u00e9"}


def test_yaml_tags_make_nothing_that_json_does_not_have() -> None:
    body = b"a: !!set {x, y}\nb: !!pairs [x: y]\nc: !!omap [x: y]"
    assert bodies.parse(body, YAML)[0] == {"a": {"x": None, "y": None}, "b": [{"x": "y"}], "c": [{"x": "y"}]}
