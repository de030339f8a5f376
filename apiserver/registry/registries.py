"""All registries: one per kind that is stored, and the tasks that keep their caches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from api.discover import RESOURCES
from api.lister import Lister
from api.resource import ObjectKey, Resource
from apiserver.registry.codec import relative_key
from apiserver.registry.revision_reader import RevisionReader
from apiserver.registry.selection import Selection, select
from apiserver.registry.storage import Registry
from apiserver.registry.watch_cache import WatchCache
from component.clock import Clock
from store.client import Store


class Registries:
    """The registries by resource. `run` must be running for anything to be found in a cache."""

    def __init__(
        self, store: Store, clock: Clock, random: Random, resources: Iterable[Resource[Any]] = RESOURCES
    ) -> None:
        revisions = RevisionReader(store)
        self._registries = {
            resource: Registry(resource, store, clock, random, revisions)
            for resource in resources
            if "get" in resource.verbs
        }

    def __iter__(self) -> Iterator[Registry]:
        return iter(self._registries.values())

    def of(self, resource: Resource[Any]) -> Registry:
        """Return the registry of a stored kind."""
        return self._registries[resource]

    def lister(self, resource: Resource[Any]) -> Lister[Any]:
        """Return a view of a kind's cache. Its objects are shared: never change one."""
        return CacheLister(self._registries[resource].cache)

    async def read(self, resource: Resource[Any], key: ObjectKey) -> Any:
        """Return an object: from the cache if it is there, else from the store. Shared: never change it.

        Raises:
            NotFound: it does not exist.
        """
        registry = self._registries[resource]
        stored = registry.cache.get(relative_key(key.namespace, key.name))
        if stored is None:
            stored = await registry.get(key.namespace, key.name)
        return stored.object

    def changed_at(self, *resources: Resource[Any]) -> tuple[int, ...]:
        """Return something that is the same as long as the caches of these kinds are."""
        return tuple(self._registries[resource].cache.changed_at for resource in resources)

    async def wait_ready(self) -> None:
        """Return once every cache has been filled."""
        for registry in self:
            await registry.cache.wait_ready()

    def unready(self) -> list[str]:
        """Return the kinds whose caches are still empty."""
        return [str(registry.resource) for registry in self if not registry.cache.is_ready]

    async def run(self) -> None:
        """Keep every cache until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for registry in self:
                tasks.create_task(registry.cache.run(), name=f"cache {registry.resource}")


class CacheLister:
    """`api.lister.Lister` over a watch cache."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache

    def get(self, key: ObjectKey) -> Any:
        """Return the object, or None."""
        stored = self._cache.get(relative_key(key.namespace, key.name))
        return stored.object if stored else None

    def list(self, namespace: str | None = None) -> list[Any]:
        """Return all objects, or those of one namespace, in key order."""
        selection: Selection = select(self._cache.resource, namespace or "")
        return [stored.object for stored in self._cache.select(selection)]
