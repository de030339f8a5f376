"""The state on disk: one LMDB environment, written about ten times a second, never ahead of the log.

The log (`consensus/journal.py`) makes a write durable; this makes it unnecessary to replay the log from the beginning.
What is applied collects in memory, is read from there, and goes to disk in one synced transaction together with the
index of the last entry applied: so the state on disk is always that of one log index, and start is "open, then replay
the rest".

Tables: `kv` (main, sub) → record; `lease` id → TTL; `request` order → remembered request; `alarm` (type, member);
`meta`. Each record carries a CRC32C, checked whenever it is read. Record numbers are big-endian, so LMDB's order is
revision order. `Reading` is the state at one moment, for whoever needs all of it: a new member, a backup, a hash.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import google_crc32c
import lmdb

from component.clock import Clock
from store import counts
from store.consensus.consensus import LogIndex, Term
from store.consensus.snapshot import SnapshotDamaged, Unframer, frame
from store.mvcc.revision import KeyValue, Stamp
from store.pages import ReadOnce

log = logging.getLogger(__name__)

FLUSH_INTERVAL_S = 0.1
MAP_BYTES = 64 << 30
"""Address space for the file to grow into; it costs nothing until used."""
DROPS_MAX = 20_000
"""Records deleted in one flush: a large compaction is spread out, so that no flush takes long."""
CHUNK_BYTES = 256 << 10
BREATHER_S = 0.0005
"""Slept by a thread that reads everything, after each chunk, so that requests are answered meanwhile. A mere yield
would not do: a thread that lets the interpreter go without sleeping mostly has it back before another has woken up.
"""
OUTLINES_AT_ONCE = 256
"""Between one breather and the next."""
RECORD_COST_BYTES = 2000
"""Of time, beside its own bytes: what is done with a record in a snapshot costs much the same for all."""
READ_BYTES_PER_S = 32 << 20
"""How fast a snapshot is read: sending and taking it in cost several times what reading it does, and requests are to be
answered all the while.
"""
_FORMAT = 1
_KEY = struct.Struct(">QI")  # main, sub
_RECORD = struct.Struct("<IqqqI")  # crc of all after it, create_revision, version, lease, key length
_META = struct.Struct("<IIQQQQQ")  # crc, format, applied index, its term, revision, compact_revision, cluster id
_TABLES = (b"kv", b"lease", b"request", b"meta", b"alarm")
"""Their numbers are in snapshots: new ones go last."""
_ALARM = struct.Struct(">IQ")  # type, member
_ITEM = struct.Struct("<BII")  # table, key length, value length


class BackendDamaged(Exception):
    """The state on disk can't be trusted; the message says where and what to do."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"state file {path}: {why}. If the other members are healthy: remove this member, delete its data "
            "directory, and add it again. If it is the only one: restore its data directory from a snapshot."
        )


class DefragmentFailed(Exception):
    """The file could not be written anew, for want of room perhaps; it is as it was."""


class BackendFailed(BackendDamaged):
    """The state can't be written; the member must stop, and loses nothing by it."""

    def __init__(self, path: Path, error: Exception) -> None:
        Exception.__init__(
            self,
            f"state file {path} can't be written: {error}. Nothing acknowledged is lost: the log has it. "
            "Make room or mend the disk, and start the member again.",
        )


@dataclass(frozen=True, slots=True)
class Meta:
    """What the state on disk is the state of."""

    applied: int = 0
    term: int = 0
    revision: int = 1
    compact_revision: int = 0
    cluster_id: int = 0


@dataclass(slots=True)
class _Dirty:
    """Changes not yet on disk."""

    records: dict[tuple[int, int], KeyValue] = field(default_factory=dict)
    dropped: list[tuple[int, int]] = field(default_factory=list)
    leases: dict[int, int | None] = field(default_factory=dict)
    requests: dict[int, bytes | None] = field(default_factory=dict)
    alarms: dict[tuple[int, int], bool] = field(default_factory=dict)
    members: bytes | None = None
    auth: bytes | None = None


class Reading:
    """The state on disk at one moment, readable in any thread while the store goes on; close it.

    A `store.consensus.consensus.SnapshotSource`. While one is open, LMDB reuses no page freed since, and the file is
    not defragmented.
    """

    def __init__(self, backend: Backend, env: lmdb.Environment, tables: dict[bytes, Any], path: Path) -> None:
        self._backend = backend
        self._tables = tables
        self._path = path
        self._is_in_a_hurry = False
        # With views in the place of copies: whoever wants lengths alone does not have values read from disk.
        self._txn: lmdb.Transaction | None = env.begin(buffers=True)
        raw = self._txn.get(b"state", db=tables[b"meta"])
        self.meta = Meta() if raw is None else decode_meta(path, bytes(raw))
        self._dropped = frozenset(backend.dropped())

    @property
    def index(self) -> LogIndex:
        """The last log entry contained."""
        return LogIndex(self.meta.applied)

    @property
    def term(self) -> Term:
        """That entry's term."""
        return Term(self.meta.term)

    def chunks(self) -> Iterator[bytes]:
        """Yield the state, framed; each step is short."""
        return frame(self._items(), self.meta.applied, self.meta.term)

    def hash_kv(self, revision: int) -> int:
        """Return a hash of every record up to `revision` that no compaction has freed; equal on members that agree.

        Every record's checksum is verified on the way. Takes about a second for a million records.

        Raises:
            BackendDamaged: a record is altered.
        """
        assert self._txn is not None
        running, hashed_bytes, digest = 0, 0, bytearray()
        dropped, unpack, once = self._dropped, _KEY.unpack, ReadOnce(self._path)
        for raw_key, raw in self._txn.cursor(db=self._tables[b"kv"]):
            where = unpack(raw_key)
            if where[0] > revision:
                break
            if where in dropped:
                continue
            if google_crc32c.value(bytes(raw[4:])) != int.from_bytes(raw[:4], "little"):
                raise BackendDamaged(self._path, f"record of revision {where[0]}.{where[1]}: checksum mismatch")
            digest += raw_key
            digest += raw[:4]
            hashed_bytes += len(raw) + 200  # of time: a short record costs more than its bytes
            if hashed_bytes >= CHUNK_BYTES:
                once.add(hashed_bytes)
                running, hashed_bytes = google_crc32c.extend(running, bytes(digest)), 0
                digest.clear()
                time.sleep(BREATHER_S)
        once.close()
        return int(google_crc32c.extend(running, bytes(digest)))

    def hash_all(self) -> int:
        """Return a hash of every table but the description of the state."""
        running = 0
        for number, payload in enumerate(self._items()):
            running = google_crc32c.extend(running, payload)
            if number % 8 == 0:
                time.sleep(BREATHER_S)
        return int(running)

    def records(self) -> Iterator[tuple[int, KeyValue]]:
        """Yield (sub, record) of every record that no compaction has freed, in order, at the pace of a snapshot.

        Whoever takes them spends several times what reading one costs, and does it in this thread.

        Raises:
            BackendDamaged: a record is altered.
        """
        assert self._txn is not None
        dropped, once, due = self._dropped, ReadOnce(self._path), time.monotonic()
        read_bytes = cost_bytes = 0
        for raw_key, raw in self._txn.cursor(db=self._tables[b"kv"]):
            main, sub = _KEY.unpack(raw_key)
            if (main, sub) not in dropped:
                try:
                    kv = decode_record(main, bytes(raw))
                except ValueError as error:
                    raise BackendDamaged(self._path, f"record of revision {main}.{sub}: {error}") from None
                yield sub, kv
            read_bytes += len(raw)
            cost_bytes += len(raw) + RECORD_COST_BYTES
            if cost_bytes >= CHUNK_BYTES:
                once.add(read_bytes)
                due = max(due + read_bytes / READ_BYTES_PER_S, time.monotonic())
                time.sleep(max(BREATHER_S, due - time.monotonic()))
                read_bytes = cost_bytes = 0
        once.close()

    def outlines(self) -> Iterator[tuple[int, int, int, int, int, int]]:
        """Yield (key length, value length, create revision, mod revision, version, lease) for what `records` yields."""
        assert self._txn is not None
        dropped, once = self._dropped, ReadOnce(self._path)
        unpack_key, unpack, header = _KEY.unpack, _RECORD.unpack_from, _RECORD.size
        for number, (raw_key, raw) in enumerate(self._txn.cursor(db=self._tables[b"kv"])):
            main, sub = unpack_key(raw_key)
            if len(raw) < header:
                raise BackendDamaged(self._path, f"record of revision {main}.{sub}: cut short")
            if (main, sub) not in dropped:
                _, create_revision, version, lease, key_length = unpack(raw)
                value_length = len(raw) - header - key_length
                if value_length < 0:
                    raise BackendDamaged(self._path, f"record of revision {main}.{sub}: cut short")
                yield key_length, value_length, create_revision, main, version, lease
            if number % OUTLINES_AT_ONCE == OUTLINES_AT_ONCE - 1:
                once.add(OUTLINES_AT_ONCE * 4096)
                time.sleep(BREATHER_S)
        once.close()

    def leases(self) -> list[tuple[int, int]]:
        """Return (id, TTL in seconds) of every lease."""
        assert self._txn is not None
        table = self._txn.cursor(db=self._tables[b"lease"])
        return [(struct.unpack(">q", key)[0], struct.unpack("<q", raw)[0]) for key, raw in table]

    def alarms(self) -> list[tuple[int, int]]:
        """Return (type, member) of every alarm."""
        assert self._txn is not None
        kinds = [_ALARM.unpack(key) for key, _ in self._txn.cursor(db=self._tables[b"alarm"])]
        return [(kind, member) for kind, member in kinds]

    def members(self) -> bytes:
        """Return the membership (`store.consensus.membership`), empty where there is none."""
        assert self._txn is not None
        return bytes(self._txn.get(b"members", db=self._tables[b"meta"]) or b"")

    def auth(self) -> bytes:
        """Return users and roles (`store.auth.state`), empty where there never were any."""
        assert self._txn is not None
        return bytes(self._txn.get(b"auth", db=self._tables[b"meta"]) or b"")

    def _items(self) -> Iterator[bytes]:
        assert self._txn is not None
        chunk, once, due = bytearray(), ReadOnce(self._path), time.monotonic()
        for number, name in enumerate(_TABLES):
            for key, value in self._txn.cursor(db=self._tables[name]):
                chunk += _ITEM.pack(number, len(key), len(value))
                chunk += key
                chunk += value
                if len(chunk) >= CHUNK_BYTES:
                    once.add(len(chunk))
                    # In step with the clock; a reader that was held up does not make up for it.
                    due = max(due + len(chunk) / READ_BYTES_PER_S, time.monotonic())
                    yield bytes(chunk)
                    chunk.clear()
                    time.sleep(max(BREATHER_S, 0 if self._is_in_a_hurry else due - time.monotonic()))
        once.close()
        if chunk:
            yield bytes(chunk)

    def hurry(self) -> None:
        """Read the rest as fast as can be."""
        self._is_in_a_hurry = True

    def close(self) -> None:
        """Let go of the state; safe to call twice."""
        if self._txn is not None:
            self._txn.abort()
            self._txn = None
            self._backend.reading_closed()

    def __enter__(self) -> Reading:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


class Backend:
    """Records, leases and remembered requests: in memory at once, on disk soon."""

    def __init__(self, directory: Path, clock: Clock, on_fatal: Callable[[BaseException], None]) -> None:
        """Open the state in `directory`, creating it if need be.

        Raises:
            BackendDamaged: it is there and not readable.
        """
        self._clock = clock
        self._on_fatal = on_fatal
        self.directory = directory
        self._path = directory / "state.mdb"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in (beside(self._path, "partial"), beside(self._path, "partial-lock")):
            leftover.unlink(missing_ok=True)
        self._env, self._tables = open_environment(self._path)
        self._reader = self._env.begin()
        self._readings = 0
        self._changed = asyncio.Event()
        self.in_use_bytes = self._measure()
        """What is not free for reuse of the file on disk, as of the last flush."""
        self._dirty = _Dirty()
        self._flushing = _Dirty()
        self._flushed_at = clock.monotonic()
        self._is_flushing = False
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._disk = ThreadPoolExecutor(1, "state")
        self.meta = self._read_meta()
        """What the state in memory is of; replaced by whoever applies entries."""
        self._on_disk = self.meta
        self._durable = self.meta.applied

    def release_pages(self) -> None:
        """Map the file anew: after the whole of it was read at start, its pages need not stay resident."""
        self._reader.abort()
        self._env.close()
        self._env, self._tables = open_environment(self._path)
        self._reader = self._env.begin()

    # -- store.mvcc.kv.Records

    def get(self, main: int, sub: int) -> KeyValue:
        """Return a record, from memory or disk."""
        where = (main, sub)
        found = self._dirty.records.get(where) or self._flushing.records.get(where)
        if found is not None:
            return found
        try:
            raw = self._reader.get(_KEY.pack(main, sub), db=self._tables[b"kv"])
        except lmdb.Error as error:
            raise BackendDamaged(self._path, str(error)) from None
        assert raw is not None, f"no record of revision {main}.{sub}"
        return self._decode(main, sub, raw)

    def put(self, main: int, sub: int, kv: KeyValue) -> None:
        """Add a record."""
        self._dirty.records[main, sub] = kv

    def drop(self, stamps: Iterable[Stamp]) -> None:
        """Forget records."""
        for stamp in stamps:
            where = (stamp.main, stamp.sub)
            if self._dirty.records.pop(where, None) is None:
                self._dirty.dropped.append(where)

    def stamps(self) -> Iterator[tuple[bytes, int, int, int, int, int]]:
        """Yield (key, main, sub, create_revision, version, lease) of every record on disk, in revision order.

        For start: nothing is in memory only, and a value is looked at for its checksum alone.
        """
        checksum, unpack_key, unpack, header = google_crc32c.value, _KEY.unpack, _RECORD.unpack_from, _RECORD.size
        once = ReadOnce(self._path)
        try:
            for raw_key, raw in self._reader.cursor(db=self._tables[b"kv"]):
                main, sub = unpack_key(raw_key)
                if len(raw) < header:
                    raise BackendDamaged(self._path, f"record of revision {main}.{sub}: cut short")
                crc, create_revision, version, lease, key_length = unpack(raw)
                if checksum(raw[4:]) != crc:
                    raise BackendDamaged(self._path, f"record of revision {main}.{sub}: checksum mismatch")
                once.add(len(raw))
                yield raw[header : header + key_length], main, sub, create_revision, version, lease
        except lmdb.Error as error:
            raise BackendDamaged(self._path, str(error)) from None

    def scan(self, revision: int) -> Iterator[tuple[int, int, KeyValue]]:
        """Yield records in revision order; newer ones are always in memory."""
        cursor = self._reader.cursor(db=self._tables[b"kv"])
        try:
            if cursor.set_range(_KEY.pack(revision, 0)):
                for raw_key, raw in cursor:
                    main, sub = _KEY.unpack(raw_key)
                    yield main, sub, self._decode(main, sub, raw)
        finally:
            cursor.close()
        for records in (self._flushing.records, self._dirty.records):
            for (main, sub), kv in records.items():
                if main >= revision:
                    yield main, sub, kv

    # -- leases, requests and alarms: read once at start, then only written

    def leases(self) -> Iterator[tuple[int, int]]:
        """Yield (id, TTL in seconds) of every lease on disk."""
        for key, raw in self._reader.cursor(db=self._tables[b"lease"]):
            yield struct.unpack(">q", key)[0], struct.unpack("<q", raw)[0]

    def put_lease(self, lease: int, ttl_s: int | None) -> None:
        """Keep a lease, or with None forget it."""
        self._dirty.leases[lease] = ttl_s

    def requests(self) -> Iterator[tuple[int, bytes]]:
        """Yield (order, encoded request) of every remembered request on disk, oldest first."""
        for key, raw in self._reader.cursor(db=self._tables[b"request"]):
            yield struct.unpack(">Q", key)[0], raw

    def put_request(self, order: int, encoded: bytes | None) -> None:
        """Keep a remembered request, or with None forget it."""
        self._dirty.requests[order] = encoded

    def alarms(self) -> Iterator[tuple[int, int]]:
        """Yield (type, member) of every alarm on disk, in order."""
        for key, _ in self._reader.cursor(db=self._tables[b"alarm"]):
            kind, member = _ALARM.unpack(key)
            yield kind, member

    def put_alarm(self, kind: int, member: int, is_raised: bool) -> None:
        """Keep an alarm, or forget it."""
        self._dirty.alarms[kind, member] = is_raised

    def members(self) -> bytes:
        """Return the membership on disk (`store.consensus.membership`), empty where none was put."""
        return bytes(self._reader.get(b"members", db=self._tables[b"meta"]) or b"")

    def put_members(self, encoded: bytes) -> None:
        """Keep a membership."""
        self._dirty.members = encoded

    def auth(self) -> bytes:
        """Return users and roles on disk (`store.auth.state`), empty where there never were any."""
        return bytes(self._reader.get(b"auth", db=self._tables[b"meta"]) or b"")

    def put_auth(self, encoded: bytes) -> None:
        """Keep users and roles."""
        self._dirty.auth = encoded

    # -- to disk

    @property
    def persisted(self) -> LogIndex:
        """Index up to which the state is on disk."""
        return LogIndex(self._on_disk.applied)

    @property
    def size_bytes(self) -> int:
        """Size of the file on disk."""
        return self._path.stat().st_size

    def dropped(self) -> Iterator[tuple[int, int]]:
        """Yield (main, sub) of records that are forgotten, and still on disk."""
        yield from self._flushing.dropped
        yield from self._dirty.dropped

    async def settle(self, *, drops: bool = False) -> None:
        """Return when all that is applied now is on disk, and with `drops`, all that is forgotten is gone from it."""
        target = self.meta.applied
        while not self._is_closed:
            is_clean = not (drops and any(True for _ in self.dropped()))
            if self._on_disk.applied >= target and is_clean:
                return
            self._changed.clear()
            if not self._is_flushing:
                self._begin_flush()
            # Woken by a flush; and again now and then, for what waits on a sync of the log.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_INTERVAL_S):
                    await self._changed.wait()

    def schedule_flush(self, durable: LogIndex) -> None:
        """Flush soon if the last flush is a while ago; call whenever the log was synced up to `durable`."""
        self._durable = durable
        if self._is_flushing or self._is_closed or self.meta.applied <= self._on_disk.applied:
            return
        wait_s = self._flushed_at + FLUSH_INTERVAL_S - self._clock.monotonic()
        if wait_s <= 0:
            self._begin_flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._flush_from_timer)

    def _flush_from_timer(self) -> None:
        self._timer = None
        if not self._is_flushing and not self._is_closed:
            self._begin_flush()

    def _begin_flush(self) -> None:
        if self.meta.applied > self._durable:
            return  # a follower can apply what a majority has before its own log has it; its next sync comes here again
        self._is_flushing = True
        dirty, meta = self._take()
        loop = asyncio.get_running_loop()

        def flushed(done: asyncio.Future[None]) -> None:
            error = done.exception()
            if error is not None:
                self._on_fatal(error)
                return
            self._finish(meta)
            if self._dirty.dropped and self._timer is None and not self._is_closed:
                self._timer = loop.call_later(FLUSH_INTERVAL_S, self._flush_from_timer)

        loop.run_in_executor(self._disk, self._write, dirty, meta).add_done_callback(flushed)

    def _take(self) -> tuple[_Dirty, Meta]:
        dirty, self._dirty = self._dirty, _Dirty()
        self._dirty.dropped, dirty.dropped = dirty.dropped[DROPS_MAX:], dirty.dropped[:DROPS_MAX]
        self._flushing = dirty
        return dirty, self.meta

    def _finish(self, meta: Meta) -> None:
        self._on_disk = meta
        self._flushed_at = self._clock.monotonic()
        self._flushing = _Dirty()
        self._reader.abort()
        self._reader = self._env.begin()
        self.in_use_bytes = self._measure()
        self._is_flushing = False
        self._changed.set()

    def _measure(self) -> int:
        """Return the bytes of the pages that the tables are made of."""
        page_bytes = 0
        for table in self._tables.values():
            stat = self._reader.stat(table)
            page_bytes += stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])
        return page_bytes

    def _write(self, dirty: _Dirty, meta: Meta) -> None:
        try:
            with counts.COMMIT.of().timing():
                self._commit(dirty, meta)
        except (lmdb.Error, OSError) as error:
            raise BackendFailed(self._path, error) from error

    def _commit(self, dirty: _Dirty, meta: Meta) -> None:
        kv, lease, request = (self._tables[name] for name in (b"kv", b"lease", b"request"))
        with self._env.begin(write=True) as txn:
            records = [(_KEY.pack(*where), encode_record(record)) for where, record in dirty.records.items()]
            # Appended, since revisions only grow: pages are filled to the brim instead of split in halves.
            added = txn.cursor(db=kv).putmulti(records, append=True)[1]
            assert added == len(records), "a record older than one on disk"
            for where in dirty.dropped:
                txn.delete(_KEY.pack(*where), db=kv)
            for lease_id, ttl_s in dirty.leases.items():
                key, value = encode_lease(lease_id, ttl_s or 0)
                txn.delete(key, db=lease) if ttl_s is None else txn.put(key, value, db=lease)
            for order, encoded in dirty.requests.items():
                key = struct.pack(">Q", order)
                txn.delete(key, db=request) if encoded is None else txn.put(key, encoded, db=request)
            for alarm, is_raised in dirty.alarms.items():
                key = _ALARM.pack(*alarm)
                txn.put(key, b"", db=self._tables[b"alarm"]) if is_raised else txn.delete(
                    key, db=self._tables[b"alarm"]
                )
            if dirty.members is not None:
                txn.put(b"members", dirty.members, db=self._tables[b"meta"])
            if dirty.auth is not None:
                txn.put(b"auth", dirty.auth, db=self._tables[b"meta"])
            txn.put(b"state", encode_meta(meta), db=self._tables[b"meta"])

    def begin_cluster(self, cluster_id: int, members: bytes | None = None) -> None:
        """Give a state without a membership its cluster and first members, on disk before this returns."""
        assert self.meta.cluster_id in (0, cluster_id), "the state belongs to a cluster already"
        self.meta = self._on_disk = replace(self.meta, cluster_id=cluster_id)
        self._write(_Dirty(members=members), self.meta)
        self._reader.abort()
        self._reader = self._env.begin()

    async def close(self) -> None:
        """Flush what is applied, then let go of the file."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._disk, int)  # whatever is being written has been now
        await asyncio.sleep(0)
        self._changed.set()
        dirty, meta = self._take()
        await loop.run_in_executor(self._disk, self._write, dirty, meta)
        self._on_disk = meta
        self._disk.shutdown()
        self._reader.abort()
        self._env.close()

    # -- the whole of it

    def read(self) -> Reading:
        """Return the state on disk as it is now; close it soon, in whatever thread."""
        self._readings += 1
        return Reading(self, self._env, self._tables, self._path)

    def reading_closed(self) -> None:
        """Called by a `Reading` when it is done."""
        self._readings -= 1

    def snapshot(self) -> Iterator[bytes]:
        """Yield the state on disk, framed; the store goes on meanwhile (an LMDB read transaction)."""
        with self.read() as reading:
            yield from reading.chunks()

    async def defragment(self) -> None:
        """Write the file anew without its free pages; requests go on meanwhile, and wait for it in memory.

        Waits for readings that are open, and keeps the old file until the new one is whole and synced.
        """
        while self._is_flushing or self._readings:
            if self._is_closed:
                return
            await self._clock.sleep(FLUSH_INTERVAL_S / 10)
        self._is_flushing = True  # which keeps flushes, and so all writing, away
        partial = beside(self._path, "partial")
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, self._copy, partial)
            while self._readings and not self._is_closed:
                await self._clock.sleep(FLUSH_INTERVAL_S / 10)
            if self._is_closed:
                partial.unlink()
                return
            self._reader.abort()
            self._env.close()
            partial.rename(self._path)
            sync_directory(self._path.parent)
            self._env, self._tables = open_environment(self._path)
            self._reader = self._env.begin()
            self.in_use_bytes = self._measure()
        finally:
            self._is_flushing = False
            self._changed.set()

    def _copy(self, partial: Path) -> None:
        partial.unlink(missing_ok=True)
        try:
            self._env.copy(str(partial), compact=True)
            descriptor = os.open(partial, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except (lmdb.Error, OSError) as error:
            partial.unlink(missing_ok=True)
            raise DefragmentFailed(f"the state file can't be written anew: {error}") from error

    # -- encoding

    def _decode(self, main: int, sub: int, raw: bytes) -> KeyValue:
        try:
            return decode_record(main, raw)
        except ValueError as error:
            raise BackendDamaged(self._path, f"record of revision {main}.{sub}: {error}") from None

    def _read_meta(self) -> Meta:
        raw = self._reader.get(b"state", db=self._tables[b"meta"])
        return Meta() if raw is None else decode_meta(self._path, raw)


def install(directory: Path, contents: Iterable[tuple[bytes, bytes, bytes]]) -> None:
    """Make the state file in `directory` of (table, key, value), in order of keys within each table.

    Raises:
        SnapshotDamaged: nothing was made; what `contents` raises likewise.
        FileExistsError: there is a state already.
    """
    path = directory / "state.mdb"
    if path.exists():
        raise FileExistsError(f"{path} exists: a snapshot is installed into an empty directory")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = beside(path, "partial")
    partial.unlink(missing_ok=True)
    env, tables = open_environment(partial)
    try:
        with env.begin(write=True) as txn:
            for table, key, value in contents:
                append(txn, tables[table], key, value)
    except BaseException:
        env.close()
        partial.unlink(missing_ok=True)
        raise
    env.sync(True)
    env.close()
    partial.rename(path)
    beside(path, "partial-lock").unlink(missing_ok=True)
    sync_directory(directory)


def append(txn: lmdb.Transaction, table: Any, key: bytes, value: bytes) -> None:
    """Put what comes after all that is in a table: pages are filled to the brim instead of split in halves.

    Raises:
        SnapshotDamaged: it does not come after.
    """
    if not txn.put(key, value, db=table, append=True):
        raise SnapshotDamaged("its keys are out of order")


def items(chunks: Iterable[bytes], unframer: Unframer) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield (table, key, value) of everything in a snapshot; `unframer.end` is set after the last.

    Raises:
        SnapshotDamaged: what was yielded so far may not be used either.
    """
    for chunk in chunks:
        yield from items_of(unframer.take(chunk))
    if unframer.end is None:
        raise SnapshotDamaged("the snapshot is cut short")


def items_of(payload: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield (table, key, value) of everything in one chunk's payload.

    Raises:
        SnapshotDamaged: there is a table in it that this program does not know.
    """
    offset = 0
    while offset < len(payload):
        number, key_length, value_length = _ITEM.unpack_from(payload, offset)
        if number >= len(_TABLES):
            raise SnapshotDamaged(f"it has a table, number {number}, that this program does not know")
        offset += _ITEM.size
        key = payload[offset : offset + key_length]
        offset += key_length
        yield _TABLES[number], key, payload[offset : offset + value_length]
        offset += value_length


def encode_record(kv: KeyValue) -> bytes:
    """Return a record's bytes on disk; its mod_revision is in its key."""
    covered = _RECORD.pack(0, kv.create_revision, kv.version, kv.lease, len(kv.key))[4:] + kv.key + kv.value
    return struct.pack("<I", google_crc32c.value(covered)) + covered


def record_key(main: int, sub: int) -> bytes:
    """Return a record's key on disk."""
    return _KEY.pack(main, sub)


def place_of(key: bytes) -> tuple[int, int]:
    """Return (main, sub) of a record's key on disk."""
    main, sub = _KEY.unpack(key)
    return main, sub


def encode_lease(lease: int, ttl_s: int) -> tuple[bytes, bytes]:
    """Return a lease's key and value on disk."""
    return struct.pack(">q", lease), struct.pack("<q", ttl_s)


def decode_record(main: int, raw: bytes) -> KeyValue:
    """Return the record; raises ValueError where its checksum is wrong."""
    if len(raw) < _RECORD.size:
        raise ValueError("cut short")
    crc, create_revision, version, lease, key_length = _RECORD.unpack_from(raw)
    if google_crc32c.value(raw[4:]) != crc:
        raise ValueError("checksum mismatch")
    middle = _RECORD.size + key_length
    return KeyValue(raw[_RECORD.size : middle], raw[middle:], create_revision, main, version, lease)


def encode_meta(meta: Meta) -> bytes:
    """Return the description's bytes on disk."""
    fields = (_FORMAT, meta.applied, meta.term, meta.revision, meta.compact_revision, meta.cluster_id)
    covered = _META.pack(0, *fields)[4:]
    return struct.pack("<I", google_crc32c.value(covered)) + covered


def decode_meta(path: Path, raw: bytes) -> Meta:
    """Return the description in `raw`; raises BackendDamaged, naming `path`, where it is altered."""
    if len(raw) != _META.size or google_crc32c.value(raw[4:]) != struct.unpack_from("<I", raw)[0]:
        raise BackendDamaged(path, "its description is altered")
    _, version, *fields = _META.unpack(raw)
    if version != _FORMAT:
        raise BackendDamaged(path, f"it is of format {version}; this program reads format {_FORMAT}")
    return Meta(*fields)


def open_environment(path: Path, *, sync: bool = True) -> tuple[lmdb.Environment, dict[bytes, Any]]:
    """Open a state file, creating it if need be; return it and its tables.

    Raises:
        BackendDamaged: it can't be opened.
    """
    try:
        env = lmdb.open(str(path), subdir=False, map_size=MAP_BYTES, max_dbs=len(_TABLES), max_readers=16, sync=sync)
        return env, {name: env.open_db(name) for name in _TABLES}
    except lmdb.Error as error:
        raise BackendDamaged(path, str(error)) from None


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a companion of `path`."""
    return path.with_name(f"{path.name}.{suffix}")


def sync_directory(directory: Path) -> None:
    """Make what was created, renamed or deleted in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
