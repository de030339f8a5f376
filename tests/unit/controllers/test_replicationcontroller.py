from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from api.core import pod as pods
from api.core import replicationcontroller as replicationcontrollers
from api.core.pod import Pod
from api.core.replicationcontroller import ReplicationController, ReplicationControllerCondition
from api.errors import Forbidden
from api.resource import ObjectKey
from controllers.actions import Burst, Create, Patch
from controllers.replicaset import Observed, reconcile
from tests.unit.controllers.world import world

KEY = ObjectKey("default", "web")


def controller(replicas: int = 2, **metadata: Any) -> ReplicationController:
    body = {
        "metadata": {"name": "web", "namespace": "default", "uid": "u-web", "generation": 1, **metadata},
        "spec": {
            "replicas": replicas,
            "selector": {"app": "web"},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    }
    return msgspec.convert(body, ReplicationController)


def test_its_pods_are_made_and_its_failures_told_in_its_own_kind():
    plan = reconcile(Observed(controller(), [], Counter()), 0.0)
    (burst,) = plan.actions
    assert isinstance(burst, Burst)
    step = burst.steps[0]
    assert isinstance(step, Create)
    (owner,) = step.object.metadata.owner_references
    assert (owner.api_version, owner.kind, owner.name) == ("v1", "ReplicationController", "web")
    assert plan.status_after_failure is not None
    told = plan.status_after_failure(step, Forbidden("exceeded quota"))
    assert told is not None and told.resource is replicationcontrollers.RESOURCE
    (condition,) = told.patch["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("ReplicaFailure", "FailedCreate")
    kept = msgspec.convert(condition, ReplicationControllerCondition)
    assert kept.message == "exceeded quota"


def test_a_pod_whose_labels_no_longer_match_is_released_and_another_made():
    owner = {"apiVersion": "v1", "kind": "ReplicationController", "name": "web", "uid": "u-web", "controller": True}
    metadata = {"name": "a", "namespace": "default", "uid": "u-a", "labels": {"app": "old"}, "ownerReferences": [owner]}
    left = msgspec.convert({"metadata": metadata, "status": {"phase": "Running"}}, Pod)
    release, burst = reconcile(Observed(controller(1), [left], Counter()), 0.0).actions
    assert isinstance(release, Patch) and release.patch["metadata"]["ownerReferences"] is None
    assert isinstance(burst, Burst) and len(burst.steps) == 1


@pytest.mark.looptime
async def test_a_controller_keeps_its_pods_and_adopts_one_that_matches():
    async with world() as at:
        orphan = {
            "metadata": {"name": "orphan", "namespace": "default", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        await at.client.create(pods.RESOURCE, msgspec.convert(orphan, Pod))
        await at.client.create(replicationcontrollers.RESOURCE, controller(3, uid=""))

        async def are_ready() -> bool:
            status = (await at.client.get(replicationcontrollers.RESOURCE, KEY)).status
            return (status.replicas, status.ready_replicas, status.available_replicas) == (3, 3, 3)

        await at.until(are_ready)
        assert "orphan" in [pod.metadata.name for pod in await at.pods()]
        assert len(await at.pods()) == 3
