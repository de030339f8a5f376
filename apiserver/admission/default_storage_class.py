"""DefaultStorageClass: a claim that names no class of storage gets the one marked as default.

A claim that names the empty class wants a volume without class, and is left alone.
"""

from __future__ import annotations

from typing import Any, Final

from api.core import persistentvolumeclaim
from api.lister import Lister
from api.storage.storageclass import DEFAULT_ANNOTATIONS, StorageClass
from apiserver.admission.newest_default import newest_default
from apiserver.request import AdmissionRequest

OLD_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"


class DefaultStorageClass:
    """Fills in `spec.storageClassName` of new claims."""

    def __init__(self, classes: Lister[StorageClass]) -> None:
        self._classes = classes

    async def admit(self, request: AdmissionRequest) -> None:
        """Choose a class where none is named in either way."""
        if request.resource is not persistentvolumeclaim.RESOURCE or request.operation != "CREATE":
            return
        claim: Any = request.object
        if claim.spec.storage_class_name is not None or OLD_ANNOTATION in claim.metadata.annotations:
            return
        found = newest_default(self._classes.list(), DEFAULT_ANNOTATIONS)
        if found is not None:
            claim.spec.storage_class_name = found.metadata.name
