"""All registries: one per kind that is stored, and the tasks that keep their caches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from api.discover import RESOURCES
from api.errors import ApiError
from api.lister import Lister
from api.resource import ObjectKey, Resource
from apiserver.registry.codec import Codec, relative_key
from apiserver.registry.failures import Redefined, no_such_resource
from apiserver.registry.kinds import Kinds
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
        self._revisions = RevisionReader(store)
        self.store, self._clock, self._random = store, clock, random
        resources = tuple(resources)
        self.kinds = Kinds(resources)
        self._registries = {resource: self._make(resource) for resource in resources if "get" in resource.verbs}
        self._custom: dict[Resource[Any], asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def _make(self, resource: Resource[Any], codec: Codec | None = None) -> Registry:
        return Registry(resource, self.store, self._clock, self._random, self._revisions, codec)

    def __iter__(self) -> Iterator[Registry]:
        """Yield the registries of built-in kinds; users' kinds may come and go meanwhile."""
        return iter([registry for resource, registry in self._registries.items() if resource not in self._custom])

    def everything(self) -> list[Registry]:
        """Return the registries of all kinds, those that users defined included."""
        return list(self._registries.values())

    def add(self, resource: Resource[Any], codec: Codec) -> None:
        """Begin to keep the objects of a custom kind, or of another version of one. `run` must be running."""
        assert self._tasks is not None
        registry = self._registries[resource] = self._make(resource, codec)
        self._custom[resource] = self._tasks.create_task(_keep(registry), name=f"cache {resource}")

    def remove(self, resource: Resource[Any]) -> None:
        """Forget a custom kind; its watchers have to ask anew."""
        self._custom.pop(resource).cancel()
        registry = self._registries.pop(resource)
        registry.cache.retire(Redefined(f"the definition of {resource} has changed"))

    def of(self, resource: Resource[Any]) -> Registry:
        """Return the registry of a stored kind.

        Raises:
            Redefined, NotFound: a custom kind became another, or went away, while it was asked for.
        """
        found = self._registries.get(resource)
        if found is None:
            if self.kinds.by_gvr(resource.group, resource.version, resource.plural) not in (None, resource):
                raise Redefined(f"the definition of {resource} has changed")
            raise no_such_resource()
        return found

    def cache_of(self, resource: Resource[Any]) -> WatchCache | None:
        """Return a kind's cache, or None where it is not stored."""
        found = self._registries.get(resource)
        return found.cache if found is not None else None

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
        """Return once every cache has been filled, or cannot be: then whoever asks for that kind is told why."""
        for registry in self:
            await registry.cache.wait_settled()

    def unready(self) -> list[str]:
        """Return the kinds whose caches are still empty."""
        caches = (registry.cache for registry in self)
        return [str(cache.resource) for cache in caches if not cache.is_ready and cache.failure is None]

    def end_watches(self, error: ApiError) -> None:
        """End every watch, of built-in kinds and of those that users defined."""
        for registry in self.everything():
            registry.cache.end(error)

    async def run(self) -> None:
        """Keep every cache until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for registry in self:
                tasks.create_task(registry.cache.run(), name=f"cache {registry.resource}")


async def _keep(registry: Registry) -> None:
    """Keep a custom kind's cache; that it was given up is no failure of the rest."""
    with contextlib.suppress(asyncio.CancelledError):
        await registry.cache.run()


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
