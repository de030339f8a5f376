"""DefaultTolerationSeconds: how long a pod stays bound to a node that is not ready or cannot be reached.

The node controller taints such nodes NoExecute; without a toleration every pod would be evicted at once, and with an
endless one never. Pods that say nothing about a taint get a toleration that ends.
"""

from __future__ import annotations

from typing import Any, Final

from api.core import pod
from api.core.placement import Toleration
from apiserver.request import AdmissionRequest

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"


class DefaultTolerationSeconds:
    """Adds the two tolerations to pods that have none for the taint."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    async def admit(self, request: AdmissionRequest) -> None:
        """Add what is missing."""
        if request.resource is not pod.RESOURCE or request.subresource or request.operation not in ("CREATE", "UPDATE"):
            return
        spec: Any = request.object.spec  # type: ignore[union-attr]
        for key in (NOT_READY, UNREACHABLE):
            if not any(_answers(toleration, key) for toleration in spec.tolerations):
                added = Toleration(key=key, operator="Exists", effect="NoExecute", toleration_seconds=self._seconds)
                spec.tolerations = [*spec.tolerations, added]


def _answers(toleration: Toleration, key: str) -> bool:
    return toleration.key in (key, "") and toleration.effect in ("NoExecute", "")
