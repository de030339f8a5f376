"""Policies and webhooks as a user puts them into force with stock kubectl, on a cluster with real containers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunningCluster, eventually, web_manifest
from tests.webhook_server import WebhookServer, patch, serving


@pytest.fixture
def webhooks(tmp_path: Path) -> Iterator[WebhookServer]:
    """Serve webhooks on loopback, where the API server runs too, in a thread of their own."""
    started, stop = threading.Event(), asyncio.Event()
    found: list[Any] = []

    async def serve() -> None:
        async with serving(tmp_path) as server:
            found.extend((server, asyncio.get_running_loop()))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(10)
    yield found[0]
    found[1].call_soon_threadsafe(stop.set)
    thread.join(10)


@pytest.fixture(autouse=True)
def registered(cluster: RunningCluster, namespace: str) -> Iterator[None]:
    """Take away what a test registered for its namespace by the namespace's name."""
    yield
    for kind in ("validatingadmissionpolicy", "validatingadmissionpolicybinding", "mutatingwebhookconfiguration"):
        cluster.kubectl("delete", kind, namespace, "--ignore-not-found", check=False)


def here(k: Any) -> dict[str, Any]:
    return {"matchLabels": {"kubernetes.io/metadata.name": k.namespace}}


def put_into_force(k: Any, rule: dict[str, Any], *actions: str, **spec: Any) -> None:
    group = "admissionregistration.k8s.io/v1"
    head = {"apiVersion": group, "metadata": {"name": k.namespace}}
    match = {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], **rule}], "namespaceSelector": here(k)}
    policy = {**head, "kind": "ValidatingAdmissionPolicy", "spec": {"matchConstraints": match, **spec}}
    bound = {"policyName": k.namespace, "validationActions": list(actions)}
    binding = {**head, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound}
    k("apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": [policy, binding]})


def test_a_policy_refuses_what_breaks_it_and_shows_its_state(k: Any) -> None:
    rule = {"resources": ["configmaps"], "operations": ["CREATE"]}
    validations = [
        {"expression": "size(object.metadata.name) <= 5", "messageExpression": "object.metadata.name + ' is long'"}
    ]
    put_into_force(k, rule, "Deny", validations=validations)
    said = eventually(
        lambda: (
            (out := k("create", "configmap", "too-long", "--dry-run=server", check=False)) and "denied" in out and out
        ),
        10,
        "a refusal",
    )
    assert (
        f"ValidatingAdmissionPolicy '{k.namespace}' with binding '{k.namespace}' denied request: too-long is long"
        in said
    )
    k("create", "configmap", "short")
    eventually(
        lambda: (
            k("get", "validatingadmissionpolicy", k.namespace, "-o", "jsonpath={.status.observedGeneration}") == "1"
        ),
        10,
        "a checked policy",
    )


def test_a_policy_may_only_warn(k: Any) -> None:
    rule = {"resources": ["configmaps"], "operations": ["CREATE"]}
    put_into_force(k, rule, "Warn", validations=[{"expression": "false", "message": "mind that"}])
    said = eventually(
        lambda: "mind that" in (out := k("create", "configmap", "a", "--dry-run=server", check=False)) and out,
        10,
        "a warning",
    )
    assert "Warning: Validation failed for ValidatingAdmissionPolicy" in said and "configmap/a created" in said


def test_exec_into_pods_can_be_refused(k: Any) -> None:
    k("apply", "-f", "-", stdin=web_manifest(replicas=1))
    k("rollout", "status", "deployment/web", "--timeout=60s")
    assert "hello" in k("exec", "deployment/web", "--", "echo", "hello")
    rule = {"resources": ["pods/exec"], "operations": ["CONNECT"]}
    put_into_force(k, rule, "Deny", validations=[{"expression": "!('env' in object.command)", "message": "no env"}])
    eventually(lambda: "no env" in k("exec", "deployment/web", "--", "env", check=False), 10, "a refusal")
    assert "hello" in k("exec", "deployment/web", "--", "echo", "hello")


def test_a_webhook_changes_what_is_applied(k: Any, webhooks: WebhookServer) -> None:
    config = webhooks.on("label", patch({"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}))
    hook = {
        "name": "label.example.com",
        "clientConfig": config,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        "namespaceSelector": here(k),
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    group = "admissionregistration.k8s.io/v1"
    head = {"apiVersion": group, "kind": "MutatingWebhookConfiguration", "metadata": {"name": k.namespace}}
    k("apply", "-f", "-", stdin={**head, "webhooks": [hook]})
    eventually(
        lambda: "yes" in k("create", "configmap", "a", "--dry-run=server", "-o", "jsonpath={.metadata.labels.seen}"),
        10,
        "a label",
    )
    assert webhooks.asked["label"][-1]["dryRun"] is True
