"""Jobs and CronJobs."""

import copy

import pytest

from api.batch.job import JobCondition
from api.batch.schedule import check_schedule
from api.core.references import ObjectReference
from tests.unit.api.builders import cells, kind_of, made, wrong

JOB = """
apiVersion: batch/v1
kind: Job
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}
"""
INDEXED = """
apiVersion: batch/v1
kind: Job
spec:
  completionMode: Indexed
  completions: 3
  parallelism: 3
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}
"""
CRON = """
apiVersion: batch/v1
kind: CronJob
spec:
  schedule: "*/5 * * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}
"""


def test_a_job_runs_one_pod_once_and_selects_it_by_the_jobs_uid() -> None:
    job = made(JOB, uid="u1")
    assert (job.spec.parallelism, job.spec.completions, job.spec.backoff_limit) == (1, 1, 6)
    assert job.spec.selector.match_labels == {"batch.kubernetes.io/controller-uid": "u1"}
    assert job.spec.template.metadata.labels == {
        "batch.kubernetes.io/controller-uid": "u1",
        "batch.kubernetes.io/job-name": "a",
        "controller-uid": "u1",
        "job-name": "a",
    }
    assert job.metadata.labels == job.spec.template.metadata.labels
    assert wrong(job) == []


def test_who_gives_completions_alone_gets_one_at_a_time() -> None:
    job = made(JOB.replace("spec: {template", "spec: {completions: 5, template"), uid="u1")
    assert (job.spec.parallelism, job.spec.completions) == (1, 5)


def test_a_jobs_pods_must_end() -> None:
    job = made(JOB.replace("Never", "Always"), uid="u1")
    assert wrong(job) == ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']


def test_what_a_job_runs_never_changes_but_how_many_at_once_may() -> None:
    old = made(JOB, uid="u1")
    new = copy.deepcopy(old)
    new.spec.parallelism = 4
    assert wrong(new, old) == []
    new.spec.template.spec.containers[0].image = "y"
    new.spec.completions = 2
    assert [error.partition(":")[0] for error in wrong(new, old)] == ["spec.completions", "spec.template"]


def test_an_indexed_job_grows_when_both_numbers_do() -> None:
    old = made(INDEXED, uid="u1")
    new = copy.deepcopy(old)
    new.spec.completions = new.spec.parallelism = 5
    assert wrong(new, old) == []
    new.spec.parallelism = 4
    assert len(wrong(new, old)) == 1


def test_a_suspended_job_may_still_be_told_where_to_run() -> None:
    old = made(JOB.replace("spec: {template", "spec: {suspend: true, template"), uid="u1")
    new = copy.deepcopy(old)
    new.spec.template.spec.node_selector = {"a": "b"}
    assert wrong(new, old) == []
    old.status.start_time = "2024-01-01T00:00:00Z"
    assert len(wrong(new, old)) == 1


def test_a_job_that_has_ended_does_not_begin_again() -> None:
    old = made(JOB, uid="u1")
    old.status.conditions = [JobCondition(type="Failed", status="True")]
    new = copy.deepcopy(old)
    new.status.conditions = []
    [error] = kind_of(new).validate_status(new, old)
    assert error.message.endswith("cannot disable the terminal Failed=True condition")


def test_a_job_is_shown_with_how_far_it_is() -> None:
    job = made(JOB, uid="u1")
    job.status.start_time = "1970-01-01T00:00:00Z"
    shown = cells(job, now=90.0)
    assert (shown["Status"], shown["Completions"], shown["Duration"]) == ("Running", "0/1", "90s")
    job.status.conditions = [JobCondition(type="Complete", status="True")]
    job.status.succeeded, job.status.completion_time = 1, "1970-01-01T00:00:30Z"
    shown = cells(job, now=90.0)
    assert (shown["Status"], shown["Completions"], shown["Duration"]) == ("Complete", "1/1", "30s")


def test_a_cron_job_keeps_three_good_jobs_and_a_bad_one() -> None:
    cron = made(CRON)
    spec = cron.spec
    assert (spec.concurrency_policy, spec.suspend) == ("Allow", False)
    assert (spec.successful_jobs_history_limit, spec.failed_jobs_history_limit) == (3, 1)
    assert wrong(cron) == []
    cron.status.active = [ObjectReference(name="a-1")]
    assert (cells(cron)["Active"], cells(cron)["Suspend"], cells(cron)["Last Schedule"]) == (1, "False", "<none>")


def test_a_cron_job_wants_a_schedule_a_known_zone_and_a_short_name() -> None:
    cron = made(CRON.replace("*/5 * * * *", "61 * * * *"), name="n" * 53)
    cron.spec.time_zone = "Nowhere/Else"
    assert [error.partition(":")[0] for error in wrong(cron)] == ["metadata.name", "spec.schedule", "spec.timeZone"]


@pytest.mark.parametrize(
    "text", ["* * * * *", "0 0 1 1 0", "*/15 0-6,20 1-31/2 jan-mar mon,FRI", "@daily", "@every 1h30m", "? * ? * *"]
)
def test_schedules_as_in_crontab(text: str) -> None:
    assert check_schedule(text) == ""


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "5-1 * * * *", "*/0 * * * *", "@x"]
)
def test_what_is_no_schedule(text: str) -> None:
    assert check_schedule(text) != ""
