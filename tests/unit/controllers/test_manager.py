"""Every controller together, as a user would see them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from api.apps import deployment as deployments
from api.apps import replicaset as replicasets
from api.core import configmap as configmaps
from api.core import event as events
from api.core import namespace as namespaces
from api.core import node as nodes
from api.core import pod as pods
from api.core import service as services
from api.core import serviceaccount as accounts
from api.discovery import endpointslice as slices
from api.errors import NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from tests.unit.controllers.world import World, world

pytestmark = [pytest.mark.looptime]
WEB = ObjectKey("default", "web")


def pod_spec(tag: str) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": tag, "ports": [{"name": "http", "containerPort": 80}]}]}


def web(replicas: int = 3, **spec: Any) -> deployments.Deployment:
    body = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [{"name": "c", "image": "web:1", "ports": [{"name": "http", "containerPort": 80}]}]
                },
            },
            **spec,
        },
    }
    return msgspec.convert(body, deployments.Deployment)


def image(tag: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": pod_spec(tag)}}}


def is_done(at: World, replicas: int = 3) -> Any:
    async def check() -> bool:
        found = await at.deployment()
        status = found.status
        reasons = {condition.type: condition.reason for condition in status.conditions}
        return (
            status.observed_generation == found.metadata.generation
            and status.replicas == status.updated_replicas == status.available_replicas == replicas
            and reasons.get("Progressing") == "NewReplicaSetAvailable"
            and reasons.get("Available") == "MinimumReplicasAvailable"
        )

    return check


async def test_a_deployment_comes_up_rolls_over_and_goes_back():
    async with world() as at:
        await at.client.create(deployments.RESOURCE, web())
        await at.until(is_done(at))
        (first,) = await at.replica_sets()
        assert len(await at.pods()) == 3
        for tag in ("web:2", "web:1"):
            await at.client.patch(deployments.RESOURCE, WEB, image(tag))
            await at.until(is_done(at))
        sets = {rs.metadata.name: rs for rs in await at.replica_sets()}
        assert len(sets) == 2
        assert sets[first.metadata.name].spec.replicas == 3
        annotations = sets[first.metadata.name].metadata.annotations
        assert annotations["deployment.kubernetes.io/revision"] == "3"
        assert annotations["deployment.kubernetes.io/revision-history"] == "1"
        assert (await at.deployment()).metadata.annotations["deployment.kubernetes.io/revision"] == "3"
        reasons = {event.reason for event in (await at.client.list(events.RESOURCE, "default")).items}
        assert {"ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete"} <= reasons


async def test_a_restart_of_the_controllers_in_the_middle_makes_no_twins():
    async with world() as at:
        await at.client.create(deployments.RESOURCE, web(20))
        for _ in range(5):
            await asyncio.sleep(0.05)
            await at.stop_controllers()
            await at.start_controllers()
        await at.until(is_done(at, 20))
        assert len(await at.pods()) == 20


async def test_recreate_starts_new_pods_only_when_all_old_ones_are_gone():
    async with world() as at:
        await at.client.create(deployments.RESOURCE, web(3, strategy={"type": "Recreate"}))
        await at.until(is_done(at))
        await at.client.patch(deployments.RESOURCE, WEB, image("web:2"))
        done = is_done(at)
        while not await done():
            images = {pod.spec.containers[0].image for pod in await at.pods()}
            assert len(images) <= 1
            await asyncio.sleep(0.1)


async def test_a_rollout_that_cannot_progress_says_so_and_keeps_enough_pods():
    async with world() as at:
        await at.client.create(deployments.RESOURCE, web(4, progressDeadlineSeconds=30))
        await at.until(is_done(at, 4))
        at.unready = lambda pod: pod.spec.containers[0].image == "web:2"
        await at.client.patch(deployments.RESOURCE, WEB, image("web:2"))

        async def timed_out() -> bool:
            conditions = (await at.deployment()).status.conditions
            return any(c.reason == "ProgressDeadlineExceeded" and c.status == "False" for c in conditions)

        await at.until(timed_out, 120)
        assert (await at.deployment()).status.available_replicas >= 3


async def test_a_paused_deployment_waits_and_a_resumed_one_goes_on():
    async with world() as at:
        await at.client.create(deployments.RESOURCE, web())
        await at.until(is_done(at))
        await at.client.patch(deployments.RESOURCE, WEB, {"spec": {"paused": True}})
        await at.client.patch(deployments.RESOURCE, WEB, image("web:2"))
        await asyncio.sleep(5)
        assert len(await at.replica_sets()) == 1
        await at.client.patch(deployments.RESOURCE, WEB, {"spec": {"paused": None}})
        await at.until(is_done(at))
        assert len(await at.replica_sets()) == 2


async def test_deleting_a_deployment_in_the_background_deletes_all_that_came_of_it():
    async with world() as at:
        await at.client.create(deployments.RESOURCE, web())
        await at.until(is_done(at))
        await at.client.delete(deployments.RESOURCE, WEB, propagation="Background")

        async def empty() -> bool:
            return not await at.pods() and not await at.replica_sets()

        await at.until(empty)


async def test_foreground_deletion_keeps_the_owner_until_its_dependents_are_gone():
    async with world() as at:
        await at.client.create(deployments.RESOURCE, web())
        await at.until(is_done(at))
        await at.client.delete(deployments.RESOURCE, WEB, propagation="Foreground")

        async def gone() -> bool:
            try:
                await at.deployment()
            except NotFound:
                assert not await at.pods() and not await at.replica_sets()
                return True
            return False

        await at.until(gone)


async def test_orphans_stay_and_are_adopted_by_the_next_owner():
    async with world() as at:
        await at.client.create(deployments.RESOURCE, web())
        await at.until(is_done(at))
        names = {pod.metadata.name for pod in await at.pods()}
        await at.client.delete(deployments.RESOURCE, WEB, propagation="Orphan")

        async def alone() -> bool:
            return all(not rs.metadata.owner_references for rs in await at.replica_sets())

        await at.until(alone)
        await asyncio.sleep(3)
        await at.client.create(deployments.RESOURCE, web())
        await at.until(is_done(at))
        assert {pod.metadata.name for pod in await at.pods()} == names


async def test_a_service_knows_its_pods():
    async with world() as at:
        body = {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 8080, "targetPort": "http"}]},
        }
        await at.client.create(services.RESOURCE, msgspec.convert(body, services.Service))
        await at.client.create(deployments.RESOURCE, web())
        await at.until(is_done(at))
        await asyncio.sleep(1)
        (only,) = (await at.client.list(slices.RESOURCE, "default")).items
        assert only.metadata.labels["kubernetes.io/service-name"] == "web"
        assert [port.port for port in only.ports] == [80]
        addresses = {pod.status.pod_ip for pod in await at.pods()}
        assert {endpoint.addresses[0] for endpoint in only.endpoints} == addresses
        assert all(endpoint.conditions.ready for endpoint in only.endpoints)


async def test_a_namespace_gets_what_every_namespace_has_and_is_emptied_before_it_goes():
    async with world() as at:
        shop = namespaces.Namespace(metadata=ObjectMeta(name="shop"))
        await at.client.create(namespaces.RESOURCE, shop)

        async def furnished() -> bool:
            await at.client.get(accounts.RESOURCE, ObjectKey("shop", "default"))
            found = await at.client.get(configmaps.RESOURCE, ObjectKey("shop", "kube-root-ca.crt"))
            return found.data == {"ca.crt": "CERTIFICATE"}

        await at.until(furnished)
        await at.client.patch(configmaps.RESOURCE, ObjectKey("shop", "kube-root-ca.crt"), {"data": {"ca.crt": "x"}})
        await at.until(furnished)
        deployment = web()
        deployment.metadata.namespace = "shop"
        await at.client.create(deployments.RESOURCE, deployment)
        await asyncio.sleep(5)
        await at.client.delete(namespaces.RESOURCE, ObjectKey("", "shop"))

        async def gone() -> bool:
            try:
                await at.client.get(namespaces.RESOURCE, ObjectKey("", "shop"))
            except NotFound:
                return True
            return False

        await at.until(gone)
        for resource in (pods.RESOURCE, replicasets.RESOURCE, deployments.RESOURCE, configmaps.RESOURCE):
            assert not (await at.client.list(resource, "shop")).items


async def test_nodes_get_ranges_of_their_own_that_survive_a_restart():
    async with world() as at:
        await asyncio.sleep(2)
        before = {node.metadata.name: node.spec.pod_cidr for node in (await at.client.list(nodes.RESOURCE)).items}
        assert sorted(before.values()) == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]
        await at.stop_controllers()
        await at.client.delete(nodes.RESOURCE, ObjectKey("", "n2"))
        await at.start_controllers()
        await at.add_node("n4")
        await asyncio.sleep(2)
        after = {node.metadata.name: node.spec.pod_cidr for node in (await at.client.list(nodes.RESOURCE)).items}
        assert len(set(after.values())) == 3
        assert {name: after[name] for name in ("n1", "n3")} == {name: before[name] for name in ("n1", "n3")}


async def test_a_silent_node_loses_its_pods_to_the_others_and_recovers():
    async with world(node_monitor_grace_s=10.0) as at:
        await at.client.create(deployments.RESOURCE, web(6))
        await at.until(is_done(at, 6))
        lost = (await at.pods())[0].spec.node_name
        at.silent.add(lost)

        async def unknown() -> bool:
            node = await at.client.get(nodes.RESOURCE, ObjectKey("", lost))
            taints = {(taint.key, taint.effect) for taint in node.spec.taints}
            return {("node.kubernetes.io/unreachable", effect) for effect in ("NoSchedule", "NoExecute")} <= taints

        await at.until(unknown, 20)
        await asyncio.sleep(3)
        for pod in await at.pods():
            if pod.spec.node_name == lost:
                assert not any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
        # The default toleration is 300 s; then others take over.
        await asyncio.sleep(310)
        running = [pod for pod in await at.pods() if not pod.metadata.deletion_timestamp]
        assert len(running) == 6 and all(pod.spec.node_name != lost for pod in running)
        at.silent.clear()

        async def back() -> bool:
            node = await at.client.get(nodes.RESOURCE, ObjectKey("", lost))
            return not node.spec.taints

        await at.until(back)


async def test_when_all_nodes_are_silent_nothing_is_evicted():
    async with world(node_monitor_grace_s=10.0) as at:
        await at.client.create(deployments.RESOURCE, web())
        await at.until(is_done(at))
        at.silent.update(("n1", "n2", "n3"))
        await asyncio.sleep(600)
        assert not any(pod.metadata.deletion_timestamp for pod in await at.pods())


async def test_pods_of_a_node_that_was_deleted_are_collected():
    async with world() as at:
        await at.client.create(deployments.RESOURCE, web())
        await at.until(is_done(at))
        lost = (await at.pods())[0].spec.node_name
        at.silent.add(lost)
        await at.client.delete(nodes.RESOURCE, ObjectKey("", lost))
        await asyncio.sleep(120)
        found = await at.pods()
        assert len(found) == 3 and all(pod.spec.node_name != lost for pod in found)
