"""What admission plugins are told by a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from apiserver.admission.configuration import BadConfiguration, read
from apiserver.admission.pod_security import DEFAULTS, Standard

HEAD = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
POD_SECURITY = "apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration"
QUOTA = "apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration"
WEBHOOKS = "apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration"


def written(directory: Path, *plugins: str) -> Path:
    path = directory / "admission.yaml"
    path.write_text(HEAD + "".join(f"- {{{plugin}}}\n" for plugin in plugins))
    return path


def test_each_plugin_is_told_its_own(tmp_path: Path) -> None:
    (tmp_path / "quota.yaml").write_text(
        f"{{{QUOTA}, limitedResources: [{{resource: pods, matchScopes:"
        " [{scopeName: PriorityClass, operator: In, values: [vip]}]}]}"
    )
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("{users: [{name: a.b.svc, user: {token: t}}]}")
    told = read(
        written(
            tmp_path,
            f"name: PodSecurity, configuration: {{{POD_SECURITY},"
            " defaults: {enforce: baseline, enforce-version: v1.30},"
            " exemptions: {usernames: [u], namespaces: [n], runtimeClasses: [r]}}",
            "name: ResourceQuota, path: quota.yaml",
            f"name: MutatingAdmissionWebhook, configuration: {{{WEBHOOKS}, kubeConfigFile: {kubeconfig}}}",
        )
    )
    assert (told.pod_security.enforce, told.pod_security.warn) == (Standard("baseline", 30), Standard())
    assert (told.exemptions.users, told.exemptions.namespaces, told.exemptions.runtime_classes) == ({"u"}, {"n"}, {"r"})
    assert [(each.plural, each.scopes[0].values) for each in told.limited] == [("pods", ["vip"])]
    assert told.mutating is not None and told.mutating.of("a.b.svc", 443).authorization() == "Bearer t"
    assert told.validating is None


def test_a_file_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    told = read(written(tmp_path, "name: PodSecurity"))
    assert (told.pod_security, told.limited, told.mutating) == (DEFAULTS, (), None)


@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        ("name: EventRateLimit", "takes no configuration here"),
        ("name: PodSecurity, path: nowhere.yaml", r"plugins\[0\].path: .*nowhere.yaml: No such file"),
        (f"name: PodSecurity, configuration: {{{QUOTA}}}", r"plugins\[0\].configuration.kind: must be PodSecurityConf"),
        (
            f"name: PodSecurity, configuration: {{{POD_SECURITY}, defaults: {{enforce: x}}}}",
            "must be one of privileged",
        ),
        (f"name: PodSecurity, configuration: {{{POD_SECURITY}, defaults: {{warn-version: '1'}}}}", 'must be "latest"'),
        (f"name: PodSecurity, configuration: {{{POD_SECURITY}, exemptions: {{namespaces: [A]}}}}", r"namespaces\[0\]"),
        (f"name: PodSecurity, configuration: {{{POD_SECURITY}, exempt: {{}}}}", "unknown field"),
        (f"name: ResourceQuota, configuration: {{{QUOTA}, limitedResources: [{{resource: ''}}]}}", "is required"),
        (f"name: ValidatingAdmissionWebhook, configuration: {{{WEBHOOKS}, kubeConfigFile: x}}", "absolute file path"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(tmp_path: Path, plugin: str, why: str) -> None:
    with pytest.raises(BadConfiguration, match=why):
        read(written(tmp_path, plugin))
