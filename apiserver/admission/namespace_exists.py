"""NamespaceExists: nothing is written in a namespace that is not there; NamespaceLifecycle says as much of creates."""

from __future__ import annotations

from api.core import namespace
from api.core.namespace import Namespace
from api.lister import Lister
from api.resource import ObjectKey
from apiserver.auth.tokens import Read
from apiserver.request import AdmissionRequest


class NamespaceExists:
    """The plugin."""

    def __init__(self, namespaces: Lister[Namespace], read: Read) -> None:
        self._namespaces = namespaces
        self._read = read

    async def validate(self, request: AdmissionRequest) -> None:
        """Look for the namespace; raises NotFound."""
        if request.operation == "CONNECT" or not request.namespace or request.resource is namespace.RESOURCE:
            return
        key = ObjectKey("", request.namespace)
        if self._namespaces.get(key) is None:
            await self._read(namespace.RESOURCE, key)
