"""An indexed cache of one kind's objects.

Belongs to one event loop and takes no locks. Its objects are shared by all who read it: nobody changes one. It is an
`api.lister.Lister`, and adds lookups by index: an index gives each object any number of strings, and `by_index`
returns the objects that have one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from sortedcontainers import SortedDict

from api.resource import ObjectKey
from api.schema import Struct
from client.verbs import key_of

T = TypeVar("T", bound=Struct)

IndexFunction = Callable[[T], Iterable[str]]

_LAST = "\U0010ffff"
"""Sorts after every name, which are ASCII."""


class Store(Generic[T]):
    """Objects by key, in key order, and by whatever indexes were added."""

    def __init__(self) -> None:
        # Keyed by plain tuples: they compare in C, ten times faster than dataclasses do.
        self._objects: SortedDict = SortedDict()
        self._functions: dict[str, IndexFunction[T]] = {}
        self._indexes: dict[str, dict[str, dict[tuple[str, str], T]]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[T]:
        return iter(self._objects.values())

    def get(self, key: ObjectKey) -> T | None:
        """Return the object, or None."""
        found: T | None = self._objects.get((key.namespace, key.name))
        return found

    def list(self, namespace: str | None = None) -> Sequence[T]:
        """Return all objects, or those of one namespace, in key order."""
        if namespace is None:
            return list(self._objects.values())
        return [self._objects[key] for key in self._objects.irange((namespace, ""), (namespace, _LAST))]

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """Keep an index from now on; adding the same one again changes nothing.

        Raises:
            ValueError: another function has that name.
        """
        known = self._functions.get(name)
        if known is function:
            return
        if known is not None:
            raise ValueError(f"index {name!r} is already there with another function")
        self._functions[name] = function
        self._indexes[name] = {}
        for key, obj in self._objects.items():
            self._insert(name, key, obj)

    def by_index(self, name: str, value: str) -> Sequence[T]:
        """Return the objects to which index `name` gives `value`, in key order."""
        bucket = self._indexes[name].get(value)
        if not bucket:
            return []
        return [bucket[key] for key in sorted(bucket)]

    def put(self, obj: T) -> T | None:
        """Insert or replace; return what was there before."""
        key = _plain(key_of(obj))
        old: T | None = self._objects.get(key)
        if old is not None:
            self._remove_from_indexes(key, old)
        self._objects[key] = obj
        for name in self._functions:
            self._insert(name, key, obj)
        return old

    def remove(self, key: ObjectKey) -> T | None:
        """Take an object out; return it, or None if it was not there."""
        plain = _plain(key)
        old: T | None = self._objects.pop(plain, None)
        if old is not None:
            self._remove_from_indexes(plain, old)
        return old

    def _insert(self, name: str, key: tuple[str, str], obj: T) -> None:
        index = self._indexes[name]
        for value in self._functions[name](obj):
            index.setdefault(value, {})[key] = obj

    def _remove_from_indexes(self, key: tuple[str, str], obj: T) -> None:
        for name, function in self._functions.items():
            index = self._indexes[name]
            for value in function(obj):
                bucket = index.get(value)
                if bucket is None:
                    continue
                bucket.pop(key, None)
                if not bucket:
                    del index[value]


def _plain(key: ObjectKey) -> tuple[str, str]:
    return key.namespace, key.name
