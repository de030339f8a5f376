"""A shared cache that follows one kind, and tells its handlers of every change.

`Informers` holds one informer a kind for a whole process: ask it with `of(RESOURCE)` while building, then `run` it;
what is asked for later is followed from then on.
Handlers are plain functions that must return quickly: they put a key in a work queue. A handler may be told the same
state twice (after a reconnect) and may miss intermediate states, never the last one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from api.resource import ObjectKey, Resource
from api.schema import Struct
from client.reflector import Reflector
from client.store import IndexFunction, Store
from client.verbs import Client, Event, EventType, ObjectList, key_of
from component.clock import Clock

T = TypeVar("T", bound=Struct)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What happened to one object: `old` is None when it is new to the cache, `new` when it is gone."""

    old: T | None
    new: T | None

    @property
    def object(self) -> T:
        """The newest state known."""
        found = self.new if self.new is not None else self.old
        assert found is not None
        return found


Handler = Callable[[Change[T]], None]


class Informer(Generic[T]):
    """The cache of one kind. `store` is its lister."""

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        *,
        clock: Clock,
        rng: random.Random,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.resource = resource
        self.store: Store[T] = Store()
        self.has_synced = False
        self.version = 0
        """The resourceVersion the cache has reached, as an integer (KEP-5504)."""
        self.connected_since = clock.monotonic()
        """When the watch was last opened, by the monotonic clock: before it, changes may have gone unheard."""
        self._clock = clock
        self._handlers: list[Handler[T]] = []
        self._advance_handlers: list[Callable[[int], None]] = []
        self._synced = asyncio.Event()
        self._reflector = Reflector(
            client,
            resource,
            self,
            clock=clock,
            rng=rng,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )

    def add_handler(self, handler: Handler[T]) -> None:
        """Call `handler` for every change from now on, and at once for each object already here."""
        self._handlers.append(handler)
        for obj in self.store:
            handler(Change(None, obj))

    def add_index(self, name: str, function: IndexFunction[T]) -> None:
        """Keep an index of the store (see `Store.add_index`)."""
        self.store.add_index(name, function)

    def on_advance(self, handler: Callable[[int], None]) -> None:
        """Call `handler` whenever `version` grows, after the handlers of the change itself."""
        self._advance_handlers.append(handler)

    async def wait_synced(self) -> None:
        """Return once the first list is in the cache."""
        await self._synced.wait()

    def relist(self) -> None:
        """List again at once, in the background."""
        self._reflector.relist()

    async def run(self) -> None:
        """Follow the kind until cancelled."""
        await self._reflector.run()

    def replace(self, listed: ObjectList[T]) -> None:
        """Take a whole list; what is not in it is gone."""
        present = set()
        for obj in listed.items:
            key = key_of(obj)
            present.add(key)
            self._put(obj)
        for obj in self.store.list():
            key = key_of(obj)
            if key not in present:
                self._remove(key, None)
        self.has_synced = True
        self._synced.set()
        self._advance(listed.resource_version)

    def apply(self, event: Event[T]) -> None:
        """Take one event."""
        if event.object is not None:
            if event.type is EventType.DELETED:
                self._remove(key_of(event.object), event.object)
            else:
                self._put(event.object)
        self._advance(event.resource_version)

    def connected(self) -> None:
        """Note that a watch is open from now on."""
        self.connected_since = self._clock.monotonic()

    def _put(self, obj: T) -> None:
        metadata: Any = obj.metadata  # type: ignore[attr-defined]
        # Nobody who reads a cache needs to know who wrote which field, and it is a third of many an object.
        metadata.managed_fields = []
        old = self.store.put(obj)
        if old is not None and _uid(old) != metadata.uid:
            # Deleted and made again while we were not watching: those are two objects.
            self._tell(Change(old, None))
            old = None
        if old is None or _version(old) != metadata.resource_version:
            self._tell(Change(old, obj))

    def _remove(self, key: ObjectKey, last: T | None) -> None:
        old = self.store.remove(key)
        if old is not None:
            self._tell(Change(last if last is not None else old, None))

    def _tell(self, change: Change[T]) -> None:
        for handler in self._handlers:
            try:
                handler(change)
            except Exception:
                # One reader's mistake must not stop the cache that all others read.
                log.exception("a handler failed", extra={"resource": str(self.resource)})

    def _advance(self, version: str) -> None:
        reached = int(version or 0)
        if reached > self.version:
            self.version = reached
            for handler in self._advance_handlers:
                handler(reached)


def _uid(obj: Struct) -> str:
    metadata: Any = obj.metadata  # type: ignore[attr-defined]
    return str(metadata.uid)


def _version(obj: Struct) -> str:
    metadata: Any = obj.metadata  # type: ignore[attr-defined]
    return str(metadata.resource_version)


class Informers:
    """One informer for each kind (and selection) that a process follows."""

    def __init__(self, client: Client, *, clock: Clock, rng: random.Random) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._informers: dict[tuple[str, str, str, str, str], Informer[Any]] = {}
        self._running: asyncio.TaskGroup | None = None

    def of(
        self,
        resource: Resource[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> Informer[T]:
        """Return the informer of a kind; the same arguments give the same one.

        While `run` runs, a new one is followed as soon as the caller awaits something.

        Raises:
            ValueError: the same kind is followed already, decoded to another type (metadata only, say).
        """
        key = (resource.group, resource.plural, namespace, label_selector, field_selector)
        found = self._informers.get(key)
        if found is None:
            found = Informer(
                self._client,
                resource,
                clock=self._clock,
                rng=self._rng,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
            )
            self._informers[key] = found
            if self._running is not None:
                self._follow(self._running, found)
        if found.resource.type is not resource.type:
            raise ValueError(f"{resource} is followed as {found.resource.type.__name__} already; ask for it first")
        return cast(Informer[T], found)

    def find(self, resource: Resource[Any]) -> Informer[Any] | None:
        """Return the informer of a whole kind if somebody asked for one."""
        return self._informers.get((resource.group, resource.plural, "", "", ""))

    def __iter__(self) -> Any:
        return iter(self._informers.values())

    @property
    def has_synced(self) -> bool:
        """Whether every informer has its first list."""
        return all(informer.has_synced for informer in self._informers.values())

    async def wait_synced(self) -> None:
        """Return once every informer has its first list."""
        for informer in self._informers.values():
            await informer.wait_synced()

    async def run(self) -> None:
        """Follow all kinds until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._running = group
                for informer in self._informers.values():
                    self._follow(group, informer)
        finally:
            self._running = None

    def _follow(self, group: asyncio.TaskGroup, informer: Informer[Any]) -> None:
        group.create_task(informer.run(), name=f"informer {informer.resource}")
