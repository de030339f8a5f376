"""Looks at one object after another and deletes those whose owners are gone.

An item is looked at when it appears with an owner that no cache shows, when an owner of it goes or starts to go, and
when it is itself deleted under one of our finalizers. What a cache shows as present is believed, since its deletion
will be told; absence is never believed without a live read, and before a delete the object itself is read as well. A
delete carries uid and resourceVersion: an owner added in that instant saves the object.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from api.apiextensions import customresourcedefinition as crds
from api.apiextensions.customresourcedefinition import CustomResourceDefinition
from api.apiregistration import apiservice as apiservices
from api.core.references import ObjectReference
from api.discover import STORED
from api.errors import ApiError, Conflict, Forbidden, MethodNotAllowed, NotFound
from api.meta import ObjectMeta, OwnerReference
from api.resource import ObjectKey, Resource
from client.events import EventRecorder
from client.informer import Change, Informer, Informers
from client.verbs import Client
from client.workqueue import WorkQueue
from component.clock import Clock
from component.supervise import keep_going
from controllers import aggregated_kinds
from controllers.custom_kinds import FoundKinds, handles_of
from controllers.garbage_collector.graph import BY_OWNER, Graph, Item, Place, index_by_owner, item_of, owner_item
from controllers.garbage_collector.verdict import FOREGROUND, ORPHAN, OwnerState, blocks, judge, phase
from controllers.metadata import metadata_only
from controllers.ownership import metadata_of

WORKERS = 16
ABSENT_REMEMBERED_MAX = 2000
TURN_S_MAX = 120.0
ELSEWHERE_S = 30.0
"""How often other servers' kinds are asked for, beside whenever an APIService changes."""
_ELSEWHERE = "aggregated "
"""Before the names of their kinds; no definition is called so."""

log = logging.getLogger(__name__)


def collectable(resource: Resource[Any]) -> bool:
    """Return whether objects of a kind are collected. Events are not: they expire, and there are many."""
    return {"list", "watch", "delete"} <= set(resource.verbs) and resource.plural != "events"


@dataclass(frozen=True, slots=True)
class _Followed:
    """A kind that is not built in, whose objects are followed."""

    resource: Resource[Any]
    task: asyncio.Task[None]


class GarbageCollector:
    """Build after all other controllers, so that it shares their caches of whole objects."""

    name = "garbage-collector"

    def __init__(
        self, client: Client, informers: Informers, recorder: EventRecorder, *, clock: Clock, rng: random.Random
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._queue: WorkQueue[Item] = WorkQueue(clock, rng=rng)
        self._absent: OrderedDict[Place, bool] = OrderedDict()
        """Where no object of a uid is, and will be: a uid never comes back. Whether one is in another namespace."""
        self._started = False
        informers.of(crds.RESOURCE)  # Whole, not by metadata alone: definitions say which kinds there are.
        self._informers = {}
        for resource in STORED:
            if not collectable(resource):
                continue
            informer = informers.find(resource) or informers.of(metadata_only(resource))
            informer.add_index(BY_OWNER, index_by_owner)
            informer.add_handler(self._handler(resource))
            self._informers[resource] = informer
        self._clock, self._rng = clock, rng
        self._kinds = FoundKinds()
        self._followed: dict[str, _Followed] = {}
        """By what says that the kind is there: its definition, or the server that has it."""
        self._look_elsewhere = asyncio.Event()
        self._informers[apiservices.RESOURCE].add_handler(lambda _: self._look_elsewhere.set())
        self._group: asyncio.TaskGroup | None = None
        self._definitions = informers.of(crds.RESOURCE)
        self._graph = Graph({resource: informer.store for resource, informer in self._informers.items()})

    @property
    def has_synced(self) -> bool:
        """Whether every kind's cache is filled."""
        return all(informer.has_synced for informer in self._informers.values())

    async def run(self) -> None:
        """Collect until cancelled."""
        for informer in self._informers.values():
            await informer.wait_synced()
        self._started = True
        # What an earlier run of this followed ended with it.
        for name in list(self._followed):
            self._unfollow(name)
        for item, metadata in self._graph.owned():
            if phase(metadata) or self._has_unseen_owner(metadata):
                self._queue.add(item)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._definitions.add_handler(self._definition_changed)
                group.create_task(self._follow_elsewhere(), name=f"{self.name} aggregated kinds")
                for number in range(WORKERS):
                    group.create_task(self._work(), name=f"{self.name} worker {number}")
        finally:
            self._queue.close()
            self._started = False

    def _handler(self, resource: Resource[Any]) -> Any:
        def changed(change: Change[Any]) -> None:
            if not self._started:
                return
            metadata = metadata_of(change.object)
            item = item_of(resource, metadata)
            if change.new is None:
                self._remember_absent(item)
                for dependent, _ in self._graph.dependents(item.uid):
                    self._queue.add(dependent)
                self._queue_waiting(metadata, metadata.owner_references)
                return
            old = metadata_of(change.old) if change.old is not None else None
            if old is not None:
                # Owners for which it was in the way and is no more, since the reference is gone or does not block.
                freed = [owner for owner in old.owner_references if not blocks(metadata, owner.uid)]
                self._queue_waiting(metadata, freed)
            if phase(metadata) and (old is None or phase(metadata) != phase(old)):
                self._queue.add(item)
            owners_changed = old is None or old.owner_references != metadata.owner_references
            if metadata.owner_references and owners_changed and self._must_look(metadata):
                self._queue.add(item)

        return changed

    def _queue_waiting(self, metadata: ObjectMeta, owners: Iterable[OwnerReference]) -> None:
        """Look again at those owners of an object that wait for their dependents to go."""
        for owner in owners:
            above = self._owner_item(owner, metadata)
            shown = self._graph.find(above) if above is not None else None
            if above is not None and shown is not None and phase(shown) == FOREGROUND:
                self._queue.add(above)

    def _must_look(self, metadata: ObjectMeta) -> bool:
        for owner in metadata.owner_references:
            above = self._owner_item(owner, metadata)
            shown = self._graph.find(above) if above is not None else None
            if shown is None or phase(shown):
                return True
        return False

    def _has_unseen_owner(self, metadata: ObjectMeta) -> bool:
        return bool(metadata.owner_references) and self._must_look(metadata)

    async def _work(self) -> None:
        while True:
            item = await self._queue.get()
            try:
                async with asyncio.timeout(TURN_S_MAX):
                    await self._look_at(item)
                self._queue.forget(item)
            except (ApiError, TimeoutError) as error:
                level = logging.DEBUG if isinstance(error, Conflict) else logging.WARNING
                log.log(level, "will try again", extra={"item": item, "error": repr(error)})
                self._queue.add_rate_limited(item)
            except Exception:
                log.exception("broken", extra={"item": item})
                self._queue.add_rate_limited(item)
            finally:
                self._queue.done(item)

    async def _look_at(self, item: Item) -> None:
        metadata = await self._fetch(item)
        if metadata is None:
            # The cache will hear of it, but those that depend on it need not wait.
            for dependent, _ in self._graph.dependents(item.uid):
                self._queue.add(dependent)
            return
        match phase(metadata):
            case "orphan":
                await self._orphan_dependents(item, metadata)
            case "foregroundDeletion":
                await self._wait_for_dependents(item, metadata)
            case _ if not metadata.deletion_timestamp:
                await self._collect(item, metadata)

    async def _collect(self, item: Item, metadata: ObjectMeta) -> None:
        states = {}
        for owner in metadata.owner_references:
            above = self._owner_item(owner, metadata)
            states[owner.uid] = await self._state_of(above)
            if self._is_elsewhere(owner, above, metadata):
                self._tell_of_elsewhere(item, owner)
        verdict = judge(metadata, states, [dependent for _, dependent in self._graph.dependents(item.uid)])
        if verdict.owners_removed:
            await self._strike_owners(item, metadata, verdict.owners_removed)
        if verdict.is_unblocking and any(owner.block_owner_deletion for owner in metadata.owner_references):
            metadata = await self._unblock_owners(item, metadata)
        if verdict.delete:
            log.debug("deleting: its owners are gone", extra={"item": item, "propagation": verdict.delete})
            try:
                await self._client.delete(
                    self._resource(item),
                    item.key,
                    propagation=verdict.delete,
                    uid=item.uid,
                    resource_version=metadata.resource_version,
                )
            except NotFound:
                return

    async def _state_of(self, owner: Item | None) -> OwnerState:
        if owner is None:
            return OwnerState.SOLID
        if owner.place in self._absent:
            return OwnerState.ABSENT
        metadata = self._graph.find(owner)
        if metadata is None:
            try:
                metadata = await self._fetch(owner)
            except (Forbidden, MethodNotAllowed):
                return OwnerState.SOLID
        if metadata is None:
            self._remember_absent(owner, self._graph.is_elsewhere(owner))
            return OwnerState.ABSENT
        return OwnerState.WAITING if phase(metadata) == FOREGROUND else OwnerState.SOLID

    def _is_elsewhere(self, owner: OwnerReference, above: Item | None, dependent: ObjectMeta) -> bool:
        """Return whether the owner that an object names is in a namespace where the object cannot name it."""
        if above is not None:
            return self._absent.get(above.place, False)
        kind = self._kinds.by_kind(owner.api_version, owner.kind)
        if kind is None or not kind.namespaced or dependent.namespace:
            return False
        return self._graph.is_elsewhere(
            Item(kind.group, kind.version, kind.plural, ObjectKey("", owner.name), owner.uid)
        )

    def _tell_of_elsewhere(self, item: Item, owner: OwnerReference) -> None:
        kind, namespace, name = self._resource(item), item.key.namespace, item.key.name
        about = ObjectReference(
            api_version=kind.api_version, kind=kind.kind, namespace=namespace, name=name, uid=item.uid
        )
        named = f"[{owner.api_version}/{owner.kind}, namespace: {namespace}, name: {owner.name}, uid: {owner.uid}]"
        message = f'ownerRef {named} does not exist in namespace "{namespace}"'
        self._recorder.event_from("garbage-collector-controller", about, "Warning", "OwnerRefInvalidNamespace", message)

    async def _wait_for_dependents(self, item: Item, metadata: ObjectMeta) -> None:
        """Let the object go once nothing that blocks it is left; until then see that those go."""
        blocking = [(found, of) for found, of in self._graph.dependents(item.uid) if blocks(of, item.uid)]
        if not blocking:
            await self._remove_finalizer(item, metadata, FOREGROUND)
            return
        for dependent, of in blocking:
            if phase(of) != FOREGROUND:  # one that waits itself is looked at when one of its own goes
                self._queue.add(dependent)

    async def _orphan_dependents(self, item: Item, metadata: ObjectMeta) -> None:
        for dependent, _ in list(self._graph.dependents(item.uid)):
            current = await self._fetch(dependent)
            if current is not None:
                await self._strike_owners(dependent, current, frozenset((item.uid,)))
        await self._remove_finalizer(item, metadata, ORPHAN)

    async def _strike_owners(self, item: Item, metadata: ObjectMeta, uids: frozenset[str]) -> None:
        rest = [owner for owner in metadata.owner_references if owner.uid not in uids]
        await self._patch_metadata(item, metadata, {"ownerReferences": msgspec.to_builtins(rest) or None})

    async def _unblock_owners(self, item: Item, metadata: ObjectMeta) -> ObjectMeta:
        owners = [msgspec.structs.replace(owner, block_owner_deletion=False) for owner in metadata.owner_references]
        return await self._patch_metadata(item, metadata, {"ownerReferences": msgspec.to_builtins(owners)})

    async def _remove_finalizer(self, item: Item, metadata: ObjectMeta, name: str) -> None:
        rest = [finalizer for finalizer in metadata.finalizers if finalizer != name]
        await self._patch_metadata(item, metadata, {"finalizers": rest or None})

    async def _patch_metadata(self, item: Item, metadata: ObjectMeta, change: dict[str, Any]) -> ObjectMeta:
        """Change metadata that is as it was read, and return what it became; an object that is gone stays as it was."""
        checked = {"uid": item.uid, "resourceVersion": metadata.resource_version}
        kind = metadata_only(self._resource(item))
        try:
            patched = await self._client.patch(kind, item.key, {"metadata": checked | change})
        except NotFound:
            return metadata
        return patched.metadata

    async def _fetch(self, item: Item) -> ObjectMeta | None:
        """Return the object's metadata from the server; None if it is gone, or another one has its name."""
        try:
            obj = await self._client.get(metadata_only(self._resource(item)), item.key)
        except NotFound:
            return None
        return obj.metadata if obj.metadata.uid == item.uid else None

    def _remember_absent(self, item: Item, is_elsewhere: bool = False) -> None:
        self._absent[item.place] = is_elsewhere
        if len(self._absent) > ABSENT_REMEMBERED_MAX:
            self._absent.popitem(last=False)

    def _owner_item(self, owner: OwnerReference, dependent: ObjectMeta) -> Item | None:
        return owner_item(owner, dependent, self._kinds.by_kind)

    def _resource(self, item: Item) -> Resource[Any]:
        """Return the kind of an item; raises NotFound for a custom one that is defined no more."""
        found = self._kinds.by_gvr(item.group, item.version, item.plural)
        if found is None:
            raise NotFound(f"{item.plural}.{item.group} is served no more")
        return found

    # Kinds that users define, and other servers have

    def _definition_changed(self, change: Change[CustomResourceDefinition]) -> None:
        crd = change.object
        self._serve(crd.metadata.name, handles_of(crd) if change.new is not None else [])

    async def _follow_elsewhere(self) -> None:
        """Keep to what other servers have: those that do not answer keep what they had."""
        while True:
            self._look_elsewhere.clear()
            try:
                versions = await self._client.discover()
            except ApiError as error:
                log.info("other servers' kinds are not known", extra={"error": error})
            else:
                found = aggregated_kinds.handles_of(versions)
                stale = {each.group for each in versions if each.is_stale}
                known = {name: each for name, each in self._followed.items() if name.startswith(_ELSEWHERE)}
                wanted = {f"{_ELSEWHERE}{plural}.{group}": handles for (group, plural), handles in found.items()}
                for name, followed in known.items():
                    if name not in wanted and followed.resource.group not in stale:
                        self._serve(name, [])
                for name, handles in wanted.items():
                    self._serve(name, handles)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ELSEWHERE_S):
                    await self._look_elsewhere.wait()

    def _serve(self, name: str, handles: list[Resource[Any]]) -> None:
        """Follow the objects of a kind by the first handle that will do, or no longer."""
        self._kinds.tell(name, handles)
        handle = next((one for one in handles if collectable(one)), None)
        followed = self._followed.get(name)
        is_same = followed is not None and handle is not None and followed.resource.api_version == handle.api_version
        if is_same or (followed is None and handle is None):
            return
        if followed is not None:
            self._unfollow(name)
        if handle is not None and self._group is not None:
            informer: Informer[Any] = Informer(self._client, handle, clock=self._clock, rng=self._rng)
            informer.add_index(BY_OWNER, index_by_owner)
            informer.add_handler(self._handler(handle))
            self._graph.add(handle, informer.store)
            task = self._group.create_task(self._follow(informer), name=f"{self.name} {handle}")
            self._followed[name] = _Followed(handle, task)

    def _unfollow(self, name: str) -> None:
        followed = self._followed.pop(name)
        followed.task.cancel()
        self._graph.remove(followed.resource)

    async def _follow(self, informer: Informer[Any]) -> None:
        """Follow one such kind. Once it is known, what named owners of it can be judged."""
        what = f"{self.name} {informer.resource}"
        running = asyncio.create_task(keep_going(what, informer.run, self._clock))
        try:
            await informer.wait_synced()
            for item, metadata in list(self._graph.owned()):
                if phase(metadata) or self._has_unseen_owner(metadata):
                    self._queue.add(item)
            await running
        finally:
            running.cancel()
