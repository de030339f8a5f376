"""A read-only, typed view of a cache, wherever the cache lives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from api.resource import ObjectKey

T_co = TypeVar("T_co", covariant=True)


class Lister(Protocol[T_co]):
    """What a cache shows. Objects it returns are shared: never change one."""

    def get(self, key: ObjectKey) -> T_co | None:
        """Return the object, or None."""
        ...

    def list(self, namespace: str | None = None) -> Sequence[T_co]:
        """Return all objects, or those of one namespace, in key order."""
        ...
