from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.core.resourcequota import RESOURCE, ResourceQuota


def wrong(hard: list[str], **spec: Any) -> list[str]:
    body = {"metadata": {"name": "q"}, "spec": {"hard": dict.fromkeys(hard, "1"), **spec}}
    return [error.message.partition(": ")[2] for error in RESOURCE.validate(msgspec.convert(body, ResourceQuota), None)]


@pytest.mark.parametrize(
    ("scope", "hard", "is_fine"),
    [
        ("BestEffort", "pods", True),
        ("BestEffort", "cpu", False),
        ("NotTerminating", "requests.memory", True),
        ("NotTerminating", "services", False),
        ("NotTerminating", "requests.example.com/gpu", True),
        ("PriorityClass", "requests.storage", False),
    ],
)
def test_a_scope_goes_only_with_what_its_pods_use(scope: str, hard: str, is_fine: bool) -> None:
    terms = [{"scopeName": scope, "operator": "Exists"}]
    for spec in ({"scopes": [scope]}, {"scopeSelector": {"matchExpressions": terms}}):
        found = wrong([hard], **spec)
        assert (not found) is is_fine
        assert is_fine or found[0].endswith("unsupported scope applied to resource")


def test_only_priority_classes_are_chosen_by_value() -> None:
    def selected(scope: str) -> list[str]:
        terms = [{"scopeName": scope, "operator": "In", "values": ["a"]}]
        return wrong(["pods"], scopeSelector={"matchExpressions": terms})

    assert selected("PriorityClass") == []
    assert any("must be 'Exist'" in each for each in selected("Terminating"))


def test_each_amount_that_a_scope_does_not_go_with_is_told_of() -> None:
    terms = [{"scopeName": "PriorityClass", "operator": "In", "values": ["a"]}]
    told = wrong(["configmaps", "pods", "services"], scopeSelector={"matchExpressions": terms})
    assert len(told) == 2
    assert told[0].startswith("core.ScopeSelector{MatchExpressions:")


def test_scopes_that_exclude_each_other_are_told_of_pair_by_pair() -> None:
    both = ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating"]
    terms = [{"scopeName": scope, "operator": "Exists"} for scope in both]
    for spec in ({"scopes": both}, {"scopeSelector": {"matchExpressions": terms}}):
        assert sum(each.endswith("conflicting scopes") for each in wrong(["pods"], **spec)) == 2


def test_an_unknown_scope_is_only_unknown() -> None:
    terms = [{"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"]}]
    told = wrong(["persistentvolumeclaims"], scopeSelector={"matchExpressions": terms})
    assert told == ['"VolumeAttributesClass": unsupported scope']
