"""The values MVCC is made of: key-value pairs, the stamps that order them, and what goes wrong with a revision.

A revision is the store's one counter: each transaction that changes anything moves it by exactly one. Within a
transaction every changed key has a sub number, so that (main, sub) names one change for ever.
"""

from __future__ import annotations

from typing import NewType

import msgspec

Revision = NewType("Revision", int)
"""The store's counter; 1 is the empty store, the first write makes 2 (as in etcd)."""


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """A key as it was at `mod_revision`. In a delete event only `key` and `mod_revision` are set."""

    key: bytes
    value: bytes
    create_revision: int
    """Revision that brought this life of the key into being; 0 for a tombstone."""
    mod_revision: int
    version: int
    """1 for the put that created the key, one more with each put; 0 for a tombstone."""
    lease: int = 0


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """All of a change but its key and value: what the index holds in memory for each."""

    main: int
    sub: int
    create_revision: int
    version: int
    lease: int = 0

    @property
    def is_tombstone(self) -> bool:
        """Whether the key was deleted by this change."""
        return self.version == 0


class Change(msgspec.Struct, frozen=True, gc=False):
    """One key changed by one transaction; `previous` is its stamp before, if it was alive."""

    kv: KeyValue
    previous: Stamp | None

    @property
    def is_delete(self) -> bool:
        """Whether the change removed the key."""
        return self.kv.version == 0


class Event(msgspec.Struct, frozen=True, gc=False):
    """What a watcher hears: a put, or a delete (then `kv` has only key and mod_revision)."""

    kv: KeyValue
    prev_kv: KeyValue | None = None
    """The pair before the change, where the watch asked for it and it is not compacted away."""

    @property
    def is_delete(self) -> bool:
        """Whether the key was deleted."""
        return self.kv.version == 0


class Compacted(Exception):
    """The revision asked for is forgotten; read the present and go on from there."""

    def __init__(self, compact_revision: int) -> None:
        super().__init__(f"revisions before {compact_revision} are compacted")
        self.revision = compact_revision
        """Oldest revision that can still be read."""


class FutureRevision(Exception):
    """The revision asked for has not happened yet."""

    def __init__(self, revision: int, current: int) -> None:
        super().__init__(f"revision {revision} is in the future: the store is at {current}")
        self.revision = revision
        self.current = current
