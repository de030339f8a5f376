"""AlwaysPullImages: every container's image is pulled when it starts, so that its registry says who may run it.

Without it, an image that is on a node already may be run there by whoever knows its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from api import validation as v
from api.core import pod
from api.errors import as_one
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.request import AdmissionRequest

ALWAYS: Final = "Always"
KINDS_OF_CONTAINERS: Final = {
    "initContainers": "init_containers",
    "containers": "containers",
    "ephemeralContainers": "ephemeral_containers",
}
"""By their names in the API, in the order they are looked at."""


class AlwaysPullImages:
    """The plugin."""

    async def admit(self, request: AdmissionRequest) -> None:
        """Set the policy of every container."""
        if _concerns(request):
            for _, container in _containers(request.object):
                container.image_pull_policy = ALWAYS

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge what others have made of it.

        Raises:
            Forbidden: some container has another policy.
        """
        if not _concerns(request):
            return
        wrong = []
        for path, container in _containers(request.object):
            policy = container.image_pull_policy
            if policy != ALWAYS:
                where = f"{path}.imagePullPolicy"
                wrong.append(f"{where}: {v.not_supported(where, policy, (ALWAYS,)).message}")
        if wrong:
            raise refusal(request, as_one(wrong))


def _concerns(request: AdmissionRequest) -> bool:
    """Whether a pod is made, or gets other images than it has."""
    if request.resource is not pod.RESOURCE or request.subresource or request.operation not in ("CREATE", "UPDATE"):
        return False
    if request.operation == "CREATE":
        return True
    known = {container.image for _, container in _containers(request.old)}
    return any(container.image not in known for _, container in _containers(request.object))


def _containers(of: Any) -> Iterator[tuple[str, Any]]:
    for name, attribute in KINDS_OF_CONTAINERS.items():
        for i, container in enumerate(getattr(of.spec, attribute)):
            yield f"spec.{name}[{i}]", container
