"""Whether the defaults of a schema are values that the schema itself lets through. Pure.

A default within apiVersion, kind or metadata is tried in an object that has nothing else, since these are judged as
what they are in every object and not by the schema alone. Defaults of what is in maps are not looked at: none may stand
there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from api import validation as v
from api.errors import as_one
from api.go_types import Verbatim, literal
from api.resource import FieldError
from apiserver.crd import embedded, values
from apiserver.crd.rules import Checker
from apiserver.crd.structural import META_FIELDS, Node, Plain, prune

Errors = Iterator[FieldError]
Wrap = Callable[[Any], Any]
"""Puts a value into the object that surrounds it."""


def check_defaults(schema: Plain, path: str, *, requires_pruned: bool = True) -> Errors:
    """Yield what is wrong with the defaults in a structural schema; unknown fields are if `requires_pruned`."""
    root = Node({**schema, "x-kubernetes-embedded-resource": True})
    if root.has_defaults:
        yield from _walk(root, path, root, lambda value: value, in_metadata=False, requires_pruned=requires_pruned)


def _walk(node: Node, path: str, root: Node, wrap: Wrap, *, in_metadata: bool, requires_pruned: bool) -> Errors:
    if not node.has_defaults:
        return
    if node.is_embedded:
        in_metadata, root, wrap = False, node, lambda value: value
    if node.has_default:
        if in_metadata:
            yield from _check_in_metadata(node, f"{path}.default", root, wrap)
        else:
            yield from _check(node, f"{path}.default", requires_pruned=requires_pruned)
    if node.items is not None:
        yield from _walk(
            node.items, f"{path}.items", root, lambda value: wrap([value]), in_metadata=in_metadata,
            requires_pruned=requires_pruned,
        )  # fmt: skip
    for name, child in node.properties.items():
        yield from _walk(
            child,
            f"{path}.properties[{name}]",
            root,
            lambda value, name=name: wrap({name: value}),  # type: ignore[misc]
            in_metadata=in_metadata or (node.is_embedded and name in META_FIELDS),
            requires_pruned=requires_pruned,
        )


def _check_in_metadata(node: Node, path: str, root: Node, wrap: Wrap) -> Errors:
    whole = {"kind": "Validation", "apiVersion": "validation/v1", **wrap(copy.deepcopy(node.default))}
    try:
        embedded.coerce(whole, root, [], is_root=True)
    except embedded.Misfit as misfit:
        yield v.invalid(path, Verbatim(literal(node.default)), f"must result in valid metadata: {misfit}")
        return
    faults = [f"{error.path}: {error.message}" for error in embedded.check(whole, root, is_root=True)]
    if faults:
        told = as_one(faults)
        yield v.invalid(path, Verbatim(literal(node.default)), f"must result in valid metadata: {told}")
        return
    yield from _check_value(node, path, node.default)


def prune_defaults(root: Node) -> None:
    """Take out of the defaults of a schema, in place, what no object of it keeps, in embedded metadata too."""
    if root.has_defaults:
        _prune_defaults(root, root, lambda value: value, lambda whole: whole)


def _prune_defaults(node: Node, root: Node, wrap: Wrap, unwrap: Wrap) -> None:
    """Prune each default within the object that it would be in; `unwrap` finds it there again, or nothing."""
    if not node.has_defaults:
        return
    if node.has_default:
        whole = wrap(copy.deepcopy(node.default))
        if isinstance(whole, dict):
            embedded.coerce(whole, root, [], is_root=True, drops_misfits=True)
            prune(whole, root, [], is_root=True)
            node.default = unwrap(whole)
            node.has_default = node.default is not None
    if node.items is not None:
        _prune_defaults(
            node.items, root, lambda value: wrap([value]), lambda whole: (unwrap(whole) or (None,))[0]
        )  # fmt: skip
    for name, child in node.properties.items():
        _prune_defaults(
            child,
            root,
            lambda value, name=name: wrap({name: value}),  # type: ignore[misc]
            lambda whole, name=name: (unwrap(whole) or {}).get(name),  # type: ignore[misc]
        )


def has_unknown_fields(schema: Plain) -> bool:
    """Whether any default in a structural schema has fields that the schema does not know."""
    waiting = [Node(schema)]
    while waiting:
        node = waiting.pop()
        waiting += [*node.properties.values(), *([node.items] if node.items is not None else [])]
        if node.has_default and _pruned(node) != node.default:
            return True
    return False


def _pruned(node: Node) -> Any:
    value = copy.deepcopy(node.default)
    prune(value, node, [], is_root=node.is_embedded)
    return value


def _check(node: Node, path: str, *, requires_pruned: bool) -> Errors:
    if requires_pruned and _pruned(node) != node.default:
        yield v.invalid(path, Verbatim(literal(node.default)), "must not have unknown fields")
    value = copy.deepcopy(node.default)
    try:
        embedded.coerce(value, node, [], path)
    except embedded.Misfit as misfit:
        yield misfit.error
        return
    faults = list(embedded.check(value, node, path))
    yield from faults or _check_value(node, path, value)


def _check_value(node: Node, path: str, value: Any) -> Errors:
    checker = Checker(node)
    for error in (faults := list(values.check(value, node))):
        where = path if error.path == "<nil>" else f"{path}.{error.path}"
        yield FieldError(where, error.reason, error.message)
    told = not faults and (
        list(checker.check(value, value))
        or list(checker.check(value, None))  # Rules for which there need be no old value hold for a new one too.
    )
    for error in told or ():
        below = error.path.removeprefix("<nil>")
        yield FieldError(
            f"{path}{'' if not below or below.startswith('[') else '.'}{below}", error.reason, error.message
        )
