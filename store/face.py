"""The face that the store shows to who keeps things in it: what can be asked, what is answered, and what goes wrong.

What callers must know of failures: `Unavailable` means that the outcome is *not known* (or that there is no quorum).
A write may have happened; read before trying again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from store.mvcc.kv import (
    Compare,
    CompareResult,
    CompareTarget,
    DeleteRange,
    Op,
    Put,
    Range,
    RangeResult,
    Txn,
    TxnResult,
)
from store.mvcc.revision import Event, KeyValue, Revision


class Conflict(Exception):
    """The key was not at the revision the write was conditional on; nothing was written."""

    def __init__(self, key: bytes, current: KeyValue | None) -> None:
        where = f"at revision {current.mod_revision}" if current else "not there"
        super().__init__(f"{key.decode(errors='replace')} is {where}")
        self.key = key
        self.current = current
        """The key as it is, read in the same transaction; None where it does not exist."""


class Unavailable(Exception):
    """No answer: the store can't be reached, has no quorum, or went away. A write may or may not have happened."""


class OutcomeLost(Unavailable):
    """The store can't tell any more whether the write happened; asking again would not help."""


class Refused(Exception):
    """The store refused the request and did nothing; `code` is the gRPC status code's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class WatchBatch(msgspec.Struct, frozen=True):
    """Events in revision order, and how far they reach. A progress notice has no events."""

    events: tuple[Event, ...]
    revision: Revision
    """Everything the watch asked for up to and including this revision has now been handed over."""


class StoreStatus(msgspec.Struct, frozen=True):
    """How the member that answered is doing."""

    version: str
    revision: Revision
    db_size_bytes: int
    leader: int
    """Member id of the leader; 0 where none is known."""
    raft_term: int
    raft_index: int
    has_trusted_progress: bool
    """Whether a progress notice is never ahead of events still to come (etcd: from 3.4.31 and 3.5.13 on)."""


class StoreMember(msgspec.Struct, frozen=True):
    """A member as the cluster lists it."""

    id: int
    name: str
    """Empty until it has started."""
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


class Watch(Protocol):
    """A running watch: iterate for batches; leave with `close`, or by breaking out of `async with`."""

    def __aiter__(self) -> AsyncIterator[WatchBatch]:
        """Iterate over batches.

        Raises, from the iteration:
            Compacted: the start revision is forgotten; list again and watch from there.
            Unavailable: the watch broke; start another from the last batch's revision + 1.
        """
        ...

    async def request_progress(self) -> None:
        """Ask for a progress notice soon: a batch without events at the store's present revision."""
        ...

    async def close(self) -> None:
        """End the watch; safe to call twice."""
        ...

    async def __aenter__(self) -> Watch:
        """Return self."""
        ...

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        ...


class Store(Protocol):
    """The key space through time, as the apiserver sees it.

    Any method may raise Unavailable or Refused besides what it names.
    """

    async def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
    ) -> RangeResult:
        """Read one key, or [key, range_end) in key order; `prefix_end(prefix)` is the end of a prefix.

        Linearizable unless `serializable`, which may be stale. `revision` 0 reads the present.

        Raises:
            Compacted, FutureRevision: `revision` can't be read.
        """
        ...

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Do `success` if every compare holds, else `failure`, at one revision."""
        ...

    async def put_if(self, key: bytes, value: bytes, mod_revision: int, *, lease: int = 0) -> Revision:
        """Write `key` if it is still at `mod_revision` (0: does not exist); return the new revision.

        Raises:
            Conflict: it is not; carries what is there.
        """
        ...

    async def delete_if(self, key: bytes, mod_revision: int) -> Revision:
        """Delete `key` if it is still at `mod_revision`; return the revision of the delete.

        Raises:
            Conflict: it is not; carries what is there (None: it is gone).
        """
        ...

    def watch(
        self,
        prefix: bytes,
        start_revision: int = 0,
        *,
        prev_kv: bool = True,
        progress: bool = True,
    ) -> Watch:
        """Watch every key under `prefix` from `start_revision` on (0: from now on).

        With `progress` the store sends a progress notice every few seconds when idle.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`.

        Raises:
            Compacted: that is done already. FutureRevision: it has not happened yet.
        """
        ...

    async def status(self) -> StoreStatus:
        """Ask the member how it is doing."""
        ...

    async def close(self) -> None:
        """Release connections; safe to call twice."""
        ...


def put_if_txn(key: bytes, value: bytes, mod_revision: int, lease: int) -> Txn:
    """Return the transaction behind `put_if`."""
    unchanged = Compare(key, CompareTarget.MOD, CompareResult.EQUAL, mod_revision)
    return Txn((unchanged,), (Put(key, value, lease),), (Range(key),))


def delete_if_txn(key: bytes, mod_revision: int) -> Txn:
    """Return the transaction behind `delete_if`."""
    unchanged = Compare(key, CompareTarget.MOD, CompareResult.EQUAL, mod_revision)
    return Txn((unchanged,), (DeleteRange(key),), (Range(key),))


def revision_or_conflict(key: bytes, result: TxnResult) -> Revision:
    """Return the revision of a conditional write that happened, or raise Conflict with what is there."""
    if result.succeeded:
        return result.revision
    (current,) = result.results
    assert isinstance(current, RangeResult)
    raise Conflict(key, current.kvs[0] if current.kvs else None)
