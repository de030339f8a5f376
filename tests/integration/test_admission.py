"""Webhooks and policies that users register, asked by a real server over TLS on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from api.core import configmap as configmaps
from api.errors import Forbidden
from tests import builders
from tests.integration.test_apiserver import CORE, Running, pki, server
from tests.integration.test_proxied import Backend, backend, behind
from tests.webhook_server import Plain, WebhookServer, allow, deny, patch, serving

pytestmark = pytest.mark.integration
__all__ = ["backend", "behind", "pki", "server"]

REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
CONFIGMAPS = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}
PODS = {**CONFIGMAPS, "resources": ["pods"]}


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with serving(tmp_path / "webhook") as server:
        yield server


async def ask(
    server: Running, method: str, path: str, body: Any = None, **options: Any
) -> tuple[int, Plain, list[str]]:
    headers = {"Content-Type": options.pop("content_type")} if "content_type" in options else None
    async with server.http.request(method, path, json=body, headers=headers, **options) as answer:
        return answer.status, await answer.json(), answer.headers.getall("Warning", [])


async def register(server: Running, kind: str, *webhooks: Plain, name: str = "test") -> None:
    """Register webhooks, and wait until the server knows of them."""
    plural = f"{kind.lower()}webhookconfigurations"
    full = [
        {
            "name": f"hook{i}.example.com",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "rules": [CONFIGMAPS],
            **webhook,
        }
        for i, webhook in enumerate(webhooks)
    ]
    await settled(server, plural, {"metadata": {"name": name}, "webhooks": full})


async def settled(server: Running, plural: str, body: Plain) -> Plain:
    """Create something of admissionregistration, and wait until the server's cache has it."""
    code, made, _ = await ask(server, "POST", f"{REGISTRATION}/{plural}", body)
    assert code == 201, made
    version = made["metadata"]["resourceVersion"]
    code, _, _ = await ask(server, "GET", f"{REGISTRATION}/{plural}?resourceVersion={version}")
    assert code == 200
    return made


async def create(server: Running, name: str, query: str = "", **content: Any) -> tuple[int, Plain, list[str]]:
    body = {"metadata": {"name": name, "labels": content.pop("labels", {})}, **content}
    return await ask(server, "POST", f"{CORE}/configmaps{query}", body)


# --- webhooks that judge --------------------------------------------------------------------------------------------


async def test_a_webhook_that_says_no_is_heard_in_its_own_words(server: Running, hooks: WebhookServer):
    said = deny("no such luck", reason="Forbidden", code=403, details={"causes": [{"message": "why"}]})
    await register(server, "Validating", {"clientConfig": hooks.on("deny", said)})
    code, status, _ = await create(server, "a")
    assert code == status["code"] == 403
    assert status["message"] == 'admission webhook "hook0.example.com" denied the request: no such luck'
    assert status["reason"] == "Forbidden" and status["details"] == {"causes": [{"message": "why"}]}
    async with server.http.get("/metrics") as answer:
        counted = await answer.text()
    assert (
        'apiserver_admission_webhook_rejection_count{name="hook0.example.com",type="validating",operation="CREATE",'
        'error_type="no_error",rejection_code="403"} 1'
    ) in counted


async def test_a_webhook_that_gives_no_reason_answers_400(server: Running, hooks: WebhookServer):
    await register(server, "Validating", {"clientConfig": hooks.on("deny", deny())})
    code, status, _ = await create(server, "a")
    assert code == 400
    assert status["message"] == 'admission webhook "hook0.example.com" denied the request without explanation'


async def test_a_review_says_who_asks_what(server: Running, hooks: WebhookServer):
    await register(server, "Validating", {"clientConfig": hooks.on("allow", allow), "rules": [CONFIGMAPS]})
    assert (await create(server, "a", "?fieldManager=me", data={"k": "v"}))[0] == 201
    change = {"data": {"k": "w"}}
    await ask(server, "PATCH", f"{CORE}/configmaps/a", change, content_type="application/merge-patch+json")
    await ask(server, "DELETE", f"{CORE}/configmaps/a?propagationPolicy=Background")
    created, updated, deleted = hooks.asked["allow"]
    assert created["kind"] == created["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert created["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (created["name"], created["namespace"], created["operation"]) == ("a", "default", "CREATE")
    assert created["userInfo"]["username"] and "system:masters" in created["userInfo"]["groups"]
    assert created["object"]["data"] == {"k": "v"} and created["oldObject"] is None and created["dryRun"] is False
    assert created["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}
    assert updated["object"]["data"] == {"k": "w"} and updated["oldObject"]["data"] == {"k": "v"}
    assert updated["options"]["kind"] == "UpdateOptions" and updated["operation"] == "UPDATE"
    assert deleted["object"] is None and deleted["oldObject"]["data"] == {"k": "w"}
    assert deleted["options"]["propagationPolicy"] == "Background"
    assert hooks.queries == ["timeout=10s"] * 3
    assert not any("Authorization" in headers for headers in hooks.headers)
    assert len(hooks.connections) == 1


async def test_a_webhook_is_told_no_more_time_than_the_request_has(server: Running, hooks: WebhookServer):
    await register(server, "Mutating", {"clientConfig": hooks.on("allow", allow), "rules": [CONFIGMAPS]})
    assert (await create(server, "a", "?timeout=4s"))[0] == 201
    assert hooks.queries == ["timeout=4s"]


async def test_deletecollection_asks_about_each_object(server: Running, hooks: WebhookServer):
    for name in ("a", "b"):
        await create(server, name, labels={"app": "x"})
    rule = {**CONFIGMAPS, "operations": ["DELETE"]}
    await register(server, "Validating", {"clientConfig": hooks.on("allow", allow), "rules": [rule]})
    await ask(server, "DELETE", f"{CORE}/configmaps?labelSelector=app%3Dx")
    assert sorted(review["oldObject"]["metadata"]["name"] for review in hooks.asked["allow"]) == ["a", "b"]
    assert not any(review.get("name") for review in hooks.asked["allow"]), "none was named"


async def test_a_binding_is_reviewed_as_what_it_was_sent_to(server: Running, hooks: WebhookServer):
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["bindings", "pods/binding"], "operations": ["*"]}
    await register(server, "Validating", {"clientConfig": hooks.on("allow", allow), "rules": [rule]})
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "n"}}
    for path in ("bindings", "pods/p/binding"):
        await ask(server, "POST", f"{CORE}/{path}", binding)
    asked = [(review["resource"]["resource"], review.get("subResource")) for review in hooks.asked["allow"]]
    assert asked == [("bindings", None), ("pods", "binding")]


async def test_of_several_that_say_no_the_first_in_order_is_heard(server: Running, hooks: WebhookServer):
    async def slowly(request: Plain) -> Plain:
        await asyncio.sleep(0.05)
        return {"allowed": False, "status": {"message": "first"}}

    await register(
        server,
        "Validating",
        {"clientConfig": hooks.on("one", slowly)},
        {"clientConfig": hooks.on("two", deny("second"))},
    )
    _, status, _ = await create(server, "a")
    assert status["message"].endswith("denied the request: first")


# --- failing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Mutating", "Validating"])
async def test_a_webhook_that_is_not_there_fails_the_request_or_not_as_it_says(server: Running, kind: str):
    there = {"url": "https://127.0.0.1:1/deny"}
    await register(server, kind, {"clientConfig": there, "failurePolicy": "Fail"})
    code, status, _ = await create(server, "a")
    assert (code, status["reason"]) == (500, "InternalError")
    assert status["message"] == (
        'Internal error occurred: failed calling webhook "hook0.example.com": failed to call webhook: '
        'Post "https://127.0.0.1:1/deny?timeout=10s": dial tcp 127.0.0.1:1: connect: connection refused'
    )
    ignoring = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
    at = f"{REGISTRATION}/{kind.lower()}webhookconfigurations"
    _, made, _ = await ask(server, "PATCH", f"{at}/test", ignoring, content_type="application/json-patch+json")
    await ask(server, "GET", f"{at}?resourceVersion={made['metadata']['resourceVersion']}")
    assert (await create(server, "a"))[0] == 201


async def test_a_slow_webhook_has_only_its_time(server: Running, hooks: WebhookServer):
    async def slow(request: Plain) -> Plain:
        await asyncio.sleep(5)
        return {"allowed": True}

    await register(server, "Validating", {"clientConfig": hooks.on("slow", slow), "timeoutSeconds": 1})
    code, status, _ = await create(server, "a")
    assert code == 500
    assert "/slow?timeout=1s" in status["message"] and "context deadline exceeded" in status["message"]


async def test_an_unknown_authority_is_not_believed(server: Running, hooks: WebhookServer):
    config = {"url": hooks.on("allow", allow)["url"]}
    await register(server, "Validating", {"clientConfig": config})
    _, status, _ = await create(server, "a")
    assert "tls: failed to verify certificate: x509: certificate signed by unknown authority" in status["message"]
    assert not hooks.asked


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ({"uid": "other", "allowed": True}, 'expected response.uid="'),
        ({"allowed": True, "patch": "W10=", "patchType": "JSONPatch"}, "validating webhook may not return"),
    ],
)
async def test_an_answer_to_another_question_is_none(server: Running, hooks: WebhookServer, response: Plain, why: str):
    async def respond(request: Plain) -> Plain:
        return response

    await register(server, "Validating", {"clientConfig": hooks.on("odd", respond)})
    code, status, _ = await create(server, "a")
    assert code == 500 and "received invalid webhook response: " in status["message"] and why in status["message"]


async def test_an_endless_answer_is_cut_off(server: Running, hooks: WebhookServer, monkeypatch: pytest.MonkeyPatch):
    async def endless(request: Plain) -> web.Response:
        return web.Response(body=b" " * (20 << 20))

    await register(server, "Validating", {"clientConfig": hooks.on("endless", endless)})
    code, status, _ = await create(server, "a")
    assert code == 500 and "the answer has more than" in status["message"]


async def test_a_redirect_is_not_followed(server: Running, hooks: WebhookServer):
    async def redirect(request: Plain) -> web.Response:
        raise web.HTTPTemporaryRedirect("/allow")

    hooks.on("allow", allow)
    await register(server, "Validating", {"clientConfig": hooks.on("moved", redirect)})
    assert (await create(server, "a"))[0] == 500
    assert "allow" not in hooks.asked


async def test_a_service_is_looked_up_here_and_has_to_prove_its_name(server: Running, hooks: WebhookServer):
    ca = hooks.on("deny", deny("found"))["caBundle"]
    reference = {"namespace": "default", "name": "webhook", "path": "/deny", "port": hooks.port}
    await register(server, "Validating", {"clientConfig": {"service": reference, "caBundle": ca}})
    _, status, _ = await create(server, "a")
    posted = f'Post "https://webhook.default.svc:{hooks.port}/deny?timeout=10s": '
    assert f'failed to call webhook: {posted}service "webhook" not found' in status["message"]
    spec = {"type": "ExternalName", "externalName": "localhost"}
    _, made, _ = await ask(server, "POST", f"{CORE}/services", {"metadata": {"name": "webhook"}, "spec": spec})
    await ask(server, "GET", f"{CORE}/services?resourceVersion={made['metadata']['resourceVersion']}")
    _, status, _ = await create(server, "a")
    assert status["message"].endswith("denied the request: found")
    assert hooks.headers[0]["Host"] == f"webhook.default.svc:{hooks.port}"
    reference["name"] = "other"
    await ask(server, "POST", f"{CORE}/services", {"metadata": {"name": "other"}, "spec": spec})
    await register(server, "Mutating", {"clientConfig": {"service": reference, "caBundle": ca}})
    _, status, _ = await create(server, "a")
    assert "tls: failed to verify certificate: x509: certificate is not valid for 'other" in status["message"]


# --- webhooks that change -------------------------------------------------------------------------------------------


async def test_mutating_webhooks_see_what_those_before_them_made(server: Running, hooks: WebhookServer):
    first = patch({"op": "add", "path": "/data", "value": {"mutation-start": "yes"}})
    second = patch({"op": "add", "path": "/data/mutation-stage-2", "value": "yes"})
    await register(server, "Mutating", {"clientConfig": hooks.on("one", first)}, name="a")
    await register(server, "Mutating", {"clientConfig": hooks.on("two", second)}, name="b")
    code, made, _ = await create(server, "a")
    assert code == 201 and made["data"] == {"mutation-start": "yes", "mutation-stage-2": "yes"}
    assert hooks.asked["two"][0]["object"]["data"] == {"mutation-start": "yes"}
    assert [len(hooks.asked[path]) for path in ("one", "two")] == [1, 1]


async def test_who_wants_to_see_later_changes_is_asked_again(server: Running, hooks: WebhookServer):
    later = patch({"op": "add", "path": "/data", "value": {"later": "yes"}})
    await register(
        server,
        "Mutating",
        {"clientConfig": hooks.on("again", allow), "reinvocationPolicy": "IfNeeded"},
        {"clientConfig": hooks.on("later", later)},
    )
    assert (await create(server, "a"))[0] == 201
    assert [len(hooks.asked[path]) for path in ("again", "later")] == [2, 1]
    assert hooks.asked["again"][1]["object"]["data"] == {"later": "yes"}


async def test_a_mutated_pod_is_defaulted_and_validated(server: Running, hooks: WebhookServer):
    await ask(server, "POST", f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})
    init = {"name": "added", "image": "webhook-added-image"}
    await register(
        server,
        "Mutating",
        {"clientConfig": hooks.on("init", patch({"op": "add", "path": "/spec/initContainers", "value": [init]}))
         , "rules": [PODS]},
    )  # fmt: skip
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    code, made, _ = await ask(server, "POST", f"{CORE}/pods", pod)
    assert code == 201, made
    assert made["spec"]["initContainers"][0]["terminationMessagePolicy"] == "File"
    init["name"] = "Not A Name"
    code, status, _ = await ask(server, "POST", f"{CORE}/pods", {**pod, "metadata": {"name": "b"}})
    assert (code, status["reason"]) == (422, "Invalid")


async def test_a_patch_that_does_not_fit_fails_the_request(server: Running, hooks: WebhookServer):
    wrong = patch({"op": "remove", "path": "/data/nothing"})
    await register(server, "Mutating", {"clientConfig": hooks.on("wrong", wrong), "failurePolicy": "Ignore"})
    code, status, _ = await create(server, "a")
    assert (code, status["reason"]) == (500, "InternalError")


async def test_a_generated_name_is_made_after_mutation(server: Running, hooks: WebhookServer):
    await register(server, "Mutating", {"clientConfig": hooks.on("m", allow)})
    await register(server, "Validating", {"clientConfig": hooks.on("v", allow)})
    code, made, _ = await ask(server, "POST", f"{CORE}/configmaps", {"metadata": {"generateName": "a-"}})
    assert code == 201 and made["metadata"]["name"].startswith("a-")
    (mutating,), (validating,) = hooks.asked["m"], hooks.asked["v"]
    assert "name" not in mutating and "name" not in mutating["object"]["metadata"]
    assert "name" not in validating and validating["object"]["metadata"]["name"] == made["metadata"]["name"]
    assert "uid" not in mutating["object"]["metadata"] and validating["object"]["metadata"]["uid"]


# --- which requests -------------------------------------------------------------------------------------------------


async def test_conditions_selectors_and_names_say_which_requests_are_meant(server: Running, hooks: WebhookServer):
    config = hooks.on("deny", deny("meant"))
    condition = {"name": "only", "expression": "request.name != 'free' && object.metadata.name != 'free'"}
    await register(
        server,
        "Validating",
        {
            "clientConfig": config,
            "matchConditions": [condition],
            "objectSelector": {"matchLabels": {"checked": "yes"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        },
    )
    assert (await create(server, "a"))[0] == 201
    assert (await create(server, "free", labels={"checked": "yes"}))[0] == 201
    assert (await create(server, "b", labels={"checked": "yes"}))[0] == 400
    other = "/api/v1/namespaces/kube-public/configmaps"
    body = {"metadata": {"name": "b", "labels": {"checked": "yes"}}}
    assert (await ask(server, "POST", other, body))[0] == 201
    # An object that loses its label is still meant: the old one had it.
    body = {"metadata": {"name": "free", "labels": {}}, "data": {"a": "b"}}
    conditioned = await ask(server, "PUT", f"{CORE}/configmaps/free", body)
    assert conditioned[0] == 200


async def test_a_condition_that_cannot_be_evaluated_fails_closed_or_open(server: Running, hooks: WebhookServer):
    broken = {"name": "broken", "expression": "object.spec.nothing == 1"}
    config = hooks.on("deny", deny("asked"))
    hook = {"clientConfig": config, "matchConditions": [broken]}
    await register(server, "Validating", {**hook, "failurePolicy": "Fail"})
    code, status, _ = await create(server, "a")
    assert code == 403
    assert status["message"] == (
        "configmaps \"a\" is forbidden: expression 'object.spec.nothing == 1' resulted in error: no such key: spec"
    )
    await ask(server, "DELETE", f"{REGISTRATION}/validatingwebhookconfigurations/test")
    await register(server, "Validating", {**hook, "failurePolicy": "Ignore"}, name="open")
    assert (await create(server, "a"))[0] == 201
    assert not hooks.asked


async def test_configurations_themselves_are_never_asked_about(server: Running, hooks: WebhookServer):
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}
    config = {"url": "https://127.0.0.1:1/gone"}
    await register(server, "Validating", {"clientConfig": config, "rules": [everything]})
    await register(server, "Mutating", {"clientConfig": config, "rules": [everything]})
    assert (await create(server, "a"))[0] == 500
    for kind in ("mutating", "validating"):
        assert (await ask(server, "DELETE", f"{REGISTRATION}/{kind}webhookconfigurations/test"))[0] == 200


async def test_a_dry_run_is_told_to_the_webhook(server: Running, hooks: WebhookServer):
    await register(server, "Validating", {"clientConfig": hooks.on("allow", allow), "sideEffects": "NoneOnDryRun"})
    assert (await create(server, "a", "?dryRun=All"))[0] == 201
    (review,) = hooks.asked["allow"]
    assert review["dryRun"] is True and review["options"]["dryRun"] == ["All"]


async def test_warnings_of_a_webhook_reach_the_client(server: Running, hooks: WebhookServer):
    async def warn(request: Plain) -> Plain:
        return {"allowed": True, "warnings": ["mind the gap"]}

    await register(server, "Validating", {"clientConfig": hooks.on("warn", warn)})
    code, _, warnings = await create(server, "a")
    assert code == 201 and warnings == ['299 - "mind the gap"']


async def test_subresources_are_asked_about_as_what_they_are(server: Running, hooks: WebhookServer):
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/*"], "operations": ["UPDATE"]}
    doubled = patch({"op": "replace", "path": "/spec/replicas", "value": 4})
    await register(server, "Mutating", {"clientConfig": hooks.on("scale", doubled), "rules": [rule]})
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    at = "/apis/apps/v1/namespaces/default/deployments"
    assert (await ask(server, "POST", at, {"metadata": {"name": "d"}, "spec": spec}))[0] == 201
    change = {"spec": {"replicas": 2}}
    code, scale, _ = await ask(server, "PATCH", f"{at}/d/scale", change, content_type="application/merge-patch+json")
    assert code == 200 and scale["spec"]["replicas"] == 4
    (review,) = hooks.asked["scale"]
    assert review["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert review["resource"]["resource"] == "deployments" and review["subResource"] == "scale"
    assert review["object"]["spec"] == {"replicas": 2} and review["oldObject"]["spec"] == {"replicas": 1}


# --- custom kinds ---------------------------------------------------------------------------------------------------

CUSTOM = "stable.example.com"
WIDGETS = f"/apis/{CUSTOM}"
MINE = {"apiGroups": [CUSTOM], "apiVersions": ["v1"], "resources": ["widgets"], "operations": ["*"]}
DATA = {"type": "object", "additionalProperties": {"type": "string"}}


async def define(server: Running, schema: Plain, **spec: Any) -> None:
    """Define Widgets, and wait until they are served in both versions."""
    version = {"served": True, "schema": {"openAPIV3Schema": {"type": "object", "properties": schema}}}
    versions = [{"name": "v1", "storage": True, **version}, {"name": "v2", "storage": False, **version}]
    names = {"plural": "widgets", "kind": "Widget"}
    body = {"group": CUSTOM, "scope": "Namespaced", "names": names, "versions": versions, **spec}
    at = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    code, made, _ = await ask(server, "POST", at, {"metadata": {"name": f"widgets.{CUSTOM}"}, "spec": body})
    assert code == 201, made
    async with asyncio.timeout(5):
        while True:
            if (await ask(server, "GET", f"{WIDGETS}/v2/namespaces/default/widgets"))[0] == 200:
                return
            await asyncio.sleep(0.01)


def widget(version: str = "v1", **content: Any) -> Plain:
    return {"apiVersion": f"{CUSTOM}/{version}", "kind": "Widget", "metadata": {"name": "w"}, **content}


async def test_custom_objects_are_mutated_in_the_version_asked_for_and_pruned(server: Running, hooks: WebhookServer):
    await define(server, {"data": {"type": "object", "properties": {"a": {"type": "string"}}}})
    added = patch(
        {"op": "add", "path": "/data/a", "value": "set"},
        {"op": "add", "path": "/data/unknown", "value": "pruned"},
    )
    await register(server, "Mutating", {"clientConfig": hooks.on("m", added), "rules": [MINE]})
    path = f"{WIDGETS}/v2/namespaces/default/widgets"
    code, made, _ = await ask(server, "POST", path, widget("v2", data={}))
    assert (code, made["apiVersion"], made["data"]) == (201, f"{CUSTOM}/v2", {"a": "set"})
    (review,) = hooks.asked["m"]
    assert review["object"]["apiVersion"] == f"{CUSTOM}/v1" and review["requestKind"]["version"] == "v2"
    assert review["kind"]["version"] == "v1" and review["resource"]["version"] == "v1"


async def test_custom_objects_may_be_kept_from_being_made_changed_and_deleted(server: Running, hooks: WebhookServer):
    await define(server, {"data": DATA})
    path = f"{WIDGETS}/v1/namespaces/default/widgets"
    assert (await ask(server, "POST", path, widget(data={"a": "b"})))[0] == 201

    async def judge(request: Plain) -> Plain:
        subject = request["object"] or request["oldObject"]
        return {
            "allowed": subject["data"].get("webhook-e2e-test") != "webhook-disallow" and subject["data"] != {"a": "b"}
        }

    await register(server, "Validating", {"clientConfig": hooks.on("judge", judge), "rules": [MINE]})
    refused = widget(data={"webhook-e2e-test": "webhook-disallow"})
    assert (await ask(server, "POST", path, {**refused, "metadata": {"name": "x"}}))[0] == 400
    merge = "application/merge-patch+json"
    assert (await ask(server, "PATCH", f"{path}/w", {"data": refused["data"]}, content_type=merge))[0] == 400
    assert (await ask(server, "DELETE", f"{path}/w"))[0] == 400
    change = {"data": {"a": None, "c": "d"}}
    assert (await ask(server, "PATCH", f"{path}/w", change, content_type=merge))[0] == 200
    assert (await ask(server, "DELETE", f"{path}/w"))[0] == 200


async def test_definitions_themselves_may_be_refused(server: Running, hooks: WebhookServer):
    crds = {"apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["*"], "resources": ["customresourcedefinitions"]}
    rules = [{**crds, "operations": ["CREATE"]}]
    await register(server, "Validating", {"clientConfig": hooks.on("deny", deny("no kinds")), "rules": rules})
    names = {"plural": "widgets", "kind": "Widget"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {"group": CUSTOM, "scope": "Namespaced", "names": names, "versions": [version]}
    at = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    code, status, _ = await ask(server, "POST", at, {"metadata": {"name": f"widgets.{CUSTOM}"}, "spec": spec})
    assert code == 400 and status["message"].endswith("denied the request: no kinds")


async def test_what_is_deleted_cannot_be_patched(server: Running, hooks: WebhookServer):
    await create(server, "a")
    rule = {**CONFIGMAPS, "operations": ["DELETE"]}
    change = patch({"op": "add", "path": "/data", "value": {}})
    await register(server, "Mutating", {"clientConfig": hooks.on("m", change), "rules": [rule]})
    code, status, _ = await ask(server, "DELETE", f"{CORE}/configmaps/a")
    assert code == 500
    assert "attempted to modify the object, which is not supported for this operation" in status["message"]


@pytest.mark.parametrize("kind", ["Mutating", "Validating"])
async def test_conditions_that_make_no_sense_are_refused_when_written(server: Running, kind: str):
    hook = {
        "name": "a.example.com",
        "clientConfig": {"url": "https://localhost/x"},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "matchConditions": [{"name": "bad", "expression": "... [] bad expression"}],
    }
    at = f"{REGISTRATION}/{kind.lower()}webhookconfigurations"
    code, status, _ = await ask(server, "POST", at, {"metadata": {"name": "test"}, "webhooks": [hook]})
    assert (code, status["reason"]) == (422, "Invalid")
    assert status["details"]["causes"][0]["field"] == "webhooks[0].matchConditions[0].expression"
    assert "compilation failed" in status["message"]


async def test_the_component_api_is_judged_the_same_way(server: Running, hooks: WebhookServer):
    await register(
        server, "Validating", {"clientConfig": hooks.on("deny", deny("not here", code=403, reason="Forbidden"))}
    )
    client = server.client()
    with pytest.raises(Forbidden, match='admission webhook "hook0.example.com" denied the request: not here'):
        await client.create(configmaps.RESOURCE, builders.configmap("a"))
    await client.close()


# --- questions and connections --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "plural", "spec", "told"),
    [
        ("authentication", "tokenreviews", {"token": "none"}, "/metadata/labels"),
        ("authentication", "selfsubjectreviews", None, "/metadata/labels"),
        # What is asked for of rights may have no metadata, so it is told by another field.
        (
            "authorization",
            "selfsubjectaccessreviews",
            {"resourceAttributes": {"verb": "get", "resource": "pods"}},
            "/spec/resourceAttributes",
        ),
        ("authorization", "selfsubjectrulesreviews", {"namespace": "default"}, "/metadata/labels"),
        (
            "authorization",
            "subjectaccessreviews",
            {"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}},
            "/spec/resourceAttributes",
        ),
    ],
)
async def test_reviews_are_seen_by_webhooks_like_everything_that_is_created(
    server: Running, hooks: WebhookServer, group: str, plural: str, spec: Plain | None, told: str
):
    rules = [{"apiGroups": [f"{group}.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["*"]}]
    value = {"seen": "yes"} if told == "/metadata/labels" else {"verb": "list", "resource": "nodes"}
    changed = patch({"op": "add", "path": told, "value": value})
    await register(server, "Mutating", {"clientConfig": hooks.on("change", changed), "rules": rules})
    await register(server, "Validating", {"clientConfig": hooks.on("judge", allow), "rules": rules})
    path, (_, part, name) = f"/apis/{group}.k8s.io/v1/{plural}", told.split("/")
    code, made, _ = await ask(server, "POST", path, {"spec": spec} if spec else {})
    assert code == 201 and made[part][name] == value
    seen = hooks.asked["judge"][0]
    assert (seen["resource"]["resource"], seen["operation"], seen["object"]["kind"]) == (plural, "CREATE", made["kind"])
    assert seen["object"][part][name] == value and not seen["object"].get("status", {}).get("user")
    await register(server, "Validating", {"clientConfig": hooks.on("no", deny()), "rules": rules}, name="no")
    code, made, _ = await ask(server, "POST", path, {"spec": spec} if spec else {})
    assert (code, made["kind"]) == (400, "Status")


async def test_a_question_is_answered_as_webhooks_have_changed_it(server: Running, hooks: WebhookServer):
    rules = [{"apiGroups": ["authorization.k8s.io"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]
    other = patch({"op": "replace", "path": "/spec/user", "value": "nobody"}, {"op": "remove", "path": "/spec/groups"})
    await register(server, "Mutating", {"clientConfig": hooks.on("change", other), "rules": rules})
    spec = {"user": "root", "groups": ["system:masters"], "resourceAttributes": {"verb": "get", "resource": "pods"}}
    body = {"spec": spec}
    code, made, _ = await ask(server, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    assert (code, made["spec"]["user"], made["status"]["allowed"]) == (201, "nobody", False)


async def test_a_proxied_path_is_the_one_that_webhooks_want(server: Running, hooks: WebhookServer, behind: Backend):
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["services/proxy"]}]
    elsewhere = patch({"op": "replace", "path": "/path", "value": "/else where"})
    await register(server, "Mutating", {"clientConfig": hooks.on("change", elsewhere), "rules": rules})
    code, said, _ = await ask(server, "GET", f"{CORE}/services/web:80/proxy/here?x=1")
    assert (code, said["path"]) == (200, "/else%20where?x=1")
    seen = hooks.asked["change"][0]["object"]
    assert (seen["kind"], seen["path"]) == ("ServiceProxyOptions", "/here")
    await register(server, "Mutating", {"clientConfig": hooks.on("bad", patch(
        {"op": "replace", "path": "/path", "value": 7})), "rules": rules}, name="zz")  # fmt: skip
    code, said, _ = await ask(server, "GET", f"{CORE}/services/web:80/proxy/here")
    assert (code, said["reason"]) == (500, "InternalError")


async def test_others_are_answered_while_a_costly_policy_is_evaluated(server: Running):
    numbers = "[" + ",".join(str(number) for number in range(150)) + "]"
    costly = f"{numbers}.all(x, {numbers}.all(y, x + y >= 0 && x * y >= 0 && x * x + y * y >= 0))"
    spec = {
        "matchConstraints": {"resourceRules": [CONFIGMAPS]},
        "validations": [{"expression": costly, "message": "never"} for _ in range(10)],
    }
    await settled(server, "validatingadmissionpolicies", {"metadata": {"name": "costly"}, "spec": spec})
    binding = {"policyName": "costly", "validationActions": ["Deny"]}
    await settled(server, "validatingadmissionpolicybindings", {"metadata": {"name": "costly"}, "spec": binding})
    loop = asyncio.get_running_loop()
    began = loop.time()
    writing = asyncio.create_task(create(server, "a"))
    others: list[float] = []
    while not writing.done():
        asked = loop.time()
        assert (await ask(server, "GET", "/version"))[0] == 200
        others.append(loop.time() - asked)
    took = loop.time() - began
    assert (await writing)[0] == 201
    # Client and server share this process; what is told apart is turns taken from one request that waits for another.
    assert took > 0.4, "otherwise this shows nothing"
    assert len(others) >= 10 and sorted(others)[len(others) // 2] < took / 5, (took, others)
