"""NamespaceLifecycle: nothing is made in a namespace that is absent or going, and three namespaces stay.

Both matter to the namespace controller: content that appeared while it empties a namespace would outlive it.
"""

from __future__ import annotations

from typing import Any, Final

from api.core import namespace
from api.errors import Cause, Forbidden
from api.lister import Lister
from api.resource import ObjectKey
from apiserver.auth.tokens import Read
from apiserver.request import AdmissionRequest

IMMORTAL: Final = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle:
    """Refuses creates outside living namespaces, and the deletion of those the cluster needs."""

    def __init__(self, namespaces: Lister[namespace.Namespace], read: Read) -> None:
        self._namespaces = namespaces
        self._read = read

    async def admit(self, request: AdmissionRequest) -> None:
        """Check before other plugins read in the namespace.

        Raises:
            NotFound: there is no such namespace.
            Forbidden: it is being deleted, or may not be.
        """
        if request.resource is namespace.RESOURCE:
            if request.operation == "DELETE" and request.name in IMMORTAL:
                raise refusal(request, "this namespace may not be deleted")
            return
        if request.operation != "CREATE" or not request.namespace or request.resource.group == "authorization.k8s.io":
            return
        key = ObjectKey("", request.namespace)
        found: Any = self._namespaces.get(key)
        if found is None:
            found = await self._read(namespace.RESOURCE, key)
        if found.metadata.deletion_timestamp or found.status.phase == "Terminating":
            why = f"namespace {request.namespace} is being terminated"
            raise refusal(
                request,
                f"unable to create new content in namespace {request.namespace} because it is being terminated",
                Cause("NamespaceTerminating", why, "metadata.namespace"),
            )


def refusal(request: AdmissionRequest, why: str, *causes: Cause) -> Forbidden:
    """Return the error of a plugin that refuses, worded as clients know it."""
    resource = request.resource
    name = request.name
    if not name and request.object is not None:
        metadata: Any = request.object.metadata  # type: ignore[attr-defined]
        name = metadata.name or metadata.generate_name
    shown = f'{resource} "{name}"' if name else str(resource)
    return Forbidden(
        f"{shown} is forbidden: {why}", group=resource.group, kind=resource.plural, name=name, causes=causes
    )
