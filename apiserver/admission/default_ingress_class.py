"""DefaultIngressClass: an Ingress that names no class gets the one marked as default."""

from __future__ import annotations

from typing import Any, Final

from api.lister import Lister
from api.networking import ingress
from api.networking.ingressclass import IngressClass
from apiserver.admission.newest_default import newest_default
from apiserver.request import AdmissionRequest

DEFAULT_ANNOTATION: Final = "ingressclass.kubernetes.io/is-default-class"
OLD_ANNOTATION: Final = "kubernetes.io/ingress.class"


class DefaultIngressClass:
    """Fills in `spec.ingressClassName` of new Ingresses."""

    def __init__(self, classes: Lister[IngressClass]) -> None:
        self._classes = classes

    async def admit(self, request: AdmissionRequest) -> None:
        """Choose a class where none is named in either way."""
        if request.resource is not ingress.RESOURCE or request.operation != "CREATE":
            return
        new: Any = request.object
        if new.spec.ingress_class_name is not None or OLD_ANNOTATION in new.metadata.annotations:
            return
        found = newest_default(self._classes.list(), (DEFAULT_ANNOTATION,))
        if found is not None:
            new.spec.ingress_class_name = found.metadata.name
