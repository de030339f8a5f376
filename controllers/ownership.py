"""Who owns what: controller references, and claiming and releasing objects by selector.

An object has at most one controller. A controller claims what its selector matches: it adopts orphans and releases
what is its own but no longer matches. Before adopting, the runner looks at the owner live, so that one that was
deleted meanwhile adopts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from api.meta import ObjectMeta, OwnerReference
from api.resource import ObjectKey, Resource
from api.schema import Struct
from api.selectors import Selector, of_label_selector, of_labels
from client.verbs import key_of
from controllers.actions import Guard, Patch

if TYPE_CHECKING:
    from client.store import Store
    from controllers.runner import Listers

T = TypeVar("T", bound=Struct)

BY_CONTROLLER = "controller"
ORPHANS = "orphans"


def metadata_of(obj: Struct) -> ObjectMeta:
    """Return the metadata of any object."""
    metadata: ObjectMeta = obj.metadata  # type: ignore[attr-defined]
    return metadata


def controller_of(obj: Struct) -> OwnerReference | None:
    """Return the reference to the controller of an object, or None."""
    return next((owner for owner in metadata_of(obj).owner_references if owner.controller), None)


def is_controlled_by(obj: Struct, uid: str) -> bool:
    """Return whether the object with that uid is the controller of `obj`."""
    owner = controller_of(obj)
    return owner is not None and owner.uid == uid


def index_by_controller(obj: Struct) -> Iterable[str]:
    """Index objects by their controller's uid."""
    owner = controller_of(obj)
    return (owner.uid,) if owner is not None else ()


def index_orphans(obj: Struct) -> Iterable[str]:
    """Index objects that have no controller by their namespace."""
    return () if controller_of(obj) is not None else (metadata_of(obj).namespace,)


def candidates(store: Store[T], owner: Any) -> list[T]:
    """Return what `owner` controls, and the orphans of its namespace, which it could adopt; both indexes are needed."""
    return [*store.by_index(BY_CONTROLLER, owner.metadata.uid), *store.by_index(ORPHANS, owner.metadata.namespace)]


def keys_of_owned(owners: Resource[Any]) -> Callable[[Any, Listers], Iterable[ObjectKey]]:
    """Return what maps an object to its controller of the kind `owners`, or an orphan to those that could adopt it."""

    def keys(obj: Any, listers: Listers) -> Iterable[ObjectKey]:
        metadata, owner = metadata_of(obj), controller_of(obj)
        if owner is not None:
            if owner.kind == owners.kind:
                yield ObjectKey(metadata.namespace, owner.name)
        elif metadata.labels and not metadata.deletion_timestamp:
            for one in listers[owners].list(metadata.namespace):
                if selector_of(one).matches(metadata.labels):
                    yield key_of(one)

    return keys


def selector_of(owner: Any) -> Selector:
    """Return which objects a workload selects; a ReplicationController says it by labels alone."""
    selector = owner.spec.selector
    return of_labels(selector) if isinstance(selector, dict) else of_label_selector(selector)


def reference_as_controller(owner: Any) -> OwnerReference:
    """Return the reference that an object controlled by `owner` carries."""
    return OwnerReference(
        api_version=owner.api_version,
        kind=owner.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


@dataclass(frozen=True, slots=True)
class Claim(Generic[T]):
    """What belongs to an owner now, and the patches that write it down."""

    owned: Sequence[T]
    patches: Sequence[Patch]
    """Adoptions and releases. What is to be adopted is not in `owned` before it is."""


def claim(
    owner_resource: Resource[Any], owner: Any, selector: Selector, resource: Resource[T], candidates: Iterable[T]
) -> Claim[T]:
    """Decide which of `candidates` (in the owner's namespace) belong to `owner`."""
    uid, deleted = owner.metadata.uid, bool(owner.metadata.deletion_timestamp)
    owned: list[T] = []
    patches: list[Patch] = []
    for obj in candidates:
        metadata = metadata_of(obj)
        controller = controller_of(obj)
        matches = selector.matches(metadata.labels)
        if controller is not None:
            if controller.uid != uid:
                continue
            if matches:
                owned.append(obj)
            elif not deleted and not metadata.deletion_timestamp:
                rest = [ref for ref in metadata.owner_references if ref.uid != uid]
                patches.append(_with_owners(resource, obj, rest, None))
        elif matches and not deleted and not metadata.deletion_timestamp:
            owners = [*metadata.owner_references, reference_as_controller(owner)]
            patches.append(_with_owners(resource, obj, owners, Guard(owner_resource, key_of(owner), uid)))
    return Claim(owned, patches)


def _with_owners(resource: Resource[Any], obj: Struct, owners: list[OwnerReference], guard: Guard | None) -> Patch:
    metadata = metadata_of(obj)
    change = {
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
        "ownerReferences": msgspec.to_builtins(owners) or None,
    }
    return Patch(resource, key_of(obj), {"metadata": change}, guard=guard)
