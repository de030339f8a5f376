"""OpenAPI made from the declarations: one v3 document a group version, an index with hashes, and one v2 document.

kubectl cannot do without: apply and edit read merge keys from it, create and replace check fields, explain prints it,
and all of them look at the parameters of PATCH to learn whether the server validates fields. `documents` maps
`api/v1` or `apis/apps/v1` to what is served below `/openapi/v3/`; with `?hash=` in the URL it never changes, so clients
may keep it (KEP-2896).
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from api.custom import CustomShape, is_custom
from api.discover import KINDS, RESOURCES
from api.meta import DeleteOptions, ListMeta, ObjectMeta, Status
from api.patch.dispatch import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH
from api.patch.shape import is_atomic
from api.resource import Resource
from api.schema import FieldSchema, Struct, TypeSchema, fields_of, words_of
from apiserver import openapi_protobuf
from apiserver.discovery import subresource_of
from apiserver.registry.kinds import Kinds

Schema = dict[str, Any]

_REF_V3: Final = "#/components/schemas/"
_REF_V2: Final = "#/definitions/"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_CRD: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
_JSON: Final = "application/json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

_FORMS: Final[dict[str, tuple[str, Schema]]] = {
    "quantity": ("io.k8s.apimachinery.pkg.api.resource.Quantity", {"oneOf": [{"type": "string"}, {"type": "number"}]}),
    "int-or-string": (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    ),
    "date-time": (f"{_META}.Time", {"type": "string", "format": "date-time"}),
    "micro-time": (f"{_META}.MicroTime", {"type": "string", "format": "date-time"}),
    "duration": (f"{_META}.Duration", {"type": "string"}),
    "fields": (f"{_META}.FieldsV1", {"type": "object"}),
    "raw": ("io.k8s.apimachinery.pkg.runtime.RawExtension", {"type": "object"}),
    "json": (f"{_CRD}.JSON", {}),
    "schema-or-bool": (f"{_CRD}.JSONSchemaPropsOrBool", {}),
    "schema-or-array": (f"{_CRD}.JSONSchemaPropsOrArray", {}),
    "schema-or-strings": (f"{_CRD}.JSONSchemaPropsOrStringArray", {}),
}
_FORMS_V2: Final[dict[str, Schema]] = {
    "quantity": {"type": "string"},
    "int-or-string": {"type": "string", "format": "int-or-string"},
}


@dataclass(frozen=True, slots=True)
class Document:
    """One encoded document; `hash` names its content."""

    json: bytes
    """Its JSON; the protobuf form's bytes where that was asked for."""
    hash: str


def _document(content: Mapping[str, Any]) -> Document:
    encoded = msgspec.json.encode(content)
    return Document(encoded, _hash(encoded))


def _hash(encoded: bytes) -> str:
    return hashlib.sha512(encoded).hexdigest().upper()


def documents(kinds: Kinds | None = None) -> Mapping[str, Document]:
    """Return the v3 documents by the path below `/openapi/v3/`, such as `apis/apps/v1`."""
    return _documents(kinds.custom) if kinds is not None else _built_in()


@functools.cache
def _built_in() -> Mapping[str, Document]:
    pairs = sorted({(resource.group, resource.version) for resource in RESOURCES})
    return {_prefix(group, version): _document(_build(group, version, RESOURCES)) for group, version in pairs}


@functools.lru_cache(maxsize=4)
def _documents(custom: tuple[Resource[Any], ...]) -> Mapping[str, Document]:
    found = dict(_built_in())
    for group, version in sorted({(resource.group, resource.version) for resource in custom}):
        members = tuple(one for one in custom if (one.group, one.version) == (group, version))
        found.setdefault(_prefix(group, version), _custom_document(members))
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=512)
def _custom_document(members: tuple[Resource[Any], ...]) -> Document:
    return _document(_build(members[0].group, members[0].version, members))


def index(kinds: Kinds | None = None) -> Document:
    """Return the document at `/openapi/v3`: where each group version's is, with its hash."""
    return _index(kinds.custom if kinds is not None else ())


@functools.lru_cache(maxsize=4)
def _index(custom: tuple[Resource[Any], ...]) -> Document:
    return _document(
        {
            "paths": {
                path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={document.hash}"}
                for path, document in _documents(custom).items()
            }
        }
    )


def document_v2(kinds: Kinds | None = None) -> Document:
    """Return the one v2 document, with all kinds, in JSON."""
    return _document_v2(kinds.custom if kinds is not None else ())


@functools.lru_cache(maxsize=2)
def _document_v2(custom: tuple[Resource[Any], ...]) -> Document:
    return _document(_build_v2(custom))


def document_v2_protobuf(kinds: Kinds | None = None) -> Document:
    """Return the v2 document in the form that older clients of the API ask for (`openapi_protobuf.MEDIA_TYPE`)."""
    return _document_v2_protobuf(kinds.custom if kinds is not None else ())


@functools.lru_cache(maxsize=2)
def _document_v2_protobuf(custom: tuple[Resource[Any], ...]) -> Document:
    encoded = openapi_protobuf.encode(_build_v2(custom))
    return Document(encoded, _hash(encoded))


def _build_v2(custom: tuple[Resource[Any], ...]) -> Schema:
    built_in = _built_in_v2()
    definitions = _Definitions(_REF_V2, _FORMS_V2)
    paths: dict[str, Any] = {}
    for resource in custom:
        for path, item in _paths(resource, definitions).items():
            paths[path] = _path_v2(item)
    found = {**definitions.found, **built_in["definitions"]}
    return {**built_in, "paths": {**paths, **built_in["paths"]}, "definitions": dict(sorted(found.items()))}


@functools.cache
def _built_in_v2() -> Schema:
    definitions = _Definitions(_REF_V2, _FORMS_V2)
    paths: dict[str, Any] = {}
    for resource in RESOURCES:
        for path, item in _paths(resource, definitions).items():
            paths[path] = _path_v2(item)
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.32.0"},
        "paths": paths,
        "definitions": definitions.found,
    }


def _prefix(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _build(group: str, version: str, resources: Iterable[Resource[Any]]) -> Schema:
    definitions = _Definitions(_REF_V3, {})
    paths: dict[str, Any] = {}
    for resource in resources:
        if (resource.group, resource.version) == (group, version):
            paths |= _paths(resource, definitions)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.32.0"},
        "paths": paths,
        "components": {"schemas": dict(sorted(definitions.found.items()))},
    }


# --- schemas --------------------------------------------------------------------------------------------------------


@functools.cache
def _kinds() -> dict[type[Struct], Resource[Any]]:
    return {resource.type: resource for resource in KINDS}


def name_of(struct: type[Any]) -> str:
    """Return the name clients know a type by, such as `io.k8s.api.apps.v1.Deployment`."""
    if is_custom(struct):
        return struct.shape.openapi_name
    module = struct.__module__.split(".")
    if module[1] == "meta":
        return f"{_META}.{struct.__name__}"
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


class _Definitions:
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
            schema = shape.openapi(v2=self._prefix == _REF_V2, metadata=self._wrap(self.ref(ObjectMeta)))
            schema["x-kubernetes-group-version-kind"] = [_gvk(shape.group, shape.version, shape.name)]
            self.found[name] = schema
        return {"$ref": self._prefix + name}

    def list_ref(self, resource: Resource[Any]) -> Schema:
        """Return a reference to the list of a kind."""
        name = f"{name_of(resource.type)}List"
        if name not in self.found:
            self.found[name] = {
                "type": "object",
                "required": ["items"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "items": {"type": "array", "items": self._wrap(self.ref(resource.type))},
                    "kind": {"type": "string"},
                    "metadata": self._wrap(self.ref(ListMeta)),
                },
                "x-kubernetes-group-version-kind": [_gvk(resource.group, resource.version, f"{resource.kind}List")],
            }
        return {"$ref": self._prefix + name}

    def _wrap(self, ref: Schema, *, with_default: bool = True) -> Schema:
        """Return a reference that can have siblings, which v3 forbids beside a bare `$ref`."""
        if self._prefix == _REF_V2:
            return ref
        return {"allOf": [ref]} | ({"default": {}} if with_default else {})

    def _struct(self, struct: type[Struct]) -> Schema:
        words = words_of(struct)
        properties = {
            name: self._field(field, words.fields.get(field.name, ""))
            for name, field in sorted(fields_of(struct).items())
        }
        schema: Schema = {"type": "object"}
        if words.summary:
            schema["description"] = words.summary
        required = sorted(
            name for name, field in fields_of(struct).items() if field.wire is not None and field.wire.required
        )
        if required:
            schema["required"] = required
        schema["properties"] = properties
        if is_atomic(struct):
            schema["x-kubernetes-map-type"] = "atomic"
        kind = _kinds().get(struct)
        if kind is not None:
            schema["x-kubernetes-group-version-kind"] = [_gvk(kind.group, kind.version, kind.kind)]
        elif struct is DeleteOptions:
            pairs = sorted({("", "v1"), *((resource.group, resource.version) for resource in RESOURCES)})
            schema["x-kubernetes-group-version-kind"] = [_gvk(*pair, "DeleteOptions") for pair in pairs]
        elif struct is Status:
            schema["x-kubernetes-group-version-kind"] = [_gvk("", "v1", "Status")]
        return schema

    def _field(self, field: FieldSchema, description: str) -> Schema:
        schema = dict(self._type(field.type, with_default=not field.nullable))
        if description:
            schema["description"] = description
        wire = field.wire
        if wire is None:
            return schema
        if (
            wire.required
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
            self.found.setdefault(name, dict(self._overrides.get(schema.form, definition)))
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
        if item.kind == "string" and not item.form:
            schema["default"] = ""
        return schema


def _gvk(group: str, version: str, kind: str) -> dict[str, str]:
    return {"group": group, "kind": kind, "version": version}


# --- paths ----------------------------------------------------------------------------------------------------------


def _parameter(name: str, type_: str, description: str) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": {"type": type_, "uniqueItems": True}}


_PRETTY: Final = _parameter("pretty", "string", "Whether to indent the answer.")
_DRY_RUN: Final = _parameter("dryRun", "string", "`All`: do everything but store the result.")
_FIELD_MANAGER: Final = _parameter("fieldManager", "string", "Who makes this change.")
_FIELD_VALIDATION: Final = _parameter(
    "fieldValidation", "string", "What to do about unknown and duplicate fields: Ignore, Warn or Strict."
)
_FORCE: Final = _parameter("force", "boolean", "Server-side apply: take over fields that others manage.")
_WRITE: Final = (_DRY_RUN, _FIELD_MANAGER, _FIELD_VALIDATION)
_DELETE: Final = (
    _DRY_RUN,
    _parameter("gracePeriodSeconds", "integer", "How long the object may take to end; 0 is at once."),
    _parameter("orphanDependents", "boolean", "Superseded by propagationPolicy."),
    _parameter("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
)
_LIST: Final = (
    _parameter("allowWatchBookmarks", "boolean", "Send bookmarks, which only say how far the watch has come."),
    _parameter("continue", "string", "Where the previous page ended."),
    _parameter("fieldSelector", "string", "Only objects whose fields match."),
    _parameter("labelSelector", "string", "Only objects whose labels match."),
    _parameter("limit", "integer", "How many objects a page holds at most."),
    _parameter("resourceVersion", "string", "How fresh the answer must be."),
    _parameter("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    _parameter("sendInitialEvents", "boolean", "Begin a watch with the objects there are."),
    _parameter("timeoutSeconds", "integer", "When to end the call, whatever happens."),
    _parameter("watch", "boolean", "Stream changes instead of listing."),
)


def _in_path(name: str, description: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "description": description,
        "required": True,
        "schema": {"type": "string", "uniqueItems": True},
    }


def _paths(resource: Resource[Any], definitions: _Definitions) -> dict[str, Any]:
    base = f"/{_prefix(resource.group, resource.version)}"
    scope = f"{base}/namespaces/{{namespace}}" if resource.namespaced else base
    shared = [_PRETTY]
    if resource.namespaced:
        shared = [_in_path("namespace", "Whose objects are meant."), _PRETTY]
    named = [_in_path("name", f"The name of the {resource.kind}."), *shared]
    maker = _Operations(resource, definitions)
    paths: dict[str, Any] = {}
    everywhere = maker.only({"get": ("list", "ForAllNamespaces")})
    if resource.namespaced and everywhere:
        paths[f"{base}/{resource.plural}"] = {**everywhere, "parameters": [*_LIST, _PRETTY]}
    collection = maker.only({"get": ("list", ""), "post": ("create", ""), "delete": ("deletecollection", "")})
    paths[f"{scope}/{resource.plural}"] = {**collection, "parameters": shared}
    item = maker.only({"get": ("get", ""), "put": ("update", ""), "patch": ("patch", ""), "delete": ("delete", "")})
    if item:
        paths[f"{scope}/{resource.plural}/{{name}}"] = {**item, "parameters": named}
    for name in sorted(resource.subresources):
        operations = maker.subresource(name)
        paths[f"{scope}/{resource.plural}/{{name}}/{name}"] = {**operations, "parameters": named}
    return paths


_METHODS: Final = {"create": "post", "update": "put", "patch": "patch", "get": "get", "delete": "delete"}
_ACTIONS: Final = {"create": "post", "update": "put"}
_ID_VERBS: Final = {"get": "read", "update": "replace"}
_CONNECTED: Final = ("Attach", "Exec", "Portforward", "Proxy")
"""Subresources that are a connection rather than an object."""


def _api_name(group: str) -> str:
    """Return a group as operations are named after it: `core`, `apps`, `rbacAuthorization`."""
    first, *rest = (group or "core").removesuffix(".k8s.io").split(".")
    return first + "".join(_title(word) for word in rest)


class _Operations:
    """The operations of one resource."""

    def __init__(self, resource: Resource[Any], definitions: _Definitions) -> None:
        self._resource = resource
        self._definitions = definitions

    def only(self, methods: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        """Return the operations for those verbs that the resource has; `methods` maps to (verb, suffix of its id)."""
        resource = self._resource
        gvk = _gvk(resource.group, resource.version, resource.kind)
        return {
            method: self._operation(verb, gvk, self._definitions.ref(resource.type), suffix)
            for method, (verb, suffix) in methods.items()
            if verb in resource.verbs
        }

    def subresource(self, name: str) -> dict[str, Any]:
        """Return the operations of a subresource."""
        shown = subresource_of(self._resource, name)
        kind = next(
            (
                kind
                for kind in KINDS
                if (kind.group, kind.version, kind.kind) == (shown.group, shown.version, shown.kind)
            ),
            None,
        )
        ref = self._definitions.ref(kind.type) if kind is not None else {"type": "string"}
        gvk = _gvk(shown.group or "", shown.version, shown.kind)
        methods = {"create": "post", "update": "put", "patch": "patch", "get": "get", "delete": "delete"}
        return {methods[verb]: self._operation(verb, gvk, ref, _title(name)) for verb in methods if verb in shown.verbs}

    def _id(self, verb: str, suffix: str) -> str:
        """Return the name that generated clients give this call, such as `replaceAppsV1NamespacedDeploymentScale`."""
        resource = self._resource
        words = [_title(_api_name(resource.group)), _title(resource.version)]
        if verb == "deletecollection":
            verb = "delete"
            words.append("Collection")
        if suffix and suffix in _CONNECTED:
            words.append(_title(_METHODS[verb]))
            verb = "connect"
        if resource.namespaced and suffix != "ForAllNamespaces":
            words.append("Namespaced")
        return f"{_ID_VERBS.get(verb, verb)}{''.join(words)}{resource.kind}{suffix}"

    def _operation(self, verb: str, gvk: dict[str, str], ref: Schema, suffix: str) -> Schema:
        resource, definitions = self._resource, self._definitions
        is_connect = suffix in _CONNECTED
        answers: dict[str, Schema] = {"200": ref}
        parameters: Iterable[Schema] = ()
        body: Mapping[str, Schema] | None = None
        match "connect" if is_connect else verb:
            case "list":
                answers = {"200": definitions.list_ref(resource)}
                parameters = () if suffix else _LIST
            case "create":
                answers = {"200": ref, "201": ref, "202": ref}
                parameters, body = _WRITE, {"*/*": ref}
            case "update":
                answers = {"200": ref, "201": ref}
                parameters, body = _WRITE, {"*/*": ref}
            case "patch":
                answers = {"200": ref, "201": ref}
                any_object: Schema = {"type": "object"}
                parameters = (*_WRITE, _FORCE)
                body = dict.fromkeys(_patches(resource), any_object)
            case "delete" | "deletecollection":
                status = definitions.ref(Status)
                answers = {"200": status, "202": status} if verb == "delete" else {"200": status}
                parameters = _DELETE if verb == "delete" else (*_DELETE, *_LIST[1:6])
                body = {"*/*": definitions.ref(DeleteOptions)}
        operation: Schema = {
            "tags": [f"{_api_name(resource.group)}_{resource.version}"],
            "operationId": self._id(verb, suffix),
            "parameters": list(parameters),
            "responses": {
                code: {"description": "OK", "content": {_JSON: {"schema": answer}}} for code, answer in answers.items()
            }
            | {"401": {"description": "Unauthorized"}},
            "x-kubernetes-action": "connect" if is_connect else _ACTIONS.get(verb, verb),
            "x-kubernetes-group-version-kind": gvk,
        }
        if body is not None:
            operation["requestBody"] = {
                "content": {media: {"schema": schema} for media, schema in body.items()},
                "required": verb in ("create", "update", "patch"),
            }
        return operation


def _patches(resource: Resource[Any]) -> tuple[str, ...]:
    """Return the media types of patches that a kind takes; kubectl chooses its own kind of patch by them."""
    if is_custom(resource.type):
        return (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    return (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH)


def _title(word: str) -> str:
    return word[:1].upper() + word[1:]


# --- version 2 ------------------------------------------------------------------------------------------------------


def _path_v2(item: Mapping[str, Any]) -> Schema:
    converted: dict[str, Any] = {}
    for key, value in item.items():
        if key == "parameters":
            converted[key] = [_parameter_v2(parameter) for parameter in value]
        else:
            converted[key] = _operation_v2(value)
    return converted


def _parameter_v2(parameter: Schema) -> Schema:
    converted: Schema = {key: value for key, value in parameter.items() if key != "schema"}
    return converted | dict(parameter["schema"])


def _operation_v2(operation: Schema) -> Schema:
    converted = {key: value for key, value in operation.items() if key != "requestBody"}
    converted["parameters"] = [_parameter_v2(parameter) for parameter in operation["parameters"]]
    body = operation.get("requestBody")
    if body is not None:
        schema = next(iter(body["content"].values()))["schema"]
        converted["parameters"].append({"name": "body", "in": "body", "required": body["required"], "schema": schema})
        converted["consumes"] = list(body["content"])
    converted["produces"] = [_JSON]
    converted["responses"] = {
        code: {"description": answer["description"]}
        | ({"schema": answer["content"][_JSON]["schema"]} if "content" in answer else {})
        for code, answer in operation["responses"].items()
    }
    return converted
