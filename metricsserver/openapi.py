"""The OpenAPI v3 document of `metrics.k8s.io/v1beta1`, for `kubectl explain` and clients that read types. Pure."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

_GROUP, _VERSION = "metrics.k8s.io", "v1beta1"
_ROOT = f"apis/{_GROUP}/{_VERSION}"
_MODEL = "io.k8s.metrics.pkg.apis.metrics.v1beta1"

Document = dict[str, Any]


def _text(description: str, **more: str) -> Document:
    return {"type": "string", "description": description, **more}


def _list_of(item: str, description: str) -> Document:
    return {"type": "array", "description": description, "items": _ref(item)}


def _ref(model: str) -> Document:
    return {"$ref": f"#/components/schemas/{model}"}


def _kind(kind: str) -> Document:
    return {"group": _GROUP, "version": _VERSION, "kind": kind}


_TYPE: Final = {
    "apiVersion": _text("Which version of the API the object is in."),
    "kind": _text("What the object is."),
}
_USAGE: Final = {
    "type": "object",
    "description": "What is used now: cpu in cores, memory in bytes.",
    "additionalProperties": _text("A quantity, such as 250m or 64Mi."),
}


def _measured(kind: str, description: str, more: Document) -> Document:
    metadata = {"description": "Name, namespace and labels of what was measured.", "type": "object"}
    properties = {
        **_TYPE,
        "metadata": metadata,
        "timestamp": _text("The end of the time that was measured.", format="date-time"),
        "window": _text("How long was measured, such as 15s."),
        **more,
    }
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": ["timestamp", "window", *more],
        "x-kubernetes-group-version-kind": [_kind(kind)],
    }


def _list(kind: str) -> Document:
    return {
        "type": "object",
        "description": f"Several {kind}.",
        "properties": {
            **_TYPE,
            "metadata": {"description": "Of the list.", "type": "object"},
            "items": _list_of(f"{_MODEL}.{kind}", "What was measured, each."),
        },
        "required": ["items"],
        "x-kubernetes-group-version-kind": [_kind(f"{kind}List")],
    }


_CONTAINER: Final = {
    "type": "object",
    "description": "What one container uses.",
    "properties": {"name": _text("The container's name in the pod."), "usage": _USAGE},
    "required": ["name", "usage"],
}
_SCHEMAS: Final = {
    f"{_MODEL}.NodeMetrics": _measured("NodeMetrics", "What a node uses.", {"usage": _USAGE}),
    f"{_MODEL}.NodeMetricsList": _list("NodeMetrics"),
    f"{_MODEL}.PodMetrics": _measured(
        "PodMetrics",
        "What a pod's containers use.",
        {"containers": _list_of(f"{_MODEL}.ContainerMetrics", "Each container that runs.")},
    ),
    f"{_MODEL}.PodMetricsList": _list("PodMetrics"),
    f"{_MODEL}.ContainerMetrics": _CONTAINER,
}


def _operation(kind: str, action: str, *parameters: str) -> Document:
    model = f"{_MODEL}.{kind}" + ("List" if action == "list" else "")
    return {
        "get": {
            "description": f"{'List' if action == 'list' else 'Read'} {kind}.",
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters
            ],
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": _ref(model)}}}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _kind(kind),
        }
    }


_DOCUMENT: Final = {
    "openapi": "3.0.0",
    "info": {"title": "Steersman", "version": "v1"},
    "paths": {
        f"/{_ROOT}/nodes": _operation("NodeMetrics", "list"),
        f"/{_ROOT}/nodes/{{name}}": _operation("NodeMetrics", "get", "name"),
        f"/{_ROOT}/pods": _operation("PodMetrics", "list"),
        f"/{_ROOT}/namespaces/{{namespace}}/pods": _operation("PodMetrics", "list", "namespace"),
        f"/{_ROOT}/namespaces/{{namespace}}/pods/{{name}}": _operation("PodMetrics", "get", "namespace", "name"),
    },
    "components": {"schemas": _SCHEMAS},
}
_HASH: Final = hashlib.sha512(msgspec.json.encode(_DOCUMENT)).hexdigest().upper()
"""Tells one version's types from another's: clients keep what they read under the whole URL."""
DOCUMENTS: Final[dict[str, Document]] = {
    "/openapi/v3": {"paths": {_ROOT: {"serverRelativeURL": f"/openapi/v3/{_ROOT}?hash={_HASH}"}}},
    f"/openapi/v3/{_ROOT}": _DOCUMENT,
}
"""By path."""
