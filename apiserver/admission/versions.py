"""Other versions of the same objects: which there are, and an object as another of them."""

from __future__ import annotations

from typing import Any

from api.custom import is_custom
from api.resource import Resource
from apiserver.crd.codec import CustomCodec
from apiserver.registry.codec import copy_of
from apiserver.registry.registries import Registries


class Versions:
    """The versions in which this server serves each kind."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._made_of: Any = None
        self._families: dict[Any, list[Resource[Any]]] = {}

    def equivalents(self, resource: Resource[Any]) -> list[Resource[Any]]:
        """Return the other resources that are the same objects in another version, or in another group."""
        kinds = self._registries.kinds.all
        if kinds is not self._made_of:
            self._families = {}
            for kind in kinds:
                self._families.setdefault(_family(kind), []).append(kind)
            self._made_of = kinds
        family = self._families.get(_family(resource), ())
        return [kind for kind in family if kind is not resource] if len(family) > 1 else []

    async def convert(self, obj: Any, resource: Resource[Any], wanted: Resource[Any]) -> Any:
        """Return an object of `resource` as one of `wanted`; what is not of that type (a Scale) as it is.

        Raises:
            InternalError: a converter does not convert.
        """
        if resource is wanted or obj is None or type(obj) is not resource.type:
            return obj
        if is_custom(resource.type):
            made = await self._convert_custom(obj, resource, wanted)
        else:
            stored = resource.storage.to_stored(copy_of(obj)) if resource.storage is not None else copy_of(obj)
            made = wanted.storage.from_stored(stored) if wanted.storage is not None else stored
        made.api_version, made.kind = wanted.api_version, wanted.kind
        made.metadata.resource_version = obj.metadata.resource_version
        return made

    async def _convert_custom(self, obj: Any, resource: Resource[Any], wanted: Resource[Any]) -> Any:
        theirs, ours = self._registries.of(resource).codec, self._registries.of(wanted).codec
        assert isinstance(ours, CustomCodec)
        return ours.decode(await ours.convert(theirs.encode(obj)))


def _family(kind: Resource[Any]) -> Any:
    return (kind.group, kind.plural) if is_custom(kind.type) else kind.stored_as
