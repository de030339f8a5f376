"""What several controllers ask of a pod: is it active, ready, available, and since when. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from api import timestamps
from api.core.pod import Pod
from api.core.pod_status import PodCondition

BY_NODE = "node"


def index_by_node(pod: Pod) -> Iterable[str]:
    """Index pods by the node they are bound to."""
    return (pod.spec.node_name,) if pod.spec.node_name else ()


def is_finished(pod: Pod) -> bool:
    """Return whether the pod has run to its end, well or not."""
    return pod.status.phase in ("Succeeded", "Failed")


def is_active(pod: Pod) -> bool:
    """Return whether the pod runs, or will: neither finished nor being deleted."""
    return not is_finished(pod) and not pod.metadata.deletion_timestamp


def condition_of(pod: Pod, type: str) -> PodCondition | None:
    """Return the condition of that type, or None."""
    return next((condition for condition in pod.status.conditions if condition.type == type), None)


def is_ready(pod: Pod) -> bool:
    """Return whether the pod's Ready condition is True."""
    ready = condition_of(pod, "Ready")
    return ready is not None and ready.status == "True"


def ready_since(pod: Pod) -> float | None:
    """Return since when the pod is ready, in seconds since the epoch, or None if it is not."""
    ready = condition_of(pod, "Ready")
    if ready is None or ready.status != "True":
        return None
    return timestamps.parse(ready.last_transition_time) if ready.last_transition_time else 0.0


def available_in_s(pod: Pod, min_ready_s: int, now: float) -> float | None:
    """Return in how many seconds a ready pod counts as available: 0 if it does, None if it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    return max(0.0, since + min_ready_s - now) if min_ready_s else 0.0
