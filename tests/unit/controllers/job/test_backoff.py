from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api import timestamps
from api.batch.job import Job
from api.core.pod import Pod
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.job.backoff import Failures, Memory
from controllers.job.counting import FINALIZER, INDEX_FAILURES, INDEX_IGNORED, ended_at
from tests.unit.controllers.job.test_job import Run

NOW = timestamps.parse("2024-01-02T00:00:00Z")


def at(seconds: float) -> str:
    return timestamps.render(NOW + seconds)


def a_job(uid: str = "u") -> Job:
    return msgspec.convert({"metadata": {"name": "j", "namespace": "default", "uid": uid}}, Job)


def a_pod(name: str, phase: str, ended_s: float, **metadata: Any) -> Pod:
    body = {
        "metadata": {"name": name, "uid": name, "finalizers": [FINALIZER], **metadata},
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1, "finishedAt": at(ended_s)}}}],
        },
    }
    return msgspec.convert(body, Pod)


def remove(run: Run, pod: Pod) -> None:
    # What the test makes next gets no name, and so no uid, that was there before.
    del run.objects["pods", key_of(pod)]
    run.objects["gone", key_of(pod)] = pod


@pytest.mark.parametrize(("count", "wait_s"), [(0, 0), (1, 10), (2, 20), (6, 320), (7, 600), (90, 600)])
def test_each_failure_doubles_the_wait(count: int, wait_s: float):
    assert Failures(count, NOW).wait_s(NOW) == wait_s


def test_failures_count_when_their_pods_have_gone():
    memory = Memory()
    memory.note(a_job(), [a_pod("a", "Failed", 0)])
    assert memory.note(a_job(), [a_pod("b", "Failed", 5)]) == Failures(2, NOW + 5)
    assert memory.note(a_job(), []) == Failures(2, NOW + 5)


def test_a_success_makes_good_what_failed_before_it_and_not_what_fails_after():
    memory = Memory()
    memory.note(a_job(), [a_pod("a", "Failed", 0)])
    assert memory.note(a_job(), [a_pod("b", "Succeeded", 5), a_pod("c", "Failed", 6)]) == Failures(1, NOW + 6)
    assert memory.note(a_job(), [a_pod("d", "Succeeded", 7)]) == Failures()
    assert memory.note(a_job(), [a_pod("a", "Failed", 0)]) == Failures()


def test_pods_that_the_job_removed_are_no_failures():
    removed = a_pod("a", "Failed", 0, finalizers=[], deletionTimestamp=at(9))
    assert Memory().note(a_job(), [removed]) == Failures()


def test_a_controller_that_begins_anew_knows_failures_whose_pods_are_there():
    assert Memory().note(a_job(), [a_pod("a", "Failed", 0, finalizers=[])]) == Failures(1, NOW)


def test_another_job_of_the_same_name_begins_without_failures():
    memory = Memory()
    memory.note(a_job("first"), [a_pod("a", "Failed", 0)])
    assert memory.note(a_job("second"), []) == Failures()
    memory.note(a_job(), [a_pod("a", "Failed", 0)])
    memory.forget(ObjectKey("default", "j"))
    assert memory.note(a_job(), []) == Failures()


def test_deleting_the_failed_pod_does_not_shorten_the_wait():
    run = Run()
    run.settle()
    (failed,) = run.active
    run.end(failed, "Failed")
    run.settle()
    remove(run, failed)
    run.now += 9
    run.settle()
    assert run.pods == []
    run.now += 1
    run.settle()
    assert len(run.active) == 1
    run.end(run.active[0], "Failed")
    run.settle()
    remove(run, run.pods[0])
    run.now += 19
    run.settle()
    assert run.pods == []


def test_a_pod_that_somebody_deletes_while_it_runs_is_a_failure():
    run = Run(completions=3, parallelism=1)
    run.settle()
    (deleted,) = run.active
    deleted.metadata.deletion_timestamp = timestamps.render(run.now + 30)
    deleted.metadata.deletion_grace_period_seconds = 30
    deleted.metadata.resource_version = "7"
    run.settle()
    assert (run.job.status.failed, len(run.pods)) == (1, 1)
    remove(run, deleted)
    run.now += 10
    run.settle()
    assert len(run.active) == 1


PER_INDEX = {"completions": 1, "parallelism": 1, "completionMode": "Indexed", "backoffLimitPerIndex": 3}


def test_the_last_failed_pod_of_an_index_stays_until_another_is_in_its_place():
    run = Run(**PER_INDEX)
    run.settle()
    (failed,) = run.active
    run.end(failed, "Failed")
    run.settle()
    assert failed.metadata.finalizers == [FINALIZER]
    assert run.job.status.failed == 0
    run.now += 10
    run.settle()
    (second,) = run.active
    assert second.metadata.annotations[INDEX_FAILURES] == "1"
    (failed,) = [pod for pod in run.pods if pod.status.phase == "Failed"]
    assert failed.metadata.finalizers == []
    assert run.job.status.failed == 1
    remove(run, failed)
    run.end(second, "Failed")
    run.now += 19
    run.settle()
    assert run.active == []
    run.now += 1
    run.settle()
    assert run.active[0].metadata.annotations[INDEX_FAILURES] == "2"


def test_a_job_that_is_over_keeps_no_failed_pod():
    run = Run(**PER_INDEX, activeDeadlineSeconds=5)
    run.settle()
    run.end(run.active[0], "Failed")
    run.settle()
    run.now += 5
    run.settle()
    assert run.conditions()["Failed"] == ("True", "DeadlineExceeded")
    assert (run.pods[0].metadata.finalizers, run.job.status.failed) == ([], 1)


def test_failures_that_wait_for_another_pod_count_against_the_whole_jobs_limit():
    run = Run(**PER_INDEX, backoffLimit=0)
    run.settle()
    run.end(run.active[0], "Failed")
    run.settle()
    assert run.conditions()["Failed"] == ("True", "BackoffLimitExceeded")


def test_ignored_failures_of_an_index_are_counted_apart_and_carried_on():
    rules = [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}}]
    run = Run(**PER_INDEX, podFailurePolicy={"rules": rules})
    run.settle()
    told = []
    for code in (7, 1, 7):
        run.end(run.active[0], "Failed", code)
        run.now += 600
        run.settle()
        annotations = run.active[0].metadata.annotations
        told.append((annotations[INDEX_FAILURES], annotations.get(INDEX_IGNORED)))
    assert told == [("0", "1"), ("1", "1"), ("1", "2")]
    assert run.job.status.failed == 1


def terminated(finished: str) -> dict[str, Any]:
    return {"state": {"terminated": {"exitCode": 1, **({"finishedAt": finished} if finished else {})}}}


@pytest.mark.parametrize(
    ("status", "metadata", "ended_s"),
    [
        ({"containerStatuses": [{"name": "c", **terminated(at(3))}, {"name": "d", **terminated(at(5))}]}, {}, 5),
        (
            {
                "containerStatuses": [{"name": "c", **terminated(at(3))}, {"name": "d"}],
                "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": at(8)}],
            },
            {"deletionTimestamp": at(99)},
            8,
        ),
        ({}, {"deletionTimestamp": at(40), "deletionGracePeriodSeconds": 30}, 10),
        (
            {
                "containerStatuses": [{"name": "c", **terminated(at(3))}],
                "initContainerStatuses": [
                    {"name": "before", **terminated(at(9))},
                    {"name": "side", **terminated(at(4))},
                ],
            },
            {},
            4,
        ),
        ({}, {}, -60),
    ],
)
def test_when_a_pod_ended(status: dict[str, Any], metadata: dict[str, Any], ended_s: float):
    spec = {"initContainers": [{"name": "before"}, {"name": "side", "restartPolicy": "Always"}]}
    body = {"metadata": {"creationTimestamp": at(-60), **metadata}, "spec": spec, "status": status}
    assert ended_at(msgspec.convert(body, Pod)) == NOW + ended_s
