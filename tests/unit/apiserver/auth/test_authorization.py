"""What flags and an AuthorizationConfiguration say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.auth.authorization import BadConfiguration, Flags, Mode, of_flags, parse
from apiserver.server import Settings, authorizing_of
from component.clock import RealClock

HEAD = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration"}


def text(*authorizers: dict[str, Any], **changes: Any) -> bytes:
    return yaml.safe_dump({**HEAD, "authorizers": list(authorizers), **changes}).encode()


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text("{}")
    return path


def webhook(file: Path | None, name: str = "guard", **changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "timeout": "3s",
        "subjectAccessReviewVersion": "v1",
        "failurePolicy": "Deny",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": str(file)},
    }
    told = {key: value for key, value in {**told, **changes}.items() if value is not None}
    return {"type": "Webhook", "name": name, "webhook": told}


NODE, RBAC = {"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_authorizers_are_asked_in_the_order_of_the_file(kubeconfig: Path, version: str) -> None:
    condition = "has(request.resourceAttributes) && request.resourceAttributes.fieldSelector.requirements.size() > 0"
    first = webhook(
        kubeconfig,
        matchConditionSubjectAccessReviewVersion="v1",
        matchConditions=[{"expression": condition}],
        authorizedTTL="1m",
    )
    second = webhook(kubeconfig, "other", failurePolicy="NoOpinion", subjectAccessReviewVersion="v1beta1")
    modes = parse(text(first, NODE, RBAC, second, apiVersion=f"apiserver.config.k8s.io/{version}"))
    assert [(mode.type, mode.name) for mode in modes] == [
        ("Webhook", "guard"), ("Node", "node"), ("RBAC", "rbac"), ("Webhook", "other")
    ]  # fmt: skip
    guard, other = modes[0].webhook, modes[3].webhook
    assert guard is not None and other is not None
    assert (guard.kubeconfig, guard.timeout_s, guard.denies_on_failure) == (kubeconfig, 3.0, True)
    assert (guard.authorized_ttl_s, guard.unauthorized_ttl_s, guard.conditions) == (60.0, 30.0, (condition,))
    assert (other.version, other.authorized_ttl_s, other.denies_on_failure) == ("v1beta1", 300.0, False)


@pytest.mark.parametrize(
    ("authorizers", "why"),
    [
        ([], "authorizers: Required value: at least one authorization mode must be defined"),
        ([{}], "authorizers[0].type: Required value"),
        ([{"type": "Magic", "name": "m"}], 'authorizers[0].type: Unsupported value: "Magic": supported values: "ABAC"'),
        ([RBAC, {**RBAC, "name": "b"}], 'authorizers[1].type: Duplicate value: "RBAC"'),
        ([{"type": "RBAC"}], "authorizers[0].name: Required value"),
        (
            [{"type": "RBAC", "name": "R"}],
            'authorizers[0].name: Invalid value: "R": authorizer name is invalid: a lower',
        ),
        ([{"type": "RBAC", "name": "x"}], "expected name rbac for authorizer RBAC instead of x"),
        ([{"type": "ABAC", "name": "abac"}], "not supported: ABAC"),
        ([{"type": "Webhook", "name": "w"}], "authorizers[0].webhook: Required value: required when type=Webhook"),
        ([{**RBAC, "webhook": {}}], 'authorizers[0].webhook: Invalid value: "non-null": may only be specified when'),
    ],
)
def test_what_is_wrong_with_authorizers_is_said_with_its_place(authorizers: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        parse(text(*authorizers))
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"timeout": None}, "authorizers[0].timeout: Required value"),
        ({"timeout": "31s"}, 'authorizers[0].timeout: Invalid value: "31s": must be > 0s and <= 30s'),
        ({"timeout": "soon"}, 'authorizers[0].timeout: Invalid value: "soon": time: invalid duration "soon"'),
        ({"authorizedTTL": "-1s"}, 'authorizers[0].authorizedTTL: Invalid value: "-1s": must be > 0s'),
        ({"unauthorizedTTL": "-1s"}, 'authorizers[0].unauthorizedTTL: Invalid value: "-1s": must be > 0s'),
        ({"subjectAccessReviewVersion": None}, "authorizers[0].subjectAccessReviewVersion: Required value"),
        (
            {"subjectAccessReviewVersion": "v2"},
            'authorizers[0].subjectAccessReviewVersion: Unsupported value: "v2": supported values: "v1", "v1beta1"',
        ),
        (
            {"matchConditions": [{"expression": "true"}]},
            "authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: "
            "required if match conditions are specified",
        ),
        (
            {"matchConditionSubjectAccessReviewVersion": "v1beta1"},
            'matchConditionSubjectAccessReviewVersion: Unsupported value: "v1beta1": supported values: "v1"',
        ),
        ({"failurePolicy": None}, "authorizers[0].failurePolicy: Required value"),
        (
            {"failurePolicy": "Maybe"},
            'authorizers[0].failurePolicy: Unsupported value: "Maybe": supported values: "NoOpinion", "Deny"',
        ),
        ({"connectionInfo": {}}, "authorizers[0].connectionInfo.type: Required value"),
        (
            {"connectionInfo": {"type": "InClusterConfig", "kubeConfigFile": "/x"}},
            'connectionInfo.kubeConfigFile: Invalid value: "/x": can only be set when type=KubeConfigFile',
        ),
        (
            {"connectionInfo": {"type": "InClusterConfig"}},
            "connectionInfo.type: Forbidden: InClusterConfig is not allowed for kube-apiserver",
        ),
        (
            {"connectionInfo": {"type": "KubeConfigFile"}},
            "authorizers[0].connectionInfo.kubeConfigFile: Required value",
        ),
        (
            {"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "here"}},
            'connectionInfo.kubeConfigFile: Invalid value: "here": must be an absolute path',
        ),
        (
            {"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/no/such"}},
            "error loading file: stat /no/such: no such file or directory",
        ),
        ({"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/tmp"}}, "must be a regular file"),
        (
            {"matchConditions": [{"expression": "1 + 1"}]},
            'matchConditions[0].expression: Invalid value: "1 + 1": must evaluate to bool but got int',
        ),
        ({"matchConditions": [{"expression": " "}]}, "matchConditions[0].expression: Required value"),
        (
            {"matchConditions": [{"expression": "true"}, {"expression": "true"}]},
            'matchConditions[1].expression: Duplicate value: "true"',
        ),
        (
            {"matchConditions": [{"expression": "request.resourceAttributes.nope == ''"}]},
            "compilation failed: ERROR: <input>:1:27: undefined field 'nope'",
        ),
        (
            {"matchConditions": [{"expression": f"{i} == {i}"} for i in range(65)]},
            "authorizers[0].matchConditions: Too many: 65: must have at most 64 items",
        ),
        ({"cacheAuthorizedRequests": True}, "unknown field `cacheAuthorizedRequests`"),
    ],
)
def test_what_is_wrong_with_a_webhook_is_said_with_its_place(
    kubeconfig: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadConfiguration) as caught:
        parse(text(webhook(kubeconfig, **changes)))
    assert why in str(caught.value)


def test_all_that_is_wrong_is_said_at_once(kubeconfig: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"^\[authorizers\[0\].timeout: .*, authorizers\[0\].failurePolicy: "):
        parse(text(webhook(kubeconfig, timeout=None, failurePolicy=None)))


def test_a_name_is_taken_once(kubeconfig: Path) -> None:
    with pytest.raises(BadConfiguration, match=r'authorizers\[1\].name: Duplicate value: "guard"'):
        parse(text(webhook(kubeconfig), webhook(kubeconfig)))


def test_who_else_is_asked_stays_as_it_was_at_the_start(kubeconfig: Path) -> None:
    assert parse(text(RBAC, webhook(kubeconfig), NODE), {"Node", "RBAC"})
    with pytest.raises(BadConfiguration, match=r"missing required types: \[Node\]"):
        parse(text(RBAC), {"Node", "RBAC"})
    with pytest.raises(BadConfiguration, match=r"unexpected types: \[Node\]"):
        parse(text(RBAC, NODE), {"RBAC"})


def test_flags_name_modes_in_order_and_one_webhook_that_lets_pass_when_it_fails(kubeconfig: Path) -> None:
    node, default, rbac = of_flags(Flags(("Node", "Webhook", "RBAC"), kubeconfig, authorized_ttl="10s"))
    assert (node, rbac) == (Mode("Node", "node"), Mode("RBAC", "rbac"))
    told = default.webhook
    assert default.name == "default" and told is not None
    assert (told.version, told.timeout_s, told.authorized_ttl_s) == ("v1beta1", 30.0, 10.0)
    assert not told.denies_on_failure


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (Flags(()), "at least one authorization-mode must be passed"),
        (Flags(("Magic",)), 'authorization-mode "Magic" is not a valid mode'),
        (Flags(("RBAC", "RBAC")), 'authorization-mode "RBAC" has mode specified more than once'),
        (Flags(("ABAC",)), "not supported: ABAC"),
        (Flags(("Webhook",)), "authorization-mode Webhook's authorization config file not passed"),
        (Flags(("RBAC",), Path("/x")), "cannot specify --authorization-webhook-config-file without mode Webhook"),
        (Flags(("RBAC",), authorized_ttl="x"), "--authorization-webhook-cache-authorized-ttl: time: invalid"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags: Flags, why: str) -> None:
    with pytest.raises(BadConfiguration, match=why):
        of_flags(flags)


def settings(**changes: Any) -> Settings:
    needed = {each.name: Path("/x") for each in dataclasses.fields(Settings) if each.default is dataclasses.MISSING}
    return Settings(**{**needed, **changes})


def test_a_file_and_flags_exclude_each_other(kubeconfig: Path, tmp_path: Path) -> None:
    path = tmp_path / "authorization.yaml"
    path.write_bytes(text(webhook(kubeconfig)))
    assert authorizing_of(settings(authorization_config=path), RealClock())
    assert authorizing_of(settings(authorization_mode=("AlwaysAllow",)), RealClock())
    with pytest.raises(BadConfiguration, match="--authorization-config can not be specified when --authorization-mode"):
        authorizing_of(settings(authorization_config=path, authorization_mode=("RBAC",)), RealClock())
    path.write_text("{}")
    with pytest.raises(BadConfiguration, match="--authorization-config .*: it should be apiVersion apiserver.config"):
        authorizing_of(settings(authorization_config=path), RealClock())
