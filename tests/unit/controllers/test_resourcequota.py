"""The quota controller over the real API server: what is counted, and that no correction forgets a charge."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.apiextensions import customresourcedefinition as crds
from api.core import configmap
from api.core import pod as pods
from api.core import resourcequota as quotas
from api.errors import Forbidden
from api.meta import ObjectMeta
from api.resource import ObjectKey, Resource
from tests.unit.controllers.world import World, world

pytestmark = [pytest.mark.looptime]
QUOTA = ObjectKey("default", "q")


def quota(hard: dict[str, str], **spec: Any) -> quotas.ResourceQuota:
    body = {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard, **spec}}
    return msgspec.convert(body, quotas.ResourceQuota)


def a_pod(name: str, cpu: str = "100m", **spec: Any) -> pods.Pod:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    body = {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [container], **spec}}
    return msgspec.convert(body, pods.Pod)


def uses(at: World, used: dict[str, str]) -> Any:
    async def check() -> bool:
        found = (await at.client.get(quotas.RESOURCE, QUOTA)).status.used
        return found == used

    return check


async def test_what_is_there_is_counted_and_what_goes_is_given_back():
    async with world() as at:
        for name in ("a", "b"):
            await at.client.create(pods.RESOURCE, a_pod(name))
        before = len((await at.client.list(configmap.RESOURCE, "default")).items)
        await at.client.create(quotas.RESOURCE, quota({"pods": "5", "cpu": "1", "configmaps": "9"}))
        await at.until(uses(at, {"pods": "2", "cpu": "200m", "configmaps": str(before)}))
        await at.client.create(pods.RESOURCE, a_pod("c", "300m"))
        await at.until(uses(at, {"pods": "3", "cpu": "500m", "configmaps": str(before)}))
        await at.client.delete(pods.RESOURCE, ObjectKey("default", "a"), grace_period_s=0)
        await at.until(uses(at, {"pods": "2", "cpu": "400m", "configmaps": str(before)}))
        status = {"status": {"phase": "Succeeded"}}
        await at.client.patch(pods.RESOURCE, ObjectKey("default", "b"), status, subresource="status")
        await at.until(uses(at, {"pods": "1", "cpu": "300m", "configmaps": str(before)}))


async def test_a_full_quota_stays_full_while_creates_are_tried_again_and_again():
    async with world() as at:
        await at.client.create(quotas.RESOURCE, quota({"pods": "3", "count/pods": "4"}))
        await at.until(uses(at, {"pods": "0", "count/pods": "0"}))
        made = 0
        for number in range(40):
            try:
                await at.client.create(pods.RESOURCE, a_pod(f"p{number}"))
                made += 1
            except Forbidden:
                await at.clock.sleep(0.3)
        assert made == len(await at.pods()) == 3


async def test_a_changed_limit_and_custom_kinds_are_counted_too():
    definition = {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }
    widgets: Resource[Any] = Resource(
        type=configmap.ConfigMap, group="example.com", version="v1", kind="Widget", plural="widgets", namespaced=True
    )
    async with world() as at:
        await at.client.create(crds.RESOURCE, msgspec.convert(definition, crds.CustomResourceDefinition))
        await at.client.create(quotas.RESOURCE, quota({"pods": "1"}))
        await at.until(uses(at, {"pods": "0"}))
        change = {"spec": {"hard": {"count/widgets.example.com": "1"}}}
        await at.client.patch(quotas.RESOURCE, QUOTA, change)
        await at.until(uses(at, {"pods": "0", "count/widgets.example.com": "0"}))
        widget = configmap.ConfigMap(metadata=ObjectMeta(name="w", namespace="default"))
        widget.api_version, widget.kind = "example.com/v1", "Widget"
        await at.client.create(widgets, widget)
        await at.until(uses(at, {"pods": "0", "count/widgets.example.com": "1"}))
        widget.metadata.name = "v"
        with pytest.raises(Forbidden, match=r"requested: count/widgets.example.com=1"):
            await at.client.create(widgets, widget)
        await at.client.delete(widgets, ObjectKey("default", "w"))
        await at.until(uses(at, {"pods": "0", "count/widgets.example.com": "0"}))
