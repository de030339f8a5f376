"""Whether this node takes a pod that was given to it: pure, from the pod, those it runs already, and the node itself.

Upstream's kubelet looks for itself too, whoever chose the node: a scheduler that was late, or someone who wrote the
node's name into the pod. A pod that is refused is Failed, with upstream's reasons, and its owner makes another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.core import node_matching, sysctls
from api.core.host_ports import host_ports
from api.core.node import Node
from api.core.pod import Pod
from api.core.pod_resources import Amounts, parsed, plus, pod_requests, with_overhead
from api.quantity import Amount, parse

SYSTEM = "linux"
_NATIVE = ("cpu", "memory", "ephemeral-storage")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pod may not run here."""

    reason: str
    """One word, for the pod's status and its event."""
    message: str


def refusal(pod: Pod, others: Sequence[Pod], node: Node | None) -> Refusal | None:
    """Return why the node does not take a pod, or None.

    Args:
        pod: the newcomer.
        others: the pods that run here, or will.
        node: this node as last seen; None before it has been. Without it only the pod itself is looked at.
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
    return _forbidden_sysctl(pod)


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


def _forbidden_sysctl(pod: Pod) -> Refusal | None:
    context, spec = pod.spec.security_context, pod.spec
    if context is None:
        return None
    names = [sysctl.name for sysctl in context.sysctls]
    why = sysctls.refusal(names, host_network=spec.host_network, host_ipc=spec.host_ipc)
    return Refusal("SysctlForbidden", why) if why else None
