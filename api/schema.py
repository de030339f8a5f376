"""How a field is declared, and how a declaration is read back.

A type is a `Struct`; its fields are annotated with what cannot be derived from the Python type:

    class Container(Struct):
        name: Annotated[str, wire(1, required=True)] = always("")
        ports: Annotated[list[ContainerPort], wire(6, merge_key="containerPort")] = []
        image_pull_policy: Annotated[str, wire(14)] = ""

Every field is described in the `Attributes:` section of the docstring, for `kubectl explain` to show; a test finds
those that are not. What a parent says holds for its children, and a field that holds a struct may leave it to that
struct's own docstring to say what it is.

JSON names are camelCase unless written out (`field(name="clusterIP", default="")`). Empty values are left out of
the JSON, as Go's omitempty does, but for fields declared with `always` or `shown_empty`. A nullable scalar
(`int | None`) is a Go pointer: its explicit zero is kept. `fields_of` gives decoding, strict validation, OpenAPI,
strategic merge and protobuf one common view of all this.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec

T = TypeVar("T")

field = msgspec.field


class Struct(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The base of every API type.

    A struct whose inherited fields are a message of their own on the wire says by which number: `INLINED`, a class
    variable.
    """


def always(value: T, *, name: str | None = None) -> T:
    """Return a field default that is written to JSON even when the field holds it.

    For what upstream declares without omitempty: `restartCount: 0` and `ready: false` are always shown.
    """
    made: T = msgspec.field(default_factory=lambda: value, name=name)
    return made


def shown_empty(*, name: str | None = None) -> list[Any]:
    """Return the default of a list that is written to JSON even when it is empty.

    For what upstream declares without omitempty, such as a Role's rules: clients look into it without asking whether
    it is there.
    """
    made: list[Any] = msgspec.field(default_factory=_empty_list, name=name)
    return made


def _empty_list() -> list[Any]:
    # Not `list` itself, whose empty values msgspec knows and leaves out.
    return []


@dataclass(frozen=True, slots=True)
class Wire:
    """What a field is beyond its Python type. Numbers and keys are facts of Kubernetes' wire format."""

    number: tuple[int, ...]
    """Protobuf field number; two of them where upstream inlines a message: its number, then the field's in it."""
    required: bool = False
    merge_key: str | None = None
    """Strategic merge: list items with equal values of this JSON field are the same item."""
    patch: Literal["replace", "merge", "retainKeys", "merge,retainKeys"] = "replace"
    """Strategic merge: what a patch does to this field when it says nothing itself."""
    list_type: Literal["", "atomic", "set", "map"] = ""
    list_keys: tuple[str, ...] = ()
    """Server-side apply: the JSON fields that identify an item of a `map` list."""
    atomic: bool = False
    """Server-side apply: a map or struct owned as a whole."""
    granular: bool = False
    """Server-side apply: a map or struct whose fields are owned one by one, though its type may be atomic elsewhere."""
    has_patch: bool = False
    """Whether `patch` was declared, even where that changes nothing: it is published then."""


def wire(
    *number: int,
    required: bool = False,
    merge_key: str | None = None,
    patch: Literal["", "replace", "merge", "retainKeys", "merge,retainKeys"] = "",
    list_type: Literal["", "atomic", "set", "map"] = "",
    list_keys: tuple[str, ...] = (),
    atomic: bool = False,
    granular: bool = False,
) -> Wire:
    """Return a field's `Wire`; a merge key alone means that a patch merges the list by it."""
    has_patch = bool(patch or merge_key)
    if not patch:
        patch = "merge" if merge_key else "replace"
    return Wire(number, required, merge_key, patch, list_type, list_keys, atomic, granular, has_patch)


@dataclass(frozen=True, slots=True)
class Scalar:
    """Marks an alias of a Python type that has a form of its own in OpenAPI and protobuf."""

    form: Literal[
        "quantity", "int-or-string", "date-time", "micro-time", "duration", "int32", "int64", "fields", "json", "raw",
        "schema-or-bool", "schema-or-array", "schema-or-strings",
    ]  # fmt: skip


Quantity = Annotated[str, Scalar("quantity")]
"""An exact amount such as `100m` or `1Gi`; JSON numbers are accepted and become strings (see `api.quantity`)."""
IntOrString = Annotated[int | str, Scalar("int-or-string")]
Time = Annotated[str, Scalar("date-time")]
"""RFC 3339 in UTC to the second, `2024-01-01T00:00:00Z`; empty when unset."""
MicroTime = Annotated[str, Scalar("micro-time")]
"""RFC 3339 in UTC to the microsecond; empty when unset."""
Duration = Annotated[str, Scalar("duration")]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1), Scalar("int32")]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1), Scalar("int64")]
JSONValue = Annotated[Any, Scalar("json")]
"""Any JSON value, kept as it is; None when unset."""
RawExtension = Annotated[Any, Scalar("raw")]
"""An object of a type that is not known here; None when unset."""
FieldsV1 = Annotated[msgspec.Raw, Scalar("fields")]
"""A set of field paths as server-side apply writes it: an object of `f:`, `k:` and `v:` keys.

Kept as JSON, because every object carries some and hardly anyone looks into them."""


@dataclass(frozen=True, slots=True)
class FieldSchema:
    """One field of a `Struct`, as every reader of declarations sees it."""

    name: str
    """The Python attribute."""
    json_name: str
    wire: Wire | None
    type: TypeSchema
    nullable: bool
    """Declared `X | None`: absent is None, and an explicit zero is kept."""


@dataclass(frozen=True, slots=True)
class TypeSchema:
    """The shape of a value: exactly one of the kinds below."""

    kind: Literal["struct", "list", "map", "string", "integer", "number", "boolean", "bytes", "any"]
    struct: type[Struct] | None = None
    """Set when `kind` is struct."""
    item: TypeSchema | None = None
    """Set when `kind` is list or map: what the elements or values are. When it is any: the struct that is meant by an
    object, or by each object of a list, where a boolean or strings may stand instead (`JSONSchemaProps | bool`)."""
    form: str = ""
    """A `Scalar.form`, where the alias had one."""


@functools.cache
def fields_of(struct: type[Struct]) -> dict[str, FieldSchema]:
    """Return the fields of `struct` by JSON name, in declaration order."""
    hints = typing.get_type_hints(struct, include_extras=True)
    inlined: int | None = getattr(struct, "INLINED", None)
    found: dict[str, FieldSchema] = {}
    for info in msgspec.structs.fields(struct):
        hint = hints[info.name]
        declared = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Wire)), None)
        if declared is not None and inlined is not None and info.name not in struct.__annotations__:
            declared = dataclasses.replace(declared, number=(inlined, *declared.number))
        inner, nullable = _split_optional(hint)
        found[info.encode_name] = FieldSchema(info.name, info.encode_name, declared, _type_schema(inner), nullable)
    return found


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of a struct."""

    summary: str
    """Everything in its docstring before `Attributes:`, as one line."""
    fields: Mapping[str, str]
    """What is said of a field, by its Python name."""


_ATTRIBUTE = re.compile(r"    (\w+): (.+)")

TYPE_META = {
    "api_version": "APIVersion defines the API group and version that this object is written in, such as apps/v1, or "
    "v1 alone for the core group. The server converts between the versions it serves.",
    "kind": "The type of this object, in CamelCase and singular, such as Deployment. It never changes.",
}
"""What is meant by the fields that every object begins with; they have no number on the wire.

Clients look for `APIVersion defines`, as for `Standard object's metadata` and `CreationTimestamp is a timestamp`.
"""
_PARTS = {
    "metadata": "Standard object's metadata: the name of this {kind}, its labels, and what the server keeps about it.",
    "spec": "What is wanted of this {kind}; the system works towards it.",
    "status": "What became of this {kind}, as far as the system has seen; others only read it.",
}
"""What is meant by the parts of an object, where its own struct says nothing of them."""


@functools.lru_cache(maxsize=128)
def words_of(struct: type[Struct]) -> Words:
    """Return what `kubectl explain` shows of a struct and its fields, from docstrings in Google form.

    A field is described by the struct itself, by one that it is derived from, or by the struct that the field holds.
    No more is kept than helps while documents are made, since those hold the words again.
    """
    declaring = [base for base in reversed(struct.__mro__) if issubclass(base, Struct) and base is not Struct]
    said = {name: text for base in declaring for name, text in _attributes(base).items()}
    found: dict[str, str] = {}
    is_object = any(declared.wire is None for declared in fields_of(struct).values())
    for declared in fields_of(struct).values():
        held = (declared.type.item or declared.type).struct
        text = said.get(declared.name, "")
        if not text and declared.wire is None:
            text = TYPE_META.get(declared.name, "")
        if not text and is_object:
            text = _PARTS.get(declared.name, "").format(kind=struct.__name__)
        if not text and held is not None:
            # Clients list a field with these words only; they look into its type no sooner than when asked for it.
            text = _summary(held)
        if text:
            found[declared.name] = text
    return Words(_summary(struct), found)


def _summary(struct: type[Any]) -> str:
    return " ".join(re.split("\n *Attributes:\n", struct.__dict__.get("__doc__") or "")[0].split())


def _attributes(struct: type[Any]) -> dict[str, str]:
    attributes = inspect.cleandoc(struct.__dict__.get("__doc__") or "").partition("\nAttributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in attributes.splitlines():
        begun = _ATTRIBUTE.fullmatch(line)
        if begun is not None:
            name = begun[1]
            found[name] = begun[2]
        elif line.strip():
            found[name] += f" {line.strip()}"
    return found


def _split_optional(hint: Any) -> tuple[Any, bool]:
    plain, markers = _strip(hint)
    if typing.get_origin(plain) in (types.UnionType, typing.Union) and type(None) in typing.get_args(plain):
        rest = [arg for arg in typing.get_args(plain) if arg is not type(None)]
        return (rest[0] if len(rest) == 1 else typing.Union[tuple(rest)]), True  # noqa: UP007
    return (Annotated[plain, *markers] if markers else plain), False


def _strip(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if typing.get_origin(hint) is Annotated:
        plain, *markers = typing.get_args(hint)
        return plain, tuple(markers)
    return hint, ()


def _type_schema(hint: Any) -> TypeSchema:
    plain, markers = _strip(hint)
    form = next((marker.form for marker in markers if isinstance(marker, Scalar)), "")
    origin = typing.get_origin(plain)
    if origin is list:
        return TypeSchema("list", item=_type_schema(typing.get_args(plain)[0]))
    if origin is dict:
        return TypeSchema("map", item=_type_schema(typing.get_args(plain)[1]))
    if form == "int-or-string":
        return TypeSchema("any", form=form)
    if origin in (types.UnionType, typing.Union):
        struct = next(arm for arm in typing.get_args(plain) if isinstance(arm, type) and issubclass(arm, Struct))
        return TypeSchema("any", item=TypeSchema("struct", struct=struct), form=form)
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        return TypeSchema("struct", struct=typing.cast(type[Struct], plain))
    kinds: dict[Any, Any] = {str: "string", int: "integer", float: "number", bool: "boolean", bytes: "bytes"}
    return TypeSchema(kinds.get(plain, "any"), form=form)
