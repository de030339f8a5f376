from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from api import timestamps
from api.apps.replicaset import ReplicaSet
from api.core.pod import Pod
from api.errors import Forbidden
from controllers.actions import Burst, Create, Delete, Patch
from controllers.replicaset import Observed, reconcile, select_victims
from tests.unit.controllers.carry_out import Objects, carry_out, of, steps_of

NOW = timestamps.parse("2024-01-02T00:00:00Z")
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u-web", "controller": True}


def replica_set(replicas: int = 3, **more: Any) -> ReplicaSet:
    body = {
        "metadata": {"name": "web", "namespace": "default", "uid": "u-web", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}},
            **more,
        },
    }
    return msgspec.convert(body, ReplicaSet)


def pod(name: str, *, node: str = "n1", ready: bool = True, labels: Any = None, owned: bool = True, **more: Any) -> Pod:
    since = more.pop("ready_since", "2024-01-01T12:00:00Z")
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"u-{name}",
        "resourceVersion": "5",
        "labels": labels or {"app": "web"},
        "creationTimestamp": more.pop("created", "2024-01-01T11:00:00Z"),
        "annotations": more.pop("annotations", {}),
        "ownerReferences": [OWNER] if owned else [],
    }
    if more.pop("deleted", False):
        metadata["deletionTimestamp"] = "2024-01-01T23:00:00Z"
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}
    status = {"phase": more.pop("phase", "Running"), "conditions": [condition]}
    status["containerStatuses"] = [{"name": "c", "restartCount": more.pop("restarts", 0)}]
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": node}, "status": status}, Pod)


def observed(rs: ReplicaSet, *pods: Pod) -> Observed:
    return Observed(rs, pods, Counter(each.spec.node_name for each in pods))


def test_missing_pods_are_created_with_a_slow_start():
    plan = reconcile(observed(replica_set(3), pod("a")), NOW)
    (burst,) = plan.actions
    assert isinstance(burst, Burst) and burst.slow_start
    made = [step.object for step in burst.steps if isinstance(step, Create)]
    assert len(made) == 2
    assert made[0].metadata.generate_name == "web-"
    assert made[0].metadata.owner_references[0].uid == "u-web"


def test_finished_and_leaving_pods_do_not_count():
    plan = reconcile(observed(replica_set(1), pod("a", phase="Failed"), pod("b", deleted=True)), NOW)
    assert [type(step) for step in steps_of(plan)][0] is Create


def test_a_matching_orphan_is_adopted_before_anything_is_created():
    plan = reconcile(observed(replica_set(3), pod("a", owned=False)), NOW)
    (patch,) = plan.actions
    assert isinstance(patch, Patch) and patch.guard is not None
    assert patch.patch["metadata"]["ownerReferences"][0]["uid"] == "u-web"
    assert patch.patch["metadata"]["resourceVersion"] == "5"


def test_a_pod_that_no_longer_matches_is_released_and_replaced():
    plan = reconcile(observed(replica_set(1), pod("a", labels={"app": "other"})), NOW)
    release, burst = plan.actions
    assert isinstance(release, Patch) and release.patch["metadata"]["ownerReferences"] is None
    assert isinstance(burst, Burst) and len(burst.steps) == 1


def test_a_replica_set_being_deleted_creates_and_deletes_nothing():
    rs = replica_set(3)
    rs.metadata.deletion_timestamp = "2024-01-01T23:00:00Z"
    assert reconcile(observed(rs, pod("a", owned=False)), NOW).actions == ()


def test_victims_are_those_whose_loss_costs_least():
    pods = [
        pod("unbound", node="", phase="Pending", ready=False),
        pod("pending", phase="Pending", ready=False),
        pod("unready", ready=False),
        pod("cheap", annotations={"controller.kubernetes.io/pod-deletion-cost": "-5"}),
        pod("doubled-1", node="n2"),
        pod("doubled-2", node="n2", ready_since="2024-01-01T23:59:00Z"),
        pod("restarted", restarts=4),
        pod("young", created="2024-01-01T23:59:59Z"),
        pod("old"),
    ]
    related = Counter({"n1": 1, "n2": 2})
    chosen = [each.metadata.name for each in select_victims(pods, len(pods), related, NOW)]
    assert chosen == [
        "unbound", "pending", "unready", "cheap", "doubled-2", "doubled-1", "restarted", "young", "old",
    ]  # fmt: skip


def test_status_counts_what_is_ready_and_what_has_been_ready_for_long_enough():
    rs = replica_set(3, minReadySeconds=60)
    fresh = timestamps.render(NOW - 20)
    plan = reconcile(observed(rs, pod("a"), pod("b", ready_since=fresh), pod("c", ready=False)), NOW)
    assert plan.status is not None
    assert plan.status.patch["status"] == {
        "replicas": 3,
        "fullyLabeledReplicas": 3,
        "readyReplicas": 2,
        "availableReplicas": 1,
        "observedGeneration": 1,
    }
    assert plan.requeue_after_s is not None and 39 < plan.requeue_after_s < 42


def test_a_refused_creation_is_told_in_the_status():
    plan = reconcile(observed(replica_set(1)), NOW)
    (burst,) = plan.actions
    assert isinstance(burst, Burst) and plan.status_after_failure is not None
    status = plan.status_after_failure(burst.steps[0], Forbidden("exceeded quota"))
    assert status is not None
    (condition,) = status.patch["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("ReplicaFailure", "FailedCreate")
    assert condition["message"] == "exceeded quota"


@given(st.integers(0, 8), st.lists(st.tuples(st.booleans(), st.sampled_from(["n1", "n2", ""])), max_size=8))
def test_reconciling_again_after_the_plan_was_carried_out_changes_nothing(replicas, present):
    objects: Objects = {}
    rs = replica_set(replicas)
    objects["replicasets", _key(rs)] = rs
    for number, (ready, node) in enumerate(present):
        made = pod(f"p{number}", ready=ready, node=node)
        objects["pods", _key(made)] = made
    carry_out(reconcile(observed(rs, *of(objects, "pods")), NOW), objects)
    (rs,) = of(objects, "replicasets")
    assert len(of(objects, "pods")) == replicas
    second = reconcile(observed(rs, *of(objects, "pods")), NOW)
    assert second.actions == ()
    carry_out(second, objects)
    (rs,) = of(objects, "replicasets")
    assert list(steps_of(reconcile(observed(rs, *of(objects, "pods")), NOW))) == []


def test_only_so_many_pods_are_deleted_at_once():
    pods = [pod(f"p{number}") for number in range(600)]
    plan = reconcile(observed(replica_set(0), *pods), NOW)
    (burst,) = plan.actions
    assert isinstance(burst, Burst) and len(burst.steps) == 500
    assert all(isinstance(step, Delete) and step.uid for step in burst.steps)


def _key(obj: Any) -> Any:
    from client.verbs import key_of

    return key_of(obj)
