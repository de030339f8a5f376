"""OpenAPI schemas of built-in and custom kinds, made from their declarations."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from api.custom import CustomShape, is_custom
from api.discover import KINDS, RESOURCES
from api.meta import DeleteOptions, ListMeta, ObjectMeta, Status
from api.patch.shape import is_atomic
from api.resource import Resource
from api.schema import TYPE_META, FieldSchema, Struct, TypeSchema, fields_of, words_of
from apiserver.crd.openapi import SELECTABLE
from apiserver.openapi_enums import ENUMS

Schema = dict[str, Any]

REF_V3: Final = "#/components/schemas/"
REF_V2: Final = "#/definitions/"
META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_CRD: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"

_FORMS: Final[dict[str, tuple[str, Schema]]] = {
    "quantity": ("io.k8s.apimachinery.pkg.api.resource.Quantity", {"oneOf": [{"type": "string"}, {"type": "number"}]}),
    "int-or-string": (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    ),
    "date-time": (f"{META}.Time", {"type": "string", "format": "date-time"}),
    "micro-time": (f"{META}.MicroTime", {"type": "string", "format": "date-time"}),
    "duration": (f"{META}.Duration", {"type": "string"}),
    "fields": (f"{META}.FieldsV1", {"type": "object"}),
    "raw": ("io.k8s.apimachinery.pkg.runtime.RawExtension", {"type": "object"}),
    "json": (f"{_CRD}.JSON", {}),
    "schema-or-bool": (f"{_CRD}.JSONSchemaPropsOrBool", {}),
    "schema-or-array": (f"{_CRD}.JSONSchemaPropsOrArray", {}),
    "schema-or-strings": (f"{_CRD}.JSONSchemaPropsOrStringArray", {}),
}
_FORM_WORDS: Final = {
    "quantity": "An exact amount: a number with at most three digits after the point and a suffix, of tens (m, k, M, "
    "G, T, P, E), of twos (Ki, Mi, Gi, Ti, Pi, Ei) or an exponent (1e3). 0.1 is the same as 100m.",
    "int-or-string": "A whole number, or a text, such as the name of a port or a share in percent.",
    "date-time": "A time in RFC 3339, in UTC and to the second, such as 2024-01-31T12:00:00Z.",
    "micro-time": "A time in RFC 3339, in UTC and to the microsecond, such as 2024-01-31T12:00:00.000000Z.",
    "duration": "A span of time, such as 1h30m or 500ms.",
    "fields": "A set of fields as a tree: f:NAME is a field, k:{...} a list item by its keys, v:VALUE a member of a "
    "set, i:N an item by its place, and . the thing itself.",
    "raw": "An object of any kind, which is passed on as it is.",
    "json": "Any JSON value.",
    "schema-or-bool": "A schema; or true for any value, false for none.",
    "schema-or-array": "A schema, or a list of them.",
    "schema-or-strings": "A schema, or a list of names of fields.",
}
"""What is said of the types that fields of such a form have."""
FORMS_V2: Final[dict[str, Schema]] = {
    "quantity": {"type": "string"},
    "int-or-string": {"type": "string", "format": "int-or-string"},
}


@functools.cache
def _kinds() -> dict[type[Struct], Resource[Any]]:
    return {resource.type: resource for resource in KINDS}


def name_of(struct: type[Any]) -> str:
    """Return the name clients know a type by, such as `io.k8s.api.apps.v1.Deployment`."""
    if is_custom(struct):
        return struct.shape.openapi_name
    module = struct.__module__.split(".")
    if module[1] == "meta":
        return f"{META}.{struct.__name__}"
    version = module[2] if _is_version(module[2]) else "v1"
    package = _PACKAGES.get(module[1], f"io.k8s.api.{module[1]}")
    return f"{package}.{version}.{struct.__name__}"


_PACKAGES: Final = {
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
}
"""Groups whose types are known by other names than `io.k8s.api.GROUP`."""
_is_version: Final = re.compile("v[0-9]+((alpha|beta)[0-9]+)?").fullmatch
"""A version other than v1 is a folder below its group's: `api/autoscaling/v2/`."""


_UNIONS: Final = {
    "io.k8s.api.core.v1.AppArmorProfile": ("type", ("localhostProfile",)),
    "io.k8s.api.core.v1.SeccompProfile": ("type", ("localhostProfile",)),
    "io.k8s.api.flowcontrol.v1.LimitResponse": ("type", ("queuing",)),
    "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec": ("type", ("exempt", "limited")),
    "io.k8s.api.flowcontrol.v1.Subject": ("kind", ("group", "serviceAccount", "user")),
}
"""Types in which one field says which of others is set."""


class Definitions:
    """The schemas one document needs, found by following references."""

    def __init__(self, prefix: str, overrides: Mapping[str, Schema]) -> None:
        self._prefix = prefix
        self._overrides = overrides
        self.found: dict[str, Schema] = {}

    def ref(self, struct: type[Any]) -> Schema:
        """Return a reference to a struct's schema, or to a custom kind's, which is made if it is new."""
        if is_custom(struct):
            return self._custom_ref(struct.shape)
        name = name_of(struct)
        if name not in self.found:
            self.found[name] = {}
            self.found[name].update(self._struct(struct))
        return {"$ref": self._prefix + name}

    def _custom_ref(self, shape: CustomShape) -> Schema:
        name = shape.openapi_name
        if name not in self.found:
            metadata = self._described_ref(ObjectMeta, with_default=False)
            schema = shape.openapi(v2=self._prefix == REF_V2, metadata=metadata)
            schema["x-kubernetes-group-version-kind"] = [group_version_kind(shape.group, shape.version, shape.name)]
            self.found[name] = schema
        return {"$ref": self._prefix + name}

    def list_ref(self, resource: Resource[Any]) -> Schema:
        """Return a reference to the list of a kind."""
        name = f"{name_of(resource.type)}List"
        if name not in self.found:
            # Of custom kinds upstream says nothing more of an item than what it is; but by what they can be selected.
            is_own = not is_custom(resource.type)
            item = self.ref(resource.type)
            selectable = {} if is_own else {SELECTABLE: self.found[resource.type.shape.openapi_name].get(SELECTABLE)}
            self.found[name] = {
                "type": "object",
                "description": f"Objects of the kind {resource.kind}, and which version of the collection they are.",
                "required": ["items"],
                "properties": {
                    "apiVersion": {"description": TYPE_META["api_version"], "type": "string"},
                    "items": {
                        "description": "The objects, by namespace and name.",
                        "type": "array",
                        "items": self._wrap(item) if is_own else item,
                    },
                    "kind": {"description": TYPE_META["kind"], "type": "string"},
                    "metadata": self._described_ref(ListMeta, with_default=is_own),
                },
                "x-kubernetes-group-version-kind": [
                    group_version_kind(resource.group, resource.version, resource.lists)
                ],
                **{key: value for key, value in selectable.items() if value},
            }
        return {"$ref": self._prefix + name}

    def named(self, name: str, make: Callable[[], Schema]) -> Schema:
        """Return a reference to a schema that is not made of a declaration, but by `make` when it is new."""
        if name not in self.found:
            self.found[name] = {}
            self.found[name].update(make())
        return {"$ref": self._prefix + name}

    def item(self, ref: Schema) -> Schema:
        """Return a reference as it stands within another schema."""
        return self._wrap(ref)

    def watch_event_ref(self) -> Schema:
        """Return a reference to an event of a watch."""
        pairs = sorted({("", "v1"), *((resource.group, resource.version) for resource in RESOURCES)})
        return self.named(
            f"{META}.WatchEvent",
            lambda: {
                "type": "object",
                "description": "A change, as a watch tells it.",
                "required": ["type", "object"],
                "properties": {
                    "object": self._type(TypeSchema("any", form="raw"))
                    | {"description": "The object after it; before it, where it was deleted."},
                    "type": {"type": "string", "description": "ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."},
                },
                "x-kubernetes-group-version-kind": [group_version_kind(*pair, "WatchEvent") for pair in pairs],
            },
        )

    def patch_ref(self) -> Schema:
        """Return a reference to what a patch is, of whatever form."""
        name = f"{META}.Patch"
        self.found.setdefault(
            name, {"description": "What to change, in a form that Content-Type names.", "type": "object"}
        )
        return {"$ref": self._prefix + name}

    def _wrap(self, ref: Schema, *, with_default: bool = True) -> Schema:
        """Return a reference that can have siblings, which v3 forbids beside a bare `$ref`."""
        if self._prefix == REF_V2:
            return ref
        return {"allOf": [ref]} | ({"default": {}} if with_default else {})

    def _described_ref(self, struct: type[Struct], *, with_default: bool = True) -> Schema:
        return {**self._wrap(self.ref(struct), with_default=with_default), "description": words_of(struct).summary}

    def _struct(self, struct: type[Struct]) -> Schema:
        words, short = words_of(struct), ".".join(name_of(struct).split(".")[-3:])
        properties = {
            name: self._field(field, words.fields.get(field.name, ""), ENUMS.get(f"{short}.{name}"))
            for name, field in sorted(fields_of(struct).items())
        }
        schema: Schema = {"type": "object"}
        if words.summary:
            schema["description"] = words.summary
        required = [name for name, field in fields_of(struct).items() if field.wire is not None and field.wire.required]
        if required:
            schema["required"] = required
        if properties:
            schema["properties"] = properties
        if name_of(struct) in _UNIONS:
            key, fields = _UNIONS[name_of(struct)]
            alternatives = {name: name[:1].upper() + name[1:] for name in fields}
            schema["x-kubernetes-unions"] = [{"discriminator": key, "fields-to-discriminateBy": alternatives}]
        if is_atomic(struct):
            schema["x-kubernetes-map-type"] = "atomic"
        kind = _kinds().get(struct)
        if kind is not None:
            schema["x-kubernetes-group-version-kind"] = [group_version_kind(kind.group, kind.version, kind.kind)]
        elif struct is DeleteOptions:
            pairs = sorted({("", "v1"), *((resource.group, resource.version) for resource in RESOURCES)})
            schema["x-kubernetes-group-version-kind"] = [group_version_kind(*pair, "DeleteOptions") for pair in pairs]
        elif struct is Status:
            schema["x-kubernetes-group-version-kind"] = [group_version_kind("", "v1", "Status")]
        return schema

    def _field(self, field: FieldSchema, description: str, enum: list[str] | None) -> Schema:
        schema = dict(self._type(field.type, with_default=not field.nullable))
        if enum is not None:
            (schema.get("items") or schema.get("additionalProperties") or schema)["enum"] = enum
        if description:
            schema["description"] = description
        wire = field.wire
        if wire is None:
            return schema
        if (
            wire.required
            and self._prefix != REF_V2  # which is published without defaults
            and not field.nullable
            and field.type.kind in ("string", "integer", "boolean")
            and (not field.type.form or field.type.kind == "integer")
        ):
            schema["default"] = {"string": "", "integer": 0, "boolean": False}[field.type.kind]
        if wire.merge_key:
            schema["x-kubernetes-patch-merge-key"] = wire.merge_key
        if wire.has_patch:
            schema["x-kubernetes-patch-strategy"] = wire.patch
        if wire.list_type:
            schema["x-kubernetes-list-type"] = wire.list_type
        if wire.list_keys:
            schema["x-kubernetes-list-map-keys"] = list(wire.list_keys)
        if wire.atomic or wire.granular:
            schema["x-kubernetes-map-type"] = "atomic" if wire.atomic else "granular"
        return schema

    def _type(self, schema: TypeSchema, *, with_default: bool = True) -> Schema:
        if schema.form in _FORMS:
            name, definition = _FORMS[schema.form]
            described = {"description": _FORM_WORDS[schema.form], **self._overrides.get(schema.form, definition)}
            self.found.setdefault(name, described)
            return self._wrap({"$ref": self._prefix + name}, with_default=False)
        match schema.kind:
            case "struct":
                assert schema.struct is not None
                return self._wrap(self.ref(schema.struct), with_default=with_default)
            case "list":
                assert schema.item is not None
                return {"type": "array", "items": self._item(schema.item)}
            case "map":
                assert schema.item is not None
                return {"type": "object", "additionalProperties": self._item(schema.item)}
            case "integer":
                return {"type": "integer", "format": schema.form or "int64"}
            case "number":
                return {"type": "number", "format": "double"}
            case "bytes":
                return {"type": "string", "format": "byte"}
            case "any":
                return {"type": "object"}
        return {"type": schema.kind}

    def _item(self, item: TypeSchema) -> Schema:
        schema = dict(self._type(item))
        if item.kind == "string" and not item.form and self._prefix != REF_V2:
            schema["default"] = ""
        return schema


def group_version_kind(group: str, version: str, kind: str) -> dict[str, str]:
    """Return a kind as `x-kubernetes-group-version-kind` names it."""
    return {"group": group, "kind": kind, "version": version}
