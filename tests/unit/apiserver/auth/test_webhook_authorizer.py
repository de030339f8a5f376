"""Rights that a webhook knows, asked over TLS of one that runs here, and the file that names it."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from apiserver.auth import webhook_authorizer
from apiserver.auth.authorization import BadConfiguration, Flags
from apiserver.auth.authorization_metrics import AuthorizationMetrics
from apiserver.auth.authorizers import AlwaysDeny, Authorizers
from apiserver.auth.authorizing import Authorizing
from apiserver.request import Decision, RequestInfo, User, decided
from component.clock import RealClock
from tests.certificates import Authority

JANE = User("jane", "7", ("dev",), {"scopes": ("a", "b")})
PODS = RequestInfo(
    "list", "/api/v1/pods", "", "v1", "pods", "", "a", "", "spec.nodeName=n1,status.phase!=Failed", "app in (x),!y"
)
NO_OPINION = Decision(False)


class Time(RealClock):
    passed = 0.0

    def monotonic(self) -> float:
        return self.passed


class Webhook:
    """Answers with `status`; fails as often as it is told to."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[dict[str, Any]] = []
        self.failing: list[int] = []
        self.believes = ""
        self.status: dict[str, Any] = {"allowed": True, "reason": "it says so"}
        self.kubeconfig = directory / "webhook.yaml"
        self.config = directory / "authorization.yaml"
        self.clock = Time()
        self.metrics = AuthorizationMetrics()
        self.made: list[Authorizing] = []

    async def answer(self, request: web.Request) -> web.Response:
        question = await request.json()
        self.asked.append(question)
        if self.believes and request.headers.get("Authorization") != self.believes:
            return web.Response(status=401)
        if self.failing:
            return web.Response(status=self.failing.pop(), text="no")
        head = {key: question[key] for key in ("apiVersion", "kind")}
        return web.json_response({**head, "status": self.status})

    def write(self, *names: str, rest: str = "AlwaysDeny", **changes: Any) -> None:
        told = {
            "timeout": "5s",
            "authorizedTTL": "60s",
            "unauthorizedTTL": "10s",
            "subjectAccessReviewVersion": "v1",
            "failurePolicy": "Deny",
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": str(self.kubeconfig)},
            **changes,
        }
        authorizers: list[Any] = [{"type": "Webhook", "name": name, "webhook": told} for name in names]
        authorizers.append({"type": rest, "name": rest.lower()})
        head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration"}
        self.config.write_text(yaml.safe_dump({**head, "authorizers": authorizers}))

    def built(self, **changes: Any) -> Authorizers:
        self.write("w", **changes)
        return self.use(Authorizing.by_file(self.config, self.clock, "us"))

    def use(self, authorizing: Authorizing) -> Authorizers:
        self.made.append(authorizing)
        return authorizing.build({}, self.metrics)


@pytest.fixture
async def webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Webhook]:
    monkeypatch.setattr(webhook_authorizer, "PAUSE_S", 0.001)
    identity = Authority(tmp_path).issue("webhook")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.cert, identity.key)
    made = Webhook(tmp_path)
    app = web.Application()
    app.router.add_post("/authorize", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server = f"https://localhost:{runner.addresses[0][1]}/authorize"
    config = {
        "clusters": [{"name": "w", "cluster": {"server": server, "certificate-authority": str(identity.ca)}}],
        "users": [{"name": "us", "user": {"token": "ours"}}],
        "contexts": [{"name": "c", "context": {"cluster": "w", "user": "us"}}],
        "current-context": "c",
    }
    made.kubeconfig.write_text(yaml.safe_dump(config))
    yield made
    for each in made.made:
        await each.close()
    await runner.cleanup()


async def test_it_is_asked_about_a_resource_with_all_that_is_known(webhook: Webhook) -> None:
    decision = await decided(webhook.built().authorize(JANE, PODS))
    assert decision == Decision(True, "it says so")
    (question,) = webhook.asked
    assert (question["apiVersion"], question["kind"]) == ("authorization.k8s.io/v1", "SubjectAccessReview")
    assert question["spec"] == {
        "resourceAttributes": {
            "namespace": "a",
            "verb": "list",
            "version": "v1",
            "resource": "pods",
            "fieldSelector": {
                "requirements": [
                    {"key": "spec.nodeName", "operator": "In", "values": ["n1"]},
                    {"key": "status.phase", "operator": "NotIn", "values": ["Failed"]},
                ]
            },
            "labelSelector": {
                "requirements": [
                    {"key": "app", "operator": "In", "values": ["x"]},
                    {"key": "y", "operator": "DoesNotExist"},
                ]
            },
        },
        "user": "jane",
        "groups": ["dev"],
        "extra": {"scopes": ["a", "b"]},
        "uid": "7",
    }


async def test_v1beta1_has_another_name_for_groups_and_paths_are_asked_about_as_such(webhook: Webhook) -> None:
    flags = Flags(("Webhook",), webhook.kubeconfig)
    both = webhook.use(Authorizing.by_flags(flags, webhook.clock))
    await decided(both.authorize(JANE, RequestInfo("get", "/version")))
    (question,) = webhook.asked
    assert question["apiVersion"] == "authorization.k8s.io/v1beta1"
    spec = question["spec"]
    assert (spec["group"], spec["nonResourceAttributes"]) == (["dev"], {"path": "/version", "verb": "get"})
    assert "groups" not in spec


@pytest.mark.parametrize(
    ("status", "decision"),
    [
        ({"allowed": False, "reason": "who?"}, Decision(False, "who?\nEverything is forbidden.")),
        ({"allowed": False, "denied": True, "reason": "no"}, Decision(False, "no", denied=True)),
        (
            {"allowed": True, "denied": True},
            Decision(
                False,
                denied=True,
                error="webhook subject access review returned both allow and deny response",
            ),
        ),
    ],
)
async def test_it_may_have_no_opinion_or_deny(webhook: Webhook, status: dict[str, Any], decision: Decision) -> None:
    webhook.status = status
    assert await decided(webhook.built().authorize(JANE, PODS)) == decision


async def test_answers_are_kept_for_as_long_as_the_file_says_and_then_cost_no_waiting(webhook: Webhook) -> None:
    both = webhook.built()
    await decided(both.authorize(JANE, PODS))
    assert both.authorize(JANE, PODS) == Decision(True, "it says so")
    await decided(both.authorize(User("joe"), PODS))
    assert len(webhook.asked) == 2
    webhook.clock.passed, webhook.status = 61.0, {"allowed": False}
    await decided(both.authorize(JANE, PODS))
    await decided(both.authorize(JANE, PODS))
    assert len(webhook.asked) == 3
    webhook.clock.passed = 72.0
    await decided(both.authorize(JANE, PODS))
    assert len(webhook.asked) == 4
    huge = RequestInfo("get", "/" + "x" * 10_000)
    for _ in range(2):
        await decided(both.authorize(JANE, huge))
    assert len(webhook.asked) == 6, "what is asked at such length is not remembered"


async def test_a_passing_failure_is_asked_about_again_and_a_lasting_one_is_as_the_file_says(webhook: Webhook) -> None:
    both = webhook.built()
    webhook.failing = [500, 429]
    assert (await decided(both.authorize(JANE, PODS))).allowed
    assert len(webhook.asked) == 3
    webhook.failing = [500] * 5
    failed = await decided(both.authorize(User("joe"), PODS))
    assert (failed.allowed, failed.denied) == (False, True)
    assert failed.error == 'an error on the server ("no") has prevented the request from succeeding'
    webhook.failing = [403]
    await decided(both.authorize(User("jim"), PODS))
    assert len(webhook.asked) == 9, "a refusal does not pass"
    both = webhook.built(failurePolicy="NoOpinion", rest="AlwaysAllow")
    webhook.failing = [403]
    assert await decided(both.authorize(JANE, PODS)) == Decision(True)
    assert webhook.metrics.evaluations.values == {("w", "error"): 9, ("w", "success"): 1}
    assert webhook.metrics.failed_open.values == {("w", "error"): 1}


async def test_it_is_asked_only_where_every_condition_is_true(webhook: Webhook) -> None:
    conditions = ["has(request.resourceAttributes)", "request.resourceAttributes.namespace == 'a'", "request.uid != ''"]
    both = webhook.built(
        matchConditionSubjectAccessReviewVersion="v1", matchConditions=[{"expression": each} for each in conditions]
    )
    assert both.authorize(JANE, RequestInfo("get", "/version")) == Decision(False, "Everything is forbidden.")
    assert both.authorize(User("joe"), PODS) == Decision(False, "Everything is forbidden.")
    assert not webhook.asked
    assert (await decided(both.authorize(JANE, PODS))).allowed
    assert webhook.metrics.condition_exclusions.values == {("Webhook", "w"): 2}


async def test_a_condition_without_a_value_is_a_failure_unless_another_is_false(webhook: Webhook) -> None:
    wrong = "request.resourceAttributes.labelSelector.requirements.size() > 0"
    conditions = [{"expression": wrong}, {"expression": "request.user == 'jane'"}]
    both = webhook.built(matchConditionSubjectAccessReviewVersion="v1", matchConditions=conditions)
    asked = RequestInfo("get", "", "", "v1", "pods", "", "a", "x")
    failed = both.authorize(JANE, asked)
    assert isinstance(failed, Decision) and failed.denied
    assert failed.error == f"cel evaluation error: expression '{wrong}' resulted in error: no such key: labelSelector"
    assert both.authorize(User("joe"), asked) == Decision(False, "Everything is forbidden.")
    assert webhook.metrics.condition_errors.values == {("Webhook", "w"): 2}


async def test_the_changed_file_holds_if_it_makes_sense_and_is_counted(webhook: Webhook) -> None:
    webhook.write("w")
    following = Authorizing.by_file(webhook.config, webhook.clock, "us")
    both = webhook.use(following)
    await decided(both.authorize(JANE, PODS))
    webhook.write("w", "v")
    await following.look()
    assert both.authorize(JANE, PODS) == Decision(True, "it says so"), "of what has not changed, answers are kept"
    webhook.write(rest="RBAC")
    await following.look()
    assert both.authorize(JANE, PODS) == Decision(True, "it says so")
    webhook.write()
    await following.look()
    await following.look()
    assert both.authorize(JANE, PODS) == Decision(False, "Everything is forbidden.")
    reloads = {status: count for (status, _), count in webhook.metrics.reloads.values.items()}
    assert reloads == {"success": 2, "failure": 1}
    assert all(hash_.startswith("sha256:") and len(hash_) == 71 for _, hash_ in webhook.metrics.reloads.values)


async def test_a_webhook_cannot_be_asked_for_rules(webhook: Webhook) -> None:
    both = webhook.built()
    assert both.why_incomplete(JANE) == "webhook authorizer does not support user rule resolution"
    assert both.rules_of(JANE) == AlwaysDeny().rules_of(JANE)


async def test_a_kubeconfig_that_cannot_be_used_stops_the_start(webhook: Webhook) -> None:
    webhook.kubeconfig.write_text("{}")
    with pytest.raises(BadConfiguration, match="webhook w: .*the current context names no cluster"):
        webhook.built()


async def test_a_program_is_asked_for_other_credentials_when_its_own_were_refused(webhook: Webhook) -> None:
    directory = webhook.kubeconfig.parent
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "tN"}}
    counts = "echo run >> runs; sed s/tN/t$(wc -l < runs)/ answer"
    (directory / "answer").write_text(json.dumps(answer))
    (directory / "program").write_text(f"#!/bin/sh\ncd {directory}; {counts}\n")
    (directory / "program").chmod(0o755)
    config = yaml.safe_load(webhook.kubeconfig.read_text())
    config["users"][0]["user"] = {
        "exec": {"apiVersion": answer["apiVersion"], "command": "./program", "interactiveMode": "Never"}
    }
    webhook.kubeconfig.write_text(yaml.safe_dump(config))
    both, webhook.believes = webhook.built(), "Bearer t2"
    refused = await decided(both.authorize(JANE, PODS))
    assert refused.error == "the server has asked for the client to provide credentials"
    assert (await decided(both.authorize(JANE, PODS))).allowed
