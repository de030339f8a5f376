from __future__ import annotations

from api.core.node import NodeCondition
from api.meta import ObjectMeta
from kubelet.node_status import Health, conditions, missing_metadata
from tests.unit.kubelet.builders import NOW


def states(found: list[NodeCondition]) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in found}


def test_a_healthy_node_is_ready_and_under_no_pressure():
    assert states(conditions(Health(), [], NOW)) == {
        "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID"),
        "Ready": ("True", "KubeletReady"),
    }


def test_a_node_without_runtime_is_not_ready_and_says_why():
    ready = conditions(Health("container runtime is down: nobody answers"), [], NOW)[-1]
    assert (ready.status, ready.reason) == ("False", "KubeletNotReady")
    assert ready.message == "container runtime is down: nobody answers"


def test_pressure_is_seen():
    pressures = frozenset({"MemoryPressure", "DiskPressure", "PIDPressure"})
    found = states(conditions(Health("", pressures), [], NOW))
    assert [found[name][0] for name in ("MemoryPressure", "DiskPressure", "PIDPressure")] == ["True"] * 3


def test_conditions_of_others_are_kept_and_times_move_only_with_the_state():
    old = [
        NodeCondition(type="Ready", status="True", last_transition_time="2020-01-01T00:00:00Z"),
        NodeCondition(type="NetworkUnavailable", status="False"),
    ]
    found = {condition.type: condition for condition in conditions(Health(), old, NOW)}
    assert found["NetworkUnavailable"].status == "False"
    assert found["Ready"].last_transition_time == "2020-01-01T00:00:00Z"
    assert conditions(Health("down"), old, NOW)[-1].last_transition_time == "2023-11-14T22:13:20Z"


def test_labels_and_annotations_that_others_took_away_are_written_again_and_theirs_are_left():
    managed = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    found = ObjectMeta(labels={"os": "windows", "mine": "x"}, annotations={"note": "y"})
    assert missing_metadata(found, {"os": "linux", "arch": "a"}) == {
        "labels": {"os": "linux", "arch": "a"},
        "annotations": managed,
    }
    whole = ObjectMeta(labels={"os": "linux"}, annotations=managed)
    assert missing_metadata(whole, {"os": "linux"}) == {}
