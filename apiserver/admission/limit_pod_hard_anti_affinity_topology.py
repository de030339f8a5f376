"""LimitPodHardAntiAffinityTopology: a pod may keep others off its node, and not off its zone.

Required anti-affinity with a wide topology would let one user's pod make a whole zone unusable for all others.
"""

from __future__ import annotations

from typing import Any, Final

from api.core import pod
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.request import AdmissionRequest

_HOSTNAME: Final = "kubernetes.io/hostname"


class LimitPodHardAntiAffinityTopology:
    """The plugin."""

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge required anti-affinity; raises Forbidden."""
        if request.resource is not pod.RESOURCE or request.subresource or request.operation not in ("CREATE", "UPDATE"):
            return
        new: Any = request.object
        affinity = new.spec.affinity
        if affinity is None or affinity.pod_anti_affinity is None:
            return
        for term in affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution:
            if term.topology_key != _HOSTNAME:
                raise refusal(
                    request,
                    f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {term.topology_key} "
                    f"but only key {_HOSTNAME} is allowed",
                )
