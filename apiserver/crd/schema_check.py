"""Whether a schema of a CustomResourceDefinition is structural, and its defaults and rules can be used. Pure.

Structural is: every place has a type, and what is below allOf, anyOf, oneOf and not only judges values (KEP-1101). That
is told first, then whether the defaults are good (`default_check`); rules are only looked at where there is a structure
to tell their types from, and nothing else is wrong at their place or below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from api import validation as v
from api.resource import FieldError
from apiserver.cel import costs, types
from apiserver.cel.program import BadProgram, compile_
from apiserver.crd import default_check, field_paths, patterns, rule_types
from apiserver.crd.rules import VARIABLES
from apiserver.crd.structural import META_FIELDS, Node, Plain

Errors = Iterator[FieldError]
Costs = list[tuple[int, str]]
"""What rules and messages may cost by estimate, and where they stand."""

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_LIST_TYPES: Final = ("atomic", "set", "map")
_MAP_TYPES: Final = ("atomic", "granular")
_REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_COSTLY: Final = 1_000_000
_COSTLIEST: Final = 4
"""Of rules that together cost too much, so many are named, if they cost at least so much."""
_DEPTH_MAX: Final = 128
_FORBIDDEN: Final = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_NOT_IN_LOGIC: Final = {
    **dict.fromkeys(("additionalProperties", "default"), "undefined"),
    **dict.fromkeys(("description", "title", "type"), "empty"),
    "nullable": "false",
    **dict.fromkeys(
        (f"x-kubernetes-{key}" for key in ("preserve-unknown-fields", "embedded-resource", "int-or-string")), "false"
    ),
    **dict.fromkeys((f"x-kubernetes-{key}" for key in ("list-map-keys", "validations")), "empty"),
    **dict.fromkeys((f"x-kubernetes-{key}" for key in ("list-type", "map-type")), "undefined"),
}
"""What may not stand below allOf, anyOf, oneOf and not, and what it must be instead."""
_EITHER: Final = [{"type": "integer"}, {"type": "string"}]
"""The one anyOf that may name types: it says in OpenAPI what `x-kubernetes-int-or-string` says."""
_AT_STATUS_ROOT: Final = (
    "description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength",
    "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "required", "items", "properties",
    "externalDocs", "example", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
)  # fmt: skip


@dataclass(frozen=True)
class Held:
    """What a schema is held to. An update is not held to what the definition before it broke already."""

    types: bool = True
    """To name only types that there are."""
    structure: bool = True
    """To be structural."""
    pruned_defaults: bool = True
    """To have no unknown fields in defaults."""
    atomic_sets: bool = True
    """To have only elements in sets that are merged as a whole."""
    keyed_lists: bool = True
    """To have elements and keys in sets and maps that are always there."""
    costs: bool = True
    """To have no one rule that may cost too much."""


def held_after(former: Iterable[Plain]) -> Held:
    """Return what schemas are held to that take the place of others: what those broke already is let pass."""
    schemas = [schema for schema in former if _depth(schema) <= _DEPTH_MAX]
    places = [place for schema in schemas for place in _places(schema)]
    listed = [
        (place["items"], place["x-kubernetes-list-type"], place.get("x-kubernetes-list-map-keys") or [])
        for place in places
        if place.get("x-kubernetes-list-type") in ("set", "map") and isinstance(place.get("items"), dict)
    ]
    structural = [schema for schema in schemas if is_structural(schema)]
    return Held(
        types=not any(place.get("type") and place["type"] not in _TYPES for place in places),
        structure=len(structural) == len(schemas),
        pruned_defaults=not any(default_check.has_unknown_fields(schema) for schema in structural),
        atomic_sets=not any(kind == "set" and any(_check_set(items, "")) for items, kind, _ in listed),
        keyed_lists=not any(any(_check_presence(items, "", kind, keys)) for items, kind, keys in listed),
    )


def is_structural(schema: Plain) -> bool:
    """Whether a schema is structural."""
    return not _is_beyond(schema) and not any(_check_structure(schema, ""))


def has_defaults(schema: Plain) -> bool:
    """Whether there is a default anywhere in a schema."""
    return any(place.get("default") is not None for place in _places(schema))


def needs_structure(schema: Plain) -> bool:
    """Whether a schema says what only means something in structural schemas."""
    return any(
        place.get("default") is not None or any(key.startswith("x-kubernetes-") for key in place)
        for place in _places(schema)
    )


def _places(schema: Plain) -> Iterator[Plain]:
    """Yield a schema and all schemas in it."""
    waiting: list[Any] = [schema]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, dict):
            continue
        yield each
        for key in ("items", "additionalProperties", "not", "additionalItems"):
            waiting += each[key] if isinstance(each.get(key), list) else [each.get(key)]
        for key in ("allOf", "anyOf", "oneOf"):
            waiting += each.get(key) or ()
        for key in ("properties", "patternProperties", "definitions", "dependencies"):
            waiting += (each.get(key) or {}).values()


@dataclass(frozen=True)
class _Place:
    """What is known of a place besides its schema."""

    path: str
    node: Node | None
    """The place in the structure, where rules are to be checked."""
    level: str = "root"
    """What it is: the root, a field or an item."""
    in_metadata: bool = False
    """Whether it is, or is within, apiVersion, kind or metadata."""
    no_defaults: str = ""
    """Why there may be no defaults here."""
    lost: str = ""
    """The place above that keeps a value's past from being told."""
    times: int | None = 1
    """How often it can be in an object, None where a list or map above does not say."""


def check_schema(schema: Plain, path: str, *, has_status: bool = False, held: Held = Held()) -> Errors:
    """Yield what is wrong with the schema of a version.

    Args:
        schema: the schema.
        path: where it stands.
        has_status: whether the version has a status subresource.
        held: what it is held to.
    """
    if _depth(schema) > _DEPTH_MAX:
        yield v.invalid(path, "", f"must nest at most {_DEPTH_MAX} levels deep")
        return
    found = list(_check_root(schema, path)) if has_status else []
    if schema.get("nullable"):
        found.append(v.forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    node = Node(schema) if held.structure and not _is_beyond(schema) else None
    if node is not None:
        faults = list(_check_structure(schema, path)) or list(
            default_check.check_defaults(schema, path, requires_pruned=held.pruned_defaults)
        )
        found += faults
        node = node if not faults else None
    walk = _Walk(held)
    at_places, of_rules = walk.check(schema, _Place(path, node))
    yield from (*found, *at_places, *of_rules)
    yield from _check_total(walk.spent, path)


def _is_beyond(schema: Any) -> bool:
    """Whether a schema says what cannot be said by any structure; told of where it stands."""
    if isinstance(schema, list):
        return any(_is_beyond(each) for each in schema)
    if not isinstance(schema, dict):
        return False
    if any(schema.get(key) for key in (*_FORBIDDEN, "$schema")) or isinstance(schema.get("items"), list):
        return True
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        return True
    below = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return _is_beyond([*below, schema.get("not"), *(schema.get(key) for key in ("allOf", "anyOf", "oneOf"))])


def _check_root(schema: Plain, path: str) -> Errors:
    """Check that the root says nothing of its fields together: the status is checked by itself, and that got lost."""
    if schema.get("type") not in (None, "", "object"):
        why = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        yield v.invalid(f"{path}.type", schema["type"], why)
    for key in sorted(set(schema) - set(_AT_STATUS_ROOT) - {"nullable"})[:1]:
        listed = " ".join(_go_name(each) for each in _AT_STATUS_ROOT)
        why = f"only [{listed}] fields are allowed at the root of the schema if the status subresource is enabled"
        yield v.invalid(path, key, why)


def _go_name(key: str) -> str:
    return "".join(part[0].upper() + part[1:] for part in key.replace("x-kubernetes-", "x-").split("-"))


def _depth(schema: Any) -> int:
    deepest, waiting = 0, [(schema, 1)]
    while waiting:
        value, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(value, dict):
            waiting.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            waiting.extend((item, depth + 1) for item in value)
    return deepest


# --- the structure ----------------------------------------------------------------------------------------------------


def _check_structure(schema: Plain, path: str, level: str = "root") -> Errors:
    """Check that a place and what is below it has a type, and is what its extensions say."""
    type_ = schema.get("type") or ""
    properties, additional, items = (
        schema.get("properties") or {},
        schema.get("additionalProperties"),
        schema.get("items"),
    )
    is_embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    preserves = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    is_either = bool(schema.get("x-kubernetes-int-or-string"))
    if type_ == "array" and items is None:
        yield v.required(f"{path}.items", "must be specified")
    if isinstance(items, dict):
        yield from _check_structure(items, f"{path}.items", "item")
    for name, child in properties.items():
        yield from _check_structure(child, f"{path}.properties[{name}]", "field")
    if additional is not None and level == "root":
        yield v.forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(additional, dict):
        yield from _check_structure(additional, f"{path}.additionalProperties", "field")
    for key, is_set in (("preserve-unknown-fields", preserves), ("embedded-resource", is_embedded)):
        if is_either and is_set:
            yield v.invalid(f"{path}.x-kubernetes-{key}", True, "must be false if x-kubernetes-int-or-string is true")
    yield from _check_logic(schema, path)
    if is_embedded and type_ != "object":
        yield _must_be(path, type_, "object", "x-kubernetes-embedded-resource is true")
    elif not type_ and not is_either and not preserves:
        where = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
        yield v.required(f"{path}.type", f"must not be empty {where[level]}")
    if is_embedded and additional is not None:
        why = "must not be used if x-kubernetes-embedded-resource is set"
        yield v.forbidden(f"{path}.additionalProperties", why)
    if level == "root" and type_ not in ("", "object"):
        yield v.invalid(f"{path}.type", type_, "must be object at the root")
    for name, wanted in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        if name in properties and (level == "root" or is_embedded):
            found = properties[name].get("type") or ""
            if found != wanted:
                yield v.invalid(f"{path}.properties[{name}].type", found, f"must be {wanted}")
    metadata = properties.get("metadata") or {}
    if level == "root" and (
        set(metadata) - {"type", "default", "properties"}
        or set(metadata.get("properties") or {}) - {"name", "generateName"}
    ):
        yield v.forbidden(
            f"{path}.properties[metadata]",
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        )
    if is_embedded and not preserves and not properties:
        yield v.required(
            f"{path}.properties",
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        )


def _must_be(path: str, type_: str, wanted: str, why: str) -> FieldError:
    why = f"must be {wanted} if {why}"
    return v.invalid(f"{path}.type", type_, why) if type_ else v.required(f"{path}.type", why)


def _check_logic(schema: Plain, path: str) -> Errors:
    """Check what stands below allOf, anyOf, oneOf and not: it judges values, and says nothing about their structure."""
    yield from _check_pattern(schema, path)
    for where, part in _junctors(schema, path):
        if where.startswith(f"{path}.anyOf") and schema["anyOf"] == _EITHER:
            continue
        if where == f"{path}.allOf[0]" and part.get("anyOf") == _EITHER:
            part = {key: value for key, value in part.items() if key != "anyOf"}
        yield from _check_logic_part(part, where, schema, path)


def _check_pattern(schema: Plain, path: str) -> Errors:
    try:
        patterns.compile_(schema.get("pattern") or "")
    except patterns.BadPattern as error:
        why = f"must be a valid regular expression, but isn't: {error}"
        yield v.invalid(f"{path}.pattern", schema["pattern"], why)


def _junctors(schema: Plain, path: str) -> Iterator[tuple[str, Plain]]:
    for key in ("allOf", "anyOf", "oneOf"):
        for i, part in enumerate(schema.get(key) or ()):
            yield f"{path}.{key}[{i}]", part
    if isinstance(schema.get("not"), dict):
        yield f"{path}.not", schema["not"]


def _check_logic_part(part: Plain, path: str, structure: Plain | None, structure_path: str) -> Errors:
    """Check a part that judges the values at a place, whose structure stands at `structure_path`.

    None for a structure of which was said already that it is missing.
    """
    yield from _check_pattern(part, path)
    for key, wanted in _NOT_IN_LOGIC.items():
        if part.get(key) not in (None, False, "", []):
            yield v.forbidden(f"{path}.{key}", f"must be {wanted} to be structural")
    structure_below = structure or {}
    known = structure_below.get("properties") or {}
    below = [(f"properties[{name}]", child, known.get(name)) for name, child in (part.get("properties") or {}).items()]
    if isinstance(part.get("items"), dict):
        below.append(("items", part["items"], structure_below.get("items")))
    for step, child, there in below:
        if step == "properties[metadata]":
            yield v.forbidden(f"{path}.{step}", "must not be specified in a nested context")
        is_there = isinstance(there, dict)
        if not is_there and structure is not None:
            yield v.required(f"{structure_path}.{step}", f"because it is defined in {path}.{step}")
        yield from _check_logic_part(child, f"{path}.{step}", there if is_there else None, f"{structure_path}.{step}")
    for where, each in _junctors(part, path):
        yield from _check_logic_part(each, where, structure, structure_path)


# --- every place, in structures and in what judges values -----------------------------------------------------------


@dataclass
class _Walk:
    """A walk through all of a schema."""

    held: Held
    spent: Costs = field(default_factory=list)

    def check(self, schema: Plain, place: _Place) -> tuple[list[FieldError], list[FieldError]]:
        """Return what is wrong at a place and below it, and apart from that, what is wrong with rules there."""
        found, of_rules = list(self._check_place(schema, place)), list[FieldError]()
        for child, there in self._below(schema, place):
            more, more_of_rules = self.check(child, there)
            found += more
            of_rules += more_of_rules
        rules = schema.get("x-kubernetes-validations") or []
        for i, rule in enumerate(rules):
            found += _check_rule_text(rule, schema, f"{place.path}.x-kubernetes-validations[{i}]")
        if rules and place.node is not None and not found:
            of_rules += self._check_rules(rules, place, place.node)
        return found, of_rules

    def _below(self, schema: Plain, place: _Place) -> Iterator[tuple[Plain, _Place]]:
        path, node = place.path, place.node
        is_root, is_embedded = place.level == "root", bool(schema.get("x-kubernetes-embedded-resource"))
        many = "maxItems" if schema.get("type") == "array" else "maxProperties"
        declared = schema.get(many)
        times = place.times * declared if place.times is not None and declared is not None else None
        below = replace(place, level="field")
        additional, items = schema.get("additionalProperties"), schema.get("items")
        if isinstance(additional, dict):
            why = "inside additionalProperties applying to object metadata" if place.in_metadata else place.no_defaults
            child = node.additional if node is not None and isinstance(node.additional, Node) else None
            where = f"{path}.additionalProperties"
            yield additional, replace(below, path=where, node=child, no_defaults=why, times=times)
        is_told = schema.get("x-kubernetes-map-type") in (None, *_MAP_TYPES)
        for name, each in (schema.get("properties") or {}).items():
            there = replace(below, path=f"{path}.properties[{name}]", node=node and node.properties.get(name))
            if not is_told:
                there = replace(there, lost=place.lost or path)
            if (is_root or is_embedded) and name in META_FIELDS:
                there = replace(there, in_metadata=True)
                if is_root:
                    there = replace(there, no_defaults=f"in top-level {name}")
            yield each, there
        for where, part in _junctors(schema, path):
            yield part, replace(below, path=where, node=None)
        for key in ("patternProperties", "definitions", "dependencies"):
            for name, each in (schema.get(key) or {}).items():
                if isinstance(each, dict):
                    yield each, replace(below, path=f"{path}.{key}[{name}]", node=None)
        lost = place.lost or ("" if schema.get("x-kubernetes-list-type") == "map" else path)  # Only keys tell elements.
        if isinstance(items, dict):
            child = node.items if node is not None else None
            yield items, replace(below, path=f"{path}.items", node=child, level="item", lost=lost, times=times)
        for i, each in enumerate(items if isinstance(items, list) else ()):
            yield each, replace(below, path=f"{path}.items[{i}]", node=None, level="item", lost=lost)

    def _check_place(self, schema: Plain, place: _Place) -> Errors:
        path, type_, items = place.path, schema.get("type") or "", schema.get("items")
        if type_ and type_ not in _TYPES and self.held.types:
            yield v.not_supported(f"{path}.type", type_, _TYPES)
        if schema.get("default") is not None and place.no_defaults:
            yield v.forbidden(f"{path}.default", f"must not be set {place.no_defaults}")
        for key in _FORBIDDEN:
            if schema.get(key) is not None and schema[key] not in ("", {}):
                yield v.forbidden(f"{path}.{key}", f"{key} is not supported")
        if type_ == "null":
            yield v.forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
        if isinstance(items, list):
            yield v.forbidden(f"{path}.items", "items must be a schema object and not an array")
        if place.in_metadata and schema.get("x-kubernetes-embedded-resource"):
            yield v.forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
        if schema.get("uniqueItems"):
            why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            yield v.forbidden(f"{path}.uniqueItems", why)
        additional = schema.get("additionalProperties")
        if schema.get("properties") and additional is not None and additional is not True:
            why = "additionalProperties and properties are mutual exclusive"
            yield v.forbidden(f"{path}.additionalProperties", why)
        if schema.get("x-kubernetes-preserve-unknown-fields") is False:
            yield v.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
        map_type = schema.get("x-kubernetes-map-type")
        if map_type is not None:
            if type_ != "object":
                yield _must_be(path, type_, "object", "x-kubernetes-map-type is specified")
            if map_type not in _MAP_TYPES:
                yield _unknown_word(f"{path}.x-kubernetes-map-type", map_type, _MAP_TYPES)
        yield from self._check_list_type(schema, path, type_)

    def _check_list_type(self, schema: Plain, path: str, type_: str) -> Errors:
        list_type, items = schema.get("x-kubernetes-list-type"), schema.get("items")
        keys = schema.get("x-kubernetes-list-map-keys") or []
        where = f"{path}.x-kubernetes-list-type"
        if list_type is not None and type_ != "array":
            yield _must_be(path, type_, "array", "x-kubernetes-list-type is specified")
        elif list_type == "set" and isinstance(items, dict) and self.held.atomic_sets:
            yield from _check_set(items, path)
        if list_type is not None and list_type not in _LIST_TYPES:
            yield _unknown_word(where, list_type, _LIST_TYPES)
        if keys and list_type != "map":
            why = "must be map if x-kubernetes-list-map-keys is non-empty"
            yield v.required(where, why) if list_type is None else v.invalid(where, list_type, why)
        if list_type == "map":
            yield from _check_map(schema, path, keys)
        if list_type in ("set", "map") and isinstance(items, dict) and self.held.keyed_lists:
            yield from _check_presence(items, path, list_type, keys)

    def _check_rules(self, rules: list[Plain], place: _Place, node: Node) -> Errors:
        is_root = place.level == "root"
        if rule_types.type_of(node, "", is_object=is_root or node.is_embedded) is None:
            where = f"{place.path}.x-kubernetes-validations"
            why = "failed to construct type information for x-kubernetes-validations rules"
            why += ": unable to convert structural schema to CEL declarations"
            yield FieldError(where, "InternalError", f"Internal error: internal error: {why}")
            return
        for i, rule in enumerate(rules):
            where = f"{place.path}.x-kubernetes-validations[{i}]"
            text, takes_optional = rule["rule"], bool(rule.get("optionalOldSelf"))
            names: frozenset[str] = frozenset()
            try:
                program = compile_(text, VARIABLES)
                cost = rule_types.weigh(text, node, is_root=is_root, takes_optional=takes_optional)
            except rule_types.WrongResult as error:
                yield _bad_program(f"{where}.rule", rule, str(error))
            except BadProgram as error:
                yield _bad_program(f"{where}.rule", rule, f"compilation failed: {error}")
            else:
                times = place.times if place.times is not None else rule_types.places_max(node)
                yield from self._spend(min(cost * times, costs.UNBOUNDED), f"{where}.rule")
                names = program.names
            if "oldSelf" not in names:
                if rule.get("optionalOldSelf") is not None:
                    why = "may not be set if oldSelf is not used in rule"
                    yield v.invalid(f"{where}.optionalOldSelf", rule["optionalOldSelf"], why)
            elif place.lost:
                why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.lost}"
                yield v.invalid(f"{where}.rule", text, why)
            expression, wanted = rule.get("messageExpression"), types.STRING
            if not expression:
                continue
            try:
                compile_(expression, VARIABLES)
                cost = rule_types.weigh(expression, node, is_root=is_root, takes_optional=takes_optional, wanted=wanted)
            except rule_types.WrongResult as error:
                yield _bad_program(f"{where}.messageExpression", rule, str(error))
            except BadProgram as error:
                yield _bad_program(f"{where}.messageExpression", rule, f"messageExpression compilation failed: {error}")
            else:
                yield from self._spend(cost, f"{where}.messageExpression")

    def _spend(self, cost: int, where: str) -> Errors:
        self.spent.append((cost, where))
        if cost > rule_types.COST_MAX and self.held.costs:
            what = f"estimated {where.rpartition('.')[2]} cost"
            yield v.forbidden(where, _too_costly(what, cost, rule_types.COST_MAX))


def _unknown_word(path: str, word: str, words: tuple[str, ...]) -> FieldError:
    listed = ", ".join(f'"{each}"' for each in words)
    return FieldError(path, "FieldValueNotSupported", f"Unsupported value: {v.show(word)}: supported values: {listed}")


def _check_set(items: Plain, path: str) -> Errors:
    why = "must be atomic as item of a list with x-kubernetes-list-type=set"
    list_type = items.get("x-kubernetes-list-type")
    if items.get("type") == "array" and list_type not in (None, "atomic"):
        yield v.invalid(f"{path}.items.x-kubernetes-list-type", list_type, why)
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        yield v.invalid(f"{path}.items.x-kubernetes-map-type", list_type, why)


def _check_map(schema: Plain, path: str, keys: list[str]) -> Errors:
    if not keys:
        yield v.required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    items = schema.get("items")
    if items is None:
        yield v.required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
        return
    if not isinstance(items, dict):
        yield v.invalid(f"{path}.items", items, "must only have a single schema if x-kubernetes-list-type is map")
        return
    if items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        yield v.invalid(f"{path}.items.type", items.get("type") or "", why)
        return
    where = f"{path}.x-kubernetes-list-map-keys"
    for i, key in enumerate(keys):
        child = (items.get("properties") or {}).get(key)
        if child is None:
            yield v.invalid(where, keys, "entries must all be names of item properties")
        elif child.get("type") in ("array", "object"):
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield v.invalid(f"{path}.items.properties[{key}].type", items["type"], why)
        if key in keys[:i]:
            yield v.invalid(where, keys, "must not contain duplicate entries")


def _check_presence(items: Plain, path: str, list_type: str, keys: list[str]) -> Errors:
    if items.get("nullable"):
        yield v.forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}")
    for key in keys if list_type == "map" else ():
        child = (items.get("properties") or {}).get(key)
        if child is None:
            continue
        where, what = f"{path}.items.properties[{key}]", "this property is in x-kubernetes-list-map-keys"
        if key not in (items.get("required") or ()) and child.get("default") is None:
            yield v.required(f"{where}.default", f"{what}, so it must have a default or be a required property")
        if child.get("nullable"):
            yield v.forbidden(f"{where}.nullable", f"{what}, so it cannot be nullable")


# --- rules ------------------------------------------------------------------------------------------------------------


def _check_rule_text(rule: Plain, schema: Plain, where: str) -> Errors:
    text, message = (rule.get("rule") or "").strip(), rule.get("message") or ""
    expression, field_path = rule.get("messageExpression") or "", rule.get("fieldPath") or ""
    if not text:
        yield v.required(f"{where}.rule", "rule is not specified")
    elif message and not message.strip():
        yield v.invalid(f"{where}.message", message, "message must be non-empty if specified")
    elif _has_breaks(message.strip()):
        yield v.invalid(f"{where}.message", message, "message must not contain line breaks")
    elif _has_breaks(text) and not message:
        yield v.required(f"{where}.message", "message must be specified if rule contains line breaks")
    if expression and not expression.strip():
        yield v.required(f"{where}.messageExpression", "messageExpression must be non-empty if specified")
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        yield v.not_supported(f"{where}.reason", reason, _REASONS)
    if field_path and not field_path.strip():
        yield v.invalid(f"{where}.fieldPath", field_path, "fieldPath must be non-empty if specified")
    if _has_breaks(field_path):
        yield v.invalid(f"{where}.fieldPath", field_path, "fieldPath must not contain line breaks")
    if field_path and not _is_beyond(schema):
        try:
            field_paths.find(field_path, Node(schema))
        except field_paths.BadFieldPath:
            yield v.invalid(f"{where}.fieldPath", field_path, "fieldPath must be a valid path")


def _has_breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _bad_program(path: str, rule: Plain, why: str) -> FieldError:
    """Return the error of a rule or a message, which shows the whole rule as the Go types upstream write it."""

    def pointer(type_: str, key: str) -> str:
        return f"(*{type_})({'nil' if rule.get(key) is None else v.show(rule[key])})"

    parts = [
        *(f"{_go_name(key)}:{v.show(rule.get(key) or '')}" for key in ("rule", "message", "messageExpression")),
        f"Reason:{pointer('apiextensions.FieldValueErrorReason', 'reason')}",
        f"FieldPath:{v.show(rule.get('fieldPath') or '')}",
        f"OptionalOldSelf:{pointer('bool', 'optionalOldSelf')}",
    ]
    shown = f"apiextensions.ValidationRule{{{', '.join(parts)}}}"
    return FieldError(path, "FieldValueInvalid", f"Invalid value: {shown}: {why}")


def _too_costly(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    times = "more than 100x" if factor > 100 else f"{factor:.1f}x" if factor >= 1.5 else f"{factor:f}x"
    return (
        f"{what} exceeds budget by factor of {times} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )


def _check_total(spent: Costs, path: str) -> Errors:
    total = min(sum(cost for cost, _ in spent), costs.UNBOUNDED)
    if total <= rule_types.SCHEMA_COST_MAX:
        return
    costly = sorted((one for one in spent if one[0] >= _COSTLY), key=lambda one: -one[0])[:_COSTLIEST]
    for _, where in costly:
        why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        yield v.forbidden(where, why)
    what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
    yield v.forbidden(path, _too_costly(what, total, rule_types.SCHEMA_COST_MAX))
