import copy
from typing import Any

import pytest

from api.batch.job import JobCondition, UncountedTerminatedPods
from tests.unit.api.builders import kind_of, made

SPEC = "template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}"
START, END = "2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z"


def a_job(spec: str = "completions: 2", *conditions: str, **status: Any) -> Any:
    job = made(f"{{apiVersion: batch/v1, kind: Job, spec: {{{spec}, {SPEC}}}}}", uid="u1")
    job.status.start_time = START
    job.status.conditions = [JobCondition(type=each, status="True") for each in conditions]
    for name, value in status.items():
        setattr(job.status, name, value)
    return job


def told(old: Any, *conditions: str, **status: Any) -> list[str]:
    """Return what is wrong with a write of these on top of what a Job's status was."""
    new = copy.deepcopy(old)
    new.status.conditions += [JobCondition(type=each, status="True") for each in conditions]
    for name, value in status.items():
        setattr(new.status, name, value)
    return [f"{error.path}: {error.message}" for error in kind_of(new).validate_status(new, old)]


INDEXED = "completionMode: Indexed, completions: 5, parallelism: 5"


def test_the_course_of_a_job_is_taken() -> None:
    assert told(a_job(start_time=""), start_time=START, active=2, ready=1) == []
    assert told(a_job(active=2), "SuccessCriteriaMet", active=0) == []
    assert told(a_job("completions: 2", "SuccessCriteriaMet"), "Complete", completion_time=END, succeeded=2) == []
    assert told(a_job(), "FailureTarget", "Failed", failed=7) == []
    assert told(a_job("suspend: true"), "Suspended", start_time="") == []
    assert told(a_job(), "CustomConditionType") == []
    assert told(a_job(INDEXED, succeeded=5, completed_indexes="0-4"), succeeded=2, completed_indexes="0,1") == []


@pytest.mark.parametrize(
    ("conditions", "status", "wrong"),
    [
        (
            ["Complete"],
            {"completion_time": END},
            "conditions: Invalid value: cannot set Complete=True condition without",
        ),
        (["Failed"], {}, "conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true"),
        (
            ["SuccessCriteriaMet", "FailureTarget"],
            {},
            "conditions: Invalid value: cannot set SuccessCriteriaMet=True and",
        ),
        (
            ["SuccessCriteriaMet", "Complete"],
            {},
            "completionTime: Required value: completionTime is required for Complete",
        ),
        ([], {"completion_time": END}, f'completionTime: Invalid value: "{END}": cannot set completionTime when there'),
        (
            ["SuccessCriteriaMet", "Complete"],
            {"completion_time": "2023-01-01T00:00:00Z"},
            'completionTime: Invalid value: "2023-01-01T00:00:00Z": completionTime cannot be set before startTime',
        ),
        (["FailureTarget", "Failed"], {"active": 1}, "active: Invalid value: 1: active>0 is invalid for finished job"),
        (["FailureTarget", "Failed"], {"terminating": 1}, "terminating: Invalid value: 1: terminating>0 is invalid"),
        (
            ["FailureTarget", "Failed"],
            {"uncounted_terminated_pods": UncountedTerminatedPods(failed=["a"])},
            "uncountedTerminatedPods: Invalid value:",
        ),
        (
            [],
            {"uncounted_terminated_pods": UncountedTerminatedPods(succeeded=["a"], failed=["a"])},
            'uncountedTerminatedPods.failed[0]: Duplicate value: "a"',
        ),
        ([], {"start_time": END}, "startTime: Required value: startTime cannot be removed for unsuspended job"),
        ([], {"failed": 0}, "failed: Invalid value: 0: cannot decrease the failed counter"),
        ([], {"succeeded": 0}, "succeeded: Invalid value: 0: cannot decrease the succeeded counter"),
        ([], {"ready": 1}, "ready: Invalid value: 1: cannot set more ready pods than active"),
        ([], {"completed_indexes": "0"}, 'completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes'),
        ([], {"failed_indexes": "0"}, 'failedIndexes: Invalid value: "0": cannot set non-null failedIndexes when'),
    ],
)
def test_what_no_job_does_is_refused(conditions: list[str], status: dict[str, Any], wrong: str) -> None:
    old = a_job("completions: 2", failed=1, succeeded=1)
    [error] = told(old, *conditions, **status)
    assert error.startswith(f"status.{wrong}")


def test_what_has_ended_stays_so() -> None:
    complete = a_job("completions: 2", "SuccessCriteriaMet", "Complete", completion_time=END)
    assert told(complete, "FailureTarget", "Failed")
    assert told(complete, completion_time="2024-01-01T00:02:00Z") == [
        'status.completionTime: Invalid value: "2024-01-01T00:02:00Z": completionTime cannot be mutated'
    ]
    assert len(told(complete, conditions=[])) == 3
    assert told(complete, start_time="")
    odd = a_job("completions: 2", "Complete", "Failed", active=3)
    assert told(odd, "Custom", ready=2) == [], "what was odd before does not keep the rest from being mended"


def test_indexes_are_of_the_job_and_end_one_way() -> None:
    old = a_job(INDEXED + ", backoffLimitPerIndex: 1")
    assert told(old, completed_indexes="0,2-4", failed_indexes="1") == []
    assert "error parsing completedIndexes: too large index" in told(old, completed_indexes="0-5")[0]
    assert "error parsing failedIndexes: non-increasing order" in told(old, failed_indexes="3,1")[0]
    [error] = told(old, completed_indexes="0-2", failed_indexes="2,3")
    assert error.endswith("failedIndexes and completedIndexes overlap at index: 2")
