"""Objects from YAML, as the API decodes and defaults them, and what is wrong with them."""

from typing import Any

import yaml

from api import serde, validation
from api.discover import by_kind
from api.resource import Resource


def made(text: str, **metadata: Any) -> Any:
    """Return the object that a body in YAML makes, defaulted and prepared for create."""
    value = yaml.safe_load(text)
    resource = by_kind(value["apiVersion"], value["kind"])
    assert resource is not None
    value.setdefault("metadata", {"name": "a"})
    if resource.namespaced:
        value["metadata"].setdefault("namespace", "d")
    value["metadata"] |= metadata
    obj: Any = serde.decode_value(value, resource, field_validation="Strict").object
    resource.default(obj)
    resource.prepare_for_create(obj)
    return obj


def kind_of(obj: Any) -> Resource[Any]:
    """Return the resource of an object."""
    resource = by_kind(obj.api_version, obj.kind)
    assert resource is not None
    return resource


def wrong(new: Any, old: Any = None) -> list[str]:
    """Return `path: message` for everything that is wrong with an object, or with an update to it."""
    return [f"{error.path}: {error.message}" for error in validation.find_errors(kind_of(new), new, old)]


def cells(obj: Any, now: float = 0.0) -> dict[str, Any]:
    """Return what a table shows of an object, by column."""
    return {column.name: column.cell(obj, now) for column in kind_of(obj).columns}
