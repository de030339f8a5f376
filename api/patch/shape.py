"""How server-side apply sees a type: what has fields of its own, and what is owned as a whole.

A `Shape` is compiled once from a type's declarations (`api.schema`). Scalars, atomic lists and atomic maps are leaves;
lists of type `map` have items found by their keys, lists of type `set` have elements found by their value.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final, Literal

from api.custom import is_custom
from api.schema import FieldSchema, Struct, TypeSchema, Wire, fields_of

_ATOMIC_TYPES: Final = frozenset(
    {
        "ConfigMapKeySelector", "EndpointAddress", "EndpointPort", "LabelSelector", "LocalObjectReference",
        "MatchResources", "NamedRuleWithOperations", "NodeSelector", "NodeSelectorTerm",
        "ObjectFieldSelector", "ObjectReference", "OwnerReference", "ParamKind", "ParamRef", "ResourceFieldSelector",
        "RoleRef", "ScopeSelector", "SecretKeySelector", "SecretReference", "ServiceBackendPort",
        "TopologySelectorTerm", "TypedLocalObjectReference", "Variable",
    }
)  # fmt: skip
"""Structs that upstream declares as atomic wherever they are used (`x-kubernetes-map-type`)."""
_ATOMIC_OF_PACKAGE: Final = {
    ("api.rbac", "Subject"),
    ("api.autoscaling.horizontalpodautoscaler", "CrossVersionObjectReference"),
}
"""The same, where another package has a type of that name which is not."""
_KEY_DEFAULTS: Final[Mapping[str, Any]] = {"protocol": "TCP"}
"""What keys have in built-in kinds: ports of containers and Services are told apart by their protocol."""

Kind = Literal["leaf", "object", "map", "items", "set", "untyped"]


class Shape:
    """One node of a type. `fields` are compiled when first asked for, because types may contain themselves."""

    __slots__ = (
        "_always",
        "_fields",
        "_struct",
        "is_always_there",
        "is_scalar_by_value",
        "item",
        "key_defaults",
        "keys",
        "kind",
    )

    def __init__(
        self,
        kind: Kind,
        *,
        struct: type[Struct] | None = None,
        fields: Mapping[str, Shape] | None = None,
        item: Shape | None = None,
        keys: tuple[str, ...] = (),
        key_defaults: Mapping[str, Any] = _KEY_DEFAULTS,
        is_always_there: bool = False,
        is_scalar_by_value: bool = False,
    ) -> None:
        self.kind: Kind = kind
        self._struct = struct
        self._fields = fields
        self.item = item
        """Of a map, a list of items or a set: what is in it."""
        self.keys = tuple(sorted(keys))
        self.key_defaults = {key: key_defaults[key] for key in keys if key in key_defaults}
        """What keys of a list's items have where an item leaves them out."""
        self.is_always_there = is_always_there
        """What upstream holds by value and shows even when empty: where the object is, it is, as nothing or as `{}`."""
        self.is_scalar_by_value = is_scalar_by_value
        """A scalar that is no pointer upstream: where it is shown, zero is what it is when nobody has set it."""
        self._always: Mapping[str, Shape] | None = None

    @property
    def fields(self) -> Mapping[str, Shape]:
        """The fields of an object by JSON name; empty for other kinds."""
        if self._fields is None:
            declared = fields_of(self._struct) if self._struct is not None else {}
            is_condition = self._struct is not None and self._struct.__name__.endswith("Condition")
            self._fields = {
                name: _TIME_OF_CONDITION if is_condition and one.type.form in _TIMES else _of_field(one)
                for name, one in declared.items()
            }
        return self._fields

    @property
    def always(self) -> Mapping[str, Shape]:
        """Those of its fields that are always there."""
        if self._always is None:
            self._always = {name: shape for name, shape in self.fields.items() if shape.is_always_there}
        return self._always

    def child(self, key: str) -> Shape:
        """Return the shape of what is under `key`."""
        if self.kind == "object":
            return self.fields.get(key, UNTYPED)
        return self.item if self.item is not None else UNTYPED


LEAF: Final = Shape("leaf")
_ATOMIC_BY_VALUE: Final = Shape("leaf", is_always_there=True)
_TIME_OF_CONDITION: Final = Shape("leaf", is_always_there=True)
_SCALAR_BY_VALUE: Final = Shape("leaf", is_scalar_by_value=True)
_TIMES: Final = ("date-time", "micro-time")
UNTYPED: Final = Shape("untyped")


def shape_of(struct: type[Struct]) -> Shape:
    """Return the shape of a whole object, or of a struct within one."""
    if is_custom(struct):
        found: Shape = struct.shape.patch_shape
        return found
    return _shape_of(struct)


@functools.cache
def _shape_of(struct: type[Struct]) -> Shape:
    return Shape("object", struct=struct)


def _of_field(declared: FieldSchema) -> Shape:
    wire = declared.wire
    if wire is not None and wire.atomic:
        return LEAF
    if wire is not None and wire.granular and declared.type.struct is not None:
        return shape_of(declared.type.struct)
    shape = _of_type(declared.type, wire)
    if (
        shape is LEAF
        and declared.type.struct is not None
        and not declared.nullable
        and declared.json_name != "selector"
    ):
        return _ATOMIC_BY_VALUE  # Selectors of that name are pointers upstream, though they are always required.
    if shape is LEAF and not declared.nullable and declared.type.kind in ("string", "integer", "number", "boolean"):
        return _SCALAR_BY_VALUE
    if shape.kind == "object" and not declared.nullable:
        return Shape("object", struct=declared.type.struct, is_always_there=True)
    if shape.kind == "items" and wire is not None and wire.required:
        return Shape("items", item=shape.item, keys=shape.keys, is_always_there=True)
    return shape


def _of_type(schema: TypeSchema, wire: Wire | None = None) -> Shape:
    match schema.kind:
        case "struct":
            assert schema.struct is not None
            return LEAF if is_atomic(schema.struct) else shape_of(schema.struct)
        case "map":
            assert schema.item is not None
            return Shape("map", item=_of_type(schema.item))
        case "list":
            assert schema.item is not None
            list_type = wire.list_type if wire is not None else ""
            if list_type == "map" and wire is not None and schema.item.struct is not None:
                return Shape("items", item=_of_type(schema.item), keys=wire.list_keys)
            return Shape("set", item=LEAF) if list_type == "set" else LEAF
        case "any" if schema.form != "int-or-string":
            return UNTYPED
    return LEAF


def is_atomic(struct: type[Struct]) -> bool:
    """Return whether upstream declares a struct as atomic wherever it is used."""
    package, name = struct.__module__, struct.__name__
    if any(name == other and package.startswith(where) for where, other in _ATOMIC_OF_PACKAGE):
        return True
    return name in _ATOMIC_TYPES
