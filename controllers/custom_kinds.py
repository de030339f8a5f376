"""Handles of the kinds that users define, for controllers that look after objects of every kind.

A definition says all that is needed to list, watch and delete its objects by their metadata; what else is in them is
nobody's business here. Every version shows the same objects, so one of them is followed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from api.apiextensions.customresourcedefinition import CustomResourceDefinition, is_condition
from api.discover import by_gvr, by_kind
from api.resource import Resource
from controllers.metadata import MetadataOnly


def handles_of(crd: CustomResourceDefinition) -> list[Resource[MetadataOnly]]:
    """Return the handle of each served version, that of the stored one first; none before it is established."""
    if not is_condition(crd, "Established"):
        return []
    names = crd.status.accepted_names
    versions = sorted((one for one in crd.spec.versions if one.served), key=lambda one: not one.storage)
    return [
        Resource(
            type=MetadataOnly,
            group=crd.spec.group,
            version=version.name,
            kind=names.kind,
            plural=names.plural,
            namespaced=crd.spec.scope == "Namespaced",
        )
        for version in versions
    ]


class FoundKinds:
    """Finds kinds: those built in, and those that were told of, defined by users or other servers' own."""

    def __init__(self) -> None:
        self._told: dict[str, list[Resource[Any]]] = {}

    def tell(self, name: str, handles: list[Resource[Any]]) -> None:
        """Take note of a kind, whose versions these are; none: it is served no more. A name is one kind's."""
        self._told[name] = handles

    def _all(self) -> Iterable[Resource[Any]]:
        return (handle for handles in self._told.values() for handle in handles)

    def by_gvr(self, group: str, version: str, plural: str) -> Resource[Any] | None:
        """Return the kind served so, or None."""
        wanted = (group, version, plural)
        return by_gvr(*wanted) or next(
            (one for one in self._all() if (one.group, one.version, one.plural) == wanted), None
        )

    def by_kind(self, api_version: str, kind: str) -> Resource[Any] | None:
        """Return the kind whose objects say so, or None."""
        wanted = (api_version, kind)
        return by_kind(*wanted) or next((one for one in self._all() if (one.api_version, one.kind) == wanted), None)
