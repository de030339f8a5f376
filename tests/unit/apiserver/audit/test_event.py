from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api.core import configmap, secret
from api.errors import ApiError, Forbidden, Unauthorized
from apiserver.audit.event import Outcome, render
from apiserver.audit.log import AuditLog
from apiserver.audit.policy import Level, Stage, Verdict
from apiserver.filters.audit import Auditor
from apiserver.request import Answer, Call, RequestInfo, User
from component.clock import RealClock

ALICE = User("alice", groups=("system:authenticated",))


def call(verb: str = "create", body: bytes = b"", **given: Any) -> Call:
    info = RequestInfo(verb, "/api/v1/namespaces/shop/configmaps", "", "v1", "configmaps", "", "shop", "")
    return Call(info, user=ALICE, resource=configmap.RESOURCE, body=body, audit_id="id-1", **given)


def told(of: Call, level: Level, outcome: Outcome | None, user: User = ALICE, *, lean: bool = False) -> dict[str, Any]:
    verdict = Verdict(level, omit_managed_fields=lean)
    line = render(of, verdict, Stage.RESPONSE_COMPLETE, user, 1.5, 2.5, outcome)
    found: dict[str, Any] = json.loads(line)
    return found


BODY = b'{"metadata":{"name":"a","managedFields":[{"manager":"m"}]},"data":{"k":"v"}}'
ANSWER = Answer(b'{"metadata":{"name":"a","uid":"u","resourceVersion":"7"}}', "7", 201)


def test_an_event_says_who_asked_for_what_and_what_came_of_it() -> None:
    asked = call(remote="10.0.0.1", user_agent="kubectl", options={"dryRun": "All"})
    asked.annotate("authorization.k8s.io/decision", "allow")
    assert told(asked, Level.METADATA, Outcome(201, answer=ANSWER)) == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "id-1",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/shop/configmaps?dryRun=All",
        "verb": "create",
        "user": {"username": "alice", "groups": ["system:authenticated"]},
        "sourceIPs": ["10.0.0.1"],
        "userAgent": "kubectl",
        "objectRef": {
            "resource": "configmaps", "namespace": "shop", "name": "a", "uid": "u", "apiVersion": "v1",
            "resourceVersion": "7",
        },
        "responseStatus": {"metadata": {}, "code": 201},
        "requestReceivedTimestamp": "1970-01-01T00:00:01.500000Z",
        "stageTimestamp": "1970-01-01T00:00:02.500000Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }  # fmt: skip


def test_bodies_are_told_only_at_the_levels_that_say_so() -> None:
    asked, outcome = call(body=BODY), Outcome(201, answer=ANSWER)
    assert "requestObject" not in told(asked, Level.METADATA, outcome)
    request = told(asked, Level.REQUEST, outcome)
    assert request["requestObject"]["data"] == {"k": "v"}
    assert "responseObject" not in request
    both = told(asked, Level.REQUEST_RESPONSE, outcome, lean=True)
    assert both["requestObject"]["metadata"] == {"name": "a"}
    assert both["responseObject"]["metadata"]["uid"] == "u"


def test_a_body_in_yaml_is_told_as_json_and_an_unreadable_one_is_left_out() -> None:
    yaml = call(body=b"data: {k: v}", content_type="application/yaml")
    assert told(yaml, Level.REQUEST, None)["requestObject"] == {"data": {"k": "v"}}
    assert "requestObject" not in told(call(body=b"{" * 10_000), Level.REQUEST, None)


def test_whom_somebody_acts_as_is_told_beside_them() -> None:
    admin = User("admin")
    event = told(call(), Level.METADATA, None, admin)
    assert (event["user"], event["impersonatedUser"]["username"]) == ({"username": "admin"}, "alice")


def test_a_failure_is_told_as_its_status() -> None:
    event = told(call(), Level.METADATA, Outcome(403, Forbidden("no")))
    assert event["responseStatus"] == {
        "metadata": {}, "status": "Failure", "message": "no", "reason": "Forbidden", "details": {}, "code": 403
    }  # fmt: skip


class Sink(AuditLog):
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.errors = 0

    def write(self, event: bytes) -> None:
        self.lines.append(json.loads(event))


def auditor(sink: Sink, level: Level = Level.METADATA, omitted: frozenset[str] = frozenset()) -> Auditor:
    return Auditor(lambda user, info: Verdict(level, omitted), sink, RealClock(), lambda: "new")


async def test_a_watch_is_told_when_it_starts_and_when_the_door_ends_it() -> None:
    sink = Sink()

    async def answer(call: Call) -> object:
        return object()

    asked = call("watch")
    await auditor(sink).wrap(answer)(asked)
    assert [line["stage"] for line in sink.lines] == ["RequestReceived", "ResponseStarted"]
    asked.finish()
    asked.finish()
    assert [line["stage"] for line in sink.lines][2:] == ["ResponseComplete"]


async def test_an_omitted_stage_and_level_none_are_not_told() -> None:
    sink = Sink()

    async def refuse(call: Call) -> object:
        raise Forbidden("no")

    with pytest.raises(ApiError):
        await auditor(sink, omitted=frozenset(("RequestReceived",))).wrap(refuse)(call())
    with pytest.raises(ApiError):
        await auditor(sink, Level.NONE).wrap(refuse)(call())
    assert [line["stage"] for line in sink.lines] == ["ResponseComplete"]


def test_a_failed_authentication_is_told_without_a_user_or_a_body() -> None:
    sink = Sink()
    auditor(sink, Level.REQUEST_RESPONSE).tell_unauthenticated(call(body=BODY), Unauthorized("Unauthorized"))
    (line,) = sink.lines
    assert line["stage"] == "ResponseStarted"
    assert line["responseStatus"]["code"] == 401
    assert "requestObject" not in line


def test_a_secret_is_not_told_at_metadata_level() -> None:
    asked = call(body=b'{"data":{"password":"aHVudGVyMg=="}}')
    asked.resource = secret.RESOURCE
    line = render(asked, Verdict(Level.METADATA), Stage.RESPONSE_COMPLETE, ALICE, 0, 0, Outcome(201, answer=ANSWER))
    assert b"aHVudGVyMg" not in line


def test_a_log_that_has_grown_is_turned_over_and_old_ones_are_deleted(tmp_path: Path) -> None:
    times = iter(range(1000, 10_000))
    log = AuditLog(str(tmp_path / "audit.log"), backups_max=2, size_max_mb=1, now=lambda: next(times))
    for _ in range(5):
        log.write(b"x" * 600_000)
    log.close()
    assert (tmp_path / "audit.log").stat().st_size == 600_001
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.glob("audit-*.log"))) == 2


def test_a_log_that_cannot_be_written_is_counted_and_let_go() -> None:
    log = AuditLog("/dev/full")
    log.write(b"{}")
    assert log.errors == 1
