"""The table of kinds: every `RESOURCE` under `api/`, found by walking the package.

Adding a kind is adding its file; nothing is listed here. A kind without a plural (Scale, TokenRequest) is only ever
the body of a subresource: it is known by kind, and no path of its own leads to it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, Final

import api
from api.resource import Resource


def _found() -> Iterator[Resource[Any]]:
    for module in pkgutil.walk_packages(api.__path__, "api."):
        if module.ispkg:
            continue
        resource = getattr(importlib.import_module(module.name), "RESOURCE", None)
        if isinstance(resource, Resource):
            yield resource


KINDS: Final[tuple[Resource[Any], ...]] = tuple(
    sorted(_found(), key=lambda resource: (resource.group, resource.version, resource.plural, resource.kind))
)
"""Every kind, bodies of subresources included, by group, version and plural."""
RESOURCES: Final[tuple[Resource[Any], ...]] = tuple(resource for resource in KINDS if resource.plural)
"""Every kind that has a path of its own."""
STORED: Final[tuple[Resource[Any], ...]] = tuple(resource for resource in RESOURCES if resource.storage is None)
"""Every kind once, in the version in which it is stored: for who goes through all objects there are."""

_BY_GVR: Final = {(resource.group, resource.version, resource.plural): resource for resource in RESOURCES}
_BY_KIND: Final = {(resource.api_version, resource.kind): resource for resource in KINDS}


def by_gvr(group: str, version: str, plural: str) -> Resource[Any] | None:
    """Return the resource served under that group, version and plural, or None; the core group is empty."""
    return _BY_GVR.get((group, version, plural))


def by_kind(api_version: str, kind: str) -> Resource[Any] | None:
    """Return the resource whose objects say `apiVersion` and `kind` so, or None."""
    return _BY_KIND.get((api_version, kind))


def group_versions() -> list[tuple[str, str]]:
    """Return the served (group, version) pairs: the core group first, then by name."""
    return sorted({(resource.group, resource.version) for resource in RESOURCES})
