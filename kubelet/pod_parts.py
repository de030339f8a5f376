"""Where a pod's containers stand in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from api.core.pod import Pod
from kubelet.lifecycle import AnyContainer


def all_containers(pod: Pod) -> list[AnyContainer]:
    """Return every container of a pod: those that initialise it first, those that debug it last."""
    return [*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers]


def field_path(pod: Pod, container: AnyContainer) -> str:
    """Return what events call a container: `spec.containers{web}`; empty for one that is not the pod's."""
    lists: dict[str, Sequence[AnyContainer]] = {
        "initContainers": pod.spec.init_containers,
        "containers": pod.spec.containers,
        "ephemeralContainers": pod.spec.ephemeral_containers,
    }
    for name, containers in lists.items():
        if any(candidate.name == container.name for candidate in containers):
            return f"spec.{name}{{{container.name}}}"
    return ""
