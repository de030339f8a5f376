"""Random patches of all four kinds, for an object as it is stored."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any, Final

import yaml

from api.custom import is_custom
from api.resource import Resource
from api.schema import FieldSchema, Struct, fields_of
from tests.fuzz import objects
from tests.fuzz.objects import ODD, WORDS, Plain

JSON: Final = "application/json-patch+json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
_OPERATIONS: Final = ("add", "remove", "replace", "move", "copy", "test", "nonsense", "")
_PATCHED: Final = ("merge", "replace", "delete", "retainKeys", "nonsense", 1, None)


def make(random: Random, resource: Resource[Any] | None, seed: Plain, current: Plain) -> tuple[str, bytes]:
    """Return a patch's media type and body."""
    struct = None if resource is None or is_custom(resource.type) else resource.type
    way = random.choice((JSON, MERGE, STRATEGIC, STRATEGIC, APPLY, APPLY))
    if way == JSON:
        return way, json.dumps(_json(random, current)).encode()
    if way == APPLY:
        return way, _apply(random, seed, current, struct)
    if struct is None:
        patch = _loose(random, current)
    elif way == MERGE:
        patch = _part(random, current, struct, directives=False)
    else:
        patch = _part(random, current, struct, directives=True)
    return way, json.dumps(patch).encode()


def paths(value: Any, at: str = "") -> list[str]:
    """Return the JSON pointers of everything in a value."""
    found = [at]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.extend(paths(inner, f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}"))
    return found


def _json(random: Random, current: Plain) -> Any:
    known = paths(current)

    def path() -> Any:
        made = random.choice(known)
        return random.choice((made, made, made, f"{made}/-", f"{made}/0", f"{made}/99", f"{made}/~2", "x", "", 7, None))

    operations = []
    for _ in range(random.choice((1, 1, 2, 5))):
        operation: Plain = {"op": random.choice(_OPERATIONS), "path": path()}
        if random.random() < 0.8:
            operation["value"] = copy.deepcopy(random.choice((*ODD, current.get("spec"), "x")))
        if random.random() < 0.4:
            operation["from"] = path()
        operations.append(operation)
    return operations if random.random() < 0.95 else random.choice(ODD)


def _apply(random: Random, seed: Plain, current: Plain, struct: type[Struct] | None) -> bytes:
    wanted = copy.deepcopy(random.choice((seed, {key: current[key] for key in current if key != "status"})))
    wanted["metadata"] = {"name": current["metadata"]["name"]}
    if random.random() < 0.3:
        wanted["metadata"]["labels"] = {"app": random.choice("xyz")}
    if struct is not None:
        wanted = objects.change(random, wanted, struct, random.choice((0, 0, 1, 2)))
    elif random.random() < 0.5:
        wanted["spec"] = copy.deepcopy(random.choice((*ODD, wanted.get("spec"))))
    if random.random() < 0.3:
        try:
            return yaml.safe_dump(wanted, allow_unicode=True).encode("utf-8", "surrogatepass")
        except yaml.YAMLError:
            pass
    return json.dumps(wanted).encode()


def _loose(random: Random, current: Plain) -> Any:
    """Return a patch for a kind without declarations: what is there, with holes and odd ends."""
    patch: Any = {}
    for key in current:
        if key not in ("apiVersion", "kind", "metadata") and random.random() < 0.7:
            inner = current[key]
            patch[key] = (
                _loose(random, inner) if isinstance(inner, dict) and random.random() < 0.7 else random.choice(ODD)
            )
    if random.random() < 0.2:
        patch[random.choice(WORDS)] = random.choice(ODD)
    return patch if random.random() < 0.97 else random.choice(ODD)


def _part(random: Random, current: Any, struct: type[Struct], *, directives: bool, depth: int = 0) -> Any:
    """Return a patch of part of an object, with directives where they may stand, and sometimes where not."""
    patch: Plain = {}
    declared = fields_of(struct)
    present = [name for name in declared if isinstance(current, dict) and name in current]
    if depth == 0:
        present = [name for name in present if name not in ("apiVersion", "kind", "status")]
    for name in random.sample(present, min(len(present), random.choice((1, 1, 2)))):
        patch[name] = _field(random, current[name], declared[name], directives=directives, depth=depth)
        if directives and isinstance(current[name], list) and random.random() < 0.3:
            _list_directive(random, patch, name, current[name], declared[name])
    if depth and random.random() < 0.2:
        name = random.choice(tuple(declared))
        patch[name] = objects.of_field(random, declared[name], depth + 2)
    if directives and random.random() < 0.12:
        patch["$patch"] = random.choice(_PATCHED)
    if directives and random.random() < 0.1:
        patch["$retainKeys"] = random.choice((present, list(patch), ["x"], "x", [1], None))
    return patch


def _field(random: Random, inner: Any, declared: FieldSchema, *, directives: bool, depth: int) -> Any:
    schema = declared.type
    if random.random() < 0.12:
        return None
    if isinstance(inner, dict) and schema.struct is not None and depth < 8:
        return _part(random, inner, schema.struct, directives=directives, depth=depth + 1)
    item = schema.item.struct if schema.item is not None else None
    if isinstance(inner, list) and inner and item is not None and directives:
        key = declared.wire.merge_key if declared.wire is not None else None
        made = []
        for each in random.sample(inner, random.randint(1, len(inner))):
            part = _part(random, each, item, directives=True, depth=depth + 1)
            if key and isinstance(part, dict) and random.random() < 0.9:
                part[key] = each.get(key)
            made.append(part)
        if random.random() < 0.1:
            made.append(random.choice(({"$patch": "replace"}, {"$patch": "delete"}, {}, None, "x")))
        return made
    return objects.of_field(random, declared, depth + 2)


def _list_directive(random: Random, patch: Plain, name: str, inner: list[Any], declared: FieldSchema) -> None:
    key = declared.wire.merge_key if declared.wire is not None else None
    order: Any = [{key: each.get(key)} for each in inner if isinstance(each, dict)] if key else list(inner)
    random.shuffle(order)
    if random.random() < 0.2:
        order = random.choice(([], "x", [{}], [None], [1], [{"x": "y"}]))
    which = random.choice(("$setElementOrder/", "$deleteFromPrimitiveList/"))
    patch[which + name] = order
    if random.random() < 0.3:
        patch.pop(name, None)
