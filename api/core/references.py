"""References to other objects and to fields, and selectors of nodes, shared by many kinds."""

from __future__ import annotations

from typing import Annotated

from api.schema import Quantity, Struct, always, wire


class TopologySelectorLabelRequirement(Struct):
    key: Annotated[str, wire(1, required=True)] = always("")
    values: Annotated[list[str], wire(2, required=True, list_type="atomic")] = []


class TopologySelectorTerm(Struct):
    match_label_expressions: Annotated[list[TopologySelectorLabelRequirement], wire(1, list_type="atomic")] = []


class NodeSelectorRequirement(Struct):
    """A label of a node and the values it must have, or must not; `Gt` and `Lt` compare integers."""

    key: Annotated[str, wire(1, required=True)] = always("")
    operator: Annotated[str, wire(2, required=True)] = always("")
    values: Annotated[list[str], wire(3, list_type="atomic")] = []


class NodeSelectorTerm(Struct):
    """Nodes that satisfy all of these; an empty term matches none."""

    match_expressions: Annotated[list[NodeSelectorRequirement], wire(1, list_type="atomic")] = []
    match_fields: Annotated[list[NodeSelectorRequirement], wire(2, list_type="atomic")] = []


class NodeSelector(Struct):
    """Nodes: those that satisfy any of the terms."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], wire(1, required=True, list_type="atomic")] = []


class SecretEnvSource(Struct):
    name: Annotated[str, wire(1, 1)] = ""
    optional: Annotated[bool | None, wire(2)] = None


class ConfigMapKeySelector(Struct):
    name: Annotated[str, wire(1, 1)] = ""
    key: Annotated[str, wire(2, required=True)] = always("")
    optional: Annotated[bool | None, wire(3)] = None


class SecretKeySelector(Struct):
    name: Annotated[str, wire(1, 1)] = ""
    key: Annotated[str, wire(2, required=True)] = always("")
    optional: Annotated[bool | None, wire(3)] = None


class ResourceFieldSelector(Struct):
    """A container's request or limit, in units of `divisor`."""

    container_name: Annotated[str, wire(1)] = ""
    resource: Annotated[str, wire(2, required=True)] = always("")
    divisor: Annotated[Quantity, wire(3)] = ""


class ObjectFieldSelector(Struct):
    """A field of the pod, by path."""

    api_version: Annotated[str, wire(1)] = ""
    field_path: Annotated[str, wire(2, required=True)] = always("")


class TypedObjectReference(Struct):
    api_group: Annotated[str | None, wire(1)] = None
    kind: Annotated[str, wire(2, required=True)] = always("")
    name: Annotated[str, wire(3, required=True)] = always("")
    namespace: Annotated[str | None, wire(4)] = None


class SecretReference(Struct):
    name: Annotated[str, wire(1)] = ""
    namespace: Annotated[str, wire(2)] = ""


class TypedLocalObjectReference(Struct):
    api_group: Annotated[str | None, wire(1)] = None
    kind: Annotated[str, wire(2, required=True)] = always("")
    name: Annotated[str, wire(3, required=True)] = always("")


class LocalObjectReference(Struct):
    """Another object of the same namespace, whose kind is understood."""

    name: Annotated[str, wire(1)] = ""


class ObjectReference(Struct):
    """Another object, or a field of it."""

    kind: Annotated[str, wire(1)] = ""
    namespace: Annotated[str, wire(2)] = ""
    name: Annotated[str, wire(3)] = ""
    uid: Annotated[str, wire(4)] = ""
    api_version: Annotated[str, wire(5)] = ""
    resource_version: Annotated[str, wire(6)] = ""
    field_path: Annotated[str, wire(7)] = ""
