"""OpenAPI paths: which operations a resource has, with their parameters and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.custom import is_custom
from api.discover import KINDS
from api.meta import DeleteOptions, Status
from api.patch.dispatch import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH
from api.resource import Resource
from apiserver.discovery import subresource_of
from apiserver.openapi_schemas import Definitions, Schema, group_version_kind

_JSON: Final = "application/json"
APPLY_PATCH: Final = "application/apply-patch+yaml"


def prefix(group: str, version: str) -> str:
    """Return where a group version is served: `api/v1`, `apis/apps/v1`."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


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


def paths_of(resource: Resource[Any], definitions: Definitions) -> dict[str, Any]:
    """Return what a resource answers, by path; `definitions` gets the schemas that are spoken of."""
    base = f"/{prefix(resource.group, resource.version)}"
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

    def __init__(self, resource: Resource[Any], definitions: Definitions) -> None:
        self._resource = resource
        self._definitions = definitions

    def only(self, methods: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        """Return the operations for those verbs that the resource has; `methods` maps to (verb, suffix of its id)."""
        resource = self._resource
        gvk = group_version_kind(resource.group, resource.version, resource.kind)
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
        gvk = group_version_kind(shown.group or "", shown.version, shown.kind)
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


def path_v2(item: Mapping[str, Any]) -> Schema:
    """Return what is at one path in the words of version 2."""
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
