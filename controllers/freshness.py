"""Keeps a controller from acting on a cache that does not show its own last writes yet (KEP-5504, KEP-5647).

Without this, a ReplicaSet that made three pods and looks again before the informer has heard of them makes three
more. The gate remembers, for each key, the resourceVersion of what was written; the key is held until the informer
of that kind has reached it. A deletion has been seen when the object is gone, replaced, or marked as being deleted.
No I/O and no clock: the runner asks, parks keys, and decides when waiting was long enough.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from api.resource import ObjectKey, Resource
from client.informer import Change
from controllers.ownership import metadata_of


class FreshnessGate:
    """For each key, what must be seen before it may be reconciled again."""

    def __init__(self) -> None:
        self._versions: dict[ObjectKey, dict[str, int]] = {}
        self._deletions: dict[ObjectKey, set[tuple[str, ObjectKey, str]]] = {}
        self._by_version: dict[str, list[tuple[int, ObjectKey]]] = {}
        self._by_object: dict[tuple[str, ObjectKey, str], set[ObjectKey]] = {}

    def is_fresh(self, owner: ObjectKey) -> bool:
        """Return whether everything written for `owner` has been seen."""
        return owner not in self._versions and owner not in self._deletions

    def wrote(self, owner: ObjectKey, resource: Resource[Any], version: int, reached: int) -> None:
        """Note a write at `version` for `owner`; the kind's cache is at `reached`."""
        kind = resource.group_resource
        if version <= max(reached, self._versions.get(owner, {}).get(kind, 0)):
            return
        self._versions.setdefault(owner, {})[kind] = version
        heapq.heappush(self._by_version.setdefault(kind, []), (version, owner))

    def deleted(self, owner: ObjectKey, resource: Resource[Any], key: ObjectKey, uid: str) -> None:
        """Note that the object was deleted for `owner` and that its cache still shows it."""
        wish = (resource.group_resource, key, uid)
        self._deletions.setdefault(owner, set()).add(wish)
        self._by_object.setdefault(wish, set()).add(owner)

    def advanced(self, resource: Resource[Any], reached: int) -> Iterator[ObjectKey]:
        """Learn that a kind's cache has come to `reached`; yield the keys that are fresh by that."""
        kind = resource.group_resource
        waiting = self._by_version.get(kind)
        while waiting and waiting[0][0] <= reached:
            version, owner = heapq.heappop(waiting)
            needs = self._versions.get(owner)
            if needs is None or needs.get(kind) != version:
                continue
            del needs[kind]
            if not needs:
                del self._versions[owner]
            if self.is_fresh(owner):
                yield owner

    def changed(self, resource: Resource[Any], change: Change[Any]) -> Iterator[ObjectKey]:
        """Learn of a change in a kind's cache; yield the keys that are fresh by that."""
        metadata = metadata_of(change.object)
        if change.new is not None and not metadata.deletion_timestamp:
            return
        wish = (resource.group_resource, ObjectKey(metadata.namespace, metadata.name), metadata.uid)
        for owner in sorted(self._by_object.pop(wish, ())):
            wishes = self._deletions.get(owner)
            if wishes is None:
                continue
            wishes.discard(wish)
            if not wishes:
                del self._deletions[owner]
            if self.is_fresh(owner):
                yield owner

    def forget(self, owner: ObjectKey) -> None:
        """Hold `owner` no longer: it is gone, or waited long enough."""
        self._versions.pop(owner, None)
        for wish in self._deletions.pop(owner, ()):
            owners = self._by_object.get(wish)
            if owners is not None:
                owners.discard(owner)
                if not owners:
                    del self._by_object[wish]
