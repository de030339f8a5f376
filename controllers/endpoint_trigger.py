"""When what made a Service's endpoints change happened: an annotation by which proxies tell how late they are. Pure.

Upstream remembers when each pod of a Service became ready or ceased to be, from one look to the next. What it remembers
is in the endpoints it wrote last, so here they are compared with the pods: nothing is lost with a process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from api.core.pod import Pod
from api.core.service import Service
from controllers.pods import condition_of, is_ready

LAST_CHANGE: Final = "endpoints.kubernetes.io/last-change-trigger-time"


def trigger_time(
    service: Service, found: Sequence[Pod], told: Mapping[str, bool] | None, wanted: Collection[str]
) -> str:
    """Return when the first of the changes happened that are about to be written; empty if that is not known.

    A pod's change is that it became ready, or ceased to be; that it is being deleted has no time of its own.

    Args:
        service: whose endpoints they are. Its own creation is what made its first.
        found: the pods that it selects.
        told: by UID, the pods that are written down and whether as ready; None if nothing ever was.
        wanted: UIDs of the pods that will be written down.
    """
    if told is None:
        return service.metadata.creation_timestamp
    times = []
    for pod in found:
        before = told.get(pod.metadata.uid)
        is_new = before is None and pod.metadata.uid in wanted
        if is_new or (before is not None and before is not is_ready(pod)):
            ready = condition_of(pod, "Ready")
            if ready is not None and ready.last_transition_time:
                times.append(ready.last_transition_time)
    return min(times, default="")
