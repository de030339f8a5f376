from __future__ import annotations

from typing import Any

import msgspec

from api.core.containers import Container
from api.core.node import Node, NodeSpec, NodeStatus, Taint
from api.core.pod import Pod
from api.meta import ObjectMeta
from kubelet.admission import Refusal, refusal, victims
from tests.unit.kubelet.builders import pod

NODE = Node(
    metadata=ObjectMeta(name="n", labels={"kubernetes.io/os": "linux", "disk": "ssd"}),
    status=NodeStatus(allocatable={"cpu": "2", "memory": "1Gi", "pods": "3"}),
)


def pod_of(container: dict[str, Any]) -> Pod:
    made = pod()
    made.spec.containers = [msgspec.convert(container, Container)]
    return made


def asking(**requests: str) -> Pod:
    return pod_of({"name": "main", "image": "i", "resources": {"requests": requests}})


def reason(new: Pod, *others: Pod, node: Node | None = NODE) -> str:
    found = refusal(new, others, node)
    return found.reason if found is not None else ""


def with_port(number: int, ip: str = "", protocol: str = "TCP") -> Pod:
    port = {"containerPort": 80, "hostPort": number, "hostIP": ip, "protocol": protocol}
    return pod_of({"name": "main", "image": "i", "ports": [port]})


def test_a_pod_that_fits_is_taken_and_one_too_many_is_not() -> None:
    half = asking(cpu="1", memory="100Mi")
    assert reason(half, half) == ""
    assert refusal(asking(cpu="1500m"), [half], NODE) == Refusal(
        "OutOfcpu", "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
    )
    assert reason(asking(memory="2Gi")) == "OutOfmemory"
    assert reason(pod(), pod(), pod(), pod()) == "OutOfpods"


def test_a_resource_that_the_node_never_heard_of_is_not_its_affair() -> None:
    assert reason(asking(**{"example.com/gpu": "1"})) == ""


def test_node_selectors_ports_and_evicting_taints_are_looked_at_again() -> None:
    assert reason(pod(nodeSelector={"disk": "hdd"})) == "NodeAffinity"
    assert reason(with_port(80), with_port(80, "10.0.0.1")) == "NodePorts"
    assert reason(with_port(80), with_port(80, protocol="UDP")) == ""
    tainted = Node(
        metadata=NODE.metadata, status=NODE.status, spec=NodeSpec(taints=[Taint(key="k", effect="NoExecute")])
    )
    assert reason(pod(), node=tainted) == "TaintToleration"
    assert reason(pod(tolerations=[{"operator": "Exists"}]), node=tainted) == ""


def test_another_system_and_unsafe_sysctls_are_refused_even_before_the_node_is_known() -> None:
    assert reason(pod(os={"name": "windows"}), node=None) == "PodOSNotSupported"
    assert reason(pod(nodeSelector={"kubernetes.io/os": "windows"})) == "PodOSSelectorNodeLabelDoesNotMatch"

    def setting(name: str) -> dict[str, Any]:
        return {"securityContext": {"sysctls": [{"name": name, "value": "1"}]}}

    assert reason(pod(**setting("kernel.msgmax")), node=None) == "SysctlForbidden"
    assert reason(pod(**setting("kernel/shm_rmid_forced")), node=None) == ""


def test_unsafe_sysctls_may_be_set_where_the_node_allows_them() -> None:
    def why(*allowed: str, **spec: Any) -> str:
        asked = [{"name": "net.core.somaxconn", "value": "1"}, {"name": "kernel.msgmax", "value": "1"}]
        found = refusal(pod(securityContext={"sysctls": asked}, **spec), [], None, allowed)
        return found.message if found is not None else ""

    assert why() == 'forbidden sysctl: "net.core.somaxconn" not allowlisted'
    assert why("net.core.*") == 'forbidden sysctl: "kernel.msgmax" not allowlisted'
    assert why("net/core/somaxconn", "kernel.msg*") == ""
    assert "with host net enabled" in why("net.*", "kernel.*", hostNetwork=True)


def test_a_profile_that_nobody_would_enforce_is_refused() -> None:
    def why(container: dict[str, Any] | None = None, *, has_apparmor: bool = False, **spec: Any) -> str:
        made = pod(**spec)
        if container is not None:
            made.spec.containers = [msgspec.convert({"name": "main", **container}, Container)]
        found = refusal(made, [], None, has_apparmor=has_apparmor)
        return found.reason if found is not None else ""

    default = {"appArmorProfile": {"type": "RuntimeDefault"}}
    annotated = {"annotations": {"container.apparmor.security.beta.kubernetes.io/main": "localhost/x"}}
    assert why(securityContext=default) == why({"securityContext": default}) == why(metadata=annotated) == "AppArmor"
    assert why(securityContext=default, has_apparmor=True) == ""
    none = {"appArmorProfile": {"type": "Unconfined"}}
    assert why({"securityContext": none}, securityContext=default) == ""


def using(uid: str, memory: str, priority: int = 0, *, limited: bool = False) -> Pod:
    resources: dict[str, Any] = {"requests": {"memory": memory, "cpu": "0"}} if memory else {}
    if limited:
        resources = {"limits": {"memory": memory, "cpu": "1m"}, "requests": {"memory": memory, "cpu": "1m"}}
    made = pod_of({"name": "main", "image": "i", "resources": resources})
    made.metadata.uid, made.spec.priority = uid, priority
    return made


def leaving(new: Pod, *others: Pod, node: Node | None = NODE) -> list[str] | None:
    found = victims(new, others, node)
    return [each.metadata.uid for each in found] if found is not None else None


def test_as_few_pods_as_will_do_leave_for_a_critical_one() -> None:
    critical = using("critical", "512Mi", 2_000_000_000)
    assert leaving(critical, using("a", "256Mi"), using("b", "512Mi")) == ["a"]
    larger = using("critical", "712Mi", 2_000_000_000)
    assert leaving(larger, using("a", "200Mi"), using("b", "512Mi")) == ["b"], "a alone is not enough, b alone is"
    assert leaving(critical, using("a", "512Mi", 5), using("b", "512Mi", 1)) == ["b"]
    assert leaving(critical, using("a", "512Mi", limited=True), using("b", "512Mi", 9)) == ["b"]
    assert leaving(critical, using("a", ""), using("b", "1Gi")) == ["b"]
    assert leaving(critical, *(using(uid, "300Mi") for uid in "abc")) == ["a", "b"]


def test_nobody_leaves_in_vain_and_no_critical_pod_leaves() -> None:
    critical = using("critical", "512Mi", 2_000_000_000)
    assert leaving(critical, using("a", "256Mi")) is None, "it fits"
    assert leaving(using("x", "2Gi", 2_000_000_000), using("a", "1Gi")) is None, "it never fits"
    assert leaving(critical, using("a", "1Gi", 2_000_000_000)) is None
    assert leaving(critical, using("a", "1Gi"), node=None) is None
