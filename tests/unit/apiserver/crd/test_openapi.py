"""What OpenAPI says of custom kinds: version 3 all that was declared, version 2 what its readers can take."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.crd.openapi import published

_METADATA = {"$ref": "#/definitions/ObjectMeta"}
_PRESERVES = "x-kubernetes-preserve-unknown-fields"


def _field(schema: dict[str, Any], **siblings: Any) -> dict[str, Any]:
    whole = published({"type": "object", "properties": {"f": schema}, **siblings}, v2=True, metadata=_METADATA)
    return {"f": whole["properties"]["f"], **({"required": whole["required"]} if "required" in whole else {})}


@pytest.mark.parametrize("schema", [{}, {"type": "object", _PRESERVES: True, "properties": {"a": {"type": "string"}}}])
def test_nothing_is_said_of_objects_whose_fields_are_not_known(schema: dict[str, Any]) -> None:
    assert published(schema, v2=True, metadata=_METADATA) == {"type": "object"}


def test_version_3_tells_that_unknown_fields_are_preserved_at_the_root() -> None:
    whole = published({"type": "object", _PRESERVES: True}, v2=False, metadata=_METADATA)
    assert whole[_PRESERVES] is True
    assert set(whole["properties"]) == {"apiVersion", "kind", "metadata"}


def test_metadata_is_told_of_as_the_objects_and_not_as_what_all_objects_have() -> None:
    """Clients look for the words."""
    whole = published({"type": "object"}, v2=False, metadata={"allOf": [_METADATA], "description": "What all have."})
    said = whole["properties"]["metadata"]
    assert (said["allOf"], said["description"].startswith("Standard object's metadata")) == ([_METADATA], True)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({_PRESERVES: True}, {_PRESERVES: True}),
        ({"type": "object", _PRESERVES: True, "properties": {"a": {}}}, {_PRESERVES: True}),
        ({"type": "array", _PRESERVES: True, "items": {"type": "string"}}, {_PRESERVES: True}),
        ({"type": "string", "nullable": True, "default": "x"}, {}),
        ({"type": "string", "oneOf": [{"pattern": "a"}], "pattern": "b"}, {"type": "string", "pattern": "b"}),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"minimum": 1}]}, {"x-kubernetes-int-or-string": True}),
        (
            {"type": "object", _PRESERVES: True, "x-kubernetes-embedded-resource": True},
            {_PRESERVES: True, "x-kubernetes-embedded-resource": True},
        ),
    ],
)
def test_version_2_leaves_out_what_its_readers_trip_over(schema: dict[str, Any], told: dict[str, Any]) -> None:
    assert _field(schema) == {"f": told}


def test_a_field_that_may_be_null_is_not_required_in_version_2() -> None:
    assert _field({"type": "string", "nullable": True}, required=["f"]) == {"f": {}}
    assert _field({"type": "string"}, required=["f"]) == {"f": {"type": "string"}, "required": ["f"]}


def test_version_3_spells_out_what_extensions_mean() -> None:
    either, embedded = "x-kubernetes-int-or-string", "x-kubernetes-embedded-resource"
    schema = {
        "type": "object",
        "properties": {
            "port": {either: True},
            "told": {either: True, "anyOf": [{"type": "string"}, {"type": "integer"}]},
            "pod": {"type": "object", embedded: True, "required": ["kind", "spec"], "properties": {"spec": {}}},
        },
    }
    fields = published(schema, v2=False, metadata=_METADATA)["properties"]
    assert fields["port"] == {either: True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert fields["told"]["anyOf"] == [{"type": "string"}, {"type": "integer"}]
    assert fields["pod"]["required"] == ["kind", "spec", "apiVersion"]
    assert "anyOf" not in published(schema, v2=True, metadata=_METADATA)["properties"]["port"]
