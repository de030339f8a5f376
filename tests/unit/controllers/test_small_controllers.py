"""Controllers of a page each: aggregated roles, protected storage, Jobs whose time is over."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api import timestamps
from api.batch.job import Job
from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.errors import NotFound
from api.rbac import clusterrole as clusterroles
from api.resource import ObjectKey
from controllers import ttl_after_finished
from controllers.actions import Delete
from controllers.storage_protection import reconcile_volume
from tests.unit.controllers.world import world

NOW = timestamps.parse("2024-01-01T01:00:00Z")


def role(name: str, *verbs: str, label: str = "", selects: str = "") -> clusterroles.ClusterRole:
    body: dict[str, Any] = {"metadata": {"name": name, "labels": {label: "true"} if label else {}}}
    body["rules"] = [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]} for verb in verbs]
    if selects:
        body["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {selects: "true"}}]}
    return msgspec.convert(body, clusterroles.ClusterRole)


@pytest.mark.looptime
async def test_roles_are_gathered_from_others_and_follow_them():
    async with world() as at:
        await at.client.create(clusterroles.RESOURCE, role("all", selects="into-all"))
        for name, verb in (("a", "get"), ("b", "list"), ("c", "get")):
            await at.client.create(clusterroles.RESOURCE, role(name, verb, label="into-all"))

        def has(*verbs: str) -> Any:
            async def check() -> bool:
                found = await at.client.get(clusterroles.RESOURCE, ObjectKey("", "all"))
                return [rule.verbs for rule in found.rules] == [[verb] for verb in verbs]

            return check

        await at.until(has("get", "list"))
        await at.client.patch(clusterroles.RESOURCE, ObjectKey("", "all"), {"rules": []})
        await at.until(has("get", "list"))
        await at.client.delete(clusterroles.RESOURCE, ObjectKey("", "b"))
        await at.until(has("get"))


@pytest.mark.looptime
async def test_a_claim_stays_while_a_pod_on_a_node_uses_it():
    claim = {
        "metadata": {"name": "c", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    user = {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
        },
    }
    key = ObjectKey("default", "c")
    async with world() as at:
        await at.client.create(claims.RESOURCE, msgspec.convert(claim, claims.PersistentVolumeClaim))
        await at.client.create(pods.RESOURCE, msgspec.convert(user, pods.Pod))

        async def is_bound() -> bool:
            return bool((await at.client.get(pods.RESOURCE, ObjectKey("default", "p"))).spec.node_name)

        await at.until(is_bound)
        await at.client.delete(claims.RESOURCE, key)
        await at.clock.sleep(5)
        assert (await at.client.get(claims.RESOURCE, key)).metadata.deletion_timestamp
        await at.client.delete(pods.RESOURCE, ObjectKey("default", "p"), grace_period_s=0)

        async def is_gone() -> bool:
            try:
                await at.client.get(claims.RESOURCE, key)
            except NotFound:
                return True
            return False

        await at.until(is_gone)


def test_a_volume_stays_while_it_is_bound() -> None:
    def patch(phase: str, finalizers: list[str], deleted: bool) -> Any:
        metadata = {
            "name": "v",
            "finalizers": finalizers,
            "deletionTimestamp": "2024-01-01T00:00:00Z" if deleted else "",
        }
        volume = msgspec.convert({"metadata": metadata, "status": {"phase": phase}}, volumes.PersistentVolume)
        actions: Any = reconcile_volume(volume, NOW).actions
        return [action.patch["metadata"]["finalizers"] for action in actions]

    hold = "kubernetes.io/pv-protection"
    assert patch("Bound", [hold], True) == []
    assert patch("Released", ["other", hold], True) == [["other"]]
    assert patch("Available", [], False) == [[hold]]
    assert patch("Available", [hold], False) == []


def a_job(ttl_s: int | None, ended: str = "") -> Job:
    conditions = [{"type": "Complete", "status": "True", "lastTransitionTime": ended}] if ended else []
    body = {
        "metadata": {"name": "j", "uid": "u", "resourceVersion": "7"},
        "spec": {"ttlSecondsAfterFinished": ttl_s},
        "status": {"conditions": conditions},
    }
    return msgspec.convert(body, Job)


def test_a_job_goes_when_its_time_after_the_end_is_over() -> None:
    assert not ttl_after_finished.reconcile(a_job(None, "2024-01-01T00:00:00Z"), NOW).actions
    assert not ttl_after_finished.reconcile(a_job(0), NOW).actions
    waiting = ttl_after_finished.reconcile(a_job(3601, "2024-01-01T00:00:00Z"), NOW)
    assert (waiting.actions, waiting.requeue_after_s) == ((), pytest.approx(1.1))
    (gone,) = ttl_after_finished.reconcile(a_job(3600, "2024-01-01T00:00:00Z"), NOW).actions
    assert isinstance(gone, Delete)
    assert (gone.propagation, gone.uid, gone.resource_version) == ("Foreground", "u", "7")
