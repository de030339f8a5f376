"""The bytes of custom objects: stored in one version of their kind, served in any, pruned and defaulted on the way.

An object may have been stored under another schema, or in another version, than is valid today; it is made right
whenever it is read, and written so when it next changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from api.errors import ApiError
from api.resource import Resource
from apiserver.crd.conversion import Converter
from apiserver.registry.codec import Codec, head_of

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


class CustomCodec(Codec):
    """Encoding and decoding for one version of a custom kind.

    Args:
        resource: the version that is served.
        stored_as: the apiVersion in which objects are stored.
        converter: gets objects from one version to another; None where only the version's name changes.
    """

    def __init__(self, resource: Resource[Any], stored_as: str, converter: Converter | None) -> None:
        super().__init__(resource)
        self._stored_as = stored_as
        self._stored_head = head_of(stored_as)
        self._converter = converter
        self.is_asynchronous = True

    async def from_store(self, values: Sequence[bytes]) -> list[bytes | ApiError]:
        """Return the values in the version that is served; without a converter `splice` sees to that."""
        if self._converter is None:
            return list(values)
        wanted = self.resource.api_version
        objects = [_DECODER.decode(value) for value in values]
        converted = await self._converter.convert([obj for obj in objects if obj.get("apiVersion") != wanted], wanted)
        made = iter(converted)
        found: list[bytes | ApiError] = []
        for value, obj in zip(values, objects, strict=True):
            if obj.get("apiVersion") == wanted:
                found.append(value)
                continue
            result = next(made)
            found.append(result if isinstance(result, ApiError) else _ENCODER.encode(result))
        return found

    async def to_store(self, value: bytes) -> bytes:
        """Return the bytes in the version in which they are stored.

        Raises:
            InternalError: they can't be converted.
        """
        if self.resource.api_version == self._stored_as:
            return value
        obj = _DECODER.decode(value)
        if self._converter is None:
            return _ENCODER.encode(_ordered({**obj, "apiVersion": self._stored_as}))
        (result,) = await self._converter.convert([obj], self._stored_as)
        if isinstance(result, ApiError):
            raise result
        return _ENCODER.encode(_ordered(result))

    def served(self, value: bytes) -> bytes:
        """Return stored bytes as this version's schema has them today."""
        obj = self.decode(value)
        obj.api_version, obj.kind = self.resource.api_version, self.resource.kind
        shape = self.resource.type.shape
        shape.prune(obj)
        shape.default(obj)
        return self.encode(obj)

    def _normalise(self, value: bytes) -> bytes:
        return value


def _ordered(obj: Mapping[str, Any]) -> dict[str, Any]:
    head = {key: obj.get(key) for key in ("apiVersion", "kind", "metadata")}
    return {**head, **{key: value for key, value in obj.items() if key not in head}}
