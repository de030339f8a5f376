"""Typed verbs on resources, over any transport.

`Client` is what processes hold. It encodes, decodes and maps errors; a `Transport` moves bytes: `client.transport`
does so over gRPC, and a simulation hands in one that calls the server's verbs in memory. Every call raises an
`api.errors.ApiError`; `ServiceUnavailable` and `Timeout` on a write mean that its outcome is unknown.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from api.resource import ObjectKey, Resource
from api.schema import Struct

T = TypeVar("T", bound=Struct)


class PatchType(StrEnum):
    """How a patch is meant; the value is its media type."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


class EventType(StrEnum):
    """What a watch event says."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class RawObject:
    """An object as it travels: its JSON, and its resourceVersion."""

    json: bytes
    resource_version: str


@dataclass(frozen=True, slots=True)
class RawEvent:
    """A watch event as it travels; a bookmark has empty `json`."""

    type: EventType
    json: bytes
    resource_version: str


@dataclass(frozen=True, slots=True)
class RawList:
    """A list as it travels, in key order; `resource_version` is where to watch from."""

    items: Sequence[RawObject]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Address:
    """What a request is about: a resource, maybe an object of it, maybe a subresource of that."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class ServedKind:
    """A kind that another server has."""

    plural: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version of a group that another server has (an APIService)."""

    group: str
    version: str
    is_stale: bool
    """Whether that server did not answer lately: the kinds are those last known, if any."""
    kinds: tuple[ServedKind, ...]

    @property
    def api_version(self) -> str:
        """As its objects say it."""
        return f"{self.group}/{self.version}"


class Transport(Protocol):
    """Moves requests to a server and answers back. Raises `api.errors.ApiError`."""

    async def get(self, address: Address, options: Mapping[str, str] = {}) -> RawObject: ...
    async def list(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> RawList: ...
    async def create(self, address: Address, json: bytes) -> RawObject: ...
    async def update(self, address: Address, json: bytes) -> RawObject: ...
    async def patch(self, address: Address, patch: bytes, content_type: str) -> RawObject: ...
    async def delete(self, address: Address, options: bytes) -> RawObject: ...
    def watch(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> AsyncIterator[Sequence[RawEvent]]:
        """Yield batches of events, oldest first; raises Expired when the version is too old."""
        ...

    async def discover(self) -> Sequence[ServedVersion]: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ObjectList(Generic[T]):
    """A decoded list; `resource_version` is where to watch from."""

    items: list[T]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Event(Generic[T]):
    """A decoded watch event; `object` is None for a bookmark."""

    type: EventType
    object: T | None
    resource_version: str


class Client:
    """Verbs on typed objects."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}

    async def get(
        self, resource: Resource[T], key: ObjectKey, *, subresource: str = "", options: Mapping[str, str] = {}
    ) -> T:
        """Return the object; raises NotFound. `options` are further parameters of the query."""
        answer = await self._transport.get(_address(resource, key.namespace, key.name, subresource), options)
        return self._decode(resource.type, answer)

    async def list(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> ObjectList[T]:
        """Return all objects that match, in key order.

        An empty `resource_version` asks for a linearizable read; "0" takes what the server's cache holds.
        """
        answer = await self._transport.list(
            _address(resource, namespace),
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
        )
        items = [self._decode(resource.type, item) for item in answer.items]
        return ObjectList(items, answer.resource_version)

    async def create(self, resource: Resource[T], obj: T) -> T:
        """Create `obj` in the namespace its metadata names; raises AlreadyExists, Invalid, Forbidden."""
        answer = await self._transport.create(_address(resource, namespace_of(obj)), msgspec.json.encode(obj))
        return self._decode(resource.type, answer)

    async def create_subresource(self, resource: Resource[T], key: ObjectKey, subresource: str, body: Struct) -> bytes:
        """POST `body` to a subresource (binding, token, eviction) and return the answer's JSON."""
        address = _address(resource, key.namespace, key.name, subresource)
        return (await self._transport.create(address, msgspec.json.encode(body))).json

    async def update(self, resource: Resource[T], obj: T, *, subresource: str = "") -> T:
        """Replace the object; with a resourceVersion in it, only if unchanged since, else raises Conflict."""
        metadata: Any = obj.metadata  # type: ignore[attr-defined]
        address = _address(resource, metadata.namespace, metadata.name, subresource)
        answer = await self._transport.update(address, msgspec.json.encode(obj))
        return self._decode(resource.type, answer)

    async def patch(
        self,
        resource: Resource[T],
        key: ObjectKey,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        type: PatchType = PatchType.MERGE,
        subresource: str = "",
    ) -> T:
        """Apply `patch` (plain JSON values) and return the result.

        A `metadata.resourceVersion` or `metadata.uid` in a merge patch is a precondition: Conflict if it differs.
        """
        address = _address(resource, key.namespace, key.name, subresource)
        answer = await self._transport.patch(address, msgspec.json.encode(patch), type.value)
        return self._decode(resource.type, answer)

    async def delete(
        self,
        resource: Resource[T],
        key: ObjectKey,
        *,
        grace_period_s: int | None = None,
        propagation: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        """Delete the object; NotFound if it is not there, Conflict if `uid` or `resource_version` differ.

        `propagation` is Background, Foreground or Orphan; empty takes the kind's default.
        """
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        if propagation:
            options["propagationPolicy"] = propagation
        preconditions = {"uid": uid} if uid else {}
        if resource_version:
            preconditions["resourceVersion"] = resource_version
        if preconditions:
            options["preconditions"] = preconditions
        await self._transport.delete(_address(resource, key.namespace, key.name), msgspec.json.encode(options))

    async def watch(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Sequence[Event[T]]]:
        """Yield batches of events after `resource_version`, each once and in order, bookmarks among them.

        Ends, or raises ServiceUnavailable, when the connection does: watch again from the last version seen.
        Raises Expired when the server no longer has the events: list again.
        """
        batches = self._transport.watch(
            _address(resource, namespace),
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
        )
        async for batch in batches:
            yield [
                Event(
                    raw.type,
                    self._decode(resource.type, raw) if raw.json else None,
                    raw.resource_version,
                )
                for raw in batch
            ]

    async def discover(self) -> Sequence[ServedVersion]:
        """Return what other servers serve (aggregated groups), as the API server last heard; preferred versions first.

        What is built in, or defined by a CustomResourceDefinition, is not among it.
        """
        return await self._transport.discover()

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()

    def _decode(self, type: type[T], raw: RawObject | RawEvent) -> T:
        decoder = self._decoders.get(type)
        if decoder is None:
            decoder = self._decoders[type] = msgspec.json.Decoder(type)
        decoded: T = decoder.decode(raw.json)
        # The version may travel only beside the JSON.
        metadata: Any = getattr(decoded, "metadata", None)
        if metadata is not None and not metadata.resource_version:
            metadata.resource_version = raw.resource_version
        return decoded


def namespace_of(obj: Struct) -> str:
    """Return `metadata.namespace` of any object."""
    metadata: Any = obj.metadata  # type: ignore[attr-defined]
    return str(metadata.namespace)


def key_of(obj: Struct) -> ObjectKey:
    """Return the key of any object."""
    metadata: Any = obj.metadata  # type: ignore[attr-defined]
    return ObjectKey(metadata.namespace, metadata.name)


def _address(resource: Resource[Any], namespace: str = "", name: str = "", subresource: str = "") -> Address:
    return Address(resource.group, resource.version, resource.plural, namespace, name, subresource)
