"""Which pod puts more on its node's disk than it said it would: pure.

emptyDir has its sizeLimit. Limits of ephemeral-storage count what containers write to their file systems, their logs
and their emptyDirs (KEP-361). Measuring, and ending pods that are over, is `pressure`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from api.core.pod import Pod
from api.core.pod_resources import pod_limits
from api.quantity import parse, units
from kubelet.eviction import DISK


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pod has on the node's disk, in bytes."""

    volumes: Mapping[str, int] = field(default_factory=dict)
    """Of its emptyDirs, by name; for one in memory only its own limit counts."""
    containers: Mapping[str, int] = field(default_factory=dict)
    """Of its containers' own files and logs, by name."""


def limited_volumes(pod: Pod) -> list[str]:
    """Return the emptyDirs whose use must be known: all, if a container has a limit, else those with one."""
    everything = has_container_limit(pod)
    return [
        volume.name
        for volume in pod.spec.volumes
        if volume.empty_dir is not None and (everything or volume.empty_dir.size_limit)
    ]


def has_container_limit(pod: Pod) -> bool:
    """Whether any container's ephemeral storage is limited."""
    return any(DISK in c.resources.limits for c in (*pod.spec.init_containers, *pod.spec.containers))


def excess(pod: Pod, usage: Usage) -> str:
    """Return which limit a pod is over, as a sentence for people; empty if none."""
    on_disk = sum(usage.containers.values())
    for volume in pod.spec.volumes:
        if volume.empty_dir is None:
            continue
        used, limit = usage.volumes.get(volume.name, 0), volume.empty_dir.size_limit
        if limit and 0 < units(limit) < used:
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit}". '
        if volume.empty_dir.medium != "Memory":
            on_disk += used
    total = pod_limits(pod.spec).get(DISK)
    if total is not None and on_disk > total.units:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        own = container.resources.limits.get(DISK)
        if own is not None and usage.containers.get(container.name, 0) > parse(own).units:
            return f'Container {container.name} exceeded its local ephemeral storage limit "{own}". '
    return ""
