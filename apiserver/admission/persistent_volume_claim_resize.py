"""PersistentVolumeClaimResize: a claim may only grow where its class of storage says that volumes can."""

from __future__ import annotations

from typing import Any

from api import quantity
from api.core import persistentvolumeclaim
from api.lister import Lister
from api.resource import ObjectKey
from api.storage.storageclass import StorageClass
from apiserver.admission.default_storage_class import OLD_ANNOTATION
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.request import AdmissionRequest


class PersistentVolumeClaimResize:
    """Judges updates that ask for more storage."""

    def __init__(self, classes: Lister[StorageClass]) -> None:
        self._classes = classes

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge growth; the kind's own rules judge everything else.

        Raises:
            Forbidden: the claim is not bound, or its class does not allow volumes to grow.
        """
        if request.resource is not persistentvolumeclaim.RESOURCE or request.subresource:
            return
        if request.operation != "UPDATE":
            return
        new: Any = request.object
        old: Any = request.old
        wanted = new.spec.resources.requests.get("storage", "0")
        if quantity.compare(wanted, old.spec.resources.requests.get("storage", "0")) <= 0:
            return
        if old.status.phase != "Bound":
            raise refusal(request, "Only bound persistent volume claims can be expanded")
        name = new.metadata.annotations.get(OLD_ANNOTATION) or new.spec.storage_class_name or ""
        found = self._classes.get(ObjectKey("", name)) if name else None
        if found is None or not found.allow_volume_expansion:
            raise refusal(
                request,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize",
            )
