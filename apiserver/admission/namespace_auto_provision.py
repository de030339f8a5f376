"""NamespaceAutoProvision: a namespace is made when something is first made in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from api.core import namespace
from api.core.namespace import Namespace
from api.errors import ApiError
from api.lister import Lister
from api.meta import ObjectMeta
from api.resource import ObjectKey, Resource
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.request import AdmissionRequest

Ensure = Callable[[Resource[Any], Any], Awaitable[bool]]
"""Creates an object unless its name is taken; returns whether it was made."""


class NamespaceAutoProvision:
    """The plugin; comes before the one that refuses what is made in no namespace."""

    def __init__(self, namespaces: Lister[Namespace], ensure: Ensure) -> None:
        self._namespaces = namespaces
        self._ensure = ensure

    async def admit(self, request: AdmissionRequest) -> None:
        """Make the namespace that is missing.

        Raises:
            Forbidden: it cannot be made.
        """
        if request.operation != "CREATE" or request.dry_run or not request.namespace:
            return
        if request.resource is namespace.RESOURCE or self._namespaces.get(ObjectKey("", request.namespace)) is not None:
            return
        try:
            await self._ensure(namespace.RESOURCE, Namespace(metadata=ObjectMeta(name=request.namespace)))
        except ApiError as error:
            raise refusal(request, error.message) from None
