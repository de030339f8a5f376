"""StorageObjectInUseProtection: volumes and claims are born with a hold, so that none goes while somebody uses it.

The protection controllers take the hold off an object that is being deleted once nothing uses it any more.
"""

from __future__ import annotations

from typing import Any, Final

from api.core import persistentvolume, persistentvolumeclaim
from api.resource import Resource
from apiserver.request import AdmissionRequest

_FINALIZERS: Final[dict[Resource[Any], str]] = {
    persistentvolumeclaim.RESOURCE: "kubernetes.io/pvc-protection",
    persistentvolume.RESOURCE: "kubernetes.io/pv-protection",
}


class StorageObjectInUseProtection:
    """Adds the finalizer to new volumes and claims."""

    async def admit(self, request: AdmissionRequest) -> None:
        """Add it unless it is there."""
        finalizer = _FINALIZERS.get(request.resource)
        if finalizer is None or request.operation != "CREATE" or request.subresource:
            return
        metadata: Any = request.object.metadata  # type: ignore[union-attr]
        if finalizer not in metadata.finalizers:
            metadata.finalizers = [*metadata.finalizers, finalizer]
