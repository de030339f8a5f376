"""From a CustomResourceDefinition to the `Resource` of each version it serves. Pure.

Everything the verbs need to know of a kind is in the Resource; what is said only for custom kinds is its type's
`shape`, here a `Shape`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from api import validation as v
from api.custom import CustomObject, ScalePaths, make_type, value_at
from api.go_types import printed, type_of
from api.reader import WrongType
from api.resource import FieldError, Resource
from apiserver.crd import default_check, embedded, openapi, patching, rules, values
from apiserver.crd.columns import columns_of
from apiserver.crd.jsonpath import simple_path
from apiserver.crd.objects import plain
from apiserver.crd.structural import Node, Plain, apply_defaults, drop_nulls, prune
from apiserver.discovery import version_rank

_KEEPS_RULES_OUT: Final = frozenset(
    f"FieldValue{what}" for what in ("NotSupported", "Required", "TooLong", "TooMany", "TypeInvalid")
)
"""Where one of these is wrong with an object, rules are not asked: they could not rely on what the schema says."""
_RULES_LEFT_OUT: Final = (
    'Invalid value: "null": some validation rules were not checked because the object was invalid; '
    "correct the existing errors to complete validation"
)


class Shape:
    """One version of a custom kind: its schema and what follows from it."""

    def __init__(self, crd: Plain, version: Plain) -> None:
        spec, names = crd["spec"], accepted_names(crd)
        self.group: str = spec["group"]
        self.version: str = version["name"]
        self.name: str = names["kind"]
        stored = (each["name"] for each in spec.get("versions") or () if each.get("storage"))
        self.storage_version: str = next(stored, self.version)
        self.list_kind: str = names.get("listKind") or f"{self.name}List"
        self.source: Plain = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        self.preserves_everything = bool(spec.get("preserveUnknownFields"))
        self.node = Node(self.source)
        self.node.preserves = self.node.preserves or self.preserves_everything
        default_check.prune_defaults(self.node)
        self._selectable: list[str] = [each["jsonPath"] for each in version.get("selectableFields") or ()]
        subresources = version.get("subresources") or {}
        self.has_status = subresources.get("status") is not None
        self.scale = _scale_paths(subresources.get("scale"))
        self.is_terminating = False
        """Whether the definition is being deleted: nothing new is made then."""
        self.deprecation: str = ""
        """What everyone is told who uses this version."""
        if version.get("deprecated"):
            self.deprecation = version.get("deprecationWarning") or self._default_deprecation(spec)
        self.checker = rules.Checker(self.node)
        self.patch_shape = patching.shape_of(self.node, is_root=True)

    def _default_deprecation(self, spec: Plain) -> str:
        told = f"{self.group}/{self.version} {self.name} is deprecated"
        rank = version_rank(self.version)
        newer = [
            each["name"]
            for each in spec.get("versions") or ()
            if each.get("served") and not each.get("deprecated") and version_rank(each["name"]) < rank
        ]
        return f"{told}; use {self.group}/{min(newer, key=version_rank)} {self.name}" if newer else told

    @property
    def openapi_name(self) -> str:
        """The name of the schema: the group backwards, version and kind."""
        return f"{'.'.join(reversed(self.group.split('.')))}.{self.version}.{self.name}"

    def read(self, value: Plain, unknown: list[str]) -> None:
        """Prune what a client sent; raises `WrongType` for what is no metadata, in objects within it."""
        if not self.preserves_everything:
            prune(value, self.node, unknown, is_root=True)
            drop_nulls(value, self.node)
        try:
            embedded.coerce(value, self.node, unknown)
        except embedded.Misfit as misfit:
            raise WrongType((None, misfit.error.path), why=misfit.error.message) from None

    def prune(self, obj: CustomObject) -> None:
        """Take out what an older schema let in."""
        if not self.preserves_everything:
            prune(obj.content, self.node, [], is_root=True)
            drop_nulls(obj.content, self.node)
        embedded.coerce(obj.content, self.node, [], drops_misfits=True)

    def default(self, obj: CustomObject) -> None:
        """Fill in the schema's defaults."""
        apply_defaults(obj.content, self.node)

    def openapi(self, *, v2: bool, metadata: Plain) -> Plain:
        """Return the schema as it is published."""
        selectable = [path.removeprefix(".") for path in self._selectable]
        return openapi.published(self.source, v2=v2, metadata=metadata, selectable=selectable)

    def find_errors(self, new: CustomObject, old: CustomObject | None) -> Iterator[FieldError]:
        """Yield what is wrong with an object; what an update leaves as it was is not judged again (KEP-4008)."""
        value = plain(new)
        before = plain(old) if old is not None else values.NOTHING
        found = [
            *values.check(value, self.node, old=before),
            *embedded.check(value, self.node),
            *(
                ()
                if old is not None and any(values.check_lists(before, self.node))
                else values.check_lists(value, self.node)
            ),
        ]
        if self.scale is not None:
            found += _check_scale(value, self.scale)
        yield from found
        # A name that is missing is told of with the rest of the metadata, and keeps rules out like what is missing.
        if new.metadata.name and not any(error.reason in _KEEPS_RULES_OUT for error in found):
            yield from self.checker.check(value, None if old is None else before)
        elif self.checker.has_rules:
            yield FieldError("<nil>", "FieldValueInvalid", _RULES_LEFT_OUT)

    # What writes may not change

    def prepare_for_create(self, obj: CustomObject) -> None:
        """Drop the status, where it is written on its own."""
        if self.has_status:
            obj.content.pop("status", None)

    def prepare_for_update(self, new: CustomObject, old: CustomObject) -> None:
        """Keep the status, where it is written on its own."""
        if self.has_status:
            new.content.pop("status", None)
            if "status" in old.content:
                new.content["status"] = old.content["status"]

    def prepare_for_status_update(self, new: CustomObject, old: CustomObject) -> None:
        """Keep everything but the status."""
        status = new.content.get("status")
        new.metadata = old.metadata
        new.content = {name: value for name, value in old.content.items() if name != "status"}
        if status is not None:
            new.content["status"] = status

    def is_changed(self, new: CustomObject, old: CustomObject) -> bool:
        """Whether the generation grows: everything counts but metadata and a status that is written on its own."""
        ignored = ("status",) if self.has_status else ()
        return {key: value for key, value in new.content.items() if key not in ignored} != {
            key: value for key, value in old.content.items() if key not in ignored
        }


def accepted_names(crd: Plain) -> Plain:
    """Return the names under which a definition's kind is served."""
    names: Plain = (crd.get("status") or {}).get("acceptedNames") or {}
    return names if names.get("plural") else crd["spec"]["names"]


def is_established(crd: Plain) -> bool:
    """Whether a definition's kind is to be served."""
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions)


def storage_version(crd: Plain) -> str:
    """Return the version in which objects are stored."""
    return str(next(version["name"] for version in crd["spec"]["versions"] if version.get("storage")))


def resources_of(crd: Plain) -> dict[str, Resource[Any]]:
    """Return the Resource of each version by name, those that are not served as well: objects may lie in them."""
    return {version["name"]: _resource(crd, version) for version in crd["spec"]["versions"]}


def _resource(crd: Plain, version: Plain) -> Resource[Any]:
    shape = Shape(crd, version)
    names = accepted_names(crd)
    subresources = tuple(name for name, has in (("status", shape.has_status), ("scale", shape.scale)) if has)
    fields: Mapping[str, Any] = {
        each["jsonPath"].removeprefix("."): functools.partial(_selectable, path)
        for each in version.get("selectableFields") or ()
        if (path := simple_path(each["jsonPath"])) is not None
    }
    return Resource(
        type=make_type(shape),
        group=shape.group,
        version=shape.version,
        kind=shape.name,
        plural=names["plural"],
        singular=names.get("singular") or shape.name.lower(),
        namespaced=crd["spec"].get("scope") == "Namespaced",
        list_kind=shape.list_kind,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=subresources,
        default=shape.default,
        validate=shape.find_errors,
        validate_status=shape.find_errors,
        prepare_for_create=shape.prepare_for_create,
        prepare_for_update=shape.prepare_for_update,
        prepare_for_status_update=shape.prepare_for_status_update,
        generation=True,
        columns=columns_of(version.get("additionalPrinterColumns") or ()),
        selectable_fields=fields,
    )


def _selectable(path: tuple[str, ...], obj: CustomObject) -> str:
    value = value_at(obj.content, path)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _scale_paths(declared: Plain | None) -> ScalePaths | None:
    if not declared:
        return None
    spec = simple_path(declared.get("specReplicasPath") or "")
    status = simple_path(declared.get("statusReplicasPath") or "")
    if spec is None or status is None:
        return None
    return ScalePaths(spec, status, simple_path(declared.get("labelSelectorPath") or ""))


def _check_scale(value: Plain, paths: ScalePaths) -> Iterator[FieldError]:
    for path in (paths.spec_replicas, paths.status_replicas):
        count = value_at(value, path)
        if misfit := _misfit(value, path, int):
            yield v.invalid("." + ".".join(path), 0, misfit)
        elif isinstance(count, int) and not 0 <= count <= 2**31 - 1:
            why = "should be a non-negative integer" if count < 0 else "should be less than or equal to 2147483647"
            yield v.invalid("." + ".".join(path), count, why)
    if paths.selector is not None and (misfit := _misfit(value, paths.selector, str)):
        yield v.invalid("." + ".".join(paths.selector), "", misfit)


def _misfit(value: Plain, path: tuple[str, ...], wanted: type) -> str:
    """Return why there can be no `wanted` at a path, in upstream's words; empty if there is one, or nothing at all."""
    found: Any = value
    for i, name in enumerate(path):
        if found is None:
            return ""
        if not isinstance(found, dict):
            return _accessor_error(path[: i + 1], found, "map[string]interface{}")
        if name not in found:
            return ""
        found = found[name]
    if wanted is int and isinstance(found, int) and not isinstance(found, bool) and -(2**63) <= found < 2**63:
        return ""
    if wanted is str and isinstance(found, str):
        return ""
    return _accessor_error(path, found, "int64" if wanted is int else "string")


def _accessor_error(path: tuple[str, ...], found: Any, wanted: str) -> str:
    is_wide = isinstance(found, int) and not isinstance(found, bool) and not -(2**63) <= found < 2**63
    shown = float(found) if is_wide else found
    return f".{'.'.join(path)} accessor error: {printed(shown)} is of the type {type_of(shown)}, expected {wanted}"
