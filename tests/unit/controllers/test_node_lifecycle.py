from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api import timestamps
from api.core.node import Node
from api.core.pod import Pod
from api.core.references import ObjectReference
from controllers.actions import Delete, Emit, Patch
from controllers.node_lifecycle import (
    NOT_READY,
    UNREACHABLE,
    Heartbeats,
    Leaving,
    Observed,
    compute_taints,
    enough_are_well,
    reconcile,
    tell_removal,
    tolerated_until,
)
from tests.unit.controllers.carry_out import steps_of

NOW = timestamps.parse("2024-01-02T00:00:00Z")


def node(ready: str = "True", name: str = "n1", **spec: Any) -> Node:
    conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": "2024-01-01T00:00:00Z"}] if ready else []
    if ready == "Unknown":
        conditions += [{"type": f"{what}Pressure", "status": "Unknown"} for what in ("Memory", "Disk", "PID")]
    metadata = {"name": name, "uid": f"u-{name}", "resourceVersion": "7", "creationTimestamp": "2024-01-01T00:00:00Z"}
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": {"conditions": conditions}}, Node)


def taint(key: str, effect: str = "NoExecute", added: str = "2024-01-01T23:59:00Z") -> dict[str, str]:
    return {"key": key, "effect": effect, "timeAdded": added}


def pod(name: str = "a", tolerations: Any = (), ready: str = "True") -> Pod:
    body = {
        "metadata": {"name": name, "namespace": "default", "uid": f"u-{name}", "resourceVersion": "9"},
        "spec": {"nodeName": "n1", "tolerations": list(tolerations)},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }
    return msgspec.convert(body, Pod)


def observed(of: Node, *pods: Pod, silent_s: float = 0.0, may_evict: bool = True) -> Observed:
    return Observed(of, pods, silent_s, 50.0, 300.0, may_evict)


def test_a_node_that_speaks_is_left_alone_until_its_grace_runs_out():
    plan = reconcile(observed(node(), silent_s=20), NOW, Leaving())
    assert plan.actions == ()
    assert plan.requeue_after_s == pytest.approx(30.1)


def test_a_silent_node_is_declared_unknown():
    (patch,) = steps_of(reconcile(observed(node(), silent_s=51), NOW, Leaving()))
    assert isinstance(patch, Patch) and patch.subresource == "status"
    found = {each["type"]: each for each in patch.patch["status"]["conditions"]}
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert found["Ready"]["lastHeartbeatTime"] == "2024-01-01T00:00:00Z"
    assert found["DiskPressure"]["reason"] == "NodeStatusNeverUpdated"
    assert patch.patch["metadata"]["resourceVersion"] == "7"


@pytest.mark.parametrize(
    ("ready", "expected"),
    [
        ("True", []),
        ("False", [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        ("Unknown", [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        ("", [(NOT_READY, "NoSchedule")]),
    ],
)
def test_taints_follow_the_ready_condition(ready, expected):
    before = node(ready, taints=[taint("mine", "NoSchedule"), taint(NOT_READY), taint(UNREACHABLE)])
    found = [(each.key, each.effect) for each in compute_taints(before, True, NOW)]
    assert sorted(found) == sorted([("mine", "NoSchedule"), *expected])


def test_a_cordoned_node_is_tainted_and_one_without_time_gets_it():
    found = compute_taints(node(unschedulable=True, taints=[{"key": "mine", "effect": "NoExecute"}]), True, NOW)
    assert [(each.key, each.effect) for each in found] == [
        ("mine", "NoExecute"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ]
    assert found[0].time_added == "2024-01-02T00:00:00Z"


def test_nothing_is_evicted_when_most_nodes_seem_gone():
    found = compute_taints(node("Unknown"), False, NOW)
    assert [each.effect for each in found] == ["NoSchedule"]
    assert not enough_are_well([node("Unknown")])
    assert enough_are_well([node("Unknown"), node("True"), node("True")])
    assert enough_are_well([node("Unknown"), node("True")])
    assert not enough_are_well([node("Unknown"), node("Unknown"), node("Unknown"), node("True")])


def test_a_pod_stays_for_as_long_as_it_tolerates_every_taint():
    taints = node(taints=[taint(UNREACHABLE), taint("mine")]).spec.taints
    short = {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 100}
    everything = {"operator": "Exists"}
    assert tolerated_until(pod(tolerations=[short]), taints, 300, NOW) == NOW
    assert tolerated_until(pod(tolerations=[everything]), taints, 300, NOW) is None
    assert tolerated_until(pod(tolerations=[short, everything]), taints, 300, NOW) == NOW + 41
    assert tolerated_until(pod(), taints[:1], 300, NOW) == NOW + 241
    at_once = {**short, "tolerationSeconds": 0}
    assert tolerated_until(pod(tolerations=[at_once, everything]), taints, 300, NOW) == NOW


def test_pods_are_evicted_when_their_time_is_up_and_not_before():
    lost = node("Unknown", taints=[taint(UNREACHABLE, "NoSchedule"), taint(UNREACHABLE)])
    tolerates = [{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]
    steps = [{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10}]
    plan = reconcile(
        observed(lost, pod("a", tolerates, "False"), pod("b", steps, "False"), silent_s=120), NOW, Leaving()
    )
    assert [step.key.name for step in steps_of(plan) if isinstance(step, Delete)] == ["b"]
    assert plan.requeue_after_s == pytest.approx(241.1)


def test_only_a_node_that_was_ready_is_told_to_be_so_no_more():
    told = {}
    for before in ("True", "False"):
        (patch,) = steps_of(reconcile(observed(node(before), silent_s=51), NOW, Leaving()))
        assert isinstance(patch, Patch)
        told[before] = patch.done.reason if patch.done is not None else ""
    assert told == {"True": "NodeNotReady", "False": ""}


def test_a_pod_that_is_marked_not_ready_is_told_of():
    steps = list(steps_of(reconcile(observed(node("Unknown"), pod("up"), silent_s=60), NOW, Leaving())))
    (mark,) = [step for step in steps if isinstance(step, Patch) and step.key.name == "up"]
    assert mark.done is not None
    assert (mark.done.type, mark.done.reason, mark.done.message) == ("Warning", "NodeNotReady", "Node is not ready")


def test_pods_of_a_silent_node_are_marked_not_ready_once():
    lost = node("Unknown", taints=[taint(UNREACHABLE, "NoSchedule"), taint(UNREACHABLE)])
    (mark,) = steps_of(reconcile(observed(lost, pod("a"), pod("b", ready="False"), silent_s=120), NOW, Leaving()))
    assert isinstance(mark, Patch) and mark.key.name == "a"
    assert mark.patch["status"]["conditions"][0]["status"] == "False"


class Hand:
    """A clock moved by hand."""

    at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError


def test_a_node_that_speaks_seldom_is_given_time_even_when_grace_is_short():
    clock = Hand()
    heartbeats = Heartbeats(clock)
    for number in range(4):
        clock.at = 10.0 * number
        heartbeats.silent_s("n1", str(number), 0.0)
    assert heartbeats.grace_s("n1", 10.0) == 15
    assert heartbeats.grace_s("n1", 50.0) == 50
    assert heartbeats.grace_s("n2", 10.0) == 10


def test_silence_counts_only_while_we_listen():
    clock = Hand()
    heartbeats = Heartbeats(clock)
    assert heartbeats.silent_s("n1", "one", 0.0) == 0
    clock.at = 40.0
    assert heartbeats.silent_s("n1", "one", 0.0) == 40
    assert heartbeats.silent_s("n1", "one", 30.0) == 10
    assert heartbeats.silent_s("n1", "two", 0.0) == 0


def test_silence_of_everybody_says_nothing_about_anyone():
    clock = Hand()
    heartbeats = Heartbeats(clock, lull_s=5.0)
    assert heartbeats.silent_s("n1", "one", 0.0) == 0
    for clock.at in (2.0, 4.0, 6.0):
        heartbeats.hear()
    clock.at = 8.0
    assert heartbeats.silent_s("n1", "one", 8.0) == 8, "others spoke all the time: a new connection takes nothing away"
    clock.at = 60.0
    assert heartbeats.silent_s("n1", "one", 0.0) == 11, "nobody has spoken since 6: it may be the store that is down"
    heartbeats.hear()
    assert heartbeats.silent_s("n1", "one", 0.0) == 0, "after a lull everybody is given time anew"
    clock.at = 64.0
    assert heartbeats.silent_s("n1", "one", 0.0) == 4


def test_a_node_is_registered_when_it_is_first_met():
    plan = reconcile(Observed(node(), (), 0.0, 50.0, 300.0, True, is_new=True), NOW, Leaving())
    assert [(each.reason, each.message) for each in plan.actions if isinstance(each, Emit)] == [
        ("RegisteredNode", "Node n1 event: Registered Node n1 in Controller")
    ]
    heartbeats = Heartbeats(Hand())
    heartbeats.silent_s("n1", "a sign", 0.0)
    assert heartbeats.remove("n1") is None
    assert heartbeats.meet("n1", "u"), "what was only heard has not been met"
    assert not heartbeats.meet("n1", "u")
    assert heartbeats.remove("n1")
    assert heartbeats.meet("n1", "u")


def test_a_node_that_was_met_is_told_of_when_it_is_gone():
    heartbeats = Heartbeats(Hand())
    heartbeats.meet("n1", "u")
    heartbeats.forget("n1")  # whoever listens may have seen it first
    removed = heartbeats.remove("n1")
    assert removed is not None and heartbeats.remove("n1") is None
    (event,) = tell_removal(removed).actions
    assert isinstance(event, Emit) and isinstance(event.about, ObjectReference)
    assert (event.about.kind, event.about.name, event.about.uid) == ("Node", "n1", "u")
    assert (event.reason, event.message) == ("RemovingNode", "Node n1 event: Removing Node n1 from Controller")


def told(of: Node, *pods: Pod, leaving: Leaving, at: float = NOW) -> list[str]:
    plan = reconcile(observed(of, *pods), at, leaving)
    events = [action for action in plan.actions if isinstance(action, Emit)]
    assert all(event.component == "taint-eviction-controller" for event in events)
    return [event.message for event in events]


def test_a_pod_that_need_not_leave_after_all_is_told_of_and_one_that_has_left_is_not():
    leaving, tainted = Leaving(), node(taints=[taint("bad")])
    for_now = [{"key": "bad", "operator": "Exists", "tolerationSeconds": 600}]
    soon = [{"key": "bad", "operator": "Exists", "tolerationSeconds": 80}]
    stays, goes = pod("stays", for_now), pod("goes", soon)
    assert told(tainted, stays, goes, leaving=leaving) == []
    assert told(tainted, stays, goes, leaving=leaving, at=NOW + 30) == [], "it goes now, as was said"
    assert told(node(), leaving=leaving, at=NOW + 31) == ["Cancelling deletion of Pod default/stays"]
    assert told(node(), leaving=leaving, at=NOW + 32) == []
