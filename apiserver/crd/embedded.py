"""Objects within objects (`x-kubernetes-embedded-resource`): their apiVersion, kind and metadata. Pure.

The rest of such an object is judged by its schema; these three are as in any object, whatever the schema says of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from api import names
from api import validation as v
from api.go_types import Verbatim, literal
from api.meta import ObjectMeta
from api.reader import WrongType, reader_of
from api.resource import FieldError
from apiserver.crd.structural import Node

Errors = Iterator[FieldError]


class Misfit(Exception):
    """What is no apiVersion, kind or metadata by its type; `error` says where and why."""

    def __init__(self, error: FieldError) -> None:
        super().__init__(f"{error.path}: {error.message}")
        self.error = error


def coerce(
    value: Any,
    node: Node | None,
    unknown: list[str],
    path: str = "",
    *,
    is_root: bool = False,
    drops_misfits: bool = False,
) -> None:
    """Bring the metadata of embedded objects into normal form, in place.

    Args:
        value: what is looked through.
        node: its schema.
        unknown: gets the paths of fields that metadata does not have; they are dropped.
        path: where `value` stands.
        is_root: whether `value` is itself taken for an embedded object.
        drops_misfits: whether what is of the wrong type is dropped, as in objects that are stored already.

    Raises:
        Misfit: something is of the wrong type, and is not dropped.
    """
    if node is None:
        return
    if isinstance(value, list):
        for i, item in enumerate(value):
            coerce(item, node.items, unknown, f"{path}[{i}]", drops_misfits=drops_misfits)
    elif isinstance(value, dict):
        if is_root or node.is_embedded:
            _coerce_object(value, unknown, path, drops_misfits=drops_misfits)
        for name, item in value.items():
            coerce(item, node.child(name), unknown, _below(path, name, node), drops_misfits=drops_misfits)


def _below(path: str, name: str, node: Node) -> str:
    if name in node.properties:
        return f"{path}.{name}" if path else name
    return f"{path}[{name}]"


def _coerce_object(value: dict[str, Any], unknown: list[str], path: str, *, drops_misfits: bool) -> None:
    for name in ("apiVersion", "kind"):
        if name in value and not isinstance(value[name], str):
            if not drops_misfits:
                raise Misfit(
                    v.invalid(f"{path}.{name}".removeprefix("."), Verbatim(literal(value[name])), "must be a string")
                )
            del value[name]
    if "metadata" not in value:
        return
    where = f"{path}.metadata".removeprefix(".")
    try:
        value["metadata"] = _read(value["metadata"], where, unknown)
    except WrongType as error:
        if not drops_misfits:
            raise Misfit(v.invalid(where, Verbatim(literal(value["metadata"])), str(error))) from None
        if isinstance(value["metadata"], dict):
            value["metadata"] = read_what_fits(value["metadata"], where, unknown)


def _read(metadata: Any, path: str, unknown: list[str]) -> dict[str, Any]:
    found: list[str] = []
    made: dict[str, Any] = reader_of(ObjectMeta)({} if metadata is None else metadata, None, found)
    unknown.extend(f"{path}.{name}" for name in found)
    return made


def read_what_fits(metadata: dict[str, Any], path: str, unknown: list[str]) -> dict[str, Any]:
    """Return the fields of metadata that are of the right type; the others are dropped."""
    made: dict[str, Any] = {}
    for name, item in metadata.items():
        try:
            made.update(_read({name: item}, path, unknown))
        except WrongType:
            continue
    return made


def check(value: Any, node: Node | None, path: str = "", *, is_root: bool = False) -> Errors:
    """Yield what is wrong with embedded objects; with `is_root`, `value` is itself taken for one."""
    if node is None:
        return
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from check(item, node.items, f"{path}[{i}]")
    elif isinstance(value, dict):
        if is_root or node.is_embedded:
            yield from _check_object(value, path)
        for name, item in value.items():
            yield from check(item, node.child(name), _below(path, name, node))


def _check_object(value: dict[str, Any], path: str) -> Errors:
    for name in ("apiVersion", "kind"):
        where = f"{path}.{name}".removeprefix(".")
        text = value.get(name)
        if name not in value:
            yield v.required(where)
        elif not isinstance(text, str):
            yield v.invalid(where, Verbatim(literal(text)), "must be a string")
        elif not text:
            yield v.invalid(where, text, "must not be empty")
        elif name == "apiVersion" and text.count("/") > 1:
            yield v.invalid(where, text, f"unexpected GroupVersion string: {text}")
        elif name == "kind" and (faults := names.check_label_1035(text.lower())):
            yield v.invalid(where, text, f"may have mixed case, but should otherwise match: {','.join(faults)}")
    if "metadata" not in value:
        return
    where = f"{path}.metadata".removeprefix(".")
    try:
        metadata = msgspec.convert(_read(value["metadata"], where, []), ObjectMeta)
    except WrongType as error:
        yield v.invalid(where, Verbatim(literal(value["metadata"])), str(error))
        return
    metadata.name = metadata.name or "fakename"
    yield from v.check_object_meta(
        metadata, check_name=names.check_path_segment, is_namespaced=bool(metadata.namespace), path=where
    )
