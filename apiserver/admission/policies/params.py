"""The parameters that a binding refers to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api import serde
from api.admissionregistration.validatingadmissionpolicy import ParamKind
from api.admissionregistration.validatingadmissionpolicybinding import ParamRef
from api.resource import Resource
from api.selectors import of_label_selector
from apiserver.registry.codec import relative_key
from apiserver.registry.registries import Registries
from apiserver.registry.selection import select


class BadParams(Exception):
    """Parameters cannot be found where they have to be, and why."""


class Params:
    """Looks for parameters in the caches: of any kind that is served, custom ones too."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries

    def find(self, kind: ParamKind | None, ref: ParamRef | None, namespace: str) -> Sequence[Any]:
        """Return the sets of parameters with which a policy is to be evaluated, each on its own.

        One that is None stands for a policy without parameters; without any set it is not evaluated.

        Raises:
            BadParams: the reference makes no sense here, or there have to be some and are none.
        """
        if kind is None:
            return [None]
        resource = self._known(kind)
        if ref is None:
            return [None]
        where = self._where(resource, ref, namespace)
        found = self._named(resource, ref.name, where) if ref.name else self._selected(resource, ref, where)
        if not found and ref.parameter_not_found_action == "Deny":
            raise BadParams("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [serde.to_value(each) for each in found]

    def check(self, kind: ParamKind | None) -> None:
        """Raise BadParams where nothing of a kind is served, so that no binding could name a parameter."""
        if kind is not None:
            self._known(kind)

    def _known(self, kind: ParamKind) -> Resource[Any]:
        resource = self._resource(kind)
        if resource is None:
            shown = f"{kind.api_version}, Kind={kind.kind}"
            raise BadParams(f"failed to find resource referenced by paramKind: '{shown}'")
        return resource

    def _resource(self, kind: ParamKind) -> Resource[Any] | None:
        for resource in self._registries.kinds.all:
            if (resource.api_version, resource.kind) == (kind.api_version, kind.kind) and "list" in resource.verbs:
                return resource
        return None

    def _where(self, resource: Resource[Any], ref: ParamRef, namespace: str) -> str:
        if not resource.namespaced:
            if ref.namespace:
                raise BadParams("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
            return ""
        if not (ref.namespace or namespace):
            raise BadParams("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
        return ref.namespace or namespace

    def _named(self, resource: Resource[Any], name: str, namespace: str) -> list[Any]:
        stored = self._registries.of(resource).cache.get(relative_key(namespace, name))
        return [stored.object] if stored is not None else []

    def _selected(self, resource: Resource[Any], ref: ParamRef, namespace: str) -> list[Any]:
        selector = of_label_selector(ref.selector)
        cache = self._registries.of(resource).cache
        return [
            stored.object for stored in cache.select(select(resource, namespace)) if selector.matches(stored.labels)
        ]
