"""Handles of the kinds that other servers have, for controllers that look after objects of every kind.

They are known by what those servers say of themselves, as the API server last heard it (`Client.discover`); their
objects are listed, watched and deleted through it like any others, by their metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.resource import Resource
from client.verbs import ServedVersion
from controllers.metadata import MetadataOnly

Kinds = dict[tuple[str, str], list[Resource[MetadataOnly]]]
"""By group and plural, the handle of each version, the preferred one first."""


def handles_of(versions: Sequence[ServedVersion]) -> Kinds:
    """Return the handles of every kind that other servers have."""
    found: Kinds = {}
    for version in versions:
        for kind in version.kinds:
            handle: Resource[Any] = Resource(
                type=MetadataOnly,
                group=version.group,
                version=version.version,
                kind=kind.kind,
                plural=kind.plural,
                namespaced=kind.namespaced,
                verbs=kind.verbs,
            )
            found.setdefault((version.group, kind.plural), []).append(handle)
    return found


def stale_of(versions: Sequence[ServedVersion]) -> list[str]:
    """Return the versions whose servers do not answer, so that nobody knows what all they have."""
    return sorted(each.api_version for each in versions if each.is_stale)
