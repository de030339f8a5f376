from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api import serde
from api.autoscaling.v2 import horizontalpodautoscaler
from api.core import configmap, namespace
from api.resource import Resource
from api.type_meta import Unreadable, check

NO_KIND = 'no kind "{}" is registered for version "{}" in scheme "pkg/api/legacyscheme/scheme.go:30"'


@pytest.mark.parametrize("value", [{}, {"kind": "ConfigMap"}, {"apiVersion": "v1"}, {"apiVersion": "", "kind": None}])
def test_an_object_of_a_built_in_kind_need_not_say_what_it_is(value: dict[str, Any]) -> None:
    check(value, configmap.RESOURCE, is_strict=True, body=b"")


@pytest.mark.parametrize(
    ("resource", "api_version", "kind", "why"),
    [
        (configmap.RESOURCE, "v1", "Pod", "converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
        (configmap.RESOURCE, "v1", "Foo", NO_KIND.format("Foo", "v1")),
        (configmap.RESOURCE, "apps/v9", "ConfigMap", NO_KIND.format("ConfigMap", "apps/v9")),
        (
            horizontalpodautoscaler.RESOURCE,
            "autoscaling/v1",
            "HorizontalPodAutoscaler",
            "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)",
        ),
    ],
)
def test_an_object_that_says_it_is_something_else_is_refused(
    resource: Resource[Any], api_version: str, kind: str, why: str
) -> None:
    with pytest.raises(Unreadable) as caught:
        check({"apiVersion": api_version, "kind": kind}, resource, is_strict=True, body=b"")
    assert caught.value.why == why
    assert caught.value.message in (
        why, f'{kind} in version "{api_version.rpartition("/")[2]}" cannot be handled as a {resource.kind}: {why}'
    )  # fmt: skip


def test_a_body_that_is_no_utf_8_is_refused_in_words_that_can_be_sent() -> None:
    with pytest.raises(Unreadable) as refused:
        serde.decode(b'{"apiVersion": "v\xff", "kind": "Namespace", "\xe2(": &}', namespace.RESOURCE)
    msgspec.json.encode(str(refused.value))
    assert '({"apiVersion": "v\ufffd", "kind": "' in str(refused.value)


def test_what_is_no_text_of_its_media_type_is_said_to_be_unrecognized() -> None:
    with pytest.raises(Unreadable) as refused:
        serde.decode(b"apiVersion: v1\nkind: Pod\nspec: {}\n", namespace.RESOURCE)
    said = str(refused.value)
    assert said.startswith("the object provided is unrecognized (must be of type Namespace): "), said
    assert said.endswith(" (61706956657273696f6e3a2076310a6b696e643a20506f640a737065633a ...)")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            b"[]",
            "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct {",
        ),
        (
            b'{"kind": ["x"]}',
            "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go struct field .kind of "
            "type string (",
        ),
        (b'{"apiVersion": "a/b/c"}', "unexpected GroupVersion string: a/b/c ("),
        (b'{"a": ', "couldn't get version/kind; json parse error: unexpected end of JSON input ("),
    ],
)
def test_a_body_that_does_not_get_as_far_as_its_kind_is_said_to_be_unrecognized(body: bytes, why: str) -> None:
    with pytest.raises(Unreadable) as refused:
        serde.decode(body, configmap.RESOURCE)
    begins = "the object provided is unrecognized (must be of type ConfigMap): " + why
    assert str(refused.value).startswith(begins), str(refused.value)


def test_a_null_is_an_object_of_which_nothing_is_said() -> None:
    assert serde.decode(b"null", configmap.RESOURCE).object == configmap.ConfigMap()
