from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from api import timestamps
from api.apps.controllerrevision import ControllerRevision
from api.apps.daemonset import DaemonSet
from api.core.node import Node
from api.core.pod import Pod
from controllers.actions import Burst, Create, Delete, Emit, Patch, Plan
from controllers.daemonset.controller import Failures, Observed, reconcile
from controllers.daemonset.nodes import by_node, daemon_pod, is_node_news, node_of, tolerations_of, where
from controllers.daemonset.rolling import limits
from controllers.revisions import HASH_LABEL, data_of, hash_of, name_of
from tests.unit.controllers.carry_out import steps_of

NOW = timestamps.parse("2024-01-02T00:00:00Z")
OWNER = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "u-agent", "controller": True}


def daemon_set(*, unavailable: Any = 1, surge: Any = 0, pod: Any = None, **spec: Any) -> DaemonSet:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}
    body = {
        "metadata": {"name": "agent", "namespace": "default", "uid": "u-agent", "generation": 1},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": pod or {}},
            "updateStrategy": rolling,
            **spec,
        },
    }
    return msgspec.convert(body, DaemonSet)


def node(name: str, *taints: tuple[str, str], **more: Any) -> Node:
    spec = {"taints": [{"key": key, "effect": effect} for key, effect in taints]}
    return msgspec.convert(
        {"metadata": {"name": name, "labels": more.pop("labels", {})}, "spec": {**spec, **more}}, Node
    )


def revision(ds: DaemonSet, number: int = 1, name: str = "") -> ControllerRevision:
    hash = hash_of(ds)
    metadata = {
        "name": name or name_of(ds),
        "namespace": "default",
        "uid": f"u-{name or name_of(ds)}",
        "labels": {"app": "agent", HASH_LABEL: name or hash},
        "ownerReferences": [OWNER],
    }
    return msgspec.convert(
        {"metadata": metadata, "data": data_of(ds.spec.template), "revision": number}, ControllerRevision
    )


def pod(ds: DaemonSet, node: str, name: str = "", *, hash: str | None = None, ready: bool = True, **more: Any) -> Pod:
    name = name or f"p-{node}"
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"u-{name}",
        "labels": {"app": "agent", HASH_LABEL: hash_of(ds) if hash is None else hash},
        "creationTimestamp": more.pop("created", "2024-01-01T11:00:00Z"),
        "ownerReferences": more.pop("owners", [OWNER]),
    }
    if more.pop("deleted", False):
        metadata["deletionTimestamp"] = "2024-01-01T23:00:00Z"
    since = more.pop("since", "2024-01-01T12:00:00Z")
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}
    status = {"phase": more.pop("phase", "Running"), "conditions": [condition]}
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": node}, "status": status}, Pod)


def old_pod(ds: DaemonSet, node: str, name: str = "", **more: Any) -> Pod:
    return pod(ds, node, name, hash="old", **more)


def plan(
    ds: DaemonSet,
    nodes: Sequence[Node | str],
    pods: Sequence[Pod] = (),
    revisions: Sequence[ControllerRevision] | None = None,
    failures: Failures | None = None,
) -> Plan:
    found = [node(each) if isinstance(each, str) else each for each in nodes]
    known = [revision(ds)] if revisions is None else revisions
    return reconcile(Observed(ds, found, pods, known, None), NOW, failures or Failures())


def made_on(made: Plan) -> list[str]:
    return sorted(node_of(step.object) for step in steps_of(made) if isinstance(step, Create))


def deleted(made: Plan) -> list[str]:
    return sorted(step.key.name for step in steps_of(made) if isinstance(step, Delete))


def status(made: Plan) -> dict[str, Any]:
    assert made.status is not None
    found: dict[str, Any] = made.status.patch["status"]
    return found


# Revisions


def test_the_template_gets_a_revision_before_any_pod():
    ds = daemon_set()
    made = plan(ds, ["n1"], revisions=())
    (step,) = made.actions
    assert isinstance(step, Create) and made.status is None
    first = step.object
    assert (first.metadata.name, first.revision) == (f"agent-{hash_of(ds)}", 1)
    assert first.metadata.labels == {"app": "agent", HASH_LABEL: hash_of(ds)}
    assert first.metadata.owner_references[0].uid == "u-agent"
    assert first.data["spec"]["template"]["$patch"] == "replace"
    assert first.data["spec"]["template"]["metadata"]["creationTimestamp"] is None


def test_a_template_that_was_there_before_gets_its_revision_back_under_the_highest_number():
    ds, other = daemon_set(), daemon_set(pod={"hostname": "other"})
    made = plan(ds, ["n1"], revisions=[revision(ds, 1), revision(other, 2, "agent-other")])
    (step,) = made.actions
    assert isinstance(step, Patch)
    assert (step.key.name, step.patch["revision"]) == (name_of(ds), 3)


def test_a_name_that_something_else_has_is_counted_as_a_collision_and_avoided():
    ds, other = daemon_set(), daemon_set(pod={"hostname": "other"})
    holder = revision(other, 1, name_of(ds))
    made = reconcile(Observed(ds, [node("n1")], [], [], holder), NOW, Failures())
    assert not made.actions and status(made)["collisionCount"] == 1
    ds.status.collision_count = 1
    assert name_of(ds) != holder.metadata.name


def test_pods_of_a_revision_that_somebody_made_again_become_those_of_the_newer_and_are_not_restarted():
    ds = daemon_set()
    twin = revision(ds, 2, "agent-twin")
    twin.metadata.labels[HASH_LABEL] = "twin"
    made = plan(ds, ["n1", "n2"], [pod(ds, "n1"), pod(ds, "n2", hash="twin")], [revision(ds, 1), twin])
    (step,) = steps_of(made)
    assert isinstance(step, Patch) and step.key.name == "p-n1"
    assert step.patch["metadata"]["labels"] == {HASH_LABEL: "twin"}


def test_history_beyond_the_limit_goes_oldest_first_but_not_what_pods_are_made_of():
    ds = daemon_set(revisionHistoryLimit=1)
    old = [revision(daemon_set(pod={"hostname": f"h{n}"}), n, f"agent-{n}") for n in range(1, 5)]
    there = old_pod(ds, "n1", ready=False)
    there.metadata.labels[HASH_LABEL] = "agent-1"
    made = plan(ds, ["n1"], [there], [*old, revision(ds, 5)])
    assert [name for name in deleted(made) if name.startswith("agent")] == ["agent-2", "agent-3", "agent-4"]


# Where pods belong


def test_each_node_that_lacks_a_pod_gets_one_bound_for_it():
    ds = daemon_set(pod={"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "agent", "operator": "Exists"}]}]}}}})  # fmt: skip
    labels = {"agent": "yes"}
    made = plan(ds, [node("n1", labels=labels), node("n2", labels=labels), node("n3")], [pod(ds, "n1")])
    assert made_on(made) == ["n2"]
    (burst,) = made.actions
    assert isinstance(burst, Burst) and burst.slow_start
    created = burst.steps[0]
    assert isinstance(created, Create)
    required = created.object.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    (term,) = required.node_selector_terms
    assert not term.match_expressions
    assert [(each.key, each.operator, each.values) for each in term.match_fields] == [("metadata.name", "In", ["n2"])]
    assert created.object.metadata.labels[HASH_LABEL] == hash_of(ds)
    assert ds.spec.template.metadata.labels == {"app": "agent"}


def test_daemon_pods_say_which_template_of_the_daemon_set_they_are_of():
    ds = daemon_set()
    assert "pod-template-generation" not in daemon_pod(ds, "h", "n1").metadata.labels
    ds.metadata.annotations = {"deprecated.daemonset.template.generation": "3"}
    assert daemon_pod(ds, "h", "n1").metadata.labels["pod-template-generation"] == "3"


def test_daemon_pods_bear_a_node_in_trouble_and_without_a_network_only_if_they_use_the_nodes():
    keys = {each.key.removeprefix("node.kubernetes.io/") for each in tolerations_of(daemon_set().spec.template.spec)}
    assert keys == {"not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"}
    host = daemon_set(pod={"hostNetwork": True})
    assert "node.kubernetes.io/network-unavailable" in {each.key for each in tolerations_of(host.spec.template.spec)}
    short = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}
    made = tolerations_of(daemon_set(pod={"tolerations": [short]}).spec.template.spec)
    assert [each.toleration_seconds for each in made if each.key.endswith("not-ready")] == [None]


def test_where_a_pod_should_run_and_may_stay():
    ds = daemon_set(pod={"nodeSelector": {"disk": "ssd"}})
    ssd = {"disk": "ssd"}
    assert where(ds, node("n1", labels=ssd)) == (True, True)
    assert where(ds, node("n1")) == (False, False)
    assert where(ds, node("n1", ("k", "NoSchedule"), labels=ssd)) == (False, True)
    assert where(ds, node("n1", ("k", "NoExecute"), labels=ssd)) == (False, False)
    assert where(ds, node("n1", ("k", "PreferNoSchedule"), labels=ssd)) == (True, True)
    assert where(ds, node("n1", ("node.kubernetes.io/unschedulable", "NoSchedule"), labels=ssd)) == (True, True)
    assert where(daemon_set(pod={"nodeName": "n2"}), node("n1")) == (False, False)


def test_a_pod_leaves_a_node_it_may_not_stay_on():
    ds = daemon_set(pod={"nodeSelector": {"disk": "ssd"}})
    made = plan(
        ds, [node("n1"), node("n2", ("k", "NoExecute"), labels={"disk": "ssd"})], [pod(ds, "n1"), pod(ds, "n2")]
    )
    assert deleted(made) == ["p-n1", "p-n2"]
    assert status(made)["numberMisscheduled"] == 2


def test_a_pod_bound_for_a_node_that_is_gone_is_deleted_and_one_that_runs_there_is_left_alone():
    ds = daemon_set()
    waiting = daemon_pod(ds, hash_of(ds), "gone")
    waiting.metadata.name, waiting.metadata.uid = "waiting", "u-waiting"
    assert deleted(plan(ds, ["n1"], [pod(ds, "n1"), pod(ds, "gone2"), waiting])) == ["waiting"]


def test_of_several_pods_on_a_node_the_oldest_stays():
    ds = daemon_set()
    late, early = pod(ds, "n1", "a", created="2024-01-01T11:00:01Z"), pod(ds, "n1", "b")
    assert deleted(plan(ds, ["n1"], [late, early])) == ["a"]


def test_a_leaving_pod_keeps_its_node_until_it_is_gone_but_a_finished_one_does_not():
    ds = daemon_set()
    assert made_on(plan(ds, ["n1"], [pod(ds, "n1", deleted=True)])) == []
    assert made_on(plan(ds, ["n1"], [pod(ds, "n1", deleted=True, phase="Failed")])) == ["n1"]


def test_failed_pods_are_replaced_later_each_time():
    ds, failures = daemon_set(), Failures()
    failed = [pod(ds, "n1", phase="Failed")]
    first = plan(ds, ["n1"], failed, failures=failures)
    assert deleted(first) == ["p-n1"]
    assert [action.reason for action in first.actions if isinstance(action, Emit)] == ["FailedDaemonPod"]
    second = plan(ds, ["n1"], failed, failures=failures)
    assert deleted(second) == [] and second.requeue_after_s is not None and 1.0 <= second.requeue_after_s <= 1.2
    known = ("u-agent", 1, "n1")
    failures.note(known, NOW)
    assert failures.wait_s(known, NOW) == 2.0
    assert failures.wait_s(known, NOW + 2.0) == 0.0
    failures.note(known, NOW + 3600)
    assert failures.wait_s(known, NOW + 3600) == 1.0


def test_a_pod_that_ended_well_is_replaced_at_once():
    ds = daemon_set()
    made = plan(ds, ["n1"], [pod(ds, "n1", phase="Succeeded")])
    assert deleted(made) == ["p-n1"]


def test_orphans_that_match_are_adopted_before_anything_else():
    ds = daemon_set()
    made = plan(ds, ["n1"], [pod(ds, "n1", owners=[])])
    (adopt,) = made.actions
    assert isinstance(adopt, Patch) and adopt.guard is not None


def test_nothing_is_done_for_a_set_that_selects_everything_or_is_being_deleted():
    everything = daemon_set(selector={})
    (told,) = plan(everything, ["n1"]).actions
    assert isinstance(told, Emit) and told.reason == "SelectingAll"
    going = daemon_set()
    going.metadata.deletion_timestamp = "2024-01-01T00:00:00Z"
    assert plan(going, ["n1"]) == Plan()


# Updates


def test_an_update_takes_as_many_old_pods_as_may_be_missing():
    ds = daemon_set(unavailable=2)
    nodes = ["n1", "n2", "n3", "n4"]
    assert deleted(plan(ds, nodes, [old_pod(ds, name) for name in nodes])) == ["p-n1", "p-n2"]
    half = [pod(ds, "n1", ready=False), *(old_pod(ds, name) for name in nodes[1:])]
    assert deleted(plan(ds, nodes, half)) == ["p-n2"]
    share = daemon_set(unavailable="30%")
    assert limits(share, 4) == (0, 2)


def test_old_pods_that_are_not_available_go_at_once():
    ds = daemon_set()
    nodes = ["n1", "n2", "n3"]
    made = plan(ds, nodes, [old_pod(ds, "n1", ready=False), old_pod(ds, "n2", ready=False), old_pod(ds, "n3")])
    assert deleted(made) == ["p-n1", "p-n2", "p-n3"]


def test_a_pod_that_is_missing_or_leaving_counts_as_unavailable():
    ds = daemon_set()
    there = [old_pod(ds, "n1"), old_pod(ds, "n2", deleted=True)]
    assert deleted(plan(ds, ["n1", "n2"], there)) == []


def test_on_delete_leaves_old_pods_alone():
    ds = daemon_set(updateStrategy={"type": "OnDelete"})
    made = plan(ds, ["n1"], [old_pod(ds, "n1", ready=False)])
    assert deleted(made) == [] and "updatedNumberScheduled" not in status(made)


def test_a_surge_makes_the_new_pod_first_and_takes_the_old_one_once_it_is_available():
    ds = daemon_set(unavailable=0, surge=1)
    nodes = ["n1", "n2"]
    both = [old_pod(ds, "n1"), old_pod(ds, "n2")]
    first = plan(ds, nodes, both)
    assert (made_on(first), deleted(first)) == (["n1"], [])
    coming = plan(ds, nodes, [*both, pod(ds, "n1", "new", ready=False)])
    assert (made_on(coming), deleted(coming)) == ([], [])
    come = plan(ds, nodes, [*both, pod(ds, "n1", "new")])
    assert (made_on(come), deleted(come)) == ([], ["p-n1"])


def test_a_surge_waits_for_min_ready_seconds():
    ds = daemon_set(unavailable=0, surge=1, minReadySeconds=10)
    made = plan(ds, ["n1"], [old_pod(ds, "n1"), pod(ds, "n1", "new", since="2024-01-01T23:59:55Z")])
    assert deleted(made) == [] and made.requeue_after_s is not None and made.requeue_after_s <= 5.2


def test_an_old_pod_that_is_not_ready_gives_way_in_a_surge():
    ds = daemon_set(unavailable=0, surge=1)
    assert made_on(plan(ds, ["n1", "n2"], [old_pod(ds, "n1", ready=False), old_pod(ds, "n2", ready=False)])) == [
        "n1",
        "n2",
    ]
    pair = [old_pod(ds, "n1", ready=False), pod(ds, "n1", "new", ready=False)]
    assert deleted(plan(ds, ["n1"], pair)) == ["p-n1"]


def test_a_surge_starts_nothing_where_nothing_should_start():
    ds = daemon_set(unavailable=0, surge=1)
    made = plan(ds, [node("n1", ("k", "NoSchedule")), "n2"], [old_pod(ds, "n1"), pod(ds, "n2")])
    assert (made_on(made), deleted(made)) == ([], ["p-n1"])


# Status


def test_the_status_counts_nodes():
    ds = daemon_set(minReadySeconds=10)
    nodes = ["n1", "n2", "n3", "n4", node("n5", ("k", "NoSchedule"))]
    there = [
        pod(ds, "n1"),
        pod(ds, "n2", since="2024-01-01T23:59:55Z"),
        pod(ds, "n3", ready=False),
        pod(ds, "n5"),
    ]
    assert status(plan(ds, nodes, there)) == {
        "currentNumberScheduled": 3,
        "numberMisscheduled": 1,
        "desiredNumberScheduled": 4,
        "numberReady": 2,
        "observedGeneration": 1,
        "updatedNumberScheduled": 3,
        "numberAvailable": 1,
        "numberUnavailable": 3,
    }


def test_reconciling_what_is_as_it_should_be_changes_nothing():
    ds = daemon_set()
    made = plan(ds, ["n1"], [pod(ds, "n1")])
    assert not made.actions
    ds.status = msgspec.convert({**msgspec.to_builtins(ds.status), **status(made)}, type(ds.status))
    again = plan(ds, ["n1"], [pod(ds, "n1")])
    assert not again.actions and again.status is None


def test_heartbeats_are_no_news_but_labels_and_taints_are():
    before = node("n1")
    beat = node("n1")
    beat.status.conditions = msgspec.convert([{"type": "Ready", "status": "True"}], list[Any])
    assert not is_node_news(before, beat)
    assert is_node_news(before, node("n1", labels={"a": "b"}))
    assert is_node_news(before, node("n1", ("k", "NoExecute")))


def test_pods_are_found_on_the_node_they_are_bound_for():
    ds = daemon_set()
    bound_for = daemon_pod(ds, "h", "n1")
    assert list(by_node([bound_for, pod(ds, "n1")])) == ["n1"]
    assert by_node([bound_for, pod(ds, "n1")])["n1"][0].spec.node_name == "n1"
