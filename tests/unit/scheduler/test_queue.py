from api.core.pod import PodSchedulingGate
from scheduler.framework import ClusterEvent
from scheduler.queue import SchedulingQueue
from tests.unit.scheduler.builders import pod


def names(queue: SchedulingQueue, now: float) -> list[str]:
    found = []
    while (queued := queue.pop(now)) is not None:
        found.append(queued.view.key.name)
    return found


def test_pods_come_by_priority_and_then_by_age() -> None:
    queue = SchedulingQueue()
    for moment, name, priority in ((1, "old", 0), (2, "new", 0), (3, "vip", 10)):
        queue.add(pod(name, priority=priority), moment)
    assert names(queue, 4) == ["vip", "old", "new"]


def test_a_rejected_pod_waits_for_an_event_that_could_help_it_and_for_its_backoff() -> None:
    queue = SchedulingQueue()
    queue.add(pod(), 0)
    queued = queue.pop(0)
    assert queued
    queue.put_back_unschedulable(queued, ClusterEvent.POD_GONE, 0)
    queue.happened(ClusterEvent.NODE_LABELS, 0.1)
    assert (queue.lengths()["unschedulable"], queue.next_wake()) == (1, None)
    queue.happened(ClusterEvent.POD_GONE, 0.2)
    assert (queue.pop(0.9), queue.next_wake()) == (None, 1.0)
    assert names(queue, 1.0) == ["a"]


def test_backoff_doubles_up_to_ten_seconds() -> None:
    queue = SchedulingQueue()
    queue.add(pod(), 0)
    waits, now = [], 0.0
    for _ in range(6):
        queued = queue.pop(now)
        assert queued
        queue.put_back_failed(queued, now)
        wake = queue.next_wake()
        assert wake
        waits.append(wake - now)
        now = wake
    assert waits == [1, 2, 4, 8, 10, 10]


def test_an_event_during_the_attempt_counts_when_the_pod_comes_back() -> None:
    queue = SchedulingQueue()
    queue.add(pod(), 0)
    queued = queue.pop(0)
    assert queued
    queue.happened(ClusterEvent.NODE_ADDED, 0)
    queue.put_back_unschedulable(queued, ClusterEvent.NODE_ADDED, 0)
    assert queue.lengths() == {"active": 0, "backoff": 1, "unschedulable": 0, "gated": 0}


def test_after_five_minutes_a_pod_is_tried_again_whatever_happened() -> None:
    queue = SchedulingQueue()
    queue.add(pod(), 0)
    queued = queue.pop(0)
    assert queued
    queue.put_back_unschedulable(queued, ClusterEvent.POD_GONE, 0)
    queue.flush(299)
    assert names(queue, 299) == []
    queue.flush(300)
    assert names(queue, 300) == ["a"]


def test_a_pod_deleted_while_it_is_tried_does_not_come_back() -> None:
    queue = SchedulingQueue()
    queue.add(pod(), 0)
    queued = queue.pop(0)
    assert queued
    queue.remove("uid-a")
    queue.put_back_failed(queued, 0)
    assert names(queue, 1000) == []


def test_a_changed_spec_gives_a_rejected_pod_another_try_and_a_changed_status_does_not() -> None:
    queue = SchedulingQueue()
    queue.add(pod(cpu="8"), 0)
    queued = queue.pop(0)
    assert queued
    queue.put_back_unschedulable(queued, ClusterEvent.POD_GONE, 0)
    same = pod(cpu="8")
    same.pod.status.phase = "Pending"
    queue.add(same, 1)
    assert names(queue, 50) == []
    queue.add(pod(cpu="1"), 50)
    assert names(queue, 50) == ["a"]


def test_a_gated_pod_is_not_tried_until_its_gates_are_gone() -> None:
    queue = SchedulingQueue()
    gated = pod()
    gated.pod.spec.scheduling_gates = [PodSchedulingGate(name="example.com/wait")]
    queue.add(gated, 0)
    assert (names(queue, 1), queue.lengths()["gated"]) == ([], 1)
    queue.add(pod(), 2)
    assert (names(queue, 2), queue.lengths()["gated"]) == (["a"], 0)


def test_it_counts_who_came_to_each_place_and_why() -> None:
    queue = SchedulingQueue()
    queue.add(pod(), 0)
    queued = queue.pop(0)
    assert queued
    queue.put_back_unschedulable(queued, ClusterEvent.NODE_LABELS | ClusterEvent.NODE_TAINTS, 0)
    queue.happened(ClusterEvent.NODE_ADDED | ClusterEvent.NODE_TAINTS, 0.1)
    assert queue.pop(1.0) is queued
    assert queue.incoming == {
        ("active", "PodAdd"): 1,
        ("unschedulable", "ScheduleAttemptFailure"): 1,
        ("backoff", "NodeTaintChange"): 1,
        ("active", "BackoffComplete"): 1,
    }
