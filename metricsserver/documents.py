"""What is answered: discovery, objects, lists and tables of `metrics.k8s.io/v1beta1`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from metricsserver.samples import Usage

GROUP: Final = "metrics.k8s.io"
VERSION: Final = f"{GROUP}/v1beta1"

Document = dict[str, Any]

_GROUP_VERSION: Final = {"groupVersion": VERSION, "version": "v1beta1"}
_API_GROUP: Final = {"name": GROUP, "versions": [_GROUP_VERSION], "preferredVersion": _GROUP_VERSION}
_RESOURCES: Final = [
    {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": ["get", "list"]},
    {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]},
]
DISCOVERY: Final[Mapping[str, Document]] = {
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_API_GROUP]},
    f"/apis/{GROUP}": {"kind": "APIGroup", "apiVersion": "v1", **_API_GROUP},
    f"/apis/{VERSION}": {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION, "resources": _RESOURCES,
    },
}  # fmt: skip
"""By path."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the two kinds there are."""

    name: str
    plural: str

    @property
    def resource(self) -> str:
        """What messages call it."""
        return f"{self.name.lower()}.{GROUP}"


NODES: Final = Kind("NodeMetrics", "nodes")
PODS: Final = Kind("PodMetrics", "pods")


def of_node(metadata: Mapping[str, Any], usage: Usage, now: float) -> Document:
    """Return what a node uses; `metadata` is the Node's."""
    return _object(NODES, metadata, now) | _measured([usage]) | {"usage": _usage(usage)}


def of_pod(metadata: Mapping[str, Any], usages: Mapping[str, Usage], now: float) -> Document:
    """Return what a pod's containers use; `metadata` is the Pod's."""
    containers = [{"name": name, "usage": _usage(usage)} for name, usage in sorted(usages.items())]
    return _object(PODS, metadata, now) | _measured(usages.values()) | {"containers": containers}


def listed(kind: Kind, items: Sequence[Document]) -> Document:
    """Return a list of objects."""
    return {"kind": f"{kind.name}List", "apiVersion": VERSION, "metadata": {}, "items": list(items)}


def table(items: Sequence[Document], usages: Callable[[Document], Iterable[Document]]) -> Document:
    """Return objects as kubectl shows them.

    Args:
        items: the objects.
        usages: gives what is used in an object, by its parts.
    """
    columns = [("Name", "name"), ("cpu", "quantity"), ("memory", "quantity"), ("window", "duration")]
    definitions = [
        {"name": name, "type": "string", "format": form if form == "name" else "", "description": "", "priority": 0}
        for name, form in columns
    ]
    rows = []
    for item in items:
        parts = list(usages(item))
        cpu = sum(int(part["cpu"].removesuffix("n")) for part in parts)
        memory = sum(int(part["memory"].removesuffix("Ki")) for part in parts)
        cells = [item["metadata"]["name"], f"{cpu}n", f"{memory}Ki", item["window"]]
        about = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
        rows.append({"cells": cells, "object": about})
    return {
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": definitions, "rows": rows,
    }  # fmt: skip


def usages_in(item: Document) -> Iterable[Document]:
    """Yield what is used in an object of either kind."""
    yield from (part["usage"] for part in item["containers"]) if "containers" in item else [item["usage"]]


def failure(code: int, reason: str, message: str, **details: str) -> Document:
    """Return a Status."""
    said: Document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    return said | {"reason": reason, "code": code} | ({"details": details} if details else {})


def not_found(kind: Kind, namespace: str, name: str) -> Document:
    """Return the Status for what is not measured, or not there."""
    shown = f"{namespace}/{name}" if namespace else name
    return failure(404, "NotFound", f'{kind.resource} "{shown}" not found', name=shown, group=GROUP, kind=kind.plural)


def _object(kind: Kind, metadata: Mapping[str, Any], now: float) -> Document:
    kept = {name: metadata[name] for name in ("name", "namespace", "labels") if metadata.get(name)}
    return {"kind": kind.name, "apiVersion": VERSION, "metadata": {**kept, "creationTimestamp": _time(now)}}


def _measured(usages: Iterable[Usage]) -> Document:
    """Return when the earliest of several was measured, and over how long."""
    first = min(usages, key=lambda usage: usage.at)
    return {"timestamp": _time(first.at), "window": _duration(first.window_s)}


def _usage(usage: Usage) -> Document:
    return {"cpu": f"{round(usage.cores * 1e9)}n", "memory": f"{usage.memory_bytes // 1024}Ki"}


def _time(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _duration(seconds: float) -> str:
    """Return a duration as Go writes it: 15.003s, 1m2s."""
    minutes, rest = divmod(round(seconds, 3), 60)
    told = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}h{minutes}m{told}" if hours else f"{minutes}m{told}" if minutes else told
