"""Our declarations, compared with Kubernetes' published ones."""

import importlib
import pkgutil
import re
from typing import Any

import api
from api.schema import Struct, fields_of
from tests.unit.api import reference


def _group_version(struct: type[Struct]) -> str:
    """Return `apps/v1`: a version other than v1 is a folder below its group's."""
    folder, *below = struct.__module__.split(".")[1:]
    is_version = bool(below) and re.fullmatch("v[0-9]+((alpha|beta)[0-9]+)?", below[0])
    return f"{folder}/{below[0] if is_version else 'v1'}"


def structs() -> list[type[Struct]]:
    found: dict[str, type[Struct]] = {}
    for module in pkgutil.walk_packages(api.__path__, "api."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, Struct) and value.__module__ == module.name:
                found[f"{value.__module__}.{value.__name__}"] = value
    return [found[name] for name in sorted(found) if not name.startswith("api.schema")]


def test_protobuf_numbers_are_those_of_the_wire() -> None:
    published = reference.load("protobuf-fields-v1.32.json")
    wrong: list[str] = []
    compared = 0
    for struct in structs():
        types = published.get(_group_version(struct), {})
        if struct.__name__ not in types:
            continue
        facts = dict(_flatten(types, types[struct.__name__], ()))
        for name, field in fields_of(struct).items():
            if field.wire is None:
                continue
            compared += 1
            if name not in facts:
                wrong.append(f"{struct.__name__}.{name} is not on the wire")
            elif facts[name]["path"] != field.wire.number:
                wrong.append(f"{struct.__name__}.{name} is {field.wire.number}, published as {facts[name]['path']}")
            elif _is_pointer_scalar(facts[name]) != field.nullable and field.type.kind in _SCALARS:
                wrong.append(f"{struct.__name__}.{name} is {'' if field.nullable else 'not '}nullable")
        declared = set(fields_of(struct))
        wrong += [f"{struct.__name__}.{name} is missing" for name in facts if name not in declared]
    assert wrong == []
    assert compared > 500


_SCALARS = ("integer", "boolean", "string")


def _is_pointer_scalar(fact: dict[str, Any]) -> bool:
    # An unset time is an empty string here, whether the wire has a pointer or not.
    return bool(fact.get("pointer")) and "Time" not in fact["type"]


def _flatten(types: dict[str, Any], facts: list[dict[str, Any]], prefix: tuple[int, ...]) -> Any:
    for fact in facts:
        path = (*prefix, fact["number"])
        if fact.get("inline") and fact["json"] is None:
            yield from _flatten(types, types[fact["type"]], path)
        else:
            yield fact["json"], {**fact, "path": path}
