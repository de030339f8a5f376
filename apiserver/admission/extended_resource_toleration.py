"""ExtendedResourceToleration: a pod that asks for a special device bears the taint of the nodes that have it.

An administrator taints such nodes with the resource's name, so that only pods which need it go there.
"""

from __future__ import annotations

from typing import Any

from api.core import pod
from api.core.placement import Toleration
from api.core.resource_names import is_extended
from apiserver.request import AdmissionRequest


class ExtendedResourceToleration:
    """The plugin."""

    async def admit(self, request: AdmissionRequest) -> None:
        """Add a toleration for each extended resource that a container asks for."""
        if request.resource is not pod.RESOURCE or request.subresource or request.operation not in ("CREATE", "UPDATE"):
            return
        new: Any = request.object
        containers = (*new.spec.containers, *new.spec.init_containers)
        wanted = {name for container in containers for name in container.resources.requests if is_extended(name)}
        for name in sorted(wanted):
            added = Toleration(key=name, operator="Exists", effect="NoSchedule")
            if not any(_is_same(one, added) for one in new.spec.tolerations):
                new.spec.tolerations = [*new.spec.tolerations, added]


def _is_same(one: Toleration, other: Toleration) -> bool:
    return (one.key, one.operator, one.value, one.effect) == (other.key, other.operator, other.value, other.effect)
