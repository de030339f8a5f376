"""Objects of kinds that users define: typed metadata, and everything else as plain JSON values.

A custom kind has no declaration in Python, so each gets a subclass of `CustomObject` made at run time, whose `shape`
says what a CustomResourceDefinition says of it. Code that works on any kind asks `is_custom` where it would read a
declaration; everywhere else a custom object is an object like any other, with `api_version`, `kind` and `metadata`.
msgspec meets this class through its two hooks, which every encoder and decoder of objects is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeGuard

import msgspec

from api.meta import ObjectMeta


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a kind keeps what the scale subresource shows: names of fields, from the top."""

    spec_replicas: tuple[str, ...]
    status_replicas: tuple[str, ...]
    selector: tuple[str, ...] | None


class CustomShape(Protocol):
    """What is known of a custom kind at one version, where a built-in one has declared fields."""

    group: str
    version: str
    name: str
    """The kind."""
    is_terminating: bool
    """Whether its definition is being deleted: nothing new is made then."""
    deprecation: str
    """What everyone is told who uses this version; usually empty."""
    storage_version: str
    """The version in which objects of the kind are stored."""

    def read(self, value: dict[str, Any], unknown: list[str]) -> None:
        """Take out of an object, in place, what its schema does not know, and note the paths of that."""

    def openapi(self, *, v2: bool, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return the published schema; `metadata` is a reference to that of metadata."""

    def is_changed(self, new: Any, old: Any) -> bool:
        """Whether an update from `old` to `new` makes a new generation."""

    @property
    def patch_shape(self) -> Any:
        """What server-side apply sees: an `api.patch.shape.Shape`."""

    @property
    def scale(self) -> ScalePaths | None:
        """Where the scale subresource finds its numbers, None where there is no such subresource."""

    @property
    def openapi_name(self) -> str:
        """What the schema is called in OpenAPI, such as `com.example.v1.CronTab`."""


class CustomObject:
    """An object of a custom kind; `content` holds all that stands beside apiVersion, kind and metadata."""

    __slots__ = ("api_version", "content", "kind", "metadata")

    shape: ClassVar[CustomShape]

    def __init__(
        self,
        api_version: str = "",
        kind: str = "",
        metadata: ObjectMeta | None = None,
        content: dict[str, Any] | None = None,
    ) -> None:
        self.api_version = api_version
        self.kind = kind
        self.metadata = metadata or ObjectMeta()
        self.content: dict[str, Any] = {} if content is None else content

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and to_plain(self) == to_plain(other)

    __hash__ = None  # type: ignore[assignment]


def is_custom(type_: type[Any]) -> TypeGuard[type[CustomObject]]:
    """Whether a type is that of a custom kind, and so has a `shape` instead of fields."""
    return isinstance(type_, type) and issubclass(type_, CustomObject)


def make_type(shape: CustomShape) -> type[CustomObject]:
    """Return a new type for the objects of one custom kind at one version."""
    return type(shape.name, (CustomObject,), {"__slots__": (), "__hash__": None, "shape": shape})


def to_plain(obj: CustomObject) -> dict[str, Any]:
    """Return a custom object as what it is in JSON; its metadata stays a Struct. For msgspec's `enc_hook`."""
    if not isinstance(obj, CustomObject):
        raise NotImplementedError(f"cannot encode a {type(obj).__name__}")
    return {"apiVersion": obj.api_version, "kind": obj.kind, "metadata": obj.metadata, **obj.content}


def from_plain(type_: type[Any], value: Any) -> Any:
    """Return the custom object that plain JSON values are; `value` is used up. For msgspec's `dec_hook`."""
    if not is_custom(type_):
        raise NotImplementedError(f"cannot decode a {type_.__name__}")
    if not isinstance(value, dict):
        raise ValueError(f"a {type_.__name__} must be an object")
    metadata = metadata_of(value.pop("metadata", None) or {})
    return type_(value.pop("apiVersion", ""), value.pop("kind", ""), metadata, value)


def metadata_of(value: dict[str, Any]) -> ObjectMeta:
    """Return metadata given as plain JSON values, which are used up; raises msgspec.ValidationError."""
    for entry in value.get("managedFields") or ():
        fields = entry.get("fieldsV1")
        if fields is not None and not isinstance(fields, msgspec.Raw):
            entry["fieldsV1"] = msgspec.Raw(msgspec.json.encode(fields))
    return msgspec.convert(value, ObjectMeta)


def value_at(content: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Return what stands at a path of fields, None if nothing does."""
    value: Any = content
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def set_value_at(content: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Put a value at a path of fields, making the objects on the way."""
    for name in path[:-1]:
        below = content.get(name)
        if not isinstance(below, dict):
            below = content[name] = {}
        content = below
    content[path[-1]] = value
