"""Who depends on whom, across all kinds: a view on the informers' caches, which keep an index by owner.

There is no graph beside the caches that could disagree with them. An owner that no cache shows is no edge here; the
collector asks the server about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from api.discover import by_kind
from api.meta import ObjectMeta, OwnerReference
from api.resource import ObjectKey, Resource
from api.schema import Struct
from client.store import Store
from controllers.ownership import metadata_of

BY_OWNER = "owner"

Place = tuple[str, str, ObjectKey, str]
"""Group, plural, key and uid: which object, and where, in whatever version."""


def index_by_owner(obj: Struct) -> Iterable[str]:
    """Index objects by the uid of each of their owners."""
    return [owner.uid for owner in metadata_of(obj).owner_references]


@dataclass(frozen=True, slots=True)
class Item:
    """One object, of any kind; the uid tells it from another of the same name."""

    group: str
    version: str
    plural: str
    key: ObjectKey
    uid: str

    @property
    def place(self) -> Place:
        """Where the object is. Who names an owner from another namespace means none: a uid alone is no owner."""
        return self.group, self.plural, self.key, self.uid

    def __str__(self) -> str:
        return f"{self.plural} {self.key}"


def item_of(resource: Resource[Any], metadata: ObjectMeta) -> Item:
    """Return the item that an object is."""
    key = ObjectKey(metadata.namespace, metadata.name)
    return Item(resource.group, resource.version, resource.plural, key, metadata.uid)


def owner_item(
    owner: OwnerReference,
    dependent: ObjectMeta,
    find: Callable[[str, str], Resource[Any] | None] = by_kind,
) -> Item | None:
    """Return the item that an owner reference means: in the dependent's namespace, or of the cluster.

    None if the kind is not served, or if an object of the cluster names an owner in a namespace: nobody can tell
    which one.
    """
    resource = find(owner.api_version, owner.kind)
    if resource is None or not resource.plural or (resource.namespaced and not dependent.namespace):
        return None
    key = ObjectKey(dependent.namespace if resource.namespaced else "", owner.name)
    return Item(resource.group, resource.version, resource.plural, key, owner.uid)


class Graph:
    """Dependents and owners, looked up in the caches of all kinds."""

    def __init__(self, stores: Mapping[Resource[Any], Store[Any]]) -> None:
        self._stores = dict(stores)
        self._by_name = {(kind.group, kind.plural): store for kind, store in stores.items()}

    def add(self, resource: Resource[Any], store: Store[Any]) -> None:
        """Look at one more kind."""
        self._stores[resource] = store
        self._by_name[resource.group, resource.plural] = store

    def remove(self, resource: Resource[Any]) -> None:
        """Look at a kind no more."""
        self._stores.pop(resource, None)
        self._by_name.pop((resource.group, resource.plural), None)

    def find(self, item: Item) -> ObjectMeta | None:
        """Return the metadata of an item if a cache shows it."""
        store = self._by_name.get((item.group, item.plural))
        obj = store.get(item.key) if store is not None else None
        if obj is None or metadata_of(obj).uid != item.uid:
            return None
        return metadata_of(obj)

    def is_elsewhere(self, item: Item) -> bool:
        """Return whether a cache shows the item's uid in another namespace. Goes through all of the kind."""
        store = self._by_name.get((item.group, item.plural))
        found = (metadata_of(obj) for obj in store or ())
        return any(each.uid == item.uid and each.namespace not in ("", item.key.namespace) for each in found)

    def dependents(self, uid: str) -> Iterator[tuple[Item, ObjectMeta]]:
        """Yield every object that names the one with this uid as an owner."""
        for resource, store in self._stores.items():
            for obj in store.by_index(BY_OWNER, uid):
                metadata = metadata_of(obj)
                yield item_of(resource, metadata), metadata

    def owned(self) -> Iterator[tuple[Item, ObjectMeta]]:
        """Yield every object that has an owner, or waits for one of our finalizers."""
        for resource, store in self._stores.items():
            for obj in store:
                metadata = metadata_of(obj)
                if metadata.owner_references or (metadata.deletion_timestamp and metadata.finalizers):
                    yield item_of(resource, metadata), metadata
