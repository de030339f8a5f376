"""The bytes of custom objects: stored in one version of their kind, served in any, pruned and defaulted on the way.

An object may have been stored under another schema, or in another version, than is valid today; it is made right
whenever it is read, and written so when it next changes. What is read is pruned and defaulted as the version in which
it lies says, then converted, and pruned by the version that is served; that one's defaults are for what clients send.
So a write in a version that is not stored shows what a read will: it is read back from what was stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from api.custom import CustomObject, metadata_of
from api.errors import ApiError
from api.resource import Resource
from apiserver.crd import embedded
from apiserver.crd.conversion import Converter
from apiserver.crd.kinds import Shape
from apiserver.registry.codec import Codec, head_of

_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


class CustomCodec(Codec):
    """Encoding and decoding for one version of a custom kind.

    Args:
        resource: the version that is served.
        stored_as: the apiVersion in which objects are stored.
        shapes: every version of the kind, by apiVersion.
        converter: gets objects from one version to another; None where only the version's name changes.
    """

    def __init__(
        self, resource: Resource[Any], stored_as: str, shapes: Mapping[str, Shape], converter: Converter | None
    ) -> None:
        super().__init__(resource)
        self._stored_as = stored_as
        self._stored_head = head_of(stored_as)
        self._shapes = shapes
        self._converter = converter
        self.is_asynchronous = True

    async def from_store(self, values: Sequence[bytes]) -> list[bytes | ApiError]:
        """Return the values as they are served, or why they are not; what is no object as it is: `splice` tells."""
        found: list[bytes | ApiError] = list(values)
        objects: dict[int, CustomObject] = {}
        for index, value in enumerate(values):
            with contextlib.suppress(msgspec.MsgspecError):
                objects[index] = self._as_stored(value)
        made = await self._as_version(list(objects.values()), self.resource.api_version)
        for index, each in zip(objects, made, strict=True):
            found[index] = each if isinstance(each, ApiError) else self.encode(each)
        return found

    async def to_store(self, value: bytes) -> bytes:
        """Return the bytes in the version in which they are stored.

        Raises:
            InternalError: they can't be converted.
        """
        if self.resource.api_version == self._stored_as:
            return value
        (made,) = await self._as_version([self._read(value)], self._stored_as)
        if isinstance(made, ApiError):
            raise made
        return self.encode(made)

    async def convert(self, value: bytes) -> bytes:
        """Return the bytes of an object of another version as this one.

        Raises:
            InternalError: they can't be converted.
        """
        (made,) = await self._as_version([self._read(value)], self.resource.api_version)
        if isinstance(made, ApiError):
            raise made
        return self.encode(made)

    def served(self, value: bytes) -> bytes:
        """Return the bytes as they are: `from_store` has seen to everything."""
        return value

    def _read(self, value: bytes) -> CustomObject:
        """Decode an object of any version, whatever of its metadata does not fit left out."""
        return self._of_plain(_DECODER.decode(value))

    def _of_plain(self, value: dict[str, Any]) -> CustomObject:
        metadata = value.pop("metadata", None) or {}
        try:
            made = metadata_of(metadata)
        except msgspec.ValidationError:
            made = metadata_of(embedded.read_what_fits(metadata, "metadata", []))
        obj: CustomObject = self.resource.type(value.pop("apiVersion", ""), value.pop("kind", ""), made, value)
        return obj

    def _as_stored(self, value: bytes) -> CustomObject:
        """Return an object as the schema of the version in which it lies has it today."""
        obj = self._read(value)
        obj.kind = self.resource.kind
        obj.metadata.generation = obj.metadata.generation or 1
        shape = self._shapes.get(obj.api_version)
        if shape is not None:
            shape.prune(obj)
            shape.default(obj)
        return obj

    async def _as_version(self, objects: Sequence[CustomObject], wanted: str) -> list[CustomObject | ApiError]:
        """Return the objects in a version, as far as its schema knows them."""
        found: list[CustomObject | ApiError] = list(objects)
        others = [index for index, obj in enumerate(objects) if obj.api_version != wanted]
        if not others:
            return found
        if self._converter is not None:
            asked = [_DECODER.decode(self.encode(objects[index])) for index in others]
            converted: list[Any] = list(await self._converter.convert(asked, wanted))
            for index, made in zip(others, converted, strict=True):
                found[index] = made if isinstance(made, ApiError) else self._of_plain(made)
        for index in others:
            made = found[index]
            if isinstance(made, CustomObject):
                made.api_version = wanted
                self._shapes[wanted].prune(made)
        return found
