"""Quality of service: which class a pod is in, and what that means for the kernel's out-of-memory killer. Pure."""

from __future__ import annotations

from api.core.containers import Container
from api.core.pod import Pod
from api.quantity import millis, units

GUARANTEED = "Guaranteed"
BURSTABLE = "Burstable"
BEST_EFFORT = "BestEffort"

_GUARANTEED_OOM_SCORE_ADJ = -997
_BEST_EFFORT_OOM_SCORE_ADJ = 1000


def qos_class(pod: Pod) -> str:
    """Return Guaranteed, Burstable or BestEffort, by cpu and memory of main and init containers."""
    if pod.status.qos_class:
        return pod.status.qos_class
    containers = [*pod.spec.containers, *pod.spec.init_containers]
    has_any = False
    all_equal = True
    for container in containers:
        for name in ("cpu", "memory"):
            limit = container.resources.limits.get(name)
            request = container.resources.requests.get(name, limit)
            limit_set = limit is not None and _amount(name, limit) > 0
            request_set = request is not None and _amount(name, request) > 0
            has_any = has_any or limit_set or request_set
            if not limit_set or limit is None or request is None or _amount(name, limit) != _amount(name, request):
                all_equal = False
    if not has_any:
        return BEST_EFFORT
    return GUARANTEED if all_equal else BURSTABLE


def _amount(name: str, quantity: str) -> int:
    return millis(quantity) if name == "cpu" else units(quantity)


def oom_score_adj(pod: Pod, container: Container, memory_capacity_bytes: int) -> int:
    """Return how readily the kernel kills the container when memory runs out: the more asked for, the less."""
    if pod.spec.priority is not None and pod.spec.priority >= 2_000_000_000:
        return _GUARANTEED_OOM_SCORE_ADJ  # system-node-critical
    match qos_class(pod):
        case "Guaranteed":
            return _GUARANTEED_OOM_SCORE_ADJ
        case "BestEffort":
            return _BEST_EFFORT_OOM_SCORE_ADJ
    resources = container.resources
    request = resources.requests.get("memory") or resources.limits.get("memory") or "0"
    score = 1000 - 1000 * units(request) // max(1, memory_capacity_bytes)
    # Above every guaranteed pod, below every best-effort one.
    return max(1000 + _GUARANTEED_OOM_SCORE_ADJ, min(score, _BEST_EFFORT_OOM_SCORE_ADJ - 1))
