"""What is true of every kind that is served."""

import copy
from typing import Any

import msgspec
import pytest

from api.discover import KINDS, RESOURCES, STORED, by_kind
from api.resource import Resource
from api.schema import Struct, fields_of

BORN_WITH_STATUS = {"Node"}
"""A kubelet registers its node with what it knows of it."""


def ids(resource: Resource[Any]) -> str:
    return f"{resource.api_version}.{resource.kind}"


def empty(resource: Resource[Any]) -> Any:
    obj = resource.type()
    obj.metadata.name = "a"
    if resource.namespaced:
        obj.metadata.namespace = "d"
    return obj


@pytest.mark.parametrize("resource", KINDS, ids=ids)
def test_an_object_says_what_it_is(resource: Resource[Any]) -> None:
    obj = resource.type()
    assert (obj.api_version, obj.kind) == (resource.api_version, resource.kind)
    assert list(msgspec.to_builtins(obj))[:3] == ["apiVersion", "kind", "metadata"]


@pytest.mark.parametrize("resource", KINDS, ids=ids)
def test_defaulting_again_changes_nothing(resource: Resource[Any]) -> None:
    obj = empty(resource)
    resource.default(obj)
    once = copy.deepcopy(obj)
    resource.default(obj)
    assert obj == once


@pytest.mark.parametrize("resource", KINDS, ids=ids)
def test_an_empty_object_is_judged_and_shown_without_a_crash(resource: Resource[Any]) -> None:
    obj = empty(resource)
    list(resource.validate(obj, None))
    list(resource.validate(obj, copy.deepcopy(obj)))
    for column in resource.columns:
        column.cell(obj, 0.0)
    for value in resource.selectable_fields.values():
        assert isinstance(value(obj), str)


@pytest.mark.parametrize("resource", [kind for kind in RESOURCES if "status" in kind.subresources], ids=ids)
def test_a_client_cannot_bring_or_change_a_status_by_the_object(resource: Resource[Any]) -> None:
    old, new = empty(resource), empty(resource)
    resource.prepare_for_create(old)
    _fill(new.status)
    resource.prepare_for_update(new, old)
    assert new.status == old.status
    fresh = empty(resource)
    _fill(fresh.status)
    resource.prepare_for_create(fresh)
    assert fresh.status == old.status or resource.kind in BORN_WITH_STATUS


def _fill(status: Struct) -> None:
    """Put something into the first field that takes it."""
    for declared in fields_of(type(status)).values():
        match declared.type.kind:
            case "integer":
                setattr(status, declared.name, 7)
            case "string" if not declared.type.form:
                setattr(status, declared.name, "made up")


def test_each_object_is_stored_in_one_version() -> None:
    others = [resource for resource in RESOURCES if resource not in STORED]
    assert [(kind.api_version, kind.stored_as.api_version) for kind in others] == [
        ("autoscaling/v1", "autoscaling/v2"),
        ("events.k8s.io/v1", "v1"),
    ]


def test_short_names_mean_one_kind() -> None:
    meant: dict[str, set[tuple[str, str]]] = {}
    for resource in STORED:
        for name in (resource.plural, *resource.short_names):
            meant.setdefault(name, set()).add((resource.group, resource.kind))
    assert {name: kinds for name, kinds in meant.items() if len(kinds) > 1} == {}


def test_what_no_path_leads_to_is_known_by_its_kind() -> None:
    eviction = by_kind("policy/v1", "Eviction")
    assert eviction is not None
    assert eviction not in RESOURCES
