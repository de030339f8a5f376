"""Whether this node takes a pod that was given to it: pure, from the pod, those it runs already, and the node itself.

Upstream's kubelet looks for itself too, whoever chose the node: a scheduler that was late, or someone who wrote the
node's name into the pod. A pod that is refused is Failed, with upstream's reasons, and its owner makes another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.core import node_matching, sysctls
from api.core.containers import Container, EphemeralContainer
from api.core.host_ports import host_ports
from api.core.node import Node
from api.core.pod import Pod
from api.core.pod_resources import Amounts, parsed, plus, pod_requests, with_overhead
from api.quantity import Amount, parse
from kubelet import apparmor, qos
from kubelet.eviction import is_critical

SYSTEM = "linux"
_NATIVE = ("cpu", "memory", "ephemeral-storage")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pod may not run here."""

    reason: str
    """One word, for the pod's status and its event."""
    message: str


def refusal(
    pod: Pod,
    others: Sequence[Pod],
    node: Node | None,
    unsafe_sysctls: Sequence[str] = (),
    *,
    has_apparmor: bool = False,
) -> Refusal | None:
    """Return why the node does not take a pod, or None.

    Args:
        pod: the newcomer.
        others: the pods that run here, or will.
        node: this node as last seen; None before it has been. Without it only the pod itself is looked at.
        unsafe_sysctls: what pods may set beside the safe ones; a star at the end stands for anything.
        has_apparmor: whether this kernel enforces AppArmor's profiles.
    """
    if node is not None:
        wanted = pod.spec.node_selector.get("kubernetes.io/os")
        if wanted is not None and wanted != node.metadata.labels.get("kubernetes.io/os", SYSTEM):
            message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
            return Refusal("PodOSSelectorNodeLabelDoesNotMatch", message)
    if pod.spec.os is not None and pod.spec.os.name != SYSTEM:
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    if node is not None:
        found = _lacking(pod, others, node) or _mismatch(pod, others, node)
        if found is not None:
            return found
    if not has_apparmor and any(apparmor.is_confined(pod, container) for container in _containers(pod)):
        return Refusal("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
    return _forbidden_sysctl(pod, unsafe_sysctls)


def _containers(pod: Pod) -> Sequence[Container | EphemeralContainer]:
    return [*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers]


def victims(pod: Pod, others: Sequence[Pod], node: Node | None) -> list[Pod] | None:
    """Return which pods have to leave so that a critical one fits, as few as will do; None if that cannot be had.

    Only for what there is too little of; nobody leaves for a port or a label. Those of the lowest class of service go
    first, then those of the lowest priority; critical pods stay.
    """
    if node is None or not _is_short(pod, others, node):
        return None
    order = {qos.BEST_EFFORT: 0, qos.BURSTABLE: 1, qos.GUARANTEED: 2}
    candidates = [other for other in others if not is_critical(other)]
    candidates.sort(key=lambda other: (order[qos.qos_class(other)], other.spec.priority or 0, other.metadata.uid))
    leaving: list[Pod] = []

    def fits_without(gone: Sequence[Pod]) -> bool:
        return not _is_short(pod, [other for other in others if other not in gone], node)

    for candidate in candidates:
        leaving.append(candidate)
        if fits_without(leaving):
            break
    else:
        return None
    for spared in reversed(leaving[:-1]):
        fewer = [each for each in leaving if each is not spared]
        if fits_without(fewer):
            leaving = fewer
    return leaving


def _is_short(pod: Pod, others: Sequence[Pod], node: Node) -> bool:
    return _lacking(pod, others, node) is not None


def _lacking(pod: Pod, others: Sequence[Pod], node: Node) -> Refusal | None:
    allocatable = parsed(node.status.allocatable)
    one = parse("1")
    requested = plus(with_overhead(pod_requests(pod.spec), pod.spec), {"pods": one})
    used: Amounts = {}
    for other in others:
        used = plus(plus(used, with_overhead(pod_requests(other.spec), other.spec)), {"pods": one})
    nothing = parse("0")
    for name in ("pods", *_NATIVE, *sorted(requested.keys() - {"pods", *_NATIVE})):
        if name not in allocatable and name not in _NATIVE:
            continue  # a resource this node never heard of is its plugin's affair
        wanted, taken, all_ = (each.get(name, nothing) for each in (requested, used, allocatable))
        if wanted.nanos > 0 and wanted + taken > all_:
            amounts = f"requested: {_shown(name, wanted)}, used: {_shown(name, taken)}, capacity: {_shown(name, all_)}"
            return Refusal(f"OutOf{name}", f"Node didn't have enough resource: {name}, {amounts}")
    return None


def _shown(name: str, amount: Amount) -> int:
    return amount.nanos // (10**6 if name == "cpu" else 10**9)


def _mismatch(pod: Pod, others: Sequence[Pod], node: Node) -> Refusal | None:
    if not node_matching.selects(pod.spec, node):
        return _failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    taken = [port for other in others for port in host_ports(other.spec)]
    if any(wanted.conflicts_with(port) for wanted in host_ports(pod.spec) for port in taken):
        return _failed("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    for taint in node.spec.taints:
        if taint.effect == "NoExecute" and not node_matching.tolerates(pod.spec.tolerations, taint):
            return _failed("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def _failed(predicate: str, why: str) -> Refusal:
    return Refusal(predicate, f"Predicate {predicate} failed: {why}")


def _forbidden_sysctl(pod: Pod, unsafe: Sequence[str]) -> Refusal | None:
    context, spec = pod.spec.security_context, pod.spec
    if context is None:
        return None
    names = [sysctl.name for sysctl in context.sysctls]
    why = sysctls.refusal(names, unsafe, host_network=spec.host_network, host_ipc=spec.host_ipc)
    return Refusal("SysctlForbidden", why) if why else None
