"""TaintNodesByCondition: a new node takes no pods until the node controller has seen that it is ready.

Without it, pods could be placed in the moment between a node's registration and the first look at its conditions.
"""

from __future__ import annotations

from typing import Any

from api.core import node
from apiserver.admission.default_toleration_seconds import NOT_READY
from apiserver.request import AdmissionRequest


class TaintNodesByCondition:
    """Adds the not-ready taint to new nodes."""

    async def admit(self, request: AdmissionRequest) -> None:
        """Add it unless it is there."""
        if request.resource is not node.RESOURCE or request.operation != "CREATE" or request.subresource:
            return
        spec: Any = request.object.spec  # type: ignore[union-attr]
        if not any((taint.key, taint.effect) == (NOT_READY, "NoSchedule") for taint in spec.taints):
            spec.taints = [*spec.taints, node.Taint(key=NOT_READY, effect="NoSchedule")]
