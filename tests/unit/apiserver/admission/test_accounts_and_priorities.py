from __future__ import annotations

from random import Random
from typing import Any

import pytest

from api.core import persistentvolumeclaim, pod, serviceaccount
from api.core.static_pods import MIRROR
from api.errors import NotFound
from api.scheduling import priorityclass
from api.storage import csinode
from apiserver.admission.node_restriction import NodeRestriction
from apiserver.admission.priority import Priority
from apiserver.admission.service_account import ServiceAccountAdmission
from apiserver.request import User
from tests.unit.apiserver.admission.plugins import Cache, made, pass_through, pod_body, refused, request_for

NODE = User("system:node:n1", groups=("system:nodes", "system:authenticated"))


def accounts(**more: Any) -> ServiceAccountAdmission:
    body = {
        "metadata": {"name": "default", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "secrets": [{"name": "mine"}],
        "imagePullSecrets": [{"name": "pull"}],
        **more,
    }
    cache = Cache(made(serviceaccount.RESOURCE, body))
    return ServiceAccountAdmission(cache, cache.read, Random(1))


def a_pod(*containers: dict[str, Any], **spec: Any) -> Any:
    return request_for(pod.RESOURCE, made(pod.RESOURCE, pod_body(*containers, **spec)))


def variable(secret: str) -> dict[str, Any]:
    return {"env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k"}}}]}


async def test_an_account_may_keep_its_pods_to_its_own_secrets() -> None:
    volume = {"volumes": [{"name": "v", "secret": {"secretName": "mine"}}]}
    done = await pass_through(accounts(), a_pod(variable("mine"), **volume))
    assert [one.name for one in done.spec.image_pull_secrets] == ["pull"]
    rest = "is not allowed because service account default does not reference that secret"
    volume["volumes"][0]["secret"]["secretName"] = "other"  # type: ignore[index]
    assert f'volume with secret.secretName="other" {rest}' in await refused(accounts(), a_pod(**volume))
    message = await refused(accounts(), a_pod(variable("other")))
    assert f'container c0 with envVar E referencing secret.secretName="other" {rest}' in message
    message = await refused(accounts(), a_pod(imagePullSecrets=[{"name": "other"}]))
    assert 'imagePullSecrets[0].name="other" is not allowed' in message
    await pass_through(accounts(metadata={"name": "default"}), a_pod(variable("other")))


async def test_the_default_account_of_a_new_namespace_is_waited_for_and_no_other() -> None:
    looks: list[str] = []

    async def comes_late(resource: Any, key: Any) -> Any:
        looks.append(key.name)
        if len(looks) < 3:
            raise NotFound(key.name)
        return made(serviceaccount.RESOURCE, {"metadata": {"name": key.name}})

    plugin = ServiceAccountAdmission(Cache(), comes_late, Random(1))
    await pass_through(plugin, a_pod())
    assert looks == ["default"] * 3
    looks.clear()
    assert '"other" not found' in await refused(plugin, a_pod(serviceAccountName="other"))
    assert looks == ["other"]


async def test_a_mirror_pod_gets_at_no_secrets() -> None:
    token = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "p"}}]}}
    for spec, why in (
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "may not reference secrets"),
        ({"volumes": [token]}, "may not use ServiceAccountToken volume projections"),
        ({"serviceAccountName": "default"}, "may not reference service accounts"),
    ):
        request = a_pod(**spec)
        request.object.metadata.annotations = {MIRROR: "x"}
        assert why in await refused(accounts(), request)


def priorities() -> Priority:
    low = {"metadata": {"name": "low"}, "value": 5, "globalDefault": True, "preemptionPolicy": "Never"}
    cache = Cache(made(priorityclass.RESOURCE, low))
    return Priority(cache, cache.read)


async def test_a_pod_gets_the_priority_and_the_policy_of_its_class_and_no_other() -> None:
    done = await pass_through(priorities(), a_pod())
    assert (done.spec.priority, done.spec.preemption_policy) == (5, "Never")
    for spec in ({"priority": 6}, {"preemptionPolicy": "PreemptLowerPriority"}):
        assert "must not be provided in pod spec" in await refused(priorities(), a_pod(**spec))


async def test_one_class_at_most_is_the_default() -> None:
    for name, is_fine in (("low", True), ("other", False)):
        body = {"metadata": {"name": name}, "value": 9, "globalDefault": True}
        request = request_for(priorityclass.RESOURCE, made(priorityclass.RESOURCE, body))
        if is_fine:
            await pass_through(priorities(), request)
        else:
            message = await refused(priorities(), request)
            assert message.endswith("PriorityClass low is already marked as default. Only one default can exist")


@pytest.mark.parametrize(("name", "is_fine"), [("n1", True), ("n2", False)])
async def test_a_node_writes_its_own_csinode(name: str, is_fine: bool) -> None:
    plugin = NodeRestriction(Cache().read)
    request = request_for(csinode.RESOURCE, made(csinode.RESOURCE, {"metadata": {"name": name}}), user=NODE)
    if is_fine:
        await pass_through(plugin, request)
    else:
        assert "can only access CSINode with the same name" in await refused(plugin, request)


async def test_a_node_says_how_large_a_claim_is_and_nothing_else() -> None:
    plugin = NodeRestriction(Cache().read)

    def claim(phase: str = "Bound", size: str = "1Gi", **metadata: Any) -> Any:
        status = {"phase": phase, "capacity": {"storage": size}, "allocatedResources": {"storage": size}}
        return made(persistentvolumeclaim.RESOURCE, {"metadata": {"name": "c", **metadata}, "status": status})

    resource = persistentvolumeclaim.RESOURCE
    grown = request_for(resource, claim(size="2Gi"), old=claim(), subresource="status", user=NODE)
    await pass_through(plugin, grown)
    lost = request_for(resource, claim("Lost"), old=claim(), subresource="status", user=NODE)
    assert "not allowed to update fields other than" in await refused(plugin, lost)
    labelled = request_for(resource, claim(labels={"a": "b"}), old=claim(), subresource="status", user=NODE)
    assert "not allowed to update fields other than" in await refused(plugin, labelled)
    assert "may only update PVC status" in await refused(plugin, request_for(resource, claim(), user=NODE))
