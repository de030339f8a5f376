"""What is to become of an object, given what became of its owners. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from api.meta import ObjectMeta

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class OwnerState(Enum):
    """What is known of an owner."""

    SOLID = "there, and staying; or of a kind we cannot ask about"
    WAITING = "being deleted in the foreground: it waits for its dependents to go first"
    ABSENT = "known to be gone, by a live read"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with one object."""

    delete: str = ""
    """Propagation policy to delete it with; empty to leave it."""
    owners_removed: frozenset[str] = frozenset()
    """Uids of owner references to strike out, since others keep the object."""
    is_unblocking: bool = False
    """Whether no owner is to wait for the object any more."""


KEEP = Verdict()


def judge(metadata: ObjectMeta, owners: Mapping[str, OwnerState], dependents: Collection[ObjectMeta] = ()) -> Verdict:
    """Decide about an object; `owners` has the state of each owner by uid, `dependents` who names it as an owner."""
    states = [owners[owner.uid] for owner in metadata.owner_references]
    if metadata.deletion_timestamp or not states:
        return KEEP
    if OwnerState.SOLID in states:
        return Verdict(owners_removed=frozenset(uid for uid, state in owners.items() if state is not OwnerState.SOLID))
    if OwnerState.WAITING in states and dependents:
        # Its own dependents go first as well, so that the whole tree is gone before its root. One of them may be that
        # root: where objects own each other in a circle, each would wait for the next, so one link is broken.
        is_circle = any(phase(dependent) == FOREGROUND for dependent in dependents)
        return Verdict(delete="Foreground", is_unblocking=is_circle)
    if ORPHAN in metadata.finalizers:
        return Verdict(delete="Orphan")
    if FOREGROUND in metadata.finalizers:
        return Verdict(delete="Foreground")
    return Verdict(delete="Background")


def phase(metadata: ObjectMeta) -> str:
    """Return which finalizer of ours a deleted object waits for: FOREGROUND, ORPHAN or neither (empty)."""
    if not metadata.deletion_timestamp:
        return ""
    return next((name for name in (ORPHAN, FOREGROUND) if name in metadata.finalizers), "")


def blocks(dependent: ObjectMeta, owner_uid: str) -> bool:
    """Return whether a dependent must be gone before its owner may go."""
    return any(owner.uid == owner_uid and owner.block_owner_deletion for owner in dependent.owner_references)
