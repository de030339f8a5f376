"""Judges values by a structural schema, in the words of the OpenAPI validation that users of Kubernetes know. Pure.

Errors name the place twice, once as the field and once in the sentence, because clients read either.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from api import validation as v
from api.go_types import Verbatim, literal
from api.resource import FieldError
from apiserver.crd.formats import is_of_format
from apiserver.crd.patterns import matches
from apiserver.crd.structural import Node

Errors = Iterator[FieldError]
_TYPES: Final = {
    dict: ("object", ""),
    list: ("array", ""),
    str: ("string", ""),
    bool: ("boolean", ""),
    int: ("integer", "int64"),
    float: ("number", "float64"),
}
"""What types are called in messages, and their formats."""
_EXACT_MAX: Final = 2**53
_FLOAT_MAX: Final = 3.4028235677973366e38
"""What is smaller is rounded to a number that 32 bits hold."""
NOTHING: Final = object()
"""There was no value before; None would say that it was null."""


def check(value: Any, node: Node, path: str = "", old: Any = NOTHING) -> Errors:
    """Yield what is wrong with `value`: types, bounds, words, patterns, and what allOf, anyOf, oneOf and not say.

    What is as it was in `old` is left alone, so that rules may become stricter without locking objects (KEP-4008).
    """
    if old is not NOTHING and is_unchanged(value, old, node):
        return
    if (value is None and not node.nullable and not _is_anything(node)) or (
        value is not None and not _fits(value, node)
    ):
        yield _wrong_type(path, value, node)
    if node.enum is not None and not any(_same(value, word) for word in node.enum):
        yield _not_among(path, value, node.enum)
    if value is None:
        return
    yield from _check_combinations(value, node, path)
    match value:
        case bool():
            pass
        case str():
            yield from _check_string(value, node, path)
        case int() | float():
            yield from _check_number(value, node, path)
        case list():
            yield from _check_list(value, node, path, old)
        case dict():
            yield from _check_object(value, node, path, old)


def _is_anything(node: Node) -> bool:
    return not node.type and not node.int_or_string


def _fits(value: Any, node: Node) -> bool:
    if node.int_or_string:
        return isinstance(value, str) or _is_integer(value)
    if node.type == "string" and node.format and isinstance(value, list):
        return (
            True  # As upstream's: what is to have a format is left to the format's checker, which looks at texts only.
        )
    match node.type:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return _is_integer(value)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
    return True


def _is_integer(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer() and abs(value) < _EXACT_MAX
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _same(left: Any, right: Any) -> bool:
    return left == right and isinstance(left, bool) is isinstance(right, bool)


def is_unchanged(value: Any, old: Any, node: Node) -> bool:
    """Whether a value is what it was; the order of items that are told apart by keys says nothing."""
    if isinstance(value, list) and isinstance(old, list) and node.items is not None:
        if len(value) != len(old):
            return False
        if node.list_type != "map":
            return value == old
        return all(
            (before := item_before(item, node, old)) is not NOTHING and is_unchanged(item, before, node.items)
            for item in value
        )
    if isinstance(value, dict) and isinstance(old, dict):
        if value == old:
            return True
        return value.keys() == old.keys() and all(
            is_unchanged(item, old[name], child) if (child := node.child(name)) is not None else item == old[name]
            for name, item in value.items()
        )
    return _same(value, old)


def _body(path: str) -> str:
    return f"{path} in body" if path else " in body"


def _wrong_type(path: str, value: Any, node: Node) -> FieldError:
    found, form = _TYPES.get(type(value), ("null", ""))
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        found, form = _TYPES[float]  # So far only fractions are written.
    wanted = "integer,string" if node.int_or_string else node.type
    if node.format and not isinstance(value, (str, list)) and value is not None:
        found, wanted = form, node.format
    return FieldError(
        path or "<nil>",
        "FieldValueTypeInvalid",
        f'Invalid value: "{found}": {_body(path)} must be of type {wanted}: "{found}"',
    )


def _is_in_range(value: float, node: Node) -> bool:
    """Whether a number fits what its type and format can hold."""
    if node.type == "integer":
        bits = 31 if node.format == "int32" else 63
        return float(value).is_integer() and -(2**bits) <= value < 2**bits
    return node.format != "float" or abs(value) < _FLOAT_MAX


def _not_among(path: str, value: Any, words: list[Any]) -> FieldError:
    shown = [word if isinstance(word, str) else json.dumps(word, separators=(",", ":")) for word in words]
    listed = ", ".join(json.dumps(word, ensure_ascii=False) for word in shown)
    return FieldError(
        path or "<nil>", "FieldValueNotSupported", f"Unsupported value: {_literal(value)}: supported values: {listed}"
    )


def _invalid(path: str, value: Any, why: str) -> FieldError:
    return v.invalid(path or "<nil>", Verbatim(_literal(value)), why)


def _literal(value: Any) -> str:
    """Return a value as users of custom kinds know it from messages: objects and lists as Go writes them."""
    if isinstance(value, (dict, list)):
        return literal(value)
    return v.show(value)


def _check_string(value: str, node: Node, path: str) -> Errors:
    if node.max_length is not None and len(value) > node.max_length:
        yield v.too_long(path or "<nil>", int(node.max_length))
    if node.min_length is not None and len(value) < node.min_length:
        yield _invalid(path, value, f"{_body(path)} should be at least {node.min_length} chars long")
    if node.pattern and not matches(node.pattern, value):
        yield _invalid(path, value, f"{_body(path)} should match '{node.pattern}'")
    if node.format and node.type in ("", "string") and not is_of_format(node.format, value):
        text = f"Invalid value: {v.show(value)}: {_body(path)} must be of type {node.format}: {v.show(value)}"
        yield FieldError(path or "<nil>", "FieldValueTypeInvalid", text)


def _check_number(value: float, node: Node, path: str) -> Errors:
    for what, number in (
        ("Checked", value),
        ("MultipleOf", node.multiple_of),
        ("Maximum boundary", node.maximum),
        ("Minimum boundary", node.minimum),
    ):
        if number is not None and not _is_in_range(number, node):
            form = f"with format {node.format}" if node.format else "(default format)"
            why = f"{what} value must be of type {node.type} {form} in {path}"
            yield FieldError("<nil>", "FieldValueInvalid", f'Invalid value: "": {why}')
    low, high = node.minimum, node.maximum
    if high is not None and (value >= high if node.exclusive_maximum else value > high):
        than = "less than" if node.exclusive_maximum else "less than or equal to"
        yield _invalid(path, value, f"{_body(path)} should be {than} {_number(high)}")
    if low is not None and (value <= low if node.exclusive_minimum else value < low):
        than = "greater than" if node.exclusive_minimum else "greater than or equal to"
        yield _invalid(path, value, f"{_body(path)} should be {than} {_number(low)}")
    if node.multiple_of is not None and node.multiple_of <= 0:
        shown = _number(node.multiple_of)
        yield _invalid(path, Verbatim(shown), f"factor MultipleOf declared for {path} must be positive: {shown}")
    elif node.multiple_of:
        quotient = value / node.multiple_of
        if not math.isclose(quotient, round(quotient), rel_tol=1e-12):
            yield _invalid(path, value, f"{_body(path)} should be a multiple of {_number(node.multiple_of)}")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _check_list(value: list[Any], node: Node, path: str, old: Any) -> Errors:
    if node.max_items is not None and len(value) > node.max_items:
        yield v.too_many(path or "<nil>", len(value), int(node.max_items))
    if node.min_items is not None and len(value) < node.min_items:
        yield _invalid(path, len(value), f"{_body(path)} should have at least {node.min_items} items")
    if node.unique_items and len({_key(item) for item in value}) < len(value):
        yield _invalid(path, value, f"{_body(path)} shouldn't contain duplicates")
    if node.items is not None:
        for i, item in enumerate(value):
            yield from check(item, node.items, f"{path}[{i}]", item_before(item, node, old))


def item_before(item: Any, node: Node, old: Any) -> Any:
    """Return what an element of a list was before, which only lists with keys can tell; else NOTHING."""
    if node.list_type != "map" or not isinstance(old, list) or not isinstance(item, dict):
        return NOTHING
    keys = [_key_of(item, key, node) for key in node.list_keys]
    for each in old:
        if isinstance(each, dict) and [_key_of(each, key, node) for key in node.list_keys] == keys:
            return each
    return NOTHING


def _check_object(value: dict[str, Any], node: Node, path: str, old: Any) -> Errors:
    if node.max_properties is not None and len(value) > node.max_properties:
        yield v.too_many(path or "<nil>", len(value), int(node.max_properties))
    if node.min_properties is not None and len(value) < node.min_properties:
        yield _invalid(path, len(value), f"{_body(path)} should have at least {node.min_properties} properties")
    for name in value if node.additional is False else ():
        if name not in node.properties:
            why = f"{_join(path, name)} in body is a forbidden property"
            yield FieldError(path or "<nil>", "FieldValueInvalid", f"Invalid value: {v.show(name)}: {why}")
    for name in node.required:
        if name not in value:
            yield v.required(_join(path, name))
    for name, item in value.items():
        child = node.child(name)
        if child is not None:
            before = old.get(name, NOTHING) if isinstance(old, dict) else NOTHING
            yield from check(item, child, _join(path, name), before)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _check_combinations(value: Any, node: Node, path: str) -> Errors:
    found = [list(check(value, part, path)) for part in node.all_of]
    if any(found):
        yield _combined(path, f"must validate all the schemas (allOf){'. None validated' if all(found) else ''}")
        yield from itertools.chain.from_iterable(found)
    if node.any_of:
        best = _best(value, node.any_of, path)
        if best is not None:
            yield _combined(path, "must validate at least one schema (anyOf)")
            yield from best
    if node.one_of:
        fitting = sum(1 for part in node.one_of if next(check(value, part, path), None) is None)
        if fitting != 1:
            how = "Found none valid" if not fitting else f"Found {fitting} valid alternatives"
            yield _combined(path, f"must validate one and only one schema (oneOf). {how}")
            if not fitting:
                yield from _best(value, node.one_of, path) or ()
    if node.negated is not None and next(check(value, node.negated, path), None) is None:
        yield _combined(path, "must not validate the schema (not)")


def _best(value: Any, parts: list[Node], path: str) -> list[FieldError] | None:
    """Return the errors of the alternative of which most fits, the first such; None if one fits altogether."""
    found = [(_fitting(value, part), list(check(value, part, path))) for part in parts]
    if not all(errors for _, errors in found):
        return None
    return max(found, key=lambda each: each[0])[1]


def _fitting(value: Any, node: Node) -> int:
    """Return at how many places that a schema knows of a value is of the type it should be."""
    count = int(value is not None and _fits(value, node))
    if isinstance(value, dict):
        count += sum(1 + _fitting(item, child) for name, item in value.items() if (child := node.child(name)))
    elif isinstance(value, list) and node.items is not None:
        count += sum(1 + _fitting(item, node.items) for item in value)
    return count


def _combined(path: str, why: str) -> FieldError:
    return FieldError("<nil>", "FieldValueInvalid", f'Invalid value: "": "{path}" {why}')


# --- what schemas say beyond OpenAPI ----------------------------------------------------------------------------------


def check_lists(value: Any, node: Node, path: str = "") -> Errors:
    """Yield the repeated elements of lists that are sets or maps (`x-kubernetes-list-type`), each once."""
    if isinstance(value, list):
        if node.list_type == "map" and (odd := _first_odd(value)) is not None:
            why = "must be an object for an array of list-type map"
            yield FieldError(f"{path}[{odd}]", "FieldValueInvalid", f"Invalid value: {_literal(value[odd])}: {why}")
        elif node.list_type in ("set", "map"):
            keys = value if node.list_type == "set" else [_keys_of(item, node) for item in value]
            seen: Counter[str] = Counter()
            for i, key in enumerate(keys):
                told = _key(key)
                seen[told] += 1
                if seen[told] == 2:
                    yield FieldError(f"{path}[{i}]", "FieldValueDuplicate", f"Duplicate value: {_literal(key)}")
        if node.items is not None:
            for i, item in enumerate(value):
                yield from check_lists(item, node.items, f"{path}[{i}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            child = node.child(name)
            if child is not None and isinstance(item, (dict, list)):
                where = _join(path, name) if name in node.properties else f"{path}[{name}]"
                yield from check_lists(item, child, where)


def _first_odd(items: list[Any]) -> int | None:
    return next((i for i, item in enumerate(items) if item is not None and not isinstance(item, dict)), None)


def _keys_of(item: dict[str, Any] | None, node: Node) -> dict[str, Any]:
    return {key: item[key] for key in node.list_keys if key in item} if item is not None else {}


def _key_of(item: dict[str, Any], key: str, node: Node) -> Any:
    value = item.get(key)
    if value is None and node.items is not None and key in node.items.properties:
        return node.items.properties[key].default
    return value


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
