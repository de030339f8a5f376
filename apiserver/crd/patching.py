"""How server-side apply sees a custom kind: its schema's list and map types as a `Shape` (KEP-555). Pure."""

from __future__ import annotations

from api.meta import ObjectMeta
from api.patch import shape
from api.patch.shape import LEAF, UNTYPED, Shape
from apiserver.crd.structural import Node


def shape_of(node: Node, *, is_root: bool = False) -> Shape:
    """Return the shape of the values at a place of a schema."""
    if node.int_or_string:
        return LEAF
    if node.source.get("x-kubernetes-map-type") == "atomic":
        return LEAF
    match node.type:
        case "object":
            return _object(node, is_root=is_root)
        case "array" if node.items is not None and node.list_type == "map":
            defaults = {name: child.default for name, child in node.items.properties.items() if child.has_default}
            return Shape("items", item=shape_of(node.items), keys=node.list_keys, key_defaults=defaults)
        case "array":
            return Shape("set", item=LEAF) if node.list_type == "set" else LEAF
        case "":
            return UNTYPED
    return LEAF


def _object(node: Node, *, is_root: bool) -> Shape:
    fields = {name: shape_of(child) for name, child in node.properties.items()}
    if is_root or node.is_embedded:
        fields |= {"apiVersion": LEAF, "kind": LEAF, "metadata": shape.shape_of(ObjectMeta)}
    if fields:
        # What a schema does not know and yet preserves is looked up under "object" too, and found to be untyped.
        return Shape("object", fields=fields)
    if isinstance(node.additional, Node):
        return Shape("map", item=shape_of(node.additional))
    return UNTYPED
