from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from api.core import configmap, persistentvolumeclaim, pod, resourcequota, service
from api.errors import ApiError, Forbidden, UnclassedError
from api.resource import ObjectKey
from apiserver.admission.resource_quota import Limited, ResourceQuotaAdmission
from apiserver.app import Api
from apiserver.registry.deletion import Put
from client.verbs import Client
from component.clock import RealClock
from tests.unit.apiserver.admission.plugins import Cache, made, pod_body, request_for

QUOTA = ObjectKey("default", "q")


def a_pod(*, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **spec: Any) -> Any:
    body = pod_body({"resources": {"requests": requests or {}, "limits": limits or {}}}, **spec)
    body["metadata"] = {"generateName": "p-", "namespace": "default"}
    return msgspec.convert(body, pod.Pod)


class Quotas:
    """Makes quotas whose use has been counted already, as their controller would."""

    def __init__(self, api: Api, client: Client) -> None:
        self._api = api
        self.client = client

    async def limit(self, hard: dict[str, str], *, name: str = "q", counted: bool = True, **spec: Any) -> None:
        body = {"metadata": {"name": name, "namespace": "default"}, "spec": {"hard": hard, **spec}}
        await self.client.create(resourcequota.RESOURCE, msgspec.convert(body, resourcequota.ResourceQuota))
        status = {"hard": hard, "used": dict.fromkeys(hard, "0") if counted else {}}
        key = ObjectKey("default", name)
        await self.client.patch(resourcequota.RESOURCE, key, {"status": status}, subresource="status")
        await self._api.registries.of(resourcequota.RESOURCE).cache.catch_up()

    async def used(self, name: str = "q") -> dict[str, str]:
        return (await self.client.get(resourcequota.RESOURCE, ObjectKey("default", name))).status.used

    async def refused(self, obj: Any, resource: Any = pod.RESOURCE) -> str:
        with pytest.raises(Forbidden) as caught:
            await self.client.create(resource, obj)
        return caught.value.message


@pytest.fixture
def quotas(api: Api, client: Client) -> Quotas:
    return Quotas(api, client)


async def test_creates_are_charged_and_what_is_too_much_is_refused_in_upstreams_words(quotas: Quotas) -> None:
    await quotas.limit({"requests.cpu": "1", "memory": "1Gi", "pods": "5"})
    await quotas.client.create(pod.RESOURCE, a_pod(requests={"cpu": "600m", "memory": "100Mi"}))
    assert await quotas.used() == {"requests.cpu": "600m", "memory": "100Mi", "pods": "1"}
    message = await quotas.refused(a_pod(requests={"cpu": "600m", "memory": "1Gi"}))
    assert message.endswith(
        "is forbidden: exceeded quota: q, requested: memory=1Gi,requests.cpu=600m, used: memory=100Mi,"
        "requests.cpu=600m, limited: memory=1Gi,requests.cpu=1"
    )
    message = await quotas.refused(a_pod(requests={"cpu": "1m"}))
    assert message.endswith("is forbidden: failed quota: q: must specify memory for: c0")


async def test_creates_that_race_never_exceed_a_quota(quotas: Quotas) -> None:
    await quotas.limit({"pods": "5", "count/pods": "7"})
    tries = await asyncio.gather(
        *(quotas.client.create(pod.RESOURCE, a_pod()) for _ in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(one, ApiError) for one in tries) == 5
    assert len((await quotas.client.list(pod.RESOURCE, "default")).items) == 5
    assert (await quotas.used())["pods"] == "5"


async def test_a_quota_not_counted_yet_lets_nothing_in(quotas: Quotas) -> None:
    await quotas.limit({"configmaps": "5"}, counted=False)
    obj = made(configmap.RESOURCE, {"metadata": {"name": "c"}}, "default")
    assert "status unknown for quota: q, resources: configmaps" in await quotas.refused(obj, configmap.RESOURCE)


async def test_scopes_choose_the_pods(quotas: Quotas) -> None:
    await quotas.limit({"pods": "1"}, scopes=["BestEffort"])
    terms = [{"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}]
    await quotas.limit({"pods": "0"}, name="critical", scopeSelector={"matchExpressions": terms})
    await quotas.client.create(pod.RESOURCE, a_pod(requests={"cpu": "1m"}))
    assert await quotas.used() == {"pods": "0"}
    await quotas.client.create(pod.RESOURCE, a_pod())
    assert "exceeded quota: q" in await quotas.refused(a_pod())
    critical = a_pod(requests={"cpu": "1m"}, priorityClassName="system-node-critical")
    assert "exceeded quota: critical" in await quotas.refused(critical)


async def test_an_update_is_charged_what_it_adds(quotas: Quotas) -> None:
    await quotas.limit({"services": "5", "services.nodeports": "1", "services.loadbalancers": "0"})
    body = {
        "metadata": {"name": "s", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 1}]},
    }
    await quotas.client.create(service.RESOURCE, msgspec.convert(body, service.Service))
    assert await quotas.used() == {"services": "1", "services.nodeports": "0", "services.loadbalancers": "0"}
    change = {"spec": {"type": "LoadBalancer", "ports": [{"port": 1, "nodePort": 30001}]}}
    with pytest.raises(Forbidden, match="exceeded quota: q, requested: services.loadbalancers=1"):
        await quotas.client.patch(service.RESOURCE, ObjectKey("default", "s"), change)


async def test_storage_is_counted_by_class_and_in_all(quotas: Quotas) -> None:
    prefix = "gold.storageclass.storage.k8s.io/"
    await quotas.limit({"requests.storage": "10Gi", f"{prefix}requests.storage": "3Gi"})

    def claim(name: str, size: str, of: str) -> Any:
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": of,
            "resources": {"requests": {"storage": size}},
        }
        return made(persistentvolumeclaim.RESOURCE, {"metadata": {"name": name}, "spec": spec}, "default")

    await quotas.client.create(persistentvolumeclaim.RESOURCE, claim("a", "5Gi", "iron"))
    await quotas.client.create(persistentvolumeclaim.RESOURCE, claim("b", "2Gi", "gold"))
    assert await quotas.used() == {"requests.storage": "7Gi", f"{prefix}requests.storage": "2Gi"}
    message = await quotas.refused(claim("c", "2Gi", "gold"), persistentvolumeclaim.RESOURCE)
    assert f"requested: {prefix}requests.storage=2Gi" in message


async def test_dry_runs_are_judged_and_not_charged(api: Api, quotas: Quotas) -> None:
    await quotas.limit({"pods": "1", "requests.example.com/gpu": "1"})
    gpu = {"example.com/gpu": "1"}
    request = request_for(pod.RESOURCE, a_pod(requests=gpu, limits=gpu))
    request.dry_run = True
    await api.context.admission.validate(request)
    assert (await quotas.used())["pods"] == "0"
    await quotas.client.create(pod.RESOURCE, a_pod(requests=gpu, limits=gpu))
    assert await quotas.used() == {"pods": "1", "requests.example.com/gpu": "1"}


async def test_the_decision_is_made_on_the_quota_as_it_is_not_as_a_cache_shows_it(api: Api, quotas: Quotas) -> None:
    await quotas.limit({"pods": "3"})
    registry = api.registries.of(resourcequota.RESOURCE)

    async def spend(current: Any) -> Put:
        quota = current.codec.decode(current.json)
        quota.status.used = {"pods": "3"}
        return Put(quota)

    await registry.write("default", "q", spend)
    assert "used: pods=3, limited: pods=3" in await quotas.refused(a_pod())


def limited_to(*limited: Limited, quotas: Sequence[resourcequota.ResourceQuota] = ()) -> ResourceQuotaAdmission:
    async def rewrite(namespace: str, name: str, decide: Any) -> None:
        pass

    return ResourceQuotaAdmission(Cache(*quotas), rewrite, RealClock(), limited)


def a_quota(hard: dict[str, str], **spec: Any) -> Any:
    body = {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}}
    quota = made(resourcequota.RESOURCE, body, "default")
    quota.status = resourcequota.ResourceQuotaStatus(hard=hard, used=dict.fromkeys(hard, "0"))
    return quota


async def test_what_is_limited_is_used_only_where_a_quota_covers_it() -> None:
    cpu = Limited("", "pods", contains=("requests.cpu",))
    request = request_for(pod.RESOURCE, a_pod(requests={"cpu": "1"}))
    with pytest.raises(Forbidden, match="insufficient quota to consume: requests.cpu"):
        await limited_to(cpu).validate(request)
    await limited_to(cpu, quotas=[a_quota({"requests.cpu": "2"})]).validate(request)
    await limited_to(cpu).validate(request_for(pod.RESOURCE, a_pod()))
    await limited_to(cpu).validate(
        request_for(configmap.RESOURCE, made(configmap.RESOURCE, {"metadata": {}}, "default"))
    )


async def test_pods_of_a_limited_scope_need_a_quota_of_that_scope() -> None:
    vip = resourcequota.ScopedResourceSelectorRequirement(scope_name="PriorityClass", operator="In", values=["a", "b"])
    limited = Limited("", "pods", scopes=(vip,))
    request = request_for(pod.RESOURCE, a_pod(priorityClassName="a"))
    with pytest.raises(UnclassedError) as refused:
        await limited_to(limited, quotas=[a_quota({"pods": "9"})]).validate(request)
    assert refused.value.message == "insufficient quota to match these scopes: [{PriorityClass In [a b]}]"
    terms = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["a"]}]}
    await limited_to(limited, quotas=[a_quota({"pods": "9"}, scopeSelector=terms)]).validate(request)
    await limited_to(limited).validate(request_for(pod.RESOURCE, a_pod(priorityClassName="c")))
