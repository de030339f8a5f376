"""Autoscalers over the real API server, with and without somebody who serves metrics."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.apps import deployment as deployments
from api.autoscaling.v2 import horizontalpodautoscaler as autoscalers
from api.autoscaling.v2.horizontalpodautoscaler import HorizontalPodAutoscaler
from api.core import event as event_kinds
from api.core.event import Event
from api.errors import NotFound, ServiceUnavailable
from api.resource import ObjectKey
from client.verbs import Client, ObjectList
from controllers.autoscaler.metrics import METRICS, PodMetrics
from tests.builders import deployment
from tests.unit.controllers.world import World, world

pytestmark = [pytest.mark.looptime]
KEY = ObjectKey("default", "web")


async def autoscale(at: World, **bounds: int) -> None:
    web = deployment("web", replicas=2)
    web.spec.template.spec.containers[0].resources.requests = {"cpu": "100m"}
    await at.client.create(deployments.RESOURCE, web)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    body = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"scaleTargetRef": target, **bounds}}
    await at.client.create(autoscalers.RESOURCE, msgspec.convert(body, HorizontalPodAutoscaler))


def says(at: World, type: str, status: str, reason: str) -> Any:
    async def check() -> bool:
        found = (await at.client.get(autoscalers.RESOURCE, KEY)).status.conditions
        return any((one.type, one.status, one.reason) == (type, status, reason) for one in found)

    return check


async def events(at: World) -> list[Event]:
    return list((await at.client.list(event_kinds.RESOURCE, "default")).items)


async def test_each_metric_that_cannot_be_had_is_told_of_and_selectors_as_go_shows_them():
    async with world() as at:
        target = {"type": "AverageValue", "averageValue": "2"}
        given = {"name": "m", "selector": {"matchLabels": {"q": "a"}}}
        metrics = [
            {"type": "External", "external": {"metric": given, "target": target}},
            {"type": "External", "external": {"metric": {"name": "n"}, "target": target}},
        ]
        await autoscale(at, maxReplicas=4, metrics=metrics)
        await at.until(says(at, "ScalingActive", "False", "FailedGetExternalMetric"))

        async def are_told() -> bool:
            told = [each.message for each in await events(at) if each.reason == "FailedGetExternalMetric"]
            shown = (
                "&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}"
            )
            wanted = f"unable to get external metric default/m/{shown}: unable to fetch"
            return any(wanted in each for each in told) and any("default/n/nil: " in each for each in told)

        await at.until(are_told)


async def test_without_metrics_it_says_so_and_changes_nothing():
    async with world() as at:
        await autoscale(at, maxReplicas=5)
        await at.until(says(at, "ScalingActive", "False", "FailedGetResourceMetric"))
        await at.until(says(at, "AbleToScale", "True", "SucceededGetScale"))
        assert (await at.deployment()).spec.replicas == 2


async def test_two_autoscalers_of_the_same_pods_scale_nothing_and_say_so():
    async with world() as at:
        await autoscale(at, maxReplicas=5)
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        body = {
            "metadata": {"name": "twin", "namespace": "default"},
            "spec": {"scaleTargetRef": target, "maxReplicas": 3},
        }
        await at.client.create(autoscalers.RESOURCE, msgspec.convert(body, HorizontalPodAutoscaler))
        await at.until(says(at, "ScalingActive", "False", "AmbiguousSelector"), 60)
        found = await at.client.get(autoscalers.RESOURCE, KEY)
        (said,) = [each.message for each in found.status.conditions if each.type == "ScalingActive"]
        assert said == "pods by selector app=web are controlled by multiple HPAs: [default/twin default/web]"
        assert found.status.observed_generation is None
        assert any((each.reason, each.message) == ("FailedComputeMetricsReplicas", said) for each in await events(at))


async def test_metrics_that_nobody_serves_are_told_of_as_by_gos_clients():
    async with world() as at:
        target = {"type": "AverageValue", "averageValue": "2"}
        metrics = [
            {"type": "External", "external": {"metric": {"name": "n"}, "target": target}},
            {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": target}},
        ]
        await autoscale(at, maxReplicas=4, metrics=metrics)

        async def are_told() -> bool:
            told = " ".join(each.message for each in await events(at))
            return (
                "API: the server could not find the requested resource (get n.external.metrics.k8s.io)" in told
                and "API: no custom metrics API (custom.metrics.k8s.io) registered" in told
            )

        await at.until(are_told)


async def test_metrics_whose_server_is_away_are_told_of_as_by_gos_clients(monkeypatch: pytest.MonkeyPatch):
    real = Client.list

    async def list_without_metrics(self: Client, resource: Any, namespace: str = "", **more: Any) -> Any:
        if resource is METRICS:
            raise ServiceUnavailable("service unavailable")
        return await real(self, resource, namespace, **more)

    async with world() as at:
        monkeypatch.setattr(Client, "list", list_without_metrics)
        await autoscale(at, maxReplicas=5)
        await at.until(says(at, "ScalingActive", "False", "FailedGetResourceMetric"))
        (said,) = [each.message for each in await events(at) if each.reason == "FailedGetResourceMetric"]
        assert said.endswith("API: the server is currently unable to handle the request (get pods.metrics.k8s.io)")


async def test_a_target_that_is_not_there_is_said():
    async with world() as at:
        await autoscale(at, maxReplicas=5)
        await at.client.delete(deployments.RESOURCE, KEY)
        await at.until(says(at, "AbleToScale", "False", "FailedGetScale"))


async def test_a_number_out_of_bounds_is_put_right_without_metrics():
    async with world() as at:
        await autoscale(at, minReplicas=3, maxReplicas=5)

        async def are_three() -> bool:
            return (await at.deployment()).spec.replicas == 3

        await at.until(are_three)


async def test_busy_pods_get_company_up_to_the_limit(monkeypatch: pytest.MonkeyPatch):
    real = Client.list

    async def list_with_metrics(self: Client, resource: Any, namespace: str = "", **more: Any) -> Any:
        if resource is not METRICS:
            return await real(self, resource, namespace, **more)
        found = [pod for pod in await at.pods() if pod.metadata.labels.get("app") == "web"]
        bodies = [
            {"metadata": {"name": pod.metadata.name}, "containers": [{"name": "c", "usage": {"cpu": "320m"}}]}
            for pod in found
        ]
        return ObjectList([msgspec.convert(body, PodMetrics) for body in bodies], "1")

    async with world() as at:
        monkeypatch.setattr(Client, "list", list_with_metrics)
        turn = at.client.patch

        async def start_long_ago(resource: Any, key: ObjectKey, patch: Any, **more: Any) -> Any:
            status = patch.get("status", {})
            if status.get("phase") == "Running":
                status["startTime"] = "2020-01-01T00:00:00Z"
            return await turn(resource, key, patch, **more)

        monkeypatch.setattr(at.client, "patch", start_long_ago)
        await autoscale(at, maxReplicas=5)

        async def are_five() -> bool:
            return (await at.deployment()).spec.replicas == 5

        await at.until(are_five, 120)
        await at.until(says(at, "ScalingLimited", "True", "TooManyReplicas"))
        rescaled = [each for each in await events(at) if each.reason == "SuccessfulRescale"]
        why = "cpu resource utilization (percentage of request) above target"
        assert rescaled[0].message.endswith(f"; reason: {why}")
        await at.until(says(at, "ScalingActive", "True", "ValidMetricFound"))


@pytest.mark.parametrize(
    ("metric", "asked"),
    [
        (
            {
                "type": "Pods",
                "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "2"}},
            },
            ("custom.metrics.k8s.io", "v1beta1", "pods", "*", "m"),
        ),
        (
            {
                "type": "Object",
                "object": {
                    "metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}},
                    "describedObject": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "front"},
                    "target": {"type": "Value", "value": "2"},
                },
            },
            ("custom.metrics.k8s.io", "v1beta1", "ingresses.networking.k8s.io", "front", "m"),
        ),
        (
            {
                "type": "External",
                "external": {
                    "metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}},
                    "target": {"type": "AverageValue", "averageValue": "2"},
                },
            },
            ("external.metrics.k8s.io", "v1beta1", "m", "", ""),
        ),
    ],
    ids=["pods", "object", "external"],
)
async def test_other_metrics_scale_too(monkeypatch: pytest.MonkeyPatch, metric: Any, asked: Any):
    """Two pods, and a measure that wants four: six for all, or three each."""
    real_get, real_list, seen = Client.get, Client.list, []
    async with world() as at:

        async def get(self: Client, resource: Any, key: ObjectKey, **more: Any) -> Any:
            if resource.group != "custom.metrics.k8s.io":
                return await real_get(self, resource, key, **more)
            if resource.version == "v1beta2":
                raise NotFound("the server could not find the requested resource")
            seen.append((resource.group, resource.version, resource.plural, key.name, more["subresource"]))
            names = [pod.metadata.name for pod in await at.pods()] if key.name == "*" else [key.name]
            each = [{"describedObject": {"name": name}, "value": "4"} for name in names]
            return msgspec.convert({"items": each}, resource.type)

        async def list(self: Client, resource: Any, namespace: str = "", **more: Any) -> Any:
            if resource.group != "external.metrics.k8s.io":
                return await real_list(self, resource, namespace, **more)
            seen.append((resource.group, resource.version, resource.plural, "", ""))
            assert more["label_selector"] == "a=b"
            return ObjectList([msgspec.convert({"value": value}, resource.type) for value in ("3", "5")], "0")

        monkeypatch.setattr(Client, "get", get)
        monkeypatch.setattr(Client, "list", list)
        await autoscale(at, maxReplicas=4, metrics=[metric])

        async def are_four() -> bool:
            return (await at.deployment()).spec.replicas == 4

        await at.until(are_four, 120)
        assert seen[0] == asked
        await at.until(says(at, "ScalingActive", "True", "ValidMetricFound"))


async def test_other_metrics_that_nobody_serves_are_said_to_be_missing():
    async with world() as at:
        target = {"type": "AverageValue", "averageValue": "2"}
        metric = {"type": "External", "external": {"metric": {"name": "m"}, "target": target}}
        await autoscale(at, maxReplicas=4, metrics=[metric])
        await at.until(says(at, "ScalingActive", "False", "FailedGetExternalMetric"))
