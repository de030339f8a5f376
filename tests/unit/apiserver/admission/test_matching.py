from __future__ import annotations

from typing import Any

import pytest

from api.admissionregistration.validatingadmissionpolicy import MatchResources, NamedRuleWithOperations
from api.admissionregistration.validatingwebhookconfiguration import ValidatingWebhook
from api.admissionregistration.webhooks import RuleWithOperations
from api.apps import deployment
from api.core import namespace, node, pod
from api.meta import LabelSelector, ObjectMeta
from api.resource import ObjectKey, Resource
from apiserver.admission import matching
from apiserver.admission.matching import Criteria, Matcher
from apiserver.request import AdmissionRequest, User


class _Namespaces:
    def __init__(self, **labels: dict[str, str]) -> None:
        self._found = {
            name: namespace.Namespace(metadata=ObjectMeta(name=name, labels=each)) for name, each in labels.items()
        }

    def get(self, key: ObjectKey) -> Any:
        return self._found.get(key.name)

    def list(self, namespace: str | None = None) -> list[Any]:
        return list(self._found.values())


class _NoOthers:
    def equivalents(self, resource: Resource[Any]) -> list[Resource[Any]]:
        return []


class _Others:
    def equivalents(self, resource: Resource[Any]) -> list[Resource[Any]]:
        return [deployment.RESOURCE]


def matcher(versions: Any = None, **namespaces: dict[str, str]) -> Matcher:
    async def read(resource: Any, key: ObjectKey) -> Any:
        raise AssertionError(f"{key} is not in the cache")

    return Matcher(versions or _NoOthers(), _Namespaces(**namespaces), read)


def request(
    resource: Resource[Any] = pod.RESOURCE,
    operation: str = "CREATE",
    *,
    where: str = "a",
    subresource: str = "",
    name: str = "x",
    labels: dict[str, str] | None = None,
    old_labels: dict[str, str] | None = None,
) -> AdmissionRequest:
    def made(labels: dict[str, str] | None) -> Any:
        return resource.type(metadata=ObjectMeta(name=name, labels=labels)) if labels is not None else None

    return AdmissionRequest(
        operation, resource, where, name, subresource, User("me"), made(labels or {}), made(old_labels), {}, False, []
    )


def rules(
    *resources: str, operations: Any = ("*",), groups: Any = ("*",), versions: Any = ("*",), scope: str = "*"
) -> Any:
    return RuleWithOperations(
        operations=list(operations),
        api_groups=list(groups),
        api_versions=list(versions),
        resources=list(resources),
        scope=scope,
    )


def about(*declared: Any, **more: Any) -> Criteria:
    return matching.of_webhook(ValidatingWebhook(name="w", rules=list(declared), **more))


@pytest.mark.parametrize(
    ("resources", "subresource", "is_meant"),
    [
        (["pods"], "", True),
        (["pods"], "status", False),
        (["pods/status"], "status", True),
        (["pods/status"], "", False),
        (["pods/*"], "exec", True),
        (["pods/*"], "", True),
        (["*/status"], "status", True),
        (["*"], "", True),
        (["*"], "status", False),
        (["*/*"], "", True),
        (["*/*"], "exec", True),
        (["services", "pods"], "", True),
        (["services"], "", False),
    ],
)
async def test_resources_and_subresources_are_named_or_any(
    resources: list[str], subresource: str, is_meant: bool
) -> None:
    found = await matcher().match(about(rules(*resources)), request(subresource=subresource))
    assert (found is pod.RESOURCE) is is_meant


@pytest.mark.parametrize(
    ("more", "is_meant"),
    [
        ({"operations": ["UPDATE", "DELETE"]}, False),
        ({"operations": ["CREATE"]}, True),
        ({"groups": [""], "versions": ["v1"]}, True),
        ({"groups": ["apps"]}, False),
        ({"versions": ["v2"]}, False),
        ({"scope": "Namespaced"}, True),
        ({"scope": "Cluster"}, False),
    ],
)
async def test_operations_groups_versions_and_scope_have_to_fit(more: dict[str, Any], is_meant: bool) -> None:
    found = await matcher().match(about(rules("pods", **more)), request())
    assert (found is not None) is is_meant


async def test_namespaces_and_nodes_are_of_the_cluster() -> None:
    of_cluster = about(rules("*", scope="Cluster"))
    assert await matcher().match(of_cluster, request(node.RESOURCE, where="")) is node.RESOURCE
    assert await matcher().match(of_cluster, request(namespace.RESOURCE, where="x")) is namespace.RESOURCE


async def test_no_rules_mean_nothing_to_a_webhook_and_everything_to_a_binding() -> None:
    assert await matcher().match(about(), request()) is None
    assert await matcher().match(matching.of_match(MatchResources()), request()) is pod.RESOURCE
    assert await matcher().match(matching.of_match(None), request()) is pod.RESOURCE


async def test_an_object_is_meant_by_its_old_labels_too() -> None:
    wanted = about(rules("*"), object_selector=LabelSelector(match_labels={"a": "b"}))
    assert await matcher().match(wanted, request(labels={"a": "b"}))
    assert await matcher().match(wanted, request(labels={}, old_labels={"a": "b"}))
    assert not await matcher().match(wanted, request(labels={"a": "c"}))


async def test_labels_of_the_namespace_count_and_kinds_without_one_are_never_left_out() -> None:
    wanted = about(rules("*"), namespace_selector=LabelSelector(match_labels={"team": "x"}))
    found = matcher(a={"team": "x"}, b={})
    assert await found.match(wanted, request(where="a"))
    assert not await found.match(wanted, request(where="b"))
    assert await found.match(wanted, request(node.RESOURCE, where=""))


async def test_a_namespace_is_judged_by_the_labels_it_is_to_have() -> None:
    wanted = about(rules("*"), namespace_selector=LabelSelector(match_labels={"team": "x"}))
    found = matcher(x={"team": "x"})
    assert await found.match(wanted, request(namespace.RESOURCE, where="", labels={"team": "x"}, name="new"))
    assert not await found.match(wanted, request(namespace.RESOURCE, where="", labels={}, name="new"))
    assert await found.match(wanted, request(namespace.RESOURCE, "DELETE", where="", labels={}, name="x"))


async def test_another_version_of_the_same_objects_counts_unless_exact() -> None:
    apps = rules("deployments", groups=["apps"])
    assert await matcher(_Others()).match(about(apps), request()) is deployment.RESOURCE
    assert await matcher(_Others()).match(about(apps, match_policy="Exact"), request()) is None


async def test_names_narrow_a_rule_and_excluded_rules_win() -> None:
    every = {"operations": ["*"], "api_groups": ["*"], "api_versions": ["*"], "resources": ["*"]}
    named = MatchResources(resource_rules=[NamedRuleWithOperations(resource_names=["x"], **every)])
    assert await matcher().match(matching.of_match(named), request(name="x"))
    assert not await matcher().match(matching.of_match(named), request(name="y"))
    named.exclude_resource_rules = [NamedRuleWithOperations(**{**every, "resources": ["pods"]})]
    assert not await matcher().match(matching.of_match(named), request(name="x"))
