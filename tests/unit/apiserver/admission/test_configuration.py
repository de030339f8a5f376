"""What admission plugins are told by a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from apiserver.admission.configuration import AdmissionSettings, BadConfiguration, read
from apiserver.admission.event_rate_limit import Limit
from apiserver.admission.image_policy_webhook import ImagePolicy
from apiserver.admission.plugin_names import ORDER
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
        ("name: LimitRanger", "takes no configuration here"),
        ("name: EventRateLimit", "'EventRateLimit' is off; --enable-admission-plugins turns it on"),
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


EVENTS = "apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration"
TOLERATIONS = "apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1, kind: Configuration"
EVERY = frozenset(ORDER)


def of_plugins(tmp_path: Path, *plugins: str) -> AdmissionSettings:
    return read(written(tmp_path, *plugins), EVERY - {"ImagePolicyWebhook"})


def test_plugins_that_are_turned_on_are_told_their_own(tmp_path: Path) -> None:
    told = of_plugins(
        tmp_path,
        f"name: EventRateLimit, configuration: {{{EVENTS}, limits: [{{type: User, qps: 1, burst: 2}}]}}",
        "name: PodNodeSelector, configuration: {podNodeSelectorPluginConfig: {a: 'x=y'}}",
        f"name: PodTolerationRestriction, configuration: {{{TOLERATIONS}, default: [{{key: k, operator: Exists}}]}}",
    )
    assert told.event_limits == (Limit("User", 1, 2),)
    assert told.node_selectors == {"a": "x=y"}
    assert [each.key for each in told.tolerations.default] == ["k"]


@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        (
            f"name: EventRateLimit, configuration: {{{EVENTS}}}",
            r"limits: Invalid value: .*: must not be empty",
        ),
        (
            f"name: EventRateLimit, configuration: {{{EVENTS}, limits: [{{type: Pod, qps: 0, burst: 1}}]}}",
            r"\[limits\[0\].type: Unsupported value: .*, limits\[0\].qps: Invalid value: 0: must be positive\]",
        ),
        ("name: PodNodeSelector, configuration: {podNodeSelectorPluginConfig: {a: x}}", r"Config.a: invalid selector"),
        ("name: PodNodeSelector, configuration: {other: {}}", "unknown field `other`"),
        ("name: AlwaysDeny", "takes no configuration here"),
        ("name: PodSecurity", 'couldn\'t init admission plugin "EventRateLimit": no config specified'),
    ],
)
def test_what_they_cannot_be_told_is_said_with_its_place(tmp_path: Path, plugin: str, why: str) -> None:
    with pytest.raises(BadConfiguration, match=why):
        of_plugins(tmp_path, plugin)


def test_images_are_judged_by_whom_a_kubeconfig_names(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(
        "{clusters: [{name: w, cluster: {server: 'https://w'}}], contexts: [{name: c, context: {cluster: w}}],"
        " current-context: c}"
    )

    def told(rest: str) -> AdmissionSettings:
        config = f"configuration: {{imagePolicy: {{kubeConfigFile: kubeconfig{rest}}}}}"
        return read(written(tmp_path, f"name: ImagePolicyWebhook, {config}"), frozenset({"ImagePolicyWebhook"}))

    usual = ImagePolicy(tmp_path / "kubeconfig")
    assert told("").image_policy == usual
    assert told(", allowTTL: -1, denyTTL: 60, retryBackoff: 100, defaultAllow: true").image_policy == ImagePolicy(
        tmp_path / "kubeconfig", 0.0, 60.0, 0.1, True
    )
    with pytest.raises(BadConfiguration, match="imagePolicy.allowTTL: valid value is between 1s and 1800s, got 2000s"):
        told(", allowTTL: 2000")
    with pytest.raises(BadConfiguration, match='"ImagePolicyWebhook": no config specified'):
        read(None, frozenset({"ImagePolicyWebhook"}))
