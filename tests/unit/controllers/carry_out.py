"""Applies a plan to objects in a dict, so that pure reconciles can be followed turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from api.resource import ObjectKey
from controllers.actions import Burst, Create, Delete, Patch, Plan
from tests.unit.client.memory_api import merge

Objects = dict[tuple[str, ObjectKey], Any]


def steps_of(plan: Plan) -> Iterator[Create | Patch | Delete]:
    """Yield every write of a plan."""
    for action in plan.actions:
        if isinstance(action, Burst):
            yield from action.steps
        elif isinstance(action, Create | Patch | Delete):
            yield action
    if plan.status is not None:
        yield plan.status


def carry_out(plan: Plan, objects: Objects) -> int:
    """Apply every write; return how many there were. New objects get names and uids."""
    count = 0
    for step in steps_of(plan):
        count += 1
        kind = step.resource.plural
        if isinstance(step, Create):
            made = msgspec.convert(msgspec.to_builtins(step.object), step.resource.type)
            metadata = made.metadata
            number = len(objects) + count
            while (
                not metadata.name
                and (
                    kind,
                    ObjectKey(metadata.namespace, f"{metadata.generate_name}{number}"),
                )
                in objects
            ):
                number += 1
            metadata.name = metadata.name or f"{metadata.generate_name}{number}"
            metadata.uid = f"uid-{metadata.name}"
            metadata.generation = 1
            metadata.creation_timestamp = f"2024-01-01T00:{number // 60 % 60:02d}:{number % 60:02d}Z"
            metadata.resource_version = "1"
            objects[kind, ObjectKey(metadata.namespace, metadata.name)] = made
        elif isinstance(step, Delete):
            del objects[kind, step.key]
        else:
            old = objects[kind, step.key]
            before = msgspec.to_builtins(old)
            wanted = step.patch.get("metadata", {}).get("resourceVersion")
            assert wanted in (None, old.metadata.resource_version), "a stale precondition"
            new = msgspec.convert(merge(before, step.patch), step.resource.type)
            if not step.subresource and before.get("spec") != msgspec.to_builtins(new).get("spec"):
                new.metadata.generation += 1
            new.metadata.resource_version = str(int(old.metadata.resource_version or 0) + 1)
            objects[kind, step.key] = new
    return count


def of(objects: Objects, kind: str) -> list[Any]:
    """Return all objects of a kind, in key order."""
    return [objects[key] for key in sorted(objects, key=lambda key: (key[0], key[1])) if key[0] == kind]
