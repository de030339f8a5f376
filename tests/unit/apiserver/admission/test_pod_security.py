from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.apps import deployment
from api.core import namespace, pod
from api.errors import Invalid
from apiserver.admission.pod_security import Exemptions, PodSecurity, Policy, Standard, policy_of
from apiserver.admission.pod_security_checks import LATEST, detail_of, evaluate
from apiserver.request import User
from tests.unit.apiserver.admission.plugins import Cache, made, pass_through, pod_body, refused, request_for

HARDENED: dict[str, Any] = {
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
}
NAIVE = (
    'allowPrivilegeEscalation != false (container "c0" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "c0" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "c0" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "c0" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")'
)


def a_namespace(**labels: str) -> Any:
    named = {f"pod-security.kubernetes.io/{key.replace('_', '-')}": value for key, value in labels.items()}
    return made(namespace.RESOURCE, {"metadata": {"name": "a", "labels": named}})


def plugin(*pods: Any, **labels: str) -> PodSecurity:
    there = Cache(a_namespace(**labels))
    return PodSecurity(there, Cache(*pods), there.read)


def a_pod(*containers: dict[str, Any], **spec: Any) -> Any:
    return made(pod.RESOURCE, pod_body(*containers, **spec))


def violations(level: str, *containers: dict[str, Any], version: int = LATEST, **spec: Any) -> str:
    body = a_pod(*containers, **spec)
    return detail_of(evaluate(level, version, body.metadata, body.spec))


async def test_a_naive_pod_is_refused_in_upstreams_words() -> None:
    message = await refused(plugin(enforce="restricted"), request_for(pod.RESOURCE, a_pod()))
    assert message == f'pods "p" is forbidden: violates PodSecurity "restricted:latest": {NAIVE}'
    await pass_through(plugin(enforce="restricted"), request_for(pod.RESOURCE, a_pod(HARDENED)))
    await pass_through(plugin(enforce="baseline"), request_for(pod.RESOURCE, a_pod()))
    await pass_through(plugin(), request_for(pod.RESOURCE, a_pod({"securityContext": {"privileged": True}})))


async def test_what_makes_pods_is_only_warned_about() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod_body()["spec"]}
    body = {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    request = request_for(deployment.RESOURCE, made(deployment.RESOURCE, body))
    await pass_through(plugin(enforce="restricted"), request)
    assert request.warnings == [f'would violate PodSecurity "restricted:latest": {NAIVE}']
    request = request_for(deployment.RESOURCE, made(deployment.RESOURCE, body))
    await pass_through(plugin(enforce="restricted", warn="privileged", audit="restricted"), request)
    assert request.warnings == []
    assert request.annotations["pod-security.kubernetes.io/audit-violations"].startswith("would violate PodSecurity")


async def test_updates_that_change_nothing_judged_pass_and_new_ephemeral_containers_do_not() -> None:
    old, new = a_pod(), a_pod()
    new.metadata.labels = {"new": "label"}
    await pass_through(plugin(enforce="restricted"), request_for(pod.RESOURCE, new, old=old))
    debugged = a_pod(HARDENED, ephemeralContainers=[{"name": "e", "image": "i"}])
    request = request_for(pod.RESOURCE, debugged, old=a_pod(HARDENED), subresource="ephemeralcontainers")
    assert '"e"' in await refused(plugin(enforce="restricted"), request)


async def test_a_namespace_is_told_which_of_its_pods_would_no_longer_get_in() -> None:
    bad = [a_pod({"securityContext": {"privileged": True}}) for _ in range(3)]
    for number, each in enumerate(bad):
        each.metadata.name = f"p{number}"
    request = request_for(namespace.RESOURCE, a_namespace(enforce="baseline"), old=a_namespace())
    await pass_through(plugin(*bad), request)
    assert request.warnings == [
        'existing pods in namespace "a" violate the new PodSecurity enforce level "baseline:latest"',
        "p0 (and 2 other pods): privileged",
    ]


async def test_labels_that_cannot_be_understood_are_refused_when_written_and_enforced_strictly_when_there() -> None:
    broken = a_namespace(enforce="strict", warn_version="newest")
    with pytest.raises(Invalid) as caught:
        await pass_through(plugin(), request_for(namespace.RESOURCE, broken))
    assert [cause.field for cause in caught.value.causes] == [
        "metadata.labels[pod-security.kubernetes.io/enforce]",
        "metadata.labels[pod-security.kubernetes.io/warn-version]",
    ]
    await pass_through(plugin(), request_for(namespace.RESOURCE, broken, old=broken))
    assert "restricted:latest" in await refused(plugin(enforce="strict"), request_for(pod.RESOURCE, a_pod()))


def test_warnings_follow_enforcement_unless_they_say_themselves() -> None:
    def warn(**labels: str) -> str:
        return str(policy_of(a_namespace(**labels).metadata.labels).warn)

    assert warn(enforce="baseline", enforce_version="v1.30") == "baseline:v1.30"
    assert warn(enforce="baseline", warn="restricted", warn_version="v1.22") == "restricted:v1.22"
    assert warn() == "privileged:latest"


@pytest.mark.parametrize(
    ("container", "spec", "why"),
    [
        ({}, {"hostNetwork": True, "hostPID": True}, "host namespaces (hostNetwork=true, hostPID=true)"),
        (
            {},
            {"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "hostPath": {"path": "/"}}]},
            'hostPath volumes (volumes "v", "w")',
        ),
        (
            {"ports": [{"containerPort": 80, "hostPort": 80}]},
            {},
            'hostPort (container "c0" uses hostPort 80)',
        ),
        (
            {"securityContext": {"capabilities": {"add": ["NET_RAW", "CHOWN", "SYS_ADMIN"]}}},
            {},
            'non-default capabilities (container "c0" must not include "NET_RAW", "SYS_ADMIN" in '
            "securityContext.capabilities.add)",
        ),
        (
            {"securityContext": {"procMount": "Unmasked"}},
            {},
            'procMount (container "c0" must not set securityContext.procMount to "Unmasked")',
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            'seccompProfile (pod and container "c0" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            {},
            {"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}},
            'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)',
        ),
        (
            {},
            {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
            {},
            'forbidden AppArmor profile (container "c0" must not set AppArmor profile type to "Unconfined")',
        ),
        (
            {"securityContext": {"windowsOptions": {"hostProcess": True}}},
            {},
            'hostProcess (container "c0" must not set securityContext.windowsOptions.hostProcess=true)',
        ),
    ],
)
def test_baseline_forbids_what_leads_out_of_the_container(container: Any, spec: Any, why: str) -> None:
    assert violations("baseline", container, **spec) == why


def test_restricted_demands_what_hardens() -> None:
    assert violations("restricted", HARDENED) == ""
    disk = {"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "nfs": {"path": "/", "server": "s"}}]}
    assert violations("restricted", HARDENED, **disk) == (
        'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")'
    )
    root = {"securityContext": {"runAsUser": 0}}
    assert violations("restricted", HARDENED, **root) == "runAsUser=0 (pod must not set runAsUser=0)"
    windows = {"securityContext": {"runAsNonRoot": True}, "os": {"name": "windows"}}
    assert violations("restricted", {}, **windows) == ""
    assert violations("restricted", {}, version=24, **windows).startswith("allowPrivilegeEscalation")


def test_a_version_pins_what_is_allowed() -> None:
    keepalive = {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "1"}]}}
    assert violations("baseline", {}, version=28, **keepalive) == "forbidden sysctls (net.ipv4.tcp_keepalive_time)"
    assert violations("baseline", {}, version=29, **keepalive) == ""
    assert "unrestricted capabilities" not in violations("restricted", {}, version=21)
    assert "seccompProfile" not in violations("restricted", {}, version=18)
    odd = {"securityContext": {"capabilities": {"add": ["SYS_TIME"]}}}
    assert "non-default capabilities" in violations("restricted", odd, version=21)


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "privileged": st.booleans(),
        "allowPrivilegeEscalation": st.booleans(),
        "runAsNonRoot": st.booleans(),
        "runAsUser": st.integers(0, 2),
        "capabilities": st.fixed_dictionaries(
            {"add": st.lists(st.sampled_from(["CHOWN", "NET_BIND_SERVICE", "SYS_ADMIN"]), max_size=2)},
            optional={"drop": st.just(["ALL"])},
        ),
        "seccompProfile": st.fixed_dictionaries({"type": st.sampled_from(["Unconfined", "RuntimeDefault"])}),
    },
)


@given(SETTINGS, SETTINGS, st.integers(0, 33))
def test_what_baseline_refuses_restricted_refuses_too(one: Any, other: Any, version: int) -> None:
    containers = {"securityContext": one}, {"securityContext": other}
    if violations("baseline", *containers, version=version):
        assert violations("restricted", *containers, version=version)


async def test_what_is_configured_holds_where_labels_say_nothing() -> None:
    defaults = Policy(Standard("restricted"), Standard(), Standard("baseline", 30))

    def configured(**labels: str) -> PodSecurity:
        there = Cache(a_namespace(**labels))
        return PodSecurity(there, Cache(), there.read, defaults)

    assert 'violates PodSecurity "restricted:latest"' in await refused(configured(), request_for(pod.RESOURCE, a_pod()))
    request = request_for(pod.RESOURCE, a_pod({"securityContext": {"privileged": True}}))
    await pass_through(configured(enforce="privileged"), request)
    assert request.warnings[0].startswith('would violate PodSecurity "baseline:v1.30"')
    assert policy_of({}, defaults) == defaults
    label = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.1"}
    assert policy_of(label, defaults).warn == Standard("baseline", 30), "it is no stricter"


@pytest.mark.parametrize(
    ("exemptions", "why"),
    [
        (Exemptions(namespaces=frozenset({"a"})), "namespace"),
        (Exemptions(users=frozenset({"u"})), "user"),
        (Exemptions(runtime_classes=frozenset({"r"})), "runtimeClass"),
    ],
)
async def test_who_is_exempt_is_not_judged(exemptions: Exemptions, why: str) -> None:
    there = Cache(a_namespace(enforce="restricted"))
    exempting = PodSecurity(there, Cache(), there.read, exemptions=exemptions)
    request = request_for(pod.RESOURCE, a_pod(runtimeClassName="r"), user=User("u"))
    await pass_through(exempting, request)
    assert request.annotations == {"pod-security.kubernetes.io/exempt": why}
    others = Exemptions(*(frozenset({"x"}),) * 3)
    judging = PodSecurity(there, Cache(), there.read, exemptions=others)
    await refused(judging, request_for(pod.RESOURCE, a_pod(runtimeClassName="r"), user=User("u")))


async def test_labels_of_a_namespace_that_is_exempt_are_said_to_be_in_vain() -> None:
    there = Cache()
    exempting = PodSecurity(there, Cache(), there.read, exemptions=Exemptions(namespaces=frozenset({"a"})))
    request = request_for(namespace.RESOURCE, a_namespace(enforce="baseline", audit_version="v1.2"))
    await pass_through(exempting, request)
    assert request.warnings == [
        'namespace "a" is exempt from Pod Security, and the policy (enforce=baseline:latest) will be ignored'
    ]
    request = request_for(namespace.RESOURCE, a_namespace())
    await pass_through(exempting, request)
    assert request.warnings == []
