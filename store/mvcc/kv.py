"""Ranges and transactions over revisions, exactly as etcd answers them: pure.

`Mvcc` takes a query or a transaction and returns its result; a transaction also returns its changes, for watchers and
leases. The caller gives transactions in log order and is the only writer. A transaction is checked whole before its
first change, so it either happens or raises and leaves no trace.

Records (the values) are behind `Records`: a dict here, LMDB in `store.backend`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import Protocol, TypeAlias

import msgspec
from sortedcontainers import SortedDict

from store.mvcc.index import FROM_KEY, KeyIndex
from store.mvcc.revision import Change, Compacted, FutureRevision, KeyValue, Revision, Stamp


class SortOrder(IntEnum):
    """RangeRequest.SortOrder."""

    NONE = 0
    ASCEND = 1
    DESCEND = 2


class SortTarget(IntEnum):
    """RangeRequest.SortTarget."""

    KEY = 0
    VERSION = 1
    CREATE = 2
    MOD = 3
    VALUE = 4


class CompareResult(IntEnum):
    """Compare.CompareResult."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


class CompareTarget(IntEnum):
    """Compare.CompareTarget."""

    VERSION = 0
    CREATE = 1
    MOD = 2
    VALUE = 3
    LEASE = 4


class Range(msgspec.Struct, frozen=True, gc=False):
    """Read keys; see `KeyIndex.alive` for what `range_end` means. Zero means "no bound" in every number."""

    key: bytes
    range_end: bytes = b""
    limit: int = 0
    revision: int = 0
    keys_only: bool = False
    count_only: bool = False
    sort_order: int = SortOrder.NONE
    sort_target: int = SortTarget.KEY
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write one key. `ignore_value` and `ignore_lease` keep what the key has, which must exist."""

    key: bytes
    value: bytes = b""
    lease: int = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class DeleteRange(msgspec.Struct, frozen=True, gc=False):
    """Delete every living key of the range."""

    key: bytes
    range_end: bytes = b""
    prev_kv: bool = False


class Compare(msgspec.Struct, frozen=True, gc=False):
    """A condition on one key, or with `range_end` on every living key of a range.

    A key that is not there, and a range with nothing in it, compares as all zeroes, and never by value.
    """

    key: bytes
    target: int
    result: int
    value: int | bytes
    range_end: bytes = b""


class Txn(msgspec.Struct, frozen=True):
    """If every compare holds do `success`, else `failure`: all of it, in order, at one revision."""

    compares: tuple[Compare, ...] = ()
    success: tuple[Op, ...] = ()
    failure: tuple[Op, ...] = ()


Op: TypeAlias = Range | Put | DeleteRange | Txn


class RangeResult(msgspec.Struct, frozen=True):
    """`count` is of all keys in the range, whatever the limit; `more` says that the limit cut some off."""

    kvs: tuple[KeyValue, ...]
    count: int
    more: bool
    revision: Revision
    """The store's revision when it was read (not the one asked for)."""


class PutResult(msgspec.Struct, frozen=True, gc=False):
    """The pair before, if asked for and there was one."""

    prev_kv: KeyValue | None = None


class DeleteResult(msgspec.Struct, frozen=True):
    """How many keys went, and what they were, if asked for."""

    deleted: int
    prev_kvs: tuple[KeyValue, ...] = ()
    revision: Revision = Revision(0)
    """The store's revision after it: in a transaction that has changed nothing so far, still the one before."""


class TxnResult(msgspec.Struct, frozen=True):
    """Which branch was taken, one result for each of its operations, and the store's revision after it."""

    succeeded: bool
    results: tuple[Result, ...]
    revision: Revision


Result: TypeAlias = RangeResult | PutResult | DeleteResult | TxnResult


class KeyNotFound(Exception):
    """A put that was to keep the value or lease of a key met no such key."""


class LeaseNotFound(Exception):
    """A put or a lease request names a lease that does not exist."""


class Records(Protocol):
    """Where pairs live, by (main, sub). Tombstones are records too."""

    def get(self, main: int, sub: int) -> KeyValue:
        """Return the record; it is there as long as the index has its stamp."""
        ...

    def put(self, main: int, sub: int, kv: KeyValue) -> None:
        """Add a record; revisions only grow."""
        ...

    def drop(self, stamps: Iterable[Stamp]) -> None:
        """Forget records; they are not asked for again."""
        ...

    def scan(self, revision: int) -> Iterator[tuple[int, int, KeyValue]]:
        """Yield (main, sub, record) in order, from `revision` on; not valid across a write."""
        ...

    def stamps(self) -> Iterator[tuple[bytes, int, int, int, int, int]]:
        """Yield (key, main, sub, create_revision, version, lease) of every record, in order; before any write."""
        ...


class MemoryRecords:
    """Records in a sorted dict, for tests and simulations."""

    def __init__(self) -> None:
        self._records: SortedDict = SortedDict()

    def get(self, main: int, sub: int) -> KeyValue:
        """Return the record."""
        found: KeyValue = self._records[main, sub]
        return found

    def put(self, main: int, sub: int, kv: KeyValue) -> None:
        """Add a record."""
        self._records[main, sub] = kv

    def drop(self, stamps: Iterable[Stamp]) -> None:
        """Forget records."""
        for stamp in stamps:
            del self._records[stamp.main, stamp.sub]

    def scan(self, revision: int) -> Iterator[tuple[int, int, KeyValue]]:
        """Yield records from `revision` on."""
        for main, sub in self._records.irange(minimum=(revision, 0)):
            yield main, sub, self._records[main, sub]

    def stamps(self) -> Iterator[tuple[bytes, int, int, int, int, int]]:
        """Yield every record's key and numbers."""
        for (main, sub), kv in self._records.items():
            yield kv.key, main, sub, kv.create_revision, kv.version, kv.lease


class Mvcc:
    """The key space through time."""

    def __init__(
        self,
        records: Records | None = None,
        *,
        has_lease: Callable[[int], bool] = lambda lease: False,
        revision: int = 1,
        compact_revision: int = 0,
    ) -> None:
        """Start from `records` as they are: the index is read from them.

        Args:
            records: the pairs; a fresh `MemoryRecords` if None.
            has_lease: whether a lease id may be put on a key.
            revision: the store's revision, at least that of the newest record.
            compact_revision: the last compaction's revision; what it freed and is still there is dropped again.
        """
        self.records: Records = MemoryRecords() if records is None else records
        self.revision = Revision(revision)
        self.compact_revision = Revision(compact_revision)
        self._has_lease = has_lease
        self.puts = self.deletes = self.txns = self.ranges = 0
        """Counted since the start, of transactions and ranges done here."""
        self._index = KeyIndex()
        self._index.load(self.records.stamps())
        newest = self._index.newest_revision
        assert newest <= revision, f"record of revision {newest} in a store at {revision}"
        self.records.drop(list(self._index.compact(compact_revision)))

    # -- reading

    @property
    def keys(self) -> int:
        """How many keys the index has, those deleted and not yet forgotten among them."""
        return len(self._index)

    def leased(self) -> Iterator[tuple[int, bytes]]:
        """Yield (lease, key) of every living key on a lease."""
        return self._index.leased()

    def range(self, query: Range) -> RangeResult:
        """Answer `query`.

        Raises:
            Compacted, FutureRevision: `query.revision` can't be read.
        """
        self.check_revision(query.revision)
        self.ranges += 1
        return self._range(query)

    def check_revision(self, revision: int) -> None:
        """Raise Compacted or FutureRevision unless `revision` (0: now) can be read."""
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        if 0 < revision < self.compact_revision:
            raise Compacted(self.compact_revision)

    def _range(self, query: Range) -> RangeResult:
        alive = self._index.alive(query.key, query.range_end, query.revision or None)
        if query.count_only:
            return RangeResult((), sum(1 for _ in alive), False, self.revision)
        sort_order = query.sort_order
        if sort_order == SortOrder.NONE and query.sort_target != SortTarget.KEY:
            sort_order = SortOrder.ASCEND
        filtered = bool(
            query.min_mod_revision or query.max_mod_revision or query.min_create_revision or query.max_create_revision
        )
        limit = max(0, query.limit)
        if not filtered and not limit and sort_order == SortOrder.NONE:
            everything = tuple(self._load(key, stamp, query.keys_only) for key, stamp in alive)
            return RangeResult(everything, len(everything), False, self.revision)
        found = list(alive)
        count = len(found)
        if limit and not filtered and query.sort_order == SortOrder.NONE:
            # As in etcd: with no order asked for, a limit cuts by key before any other sort target is looked at.
            found = found[: limit + 1]
        if filtered:
            found = [pair for pair in found if _within_bounds(query, pair[1])]
        kvs = [self._load(key, stamp, query.keys_only) for key, stamp in found]
        if sort_order != SortOrder.NONE:
            if query.sort_target == SortTarget.VALUE and query.keys_only:
                kvs = [self._load(key, stamp, False) for key, stamp in found]
            kvs.sort(key=_SORT_KEYS[query.sort_target], reverse=sort_order == SortOrder.DESCEND)
            if query.sort_target == SortTarget.VALUE and query.keys_only:
                kvs = [msgspec.structs.replace(kv, value=b"") for kv in kvs]
        more = 0 < limit < len(kvs)
        return RangeResult(tuple(kvs[:limit] if more else kvs), count, more, self.revision)

    def _load(self, key: bytes, stamp: Stamp, keys_only: bool) -> KeyValue:
        if keys_only:
            return KeyValue(key, b"", stamp.create_revision, stamp.main, stamp.version, stamp.lease)
        return self.records.get(stamp.main, stamp.sub)

    # -- writing

    def txn(self, txn: Txn) -> tuple[TxnResult, list[Change]]:
        """Do a transaction; the changes are in the order they were made and share one revision.

        Raises:
            Compacted, FutureRevision, KeyNotFound, LeaseNotFound: nothing was changed.
        """
        path = self._choose(txn)
        self._check_puts(path)
        self._check_ranges(path)
        changes: list[Change] = []
        self.txns += 1
        result = self._run(path, Revision(self.revision + 1), changes)
        return result, changes

    def compact(self, revision: int) -> None:
        """Forget what only revisions before `revision` need.

        Raises:
            Compacted: this or a later revision is compacted already.
            FutureRevision: it has not happened yet.
        """
        if revision <= self.compact_revision:
            raise Compacted(self.compact_revision)
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        self.compact_revision = Revision(revision)
        self.records.drop(list(self._index.compact(revision)))

    # -- history, for watchers that are behind

    def history(self, revision: int) -> Iterator[Change]:
        """Yield every change since `revision`, in order; not valid across a write.

        Raises:
            Compacted: some of them are forgotten.
        """
        if revision < self.compact_revision:
            raise Compacted(self.compact_revision)
        for main, sub, kv in self.records.scan(revision):
            stamp = Stamp(main, sub, kv.create_revision, kv.version, kv.lease)
            yield Change(kv, self._index.before(kv.key, stamp))

    def previous(self, change: Change) -> KeyValue | None:
        """Return the pair that `change` replaced; None if there was none, or it is compacted away."""
        stamp = change.previous
        if stamp is None or self._index.before(change.kv.key, _stamp_of(change.kv)) is None:
            return None
        return self.records.get(stamp.main, stamp.sub)

    # -- inside a transaction

    def _choose(self, txn: Txn) -> _Path:
        """Evaluate every compare, nested ones too, on the state before the first change (as etcd does)."""
        succeeded = True
        for compare in txn.compares:
            if not self._holds(compare):
                succeeded = False
                break
        branch = txn.success if succeeded else txn.failure
        return _Path(succeeded, [self._choose(op) if isinstance(op, Txn) else op for op in branch])

    def _holds(self, compare: Compare) -> bool:
        if not compare.range_end:
            return self._compare(compare, self._index.latest(compare.key))
        found: list[Stamp | None] = [s for _, s in self._index.alive(compare.key, compare.range_end, None)]
        return all(self._compare(compare, stamp) for stamp in found or [None])

    def _compare(self, compare: Compare, stamp: Stamp | None) -> bool:
        actual: int | bytes
        match compare.target:
            case CompareTarget.VALUE:
                if stamp is None:
                    return False  # etcd: a key that isn't there has no value, so none equals or differs from it
                actual = self.records.get(stamp.main, stamp.sub).value
            case CompareTarget.VERSION:
                actual = stamp.version if stamp else 0
            case CompareTarget.CREATE:
                actual = stamp.create_revision if stamp else 0
            case CompareTarget.MOD:
                actual = stamp.main if stamp else 0
            case _:
                actual = stamp.lease if stamp else 0
        wanted = compare.value
        match compare.result:
            case CompareResult.EQUAL:
                return actual == wanted
            case CompareResult.NOT_EQUAL:
                return actual != wanted
            case CompareResult.GREATER:
                return actual > wanted  # type: ignore[operator]
            case _:
                return actual < wanted  # type: ignore[operator]

    def _check_ranges(self, path: _Path) -> None:
        for op in path.ops:
            if isinstance(op, _Path):
                self._check_ranges(op)
            elif isinstance(op, Range):
                self.check_revision(op.revision)

    def _check_puts(self, path: _Path) -> None:
        """Check every put before any range, as etcd does: which of two errors is told shows the order."""
        for op in path.ops:
            if isinstance(op, Put):
                if (op.ignore_value or op.ignore_lease) and self._index.latest(op.key) is None:
                    raise KeyNotFound
                if op.lease and not self._has_lease(op.lease):
                    raise LeaseNotFound
            elif isinstance(op, _Path):
                self._check_puts(op)

    def _run(self, path: _Path, revision: Revision, changes: list[Change]) -> TxnResult:
        results: list[Result] = []
        for op in path.ops:
            match op:
                case Put():
                    results.append(self._put(op, revision, changes))
                case DeleteRange():
                    results.append(self._delete(op, revision, changes))
                case Range():
                    results.append(self._range(op))
                case _Path():
                    results.append(self._run(op, revision, changes))
        return TxnResult(path.succeeded, tuple(results), self.revision)

    def _put(self, op: Put, revision: Revision, changes: list[Change]) -> PutResult:
        before = self._index.latest(op.key)
        value, lease = op.value, op.lease
        prev_kv = None
        if before is not None:
            if op.prev_kv or op.ignore_value:
                prev_kv = self.records.get(before.main, before.sub)
            if op.ignore_value:
                assert prev_kv is not None
                value = prev_kv.value
            if op.ignore_lease:
                lease = before.lease
        created, version = (before.create_revision, before.version + 1) if before else (revision, 1)
        kv = KeyValue(op.key, value, created, revision, version, lease)
        self._change(kv, before, revision, changes)
        return PutResult(prev_kv if op.prev_kv else None)

    def _delete(self, op: DeleteRange, revision: Revision, changes: list[Change]) -> DeleteResult:
        doomed = list(self._index.alive(op.key, op.range_end, None))
        prev_kvs = tuple(self.records.get(stamp.main, stamp.sub) for _, stamp in doomed) if op.prev_kv else ()
        for key, stamp in doomed:
            self._change(KeyValue(key, b"", 0, revision, 0), stamp, revision, changes)
        return DeleteResult(len(doomed), prev_kvs, self.revision)

    def _change(self, kv: KeyValue, before: Stamp | None, revision: Revision, changes: list[Change]) -> None:
        sub = len(changes)
        if kv.version:
            self.puts += 1
        else:
            self.deletes += 1
        self.records.put(revision, sub, kv)
        self._index.add(kv.key, Stamp(revision, sub, kv.create_revision, kv.version, kv.lease))
        changes.append(Change(kv, before))
        self.revision = revision


class _Path:
    """The branch a transaction takes, with nested ones already chosen."""

    __slots__ = ("ops", "succeeded")

    def __init__(self, succeeded: bool, ops: list[_Path | Op]) -> None:
        self.succeeded = succeeded
        self.ops = ops


_SORT_KEYS: dict[int, Callable[[KeyValue], int | bytes]] = {
    SortTarget.KEY: lambda kv: kv.key,
    SortTarget.VERSION: lambda kv: kv.version,
    SortTarget.CREATE: lambda kv: kv.create_revision,
    SortTarget.MOD: lambda kv: kv.mod_revision,
    SortTarget.VALUE: lambda kv: kv.value,
}


def _within_bounds(query: Range, stamp: Stamp) -> bool:
    return (
        (not query.min_mod_revision or stamp.main >= query.min_mod_revision)
        and (not query.max_mod_revision or stamp.main <= query.max_mod_revision)
        and (not query.min_create_revision or stamp.create_revision >= query.min_create_revision)
        and (not query.max_create_revision or stamp.create_revision <= query.max_create_revision)
    )


def _stamp_of(kv: KeyValue) -> Stamp:
    return Stamp(kv.mod_revision, 0, kv.create_revision, kv.version, kv.lease)


def prefix_end(prefix: bytes) -> bytes:
    """Return the range end that makes [prefix, end) every key starting with `prefix`."""
    for position in range(len(prefix) - 1, -1, -1):
        if prefix[position] < 0xFF:
            return prefix[:position] + bytes([prefix[position] + 1])
    return FROM_KEY
