"""PodNodeSelector: pods of a namespace go to its nodes, whatever they say themselves.

A namespace's annotation says where; the cluster's default where there is none. A file says what labels pods of a
namespace may ask for at all:

    podNodeSelectorPluginConfig:
      clusterDefaultNodeSelector: pool=shared
      shop: pool=shop,disk=fast
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api import names
from api.core import namespace, pod
from api.core.namespace import Namespace
from api.errors import NotFound, UnclassedError
from api.lister import Lister
from api.resource import ObjectKey
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.auth.tokens import Read
from apiserver.request import AdmissionRequest

ANNOTATION: Final = "scheduler.alpha.kubernetes.io/node-selector"
DEFAULT: Final = "clusterDefaultNodeSelector"


class PodNodeSelector:
    """The plugin; `selectors` are those of the file, by namespace."""

    def __init__(self, namespaces: Lister[Namespace], read: Read, selectors: Mapping[str, str]) -> None:
        self._namespaces = namespaces
        self._read = read
        self._selectors = selectors

    async def admit(self, request: AdmissionRequest) -> None:
        """Add the namespace's node selector to that of a new pod.

        Raises:
            Forbidden: the pod says otherwise, or asks for more than it may.
        """
        if _concerns(request):
            spec: Any = request.object.spec  # type: ignore[union-attr]
            wanted = await self._selector_of(request)
            _check(request, wanted)
            spec.node_selector = {**wanted, **spec.node_selector}
            self._check_allowed(request)

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge what others have made of it; raises Forbidden."""
        if _concerns(request):
            _check(request, await self._selector_of(request))
            self._check_allowed(request)

    def _check_allowed(self, request: AdmissionRequest) -> None:
        allowed = parse(self._selectors.get(request.namespace, ""))
        asked: Mapping[str, str] = request.object.spec.node_selector  # type: ignore[union-attr]
        if allowed and not asked.items() <= allowed.items():
            raise refusal(request, "pod node label selector labels conflict with its namespace whitelist")

    async def _selector_of(self, request: AdmissionRequest) -> Mapping[str, str]:
        key = ObjectKey("", request.namespace)
        found: Any = self._namespaces.get(key)
        if found is None:
            try:
                found = await self._read(namespace.RESOURCE, key)
            except NotFound:
                raise UnclassedError(f"namespace {request.namespace} does not exist") from None
        return parse(found.metadata.annotations.get(ANNOTATION, self._selectors.get(DEFAULT, "")))


def parse(text: str) -> dict[str, str]:
    """Return the labels that `a=b,c=d` names.

    Raises:
        UnclassedError: it is no such text.
    """
    found: dict[str, str] = {}
    for each in text.split(",") if text else ():
        parts = each.split("=")
        if len(parts) != 2:
            raise UnclassedError(f"invalid selector: [{' '.join(parts)}]")
        key, value = (part.strip() for part in parts)
        for wrong, what in ((names.check_qualified_name(key), key), (names.check_label_value(value), value)):
            if wrong:
                raise UnclassedError(f'invalid selector: "{what}": {"; ".join(wrong)}')
        found[key] = value
    return found


def _check(request: AdmissionRequest, wanted: Mapping[str, str]) -> None:
    asked: Mapping[str, str] = request.object.spec.node_selector  # type: ignore[union-attr]
    if any(asked.get(key, value) != value for key, value in wanted.items()):
        raise refusal(request, "pod node label selector conflicts with its namespace node label selector")


def _concerns(request: AdmissionRequest) -> bool:
    return request.resource is pod.RESOURCE and not request.subresource and request.operation == "CREATE"
