"""Objects of kinds that users define: typed metadata, and everything else as plain JSON values.

A custom kind has no declaration in Python, so each gets a subclass of `CustomObject` made at run time, whose `shape`
says what a CustomResourceDefinition says of it. Code that works on any kind asks `is_custom` where it would read a
declaration; everywhere else a custom object is an object like any other, with `api_version`, `kind` and `metadata`.
msgspec meets this class through its two hooks, which every encoder and decoder of objects is given.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeGuard

import msgspec

from api.meta import ObjectMeta


class CustomShape(Protocol):
    """What is known of a custom kind at one version, where a built-in one has declared fields."""

    name: str
    """The kind, for messages."""

    def read(self, value: dict[str, Any], unknown: list[str]) -> None:
        """Take out of an object, in place, what its schema does not know, and note the paths of that."""

    def openapi(self, *, v2: bool) -> dict[str, Any]:
        """Return the published schema, without what every object has."""

    @property
    def openapi_name(self) -> str:
        """What the schema is called in OpenAPI, such as `com.example.v1.CronTab`."""


class CustomObject:
    """An object of a custom kind; `content` holds all that stands beside apiVersion, kind and metadata."""

    __slots__ = ("api_version", "content", "kind", "metadata")

    shape: ClassVar[CustomShape]

    def __init__(
        self, api_version: str = "", kind: str = "", metadata: ObjectMeta | None = None, content: dict[str, Any] | None = None
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
    metadata = msgspec.convert(value.pop("metadata", None) or {}, ObjectMeta)
    return type_(value.pop("apiVersion", ""), value.pop("kind", ""), metadata, value)
