from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from api import timestamps
from api.batch import cronjob as cronjobs
from api.batch import job as jobs
from api.batch.cronjob import CronJob
from api.batch.job import Job
from api.errors import Forbidden
from client.verbs import Client
from controllers.actions import Create, Delete, Emit
from controllers.cronjob import SCHEDULED_AT, Observed, reconcile
from tests.unit.controllers.carry_out import steps_of
from tests.unit.controllers.world import world

NOW = timestamps.parse("2024-03-01T10:05:30Z")


def cron(*, last: str = "", created: str = "2024-03-01T10:00:30Z", active: Any = (), **spec: Any) -> CronJob:
    template = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}}}
    body = {
        "metadata": {"name": "c", "namespace": "default", "uid": "u", "creationTimestamp": created},
        "spec": {"schedule": "* * * * *", "jobTemplate": template, **spec},
        "status": {"lastScheduleTime": last, "active": list(active)},
    }
    made = msgspec.convert(body, CronJob)
    cronjobs.RESOURCE.default(made)
    return made


def job(name: str, ended: str = "", started: str = "2024-03-01T10:00:00Z", *, scheduled: bool = True) -> Job:
    conditions = [{"type": ended, "status": "True"}] if ended else []
    status = {"conditions": conditions, "startTime": started, "completionTime": started if ended == "Complete" else ""}
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"u-{name}"}
    if scheduled:
        metadata["annotations"] = {SCHEDULED_AT: started}
    body = {"metadata": metadata, "status": status}
    return msgspec.convert(body, Job)


def made_by(found: CronJob, *children: Job, now: float = NOW) -> tuple[list[str], list[str], list[str], Any]:
    plan = reconcile(Observed(found, children), now)
    steps = list(steps_of(plan))
    created = [step.object.metadata.name for step in steps if isinstance(step, Create)]  # type: ignore[attr-defined]
    deleted = [step.key.name for step in steps if isinstance(step, Delete)]
    events = [action.reason for action in plan.actions if isinstance(action, Emit)]
    return created, deleted, events, plan


NAME = f"c-{int(timestamps.parse('2024-03-01T10:05:00Z')) // 60}"


def test_the_last_time_that_has_come_gets_a_job_named_after_it_and_the_next_is_waited_for() -> None:
    created, _, events, plan = made_by(cron())
    assert (created, events) == ([NAME], [])
    assert plan.status.patch["status"]["lastScheduleTime"] == "2024-03-01T10:05:00Z"
    assert plan.requeue_after_s == pytest.approx(30.1)
    (step,) = [step for step in steps_of(plan) if isinstance(step, Create)]
    annotations = step.object.metadata.annotations  # type: ignore[attr-defined]
    assert annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2024-03-01T10:05:00Z"
    assert made_by(cron(last="2024-03-01T10:05:00Z"))[0] == []


def test_a_job_that_could_not_be_made_is_still_due() -> None:
    _, _, _, plan = made_by(cron(), job("old", "Complete"))
    (step,) = [step for step in steps_of(plan) if isinstance(step, Create)]
    assert plan.status_after_failure is not None
    written = plan.status_after_failure(step, Forbidden("exceeded quota"))
    assert written is not None
    assert "lastScheduleTime" not in written.patch["status"] and "lastSuccessfulTime" in written.patch["status"]


@pytest.mark.looptime
async def test_a_quota_that_is_lifted_lets_the_job_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = True
    create = Client.create

    async def refusing(self: Client, resource: Any, obj: Any, **more: Any) -> Any:
        if refused and resource is jobs.RESOURCE:
            raise Forbidden("exceeded quota")
        return await create(self, resource, obj, **more)

    monkeypatch.setattr(Client, "create", refusing)
    async with world() as at:
        found = cron(schedule="14 * * * *", created="")
        found.metadata.uid = ""
        await at.client.create(cronjobs.RESOURCE, found)
        await asyncio.sleep(60)
        refused = False

        async def is_made() -> bool:
            return bool((await at.client.list(jobs.RESOURCE, "default")).items)

        await at.until(is_made, 120)


def test_a_job_whose_note_was_lost_is_not_made_again() -> None:
    created, _, _, plan = made_by(cron(), job(NAME))
    assert created == []
    assert plan.status.patch["status"]["lastScheduleTime"] == "2024-03-01T10:05:00Z"


def test_a_job_that_somebody_made_by_hand_runs_beside_the_schedule() -> None:
    by_hand = job("manual", scheduled=False)
    for policy in ("Forbid", "Replace"):
        created, deleted, events, plan = made_by(cron(concurrencyPolicy=policy), by_hand)
        assert (created, deleted, events) == ([NAME], [], ["UnexpectedJob"])
        assert plan.status.patch["status"].get("active", []) == []
    known = {"kind": "Job", "name": "old", "namespace": "default", "uid": "u-old"}
    assert made_by(cron(concurrencyPolicy="Forbid", active=[known]), job("old", scheduled=False))[2] == [
        "JobAlreadyActive"
    ]


def test_policies_say_what_happens_while_one_still_runs() -> None:
    assert made_by(cron(), job("old"))[:3] == ([NAME], [], [])
    created, _, events, _ = made_by(cron(concurrencyPolicy="Forbid"), job("old"))
    assert (created, events) == ([], ["JobAlreadyActive"])
    running = [{"kind": "Job", "namespace": "default", "name": "old", "uid": "u-old"}]
    created, deleted, _, plan = made_by(cron(concurrencyPolicy="Replace", active=running), job("old"))
    assert (created, deleted) == ([NAME], ["old"])
    assert plan.status.patch["status"]["active"] is None, "what was replaced does not go missing"


def test_what_is_too_late_or_suspended_is_not_made() -> None:
    late = cron(schedule="0 * * * *", created="2024-03-01T09:30:00Z", startingDeadlineSeconds=60)
    assert made_by(late)[0] == []
    assert made_by(cron(suspend=True))[0] == []
    created, _, events, _ = made_by(cron(last="2024-02-01T00:00:00Z"))
    assert (created, events) == ([NAME], ["TooManyMissedTimes"])


def test_a_schedule_or_a_time_zone_that_nobody_can_read_is_told_of() -> None:
    wrong = ({"schedule": "x"}, {"timeZone": "Mars/Olympus"})
    told = [made_by(cron(**spec))[3].actions[-1] for spec in wrong]
    assert [one.reason for one in told] == ["UnparseableSchedule", "UnknownTimeZone"]
    assert told[0].message.startswith('unparseable schedule: "x" : ')
    assert told[1].message.startswith('invalid timeZone: "Mars/Olympus": ')


def test_ended_jobs_are_told_of_and_swept() -> None:
    children = [job(f"s{n}", "Complete", f"2024-03-01T0{n}:00:00Z") for n in range(5)]
    children += [job("f0", "Failed", "2024-03-01T01:00:00Z"), job("f1", "Failed", "2024-03-01T02:00:00Z")]
    active = [{"kind": "Job", "name": "s4", "uid": "u-s4"}, {"kind": "Job", "name": "x", "uid": "u-x"}]
    _, deleted, events, plan = made_by(cron(suspend=True, active=active), *children)
    assert (deleted, events) == (["s0", "s1", "f0"], ["SawCompletedJob", "MissingJob"])
    assert plan.status.patch["status"]["lastSuccessfulTime"] == "2024-03-01T04:00:00Z"


@pytest.mark.looptime
async def test_jobs_are_made_minute_by_minute():
    async with world() as at:
        minutely = cron(created="")
        minutely.metadata.uid = ""
        await at.client.create(cronjobs.RESOURCE, minutely)

        async def has_three() -> bool:
            return len((await at.client.list(jobs.RESOURCE, "default")).items) >= 3

        await at.until(has_three, within_s=240)
        found = (await at.client.list(cronjobs.RESOURCE, "default")).items[0]
        assert {one.name for one in found.status.active} <= {
            each.metadata.name for each in (await at.client.list(jobs.RESOURCE, "default")).items
        }
        assert len(found.status.active) >= 2
