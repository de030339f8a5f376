"""Which pod has to go when the node runs out of memory or disk. Pure.

A node under pressure takes pods away one at a time, as upstream's kubelet does with its hard thresholds: first those
that use more than they requested, then those of lower priority, then those furthest above their requests. Pods that the
node cannot be without (priority system-node-critical) stay. "Node-pressure Eviction" in Kubernetes' documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from api.core.pod import Pod
from api.core.static_pods import is_static
from api.quantity import from_bytes, units

MEMORY, DISK = "memory", "ephemeral-storage"
REASON = "Evicted"
CRITICAL_PRIORITY = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Shortage:
    """What the node is short of."""

    resource: str
    """MEMORY or DISK."""
    threshold: str
    """Below how much of it pods have to go, as a user writes it: `100Mi`, `5%`."""
    available_bytes: int


@dataclass(frozen=True, slots=True)
class Used:
    """A pod that runs here, and what it uses."""

    pod: Pod
    bytes_by_container: Mapping[str, int]
    """Of the resource that is short."""

    @property
    def total_bytes(self) -> int:
        """What all its containers use."""
        return sum(self.bytes_by_container.values())


def requested_bytes(pod: Pod, resource: str) -> int:
    """Return what a pod's containers request of a resource."""
    return sum(units(each.resources.requests.get(resource, "0")) for each in pod.spec.containers)


def select_pod(shortage: Shortage, running: Iterable[Used]) -> Used | None:
    """Return who has to go first; None if nobody can."""

    def order(used: Used) -> tuple[bool, int, int]:
        above = used.total_bytes - requested_bytes(used.pod, shortage.resource)
        return above <= 0, used.pod.spec.priority or 0, -above

    return min((used for used in running if not is_critical(used.pod)), key=order, default=None)


def is_critical(pod: Pod) -> bool:
    """Return whether the node cannot be without a pod."""
    return (pod.spec.priority or 0) >= CRITICAL_PRIORITY or is_static(pod)


def message(shortage: Shortage, used: Used) -> str:
    """Return what the pod's status and event say."""
    text = (
        f"The node was low on resource: {shortage.resource}. Threshold quantity: {shortage.threshold}, "
        f"available: {_kibibytes(shortage.available_bytes)}. "
    )
    for container in used.pod.spec.containers:
        usage = used.bytes_by_container.get(container.name, 0)
        request = container.resources.requests.get(shortage.resource, "0")
        if usage > units(request):
            text += (
                f"Container {container.name} was using {_kibibytes(usage)}, request is {request}, "
                f"has larger consumption of {shortage.resource}. "
            )
    return text


def why_not_admitted(pod: Pod, conditions: Iterable[str], *, is_best_effort: bool) -> str:
    """Return why a new pod may not start while the node has these pressure conditions; empty if it may.

    Without memory, pods that promise to need some may still come; without disk, none.
    """
    pressing = [each for each in conditions if each == "DiskPressure" or is_best_effort]
    if not pressing or is_critical(pod):
        return ""
    return f"The node had condition: [{', '.join(sorted(pressing))}]. "


def _kibibytes(amount: int) -> str:
    return from_bytes(amount // 1024 * 1024)
