from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import timestamps
from api.batch.job import Job, UncountedTerminatedPods, default, prepare_for_create
from api.core.pod import Pod
from api.resource import ObjectKey
from controllers.job.backoff import Memory
from controllers.job.controller import Observed, reconcile
from controllers.job.counting import FINALIZER
from controllers.job.indexes import INDEX, parse, render
from tests.unit.controllers.carry_out import Objects, carry_out, of

NOW = timestamps.parse("2024-01-02T00:00:00Z")
KEY = ObjectKey("default", "j")


class Run:
    """A Job and its pods in a dict, followed turn by turn; the test is the kubelet."""

    def __init__(self, **spec: Any) -> None:
        template = {"metadata": {}, "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}}
        body = {"metadata": {"name": "j", "namespace": "default", "uid": "u"}, "spec": {"template": template, **spec}}
        job = msgspec.convert(body, Job)
        default(job)
        prepare_for_create(job)
        job.metadata.generation, job.metadata.resource_version = 1, "1"
        self.objects: Objects = {("jobs", KEY): job}
        self.now = NOW
        self.memory = Memory()

    @property
    def job(self) -> Job:
        return self.objects["jobs", KEY]

    @property
    def pods(self) -> list[Pod]:
        return of(self.objects, "pods")

    @property
    def active(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.status.phase not in ("Succeeded", "Failed")]

    def turn(self) -> Any:
        plan = reconcile(Observed(self.job, self.pods, self.memory.note(self.job, self.pods)), self.now)
        for pod in self.pods:
            pod.metadata.resource_version = pod.metadata.resource_version or "1"
        self.changes = carry_out(plan, self.objects)
        for pod in self.pods:
            if not pod.metadata.creation_timestamp:
                pod.metadata.creation_timestamp = timestamps.render(self.now)
        return plan

    def settle(self) -> None:
        for _ in range(20):
            self.turn()
            if not self.changes:
                return
        raise AssertionError("it does not come to rest")

    def end(self, pod: Pod, phase: str, code: int = 1) -> None:
        pod.status.phase = phase
        finished = {"exitCode": 0 if phase == "Succeeded" else code, "finishedAt": timestamps.render(self.now)}
        status = {"containerStatuses": [{"name": "c", "state": {"terminated": finished}}]}
        pod.status.container_statuses = msgspec.convert({"status": status}, Pod).status.container_statuses
        pod.metadata.resource_version = str(int(pod.metadata.resource_version or 1) + 1)

    def conditions(self) -> dict[str, tuple[str, str]]:
        return {one.type: (one.status, one.reason) for one in self.job.status.conditions}


def test_a_job_runs_as_many_pods_at_once_as_it_may_until_enough_have_succeeded() -> None:
    run = Run(completions=5, parallelism=2)
    run.settle()
    for expected in (2, 2, 2, 2, 1):
        assert len(run.active) == expected
        run.end(run.active[0], "Succeeded")
        run.settle()
    status = run.job.status
    assert (status.succeeded, status.failed, status.active) == (5, 0, 0)
    assert run.conditions() == {
        "SuccessCriteriaMet": ("True", "CompletionsReached"),
        "Complete": ("True", "CompletionsReached"),
    }
    assert status.completion_time and status.uncounted_terminated_pods == UncountedTerminatedPods()
    assert not any(FINALIZER in pod.metadata.finalizers for pod in run.pods)


def test_failures_are_tried_again_ever_more_slowly_and_end_the_job_at_the_limit() -> None:
    run = Run(backoffLimit=2)
    run.settle()
    for number, wait_s in enumerate((10, 20)):
        run.end(run.active[0], "Failed")
        run.settle()
        assert (run.active, run.job.status.failed) == ([], number + 1)
        run.now += wait_s - 1
        run.settle()
        assert not run.active
        run.now += 1
        run.settle()
        assert len(run.active) == 1
    run.end(run.active[0], "Failed")
    run.settle()
    assert run.conditions()["Failed"] == ("True", "BackoffLimitExceeded")
    assert (run.job.status.failed, run.job.status.completion_time) == (3, "")


def test_a_pod_is_counted_once_though_the_controller_dies_between_any_two_writes() -> None:
    run = Run(completions=2, parallelism=1)
    run.settle()
    run.end(run.active[0], "Succeeded")
    plan = reconcile(Observed(run.job, run.pods), run.now)
    flush, *_ = plan.actions
    carry_out(type(plan)((flush,)), run.objects)  # written down, but the finalizer is still there
    assert run.job.status.uncounted_terminated_pods is not None
    assert len(run.job.status.uncounted_terminated_pods.succeeded) == 1
    run.settle()
    assert run.job.status.succeeded == 1
    run.settle()
    assert run.job.status.succeeded == 1


def test_a_counted_pod_may_vanish() -> None:
    run = Run(completions=2, parallelism=1)
    run.settle()
    run.end(run.active[0], "Succeeded")
    run.turn()
    (done,) = [pod for pod in run.pods if pod.status.phase == "Succeeded"]
    del run.objects["pods", ObjectKey("default", done.metadata.name)]
    run.settle()
    assert run.job.status.succeeded == 1
    assert len(run.active) == 1


def test_indexed_pods_have_their_number_and_each_number_succeeds_once() -> None:
    run = Run(completions=3, parallelism=3, completionMode="Indexed")
    run.settle()
    assert sorted(pod.metadata.annotations[INDEX] for pod in run.pods) == ["0", "1", "2"]
    first = min(run.pods, key=lambda pod: pod.metadata.annotations[INDEX])
    assert (first.spec.hostname, first.metadata.labels[INDEX]) == ("j-0", "0")
    assert first.spec.containers[0].env[0].name == "JOB_COMPLETION_INDEX"
    for pod in run.active:
        run.end(pod, "Failed" if pod.metadata.annotations[INDEX] == "1" else "Succeeded")
    run.settle()
    assert (run.job.status.completed_indexes, run.job.status.succeeded, run.job.status.failed) == ("0,2", 2, 1)
    run.now += 10
    run.settle()
    (again,) = run.active
    assert again.metadata.annotations[INDEX] == "1"
    run.end(again, "Succeeded")
    run.settle()
    assert run.job.status.completed_indexes == "0-2"
    assert "Complete" in run.conditions()


def test_an_index_may_fail_without_the_others() -> None:
    run = Run(completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=1)
    run.settle()
    for _ in range(2):
        for pod in run.active:
            run.end(pod, "Succeeded" if pod.metadata.annotations[INDEX] == "0" else "Failed")
        run.settle()
        run.now += 60
        run.settle()
    status = run.job.status
    assert (status.completed_indexes, status.failed_indexes, status.failed) == ("0", "1", 2)
    assert run.conditions()["Failed"] == ("True", "FailedIndexes")


def test_the_failure_policy_ignores_some_failures_and_ends_the_job_on_others() -> None:
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]
    run = Run(parallelism=2, completions=2, backoffLimit=0, podFailurePolicy={"rules": rules})
    run.settle()
    lost, broken = run.active
    run.end(lost, "Failed")
    lost.status.conditions = msgspec.convert(
        {"status": {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}}, Pod
    ).status.conditions
    run.settle()
    assert (run.job.status.failed, len(run.active)) == (0, 1)
    run.now += 10
    run.settle()
    assert (run.job.status.failed, len(run.active)) == (0, 2)
    run.end(broken, "Failed", 42)
    run.turn()
    (failed,) = [one for one in run.job.status.conditions if one.type == "FailureTarget"]
    assert failed.reason == "PodFailurePolicy"
    assert failed.message == (
        f"Container c for pod default/{broken.metadata.name} failed with exit code 42 matching FailJob rule at index 1"
    )


def test_the_success_policy_ends_a_job_before_all_have_succeeded() -> None:
    policy = {"rules": [{"succeededIndexes": "1-2", "succeededCount": 1}]}
    run = Run(completions=3, parallelism=3, completionMode="Indexed", successPolicy=policy)
    run.settle()
    (one,) = [pod for pod in run.active if pod.metadata.annotations[INDEX] == "2"]
    run.end(one, "Succeeded")
    run.settle()
    assert run.conditions()["Complete"] == ("True", "SuccessPolicy")
    assert not run.active


def test_a_suspended_job_has_no_pods_and_starts_anew_when_resumed() -> None:
    run = Run(completions=1, suspend=True)
    run.settle()
    assert (run.pods, run.job.status.start_time) == ([], "")
    assert run.conditions()["Suspended"] == ("True", "JobSuspended")
    run.job.spec.suspend = False
    run.settle()
    assert (len(run.active), run.conditions()["Suspended"]) == (1, ("False", "JobResumed"))
    run.job.spec.suspend = True
    run.settle()
    assert (run.pods, run.job.status.failed) == ([], 0)


def test_a_job_ends_at_its_deadline_and_says_when_to_look() -> None:
    run = Run(activeDeadlineSeconds=60)
    assert run.turn().requeue_after_s is None
    run.settle()
    assert run.turn().requeue_after_s == pytest.approx(60.1)
    run.now += 60
    run.settle()
    assert run.conditions()["Failed"] == ("True", "DeadlineExceeded")
    assert not run.active


def test_a_queue_of_work_ends_when_one_has_succeeded_and_the_others_have_ended() -> None:
    run = Run(parallelism=3)
    run.settle()
    first, *others = run.active
    run.end(first, "Succeeded")
    run.settle()
    assert len(run.active) == 2
    assert "Complete" not in run.conditions()
    for pod in others:
        run.end(pod, "Succeeded")
    run.settle()
    assert (run.job.status.succeeded, "Complete" in run.conditions()) == (3, True)


def test_pods_of_a_job_that_has_gone_are_let_go() -> None:
    run = Run()
    run.settle()
    carry_out(reconcile(Observed(None, run.pods), run.now), run.objects)
    assert not any(pod.metadata.finalizers for pod in run.pods)


@given(st.sets(st.integers(0, 60)))
def test_indexes_are_read_as_they_were_written(indexes: set[int]) -> None:
    assert parse(render(indexes), 61) == indexes


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.booleans(), st.data())
def test_whatever_happens_counts_add_up_and_no_more_run_than_may(
    completions: int, parallelism: int, indexed: bool, data: st.DataObject
) -> None:
    mode = "Indexed" if indexed else "NonIndexed"
    run = Run(completions=completions, parallelism=parallelism, completionMode=mode, backoffLimit=3)
    ended = {"Succeeded": 0, "Failed": 0}
    for _ in range(30):
        run.turn()
        if not data.draw(st.booleans()):
            run.settle()
        assert len(run.active) <= min(parallelism, completions)
        if {"Complete", "Failed"} & run.conditions().keys():
            break
        run.now += data.draw(st.sampled_from([0, 700]))
        for pod in run.active:
            if data.draw(st.booleans()):
                phase = data.draw(st.sampled_from(["Succeeded", "Failed"]))
                run.end(pod, phase)
                ended[phase] += 1
    if "Complete" in run.conditions():
        assert (run.job.status.succeeded, run.job.status.failed) == (completions, ended["Failed"])
    assert run.job.status.succeeded <= completions
