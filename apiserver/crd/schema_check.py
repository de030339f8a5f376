"""Whether a schema of a CustomResourceDefinition is structural, and its defaults and rules can be used. Pure.

Structural is: every place has a type, and what is below allOf, anyOf, oneOf and not only judges values (KEP-1101).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

from api import validation as v
from api.resource import FieldError
from apiserver.cel import costs, types
from apiserver.cel.program import BadProgram, compile_
from apiserver.crd import patterns, rule_types, values
from apiserver.crd.rules import VARIABLES, Checker
from apiserver.crd.structural import Node, Plain, apply_defaults, prune, steps_of

Errors = Iterator[FieldError]
Costs = list[tuple[int, str]]
"""What rules and messages may cost by estimate, and where they stand."""

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_LIST_TYPES: Final = ("atomic", "map", "set")
_MAP_TYPES: Final = ("atomic", "granular")
_REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_COSTLY: Final = 1_000_000
_COSTLIEST: Final = 4
"""Of rules that together cost too much, so many are named, if they cost at least so much."""
_DEPTH_MAX: Final = 128
_FORBIDDEN: Final = ("$ref", "definitions", "dependencies", "id", "$schema", "patternProperties", "additionalItems")
_NOT_IN_LOGIC: Final = {
    **dict.fromkeys(("additionalProperties", "default", "externalDocs"), "undefined"),
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


def check_schema(schema: Plain, path: str, *, has_status: bool = False, is_known: bool = False) -> Errors:
    """Yield what is wrong with the schema of a version.

    Args:
        schema: the schema.
        path: where it stands.
        has_status: whether the version has a status subresource.
        is_known: whether the schema is stored already: then no one rule is held against what it may cost.
    """
    if _depth(schema) > _DEPTH_MAX:
        yield v.invalid(path, "", f"must nest at most {_DEPTH_MAX} levels deep")
        return
    if schema.get("type") not in (None, "", "object"):
        yield v.invalid(f"{path}.type", schema["type"], "must be object at the root")
    if schema.get("nullable"):
        yield v.forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    for key in sorted(set(schema) - set(_AT_STATUS_ROOT)) if has_status else ():
        # The status is checked by itself, so what the root says of its fields together would be lost.
        listed = " ".join(_go_name(each) for each in _AT_STATUS_ROOT)
        why = f"only [{listed}] fields are allowed at the root of the schema if the status subresource is enabled"
        yield v.invalid(path, key, why)
    metadata = (schema.get("properties") or {}).get("metadata") or {}
    restricted = set(metadata) - {"type", "default", "properties"}
    if restricted or set(metadata.get("properties") or {}) - {"name", "generateName"}:
        yield v.forbidden(
            f"{path}.properties[metadata]",
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        )
    spent: Costs = []
    yield from _check_node(schema, Node(schema), path, spent, is_root=True)
    yield from _check_costs(spent, path, is_known=is_known)
    yield from _check_defaults(schema, path)


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


def _check_node(
    schema: Plain, node: Node, path: str, spent: Costs, *, is_root: bool = False, places: int | None = 1, lost: str = ""
) -> Errors:
    """Check a place and what is below it.

    An object has at most `places` of it, None where a list or map above does not say; `lost` is the one above that
    keeps its past from being told; what its rules may cost is added to `spent`.
    """
    type_ = schema.get("type") or ""
    is_free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if type_ and type_ not in _TYPES:
        yield v.not_supported(f"{path}.type", type_, _TYPES)
    if not type_ and not is_free:
        what = (
            "at the root"
            if is_root
            else f"for specified {'array items' if path.endswith('.items') else 'object fields'}"
        )
        yield v.required(f"{path}.type", f"must not be empty {what}")
    for key in _FORBIDDEN:
        if schema.get(key):
            yield v.forbidden(f"{path}.{key}", f"{key} is not supported")
    if schema.get("uniqueItems"):
        yield v.forbidden(
            f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )
    yield from _check_bounds(schema, path)
    yield from _check_extensions(schema, path, type_)
    yield from _check_rules(schema, node, path, spent, is_root=is_root, places=places, lost=lost)
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    if properties and additional is not None and additional is not False:
        yield v.forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if additional is False:
        yield v.forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    if is_root and additional:
        yield v.forbidden(f"{path}.additionalProperties", "must not be used at the root")
    items = schema.get("items")
    if type_ == "array" and items is None:
        yield v.required(f"{path}.items", "must be specified")
    if isinstance(items, list):
        yield v.forbidden(f"{path}.items", "items must be a schema object and not an array")
    for name, child in properties.items():
        if is_root and name in ("apiVersion", "kind", "metadata"):
            wanted = "object" if name == "metadata" else "string"
            if child.get("type") != wanted:
                yield v.invalid(f"{path}.properties[{name}].type", child.get("type", ""), f"must be {wanted}")
            continue
        below_it = f"{path}.properties[{name}]"
        yield from _check_node(child, node.properties[name], below_it, spent, places=places, lost=lost)
    declared = schema.get("maxItems" if type_ == "array" else "maxProperties")
    below = places * declared if places is not None and declared is not None else None
    if isinstance(items, dict) and node.items is not None:
        is_told = schema.get("x-kubernetes-list-type") == "map"  # Only keys say which element was which.
        untold = lost or ("" if is_told else path)
        yield from _check_node(items, node.items, f"{path}.items", spent, places=below, lost=untold)
    if isinstance(additional, dict) and isinstance(node.additional, Node):
        below_it = f"{path}.additionalProperties"
        yield from _check_node(additional, node.additional, below_it, spent, places=below, lost=lost)
    yield from _check_logic(schema, path)


def _check_bounds(schema: Plain, path: str) -> Errors:
    if schema.get("pattern"):
        try:
            patterns.compile_(schema["pattern"])
        except patterns.BadPattern as error:
            yield v.invalid(
                f"{path}.pattern", schema["pattern"], f"must be a valid regular expression, but isn't: {error}"
            )
    for key in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"):
        if (schema.get(key) or 0) < 0:
            yield v.invalid(f"{path}.{key}", schema[key], "must be greater than or equal to 0")


def _check_extensions(schema: Plain, path: str, type_: str) -> Errors:
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield v.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if schema.get("x-kubernetes-embedded-resource"):
        if type_ != "object":
            yield v.invalid(f"{path}.type", type_, "must be object if x-kubernetes-embedded-resource is true")
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield v.required(
                f"{path}.properties",
                "must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields",
            )
        if schema.get("additionalProperties") is not None:
            why = "must not be used if x-kubernetes-embedded-resource is set"
            yield v.forbidden(f"{path}.additionalProperties", why)
        for name, wanted in (("apiVersion", "string"), ("kind", "string"), ("metadata", "object")):
            child = (schema.get("properties") or {}).get(name)
            if child is not None and child.get("type") != wanted:
                yield v.invalid(f"{path}.properties[{name}].type", child.get("type", ""), f"must be {wanted}")
    for key in ("preserve-unknown-fields", "embedded-resource"):
        if schema.get("x-kubernetes-int-or-string") and schema.get(f"x-kubernetes-{key}"):
            why = "must be false if x-kubernetes-int-or-string is true"
            yield v.invalid(f"{path}.x-kubernetes-{key}", True, why)
    list_type = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if list_type is not None:
        if type_ != "array":
            yield v.invalid(f"{path}.type", type_, "must be array if x-kubernetes-list-type is specified")
        if list_type not in _LIST_TYPES:
            yield v.not_supported(f"{path}.x-kubernetes-list-type", list_type, _LIST_TYPES)
    if keys and list_type != "map":
        yield v.invalid(
            f"{path}.x-kubernetes-list-type", list_type or "", "must be map if x-kubernetes-list-map-keys is non-empty"
        )
    if list_type in ("set", "map") and isinstance(schema.get("items"), dict) and schema["items"].get("nullable"):
        yield v.forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}")
    if list_type == "map":
        yield from _check_map_list(schema, path, keys)
    if list_type == "set" and isinstance(schema.get("items"), dict):
        items = schema["items"]
        if items.get("type") == "array" and items.get("x-kubernetes-list-type") not in (None, "atomic"):
            yield v.invalid(
                f"{path}.items.x-kubernetes-list-type",
                items.get("x-kubernetes-list-type") or "",
                "must be atomic as item of a list with x-kubernetes-list-type=set",
            )
        if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
            yield v.invalid(
                f"{path}.items.x-kubernetes-map-type",
                items.get("x-kubernetes-map-type") or "",
                "must be atomic as item of a list with x-kubernetes-list-type=set",
            )
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None:
        if type_ != "object":
            yield v.invalid(f"{path}.type", type_, "must be object if x-kubernetes-map-type is specified")
        if map_type not in _MAP_TYPES:
            yield v.not_supported(f"{path}.x-kubernetes-map-type", map_type, _MAP_TYPES)


def _check_map_list(schema: Plain, path: str, keys: list[str]) -> Errors:
    if not keys:
        yield v.required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    items = schema.get("items")
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        yield v.invalid(
            f"{path}.items.type",
            items.get("type") or "",
            "must be object if parent array's x-kubernetes-list-type is map",
        )
    properties, required = items.get("properties") or {}, items.get("required") or []
    seen: set[str] = set()
    where = f"{path}.x-kubernetes-list-map-keys"
    for key in keys:
        if key in seen:
            yield v.invalid(where, keys, "must not contain duplicate entries")
        seen.add(key)
        child = properties.get(key)
        if child is None:
            yield v.invalid(where, keys, "entries must all be names of item properties")
            continue
        if child.get("nullable"):
            yield v.forbidden(
                f"{path}.items.properties[{key}].nullable",
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            )
        if child.get("type") in ("array", "object"):
            yield v.invalid(
                f"{path}.items.properties[{key}].type",
                child["type"],
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            )
        if key not in required and child.get("default") is None:
            yield v.required(
                f"{path}.items.properties[{key}].default",
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            )


def _check_rules(
    schema: Plain, node: Node, path: str, spent: Costs, *, is_root: bool, places: int | None, lost: str
) -> Errors:
    """Check the rules at a place of the schema, of which an object has at most so many."""
    rules = schema.get("x-kubernetes-validations")
    if not rules:
        return
    for i, rule in enumerate(rules):
        where = f"{path}.x-kubernetes-validations[{i}]"
        text = (rule.get("rule") or "").strip()
        if not text:
            yield v.required(f"{where}.rule", "rule is not specified")
            continue
        if rule.get("message") and not rule["message"].strip():
            yield v.invalid(f"{where}.message", rule["message"], "message must be non-empty if specified")
        if _has_breaks((rule.get("message") or "").strip()):
            yield v.invalid(f"{where}.message", rule["message"], "message must not contain line breaks")
        if _has_breaks(text) and not (rule.get("message") or "").strip():
            yield v.required(f"{where}.message", "message must be specified if rule contains line breaks")
        reason = rule.get("reason")
        if reason is not None and reason not in _REASONS:
            yield v.not_supported(f"{where}.reason", reason, _REASONS)
        try:
            program = compile_(text, VARIABLES)
            cost = rule_types.weigh(text, node, is_root=is_root, takes_optional=bool(rule.get("optionalOldSelf")))
            cost = min(cost * (places if places is not None else rule_types.places_max(node)), costs.UNBOUNDED)
        except BadProgram as error:
            yield v.invalid(f"{where}.rule", text, f"compilation failed: {error}")
        else:
            if rule.get("optionalOldSelf") is not None and "oldSelf" not in program.names:
                why = "may not be set if oldSelf is not used in rule"
                yield v.invalid(f"{where}.optionalOldSelf", rule["optionalOldSelf"], why)
            if lost and "oldSelf" in program.names:
                why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {lost}"
                yield v.invalid(f"{where}.rule", text, why)
            spent.append((cost, f"{where}.rule"))
        expression = rule.get("messageExpression")
        if expression:
            try:
                compile_(expression, VARIABLES)
                cost = rule_types.weigh(
                    expression,
                    node,
                    is_root=is_root,
                    takes_optional=bool(rule.get("optionalOldSelf")),
                    wanted=types.STRING,
                )
            except BadProgram as error:
                yield v.invalid(
                    f"{where}.messageExpression", expression, f"messageExpression compilation failed: {error}"
                )
            else:
                spent.append((cost, f"{where}.messageExpression"))
        if rule.get("fieldPath"):
            yield from _check_field_path(node, rule["fieldPath"], f"{where}.fieldPath")


def _too_costly(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    times = "more than 100x" if factor > 100 else f"{factor:.1f}x" if factor >= 1.5 else f"{factor:f}x"
    return (
        f"{what} exceeds budget by factor of {times} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )


def _check_costs(spent: Costs, path: str, *, is_known: bool) -> Errors:
    for cost, where in spent:
        if cost > rule_types.COST_MAX and not is_known:
            what = f"estimated {where.rpartition('.')[2]} cost"
            yield v.forbidden(where, _too_costly(what, cost, rule_types.COST_MAX))
    total = min(sum(cost for cost, _ in spent), costs.UNBOUNDED)
    if total <= rule_types.SCHEMA_COST_MAX:
        return
    costly = sorted((one for one in spent if one[0] >= _COSTLY), key=lambda one: -one[0])[:_COSTLIEST]
    for _, where in costly:
        why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        yield v.forbidden(where, why)
    what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
    yield v.forbidden(path, _too_costly(what, total, rule_types.SCHEMA_COST_MAX))


def _has_breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _check_field_path(root: Node, field_path: str, where: str) -> Errors:
    node: Node | None = root
    for name in steps_of(field_path):
        node = node.child(name) if node is not None and name else None
    if not field_path.startswith((".", "['")) or node is None:
        yield v.invalid(where, field_path, "fieldPath must be a valid path: does not refer to a valid field")


def _check_logic(schema: Plain, path: str) -> Errors:
    """Check what stands below allOf, anyOf, oneOf and not: it judges values, and says nothing about their structure."""
    for where, part in _junctors(schema, path):
        if where.startswith(f"{path}.anyOf") and schema["anyOf"] == _EITHER:
            continue
        if where == f"{path}.allOf[0]" and part.get("anyOf") == _EITHER:
            part = {key: value for key, value in part.items() if key != "anyOf"}
        yield from _check_logic_part(part, where, schema, path)


def _junctors(schema: Plain, path: str) -> Iterator[tuple[str, Plain]]:
    for key in ("allOf", "anyOf", "oneOf"):
        for i, part in enumerate(schema.get(key) or ()):
            yield f"{path}.{key}[{i}]", part
    if isinstance(schema.get("not"), dict):
        yield f"{path}.not", schema["not"]


def _check_logic_part(part: Plain, path: str, structure: Plain, structure_path: str) -> Errors:
    """Check a part that judges the values at a place, whose structure stands at `structure_path`."""
    for key, wanted in _NOT_IN_LOGIC.items():
        if part.get(key) not in (None, False, "", []):
            yield v.forbidden(f"{path}.{key}", f"must be {wanted} to be structural")
    known = structure.get("properties") or {}
    below = [(f"properties[{name}]", child, known.get(name)) for name, child in (part.get("properties") or {}).items()]
    if isinstance(part.get("items"), dict):
        below.append(("items", part["items"], structure.get("items")))
    for step, child, there in below:
        if step == "properties[metadata]":
            yield v.forbidden(f"{path}.{step}", "must not be specified in a nested context")
        if isinstance(there, dict):
            yield from _check_logic_part(child, f"{path}.{step}", there, f"{structure_path}.{step}")
        elif step != "properties[metadata]":
            yield v.required(f"{structure_path}.{step}", f"because it is defined in {path}.{step}")
    for where, each in _junctors(part, path):
        yield from _check_logic_part(each, where, structure, structure_path)


def _check_defaults(schema: Plain, path: str) -> Errors:
    default = schema.get("default")
    if default is not None:
        node = Node(schema)
        value = copy.deepcopy(default)
        unknown: list[str] = []
        prune(value, node, unknown)
        if unknown:
            yield v.invalid(f"{path}.default", default, f"must not have unknown fields: {', '.join(unknown)}")
        apply_defaults(value, node)
        told = list(values.check(value, node)) or [*values.check_lists(value, node), *Checker(node).check(value, None)]
        for error in told:
            where = f"{path}.default{'.' if error.path not in ('', '<nil>') else ''}{error.path.removeprefix('<nil>')}"
            yield FieldError(where, error.reason, error.message)
    for name, child in (schema.get("properties") or {}).items():
        yield from _check_defaults(child, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _check_defaults(schema[key], f"{path}.{key}")
