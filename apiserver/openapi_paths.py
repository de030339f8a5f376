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
from apiserver.registry.deletion import ANSWERS_WITH_OBJECT

_JSON: Final = "application/json"
_YAML: Final = "application/yaml"
_PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_WATCHED: Final = f"{_JSON};stream=watch", f"{_PROTOBUF};stream=watch"
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
    _parameter(
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete even what cannot be read, without finalizers and preconditions.",
    ),
    _parameter("orphanDependents", "boolean", "Superseded by propagationPolicy."),
    _parameter("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
)
_VERSION: Final = _parameter("resourceVersion", "string", "How fresh the answer must be.")
_LIST: Final = (
    _parameter("allowWatchBookmarks", "boolean", "Send bookmarks, which only say how far the watch has come."),
    _parameter("continue", "string", "Where the previous page ended."),
    _parameter("fieldSelector", "string", "Only objects whose fields match."),
    _parameter("labelSelector", "string", "Only objects whose labels match."),
    _parameter("limit", "integer", "How many objects a page holds at most."),
    _VERSION,
    _parameter("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    _parameter("sendInitialEvents", "boolean", "Begin a watch with the objects there are."),
    _parameter("timeoutSeconds", "integer", "When to end the call, whatever happens."),
    _parameter("watch", "boolean", "Stream changes instead of listing."),
)
_OF_COLLECTION: Final = tuple(one for one in _LIST if one["name"] not in ("allowWatchBookmarks", "watch"))
_CONTAINER: Final = _parameter("container", "string", "Which container; the only one by default.")
_STREAMS: Final = (
    _CONTAINER,
    _parameter("stderr", "boolean", "Whether to send the standard error stream."),
    _parameter("stdin", "boolean", "Whether to take the standard input stream."),
    _parameter("stdout", "boolean", "Whether to send the standard output stream."),
    _parameter("tty", "boolean", "Whether the streams are those of a terminal."),
)
_CONNECTED: Final[Mapping[str, tuple[Schema, ...]]] = {
    "attach": _STREAMS,
    "exec": (_parameter("command", "string", "The program, and its arguments one by one; no shell."), *_STREAMS),
    "portforward": (_parameter("ports", "integer", "Which ports of the pod."),),
    "proxy": (_parameter("path", "string", "Which path there; / by default."),),
}
"""Subresources that are a connection rather than an object, with what can be asked of them."""
_LOG: Final = (
    _CONTAINER,
    _parameter("follow", "boolean", "Go on as more is written."),
    _parameter("insecureSkipTLSVerifyBackend", "boolean", "Do not check the certificate of the node."),
    _parameter("limitBytes", "integer", "End after so many bytes, be it within a line."),
    _parameter("previous", "boolean", "The log of the container's former run."),
    _parameter("sinceSeconds", "integer", "Only what is not older than so many seconds."),
    _parameter("stream", "string", "Which stream: All (the default), Stdout or Stderr."),
    _parameter("tailLines", "integer", "Only so many lines from the end."),
    _parameter("timestamps", "boolean", "Begin each line with its time."),
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
    shared = (_in_path("namespace", "Whose objects are meant."),) if resource.namespaced else ()
    named = (_in_path("name", f"The name of the {resource.kind}."), *shared)
    maker = _Operations(resource, definitions)
    paths: dict[str, Any] = {}
    everywhere = maker.only({"get": ("list", "ForAllNamespaces")})
    if resource.namespaced and everywhere:
        paths[f"{base}/{resource.plural}"] = _item((_PRETTY,), everywhere)
    collection = maker.only({"get": ("list", ""), "post": ("create", ""), "delete": ("deletecollection", "")})
    paths[f"{scope}/{resource.plural}"] = _item((*shared, _PRETTY), collection)
    item = maker.only({"get": ("get", ""), "put": ("update", ""), "patch": ("patch", ""), "delete": ("delete", "")})
    if item:
        paths[f"{scope}/{resource.plural}/{{name}}"] = _item((*named, _PRETTY), item)
    for name in sorted(resource.subresources):
        below = f"{scope}/{resource.plural}/{{name}}/{name}"
        operations = maker.subresource(name)
        if name not in _CONNECTED:
            paths[below] = _item((*named, _PRETTY, *(_LOG if name == "log" else ())), operations)
            continue
        paths[below] = _item((*named, *_CONNECTED[name]), operations)
        if name == "proxy":
            rest = _in_path("path", "Which path there.")
            paths[f"{below}/{{path}}"] = _item((*named, rest, *_CONNECTED[name]), maker.subresource(name, "WithPath"))
    if "watch" in resource.verbs and not is_custom(resource.type):
        paths |= _old_watches(resource, base, shared, named, maker)
    return paths


def _old_watches(
    resource: Resource[Any], base: str, shared: Iterable[Schema], named: Iterable[Schema], maker: _Operations
) -> dict[str, Any]:
    """Return the paths that are watched by being asked for."""
    everywhere = f"{base}/watch/{resource.plural}"
    if not resource.namespaced:
        return {
            everywhere: _item((_PRETTY,), maker.only({"get": ("watchlist", "List")})),
            f"{everywhere}/{{name}}": _item((*named, _PRETTY), maker.only({"get": ("watch", "")})),
        }
    within = f"{base}/watch/namespaces/{{namespace}}/{resource.plural}"
    return {
        everywhere: _item((_PRETTY,), maker.only({"get": ("watchlist", "ListForAllNamespaces")})),
        within: _item((*shared, _PRETTY), maker.only({"get": ("watchlist", "List")})),
        f"{within}/{{name}}": _item((*named, _PRETTY), maker.only({"get": ("watch", "")})),
    }


def _item(parameters: Iterable[Schema], operations: dict[str, Any]) -> dict[str, Any]:
    """Return what is at one path; what all of its operations can be asked is said once."""
    first, *others = operations.values()
    common = [one for one in first["parameters"] if all(one in other["parameters"] for other in others)]
    for operation in operations.values():
        operation["parameters"] = [one for one in operation["parameters"] if one not in common]
    return {**operations, "parameters": sorted([*parameters, *common], key=lambda one: str(one["name"]))}


_METHODS: Final = {"create": "post", "update": "put", "patch": "patch", "get": "get", "delete": "delete"}
_PROXIED: Final = ("delete", "get", "head", "options", "patch", "post", "put")
"""What a proxy takes."""
_ACTIONS: Final = {"create": "post", "update": "put"}
_ID_VERBS: Final = {"get": "read", "update": "replace", "watchlist": "watch"}


def api_name(group: str) -> str:
    """Return a group as operations are named after it: `core`, `apps`, `rbacAuthorization`."""
    first, *rest = (group or "core").removesuffix(".k8s.io").split(".")
    return first + "".join(title(word) for word in rest)


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
            if verb.removesuffix("list") in resource.verbs or verb in resource.verbs
        }

    def subresource(self, name: str, beyond: str = "") -> dict[str, Any]:
        """Return the operations of a subresource; `beyond` ends their ids."""
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
        if is_custom(self._resource.type):  # Of these upstream names the kind itself, also where a Scale is shown.
            gvk = group_version_kind(self._resource.group, self._resource.version, self._resource.kind)
            ref = ref if kind is not None else self._definitions.ref(self._resource.type)
        if name in _CONNECTED:
            methods = _PROXIED if name == "proxy" else tuple(_METHODS[verb] for verb in shown.verbs)
            return {method: self._connection(method, gvk, f"{title(name)}{beyond}") for method in methods}
        if name == "log":
            ref = {"type": "string"}
        return {
            _METHODS[verb]: self._operation(verb, gvk, ref, title(name)) for verb in _METHODS if verb in shown.verbs
        }

    def _id(self, verb: str, suffix: str) -> str:
        """Return the name that generated clients give this call, such as `replaceAppsV1NamespacedDeploymentScale`."""
        resource = self._resource
        words = [title(api_name(resource.group)), title(resource.version)]
        if verb == "deletecollection":
            verb = "delete"
            words.append("Collection")
        if verb.startswith("connect"):
            words.append(title(verb.removeprefix("connect")))
            verb = "connect"
        if resource.namespaced and not suffix.endswith("ForAllNamespaces"):
            words.append("Namespaced")
        return f"{_ID_VERBS.get(verb, verb)}{''.join(words)}{resource.kind}{suffix}"

    def _operation(self, verb: str, gvk: dict[str, str], ref: Schema, suffix: str) -> Schema:
        resource, definitions = self._resource, self._definitions
        answers: dict[str, Schema] = {"200": ref}
        parameters: Iterable[Schema] = ()
        body: Mapping[str, Schema] | None = None
        # Upstream makes the operations of custom kinds in a place of its own, and says a little more, or less.
        custom = is_custom(resource.type)
        media = _PLAIN if custom else (*_PLAIN, _PROTOBUF)
        taken = _PLAIN if custom else ("*/*",)
        match verb:
            case "get" if suffix == "Log":
                media = ("text/plain", *media)
            case "get" if custom:
                parameters = (_VERSION,)
            case "list":
                answers = {"200": definitions.list_ref(resource)}
                parameters = _LIST
                media = media if custom else (*media, *_WATCHED)
            case "watch" | "watchlist":
                answers = {"200": definitions.watch_event_ref()}
                parameters = _LIST
                media = (*media, *_WATCHED)
            case "create":
                answers = {"200": ref, "201": ref, "202": ref}
                parameters, body = _WRITE, dict.fromkeys(taken, ref)
            case "update":
                answers = {"200": ref, "201": ref}
                parameters, body = _WRITE, dict.fromkeys(taken, ref)
            case "patch":
                answers = {"200": ref} if custom else {"200": ref, "201": ref}
                parameters = (*_WRITE, _FORCE)
                body = dict.fromkeys(_patches(resource), definitions.patch_ref())
            case "deletecollection" if custom:
                answers = {"200": definitions.ref(Status)}
                parameters = _LIST
            case "delete" | "deletecollection":
                is_one = verb == "delete"
                answer = ref if is_one and resource.group_resource in ANSWERS_WITH_OBJECT else definitions.ref(Status)
                answers = {"200": answer, "202": answer} if is_one else {"200": answer}
                parameters = _DELETE if is_one else (*_DELETE, *_OF_COLLECTION)
                body = dict.fromkeys(taken, definitions.ref(DeleteOptions))
        operation: Schema = {
            "tags": [f"{api_name(resource.group)}_{resource.version}"],
            "operationId": self._id(verb, suffix),
            "parameters": list(parameters),
            "responses": {
                code: {"description": _CODES[code], "content": {each: {"schema": answer} for each in media}}
                for code, answer in answers.items()
            }
            | _UNAUTHORIZED,
            "x-kubernetes-action": _ACTIONS.get(verb, verb),
            "x-kubernetes-group-version-kind": gvk,
        }
        if body is not None:
            operation["requestBody"] = {
                "content": {media: {"schema": schema} for media, schema in body.items()},
            } | ({"required": True} if verb in ("create", "update", "patch") else {})
        return operation

    def _connection(self, method: str, gvk: dict[str, str], suffix: str) -> Schema:
        resource = self._resource
        return {
            "tags": [f"{api_name(resource.group)}_{resource.version}"],
            "operationId": self._id(f"connect{method}", suffix),
            "parameters": [],
            "responses": {"200": {"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}}}
            | _UNAUTHORIZED,
            "x-kubernetes-action": "connect",
            "x-kubernetes-group-version-kind": gvk,
        }


_CODES: Final = {"200": "OK", "201": "Created", "202": "Accepted"}
_UNAUTHORIZED: Final = {"401": {"description": "Unauthorized"}}
_PLAIN: Final = (_JSON, _YAML)


def _patches(resource: Resource[Any]) -> tuple[str, ...]:
    """Return the media types of patches that a kind takes; kubectl chooses its own kind of patch by them."""
    if is_custom(resource.type):
        return (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    return (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH)


def title(word: str) -> str:
    """Return a word as it stands within a name."""
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
        required = {"required": True} if "required" in body else {}
        converted["parameters"].insert(0, {"name": "body", "in": "body", **required, "schema": schema})
    converted["consumes"] = list(body["content"]) if body is not None else ["*/*"]
    converted["produces"] = list(operation["responses"]["200"]["content"])
    converted["schemes"] = ["https"]
    converted["responses"] = {
        code: {"description": answer["description"]}
        | ({"schema": next(iter(answer["content"].values()))["schema"]} if "content" in answer else {})
        for code, answer in operation["responses"].items()
    }
    return converted
