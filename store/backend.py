"""The state on disk: one LMDB environment, written about ten times a second, never ahead of the log.

The log (`consensus/journal.py`) makes a write durable; this makes it unnecessary to replay the log from the beginning.
What is applied collects in memory, is read from there, and goes to disk in one synced transaction together with the
index of the last entry applied: so the state on disk is always that of one log index, and start is "open, then replay
the rest".

What is in the file is in `records.py`, the file itself in `state_file.py`, all of it at one moment in `reading.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import google_crc32c
import lmdb

from component.clock import Clock
from store import counts
from store.consensus.consensus import LogIndex
from store.mvcc.revision import KeyValue, Stamp
from store.pages import ReadOnce
from store.reading import Reading
from store.records import (
    ALARM,
    KEY,
    RECORD,
    BackendDamaged,
    Meta,
    decode_meta,
    decode_record,
    encode_lease,
    encode_meta,
    encode_record,
)
from store.state_file import beside, open_environment, sync_directory

log = logging.getLogger(__name__)

FLUSH_INTERVAL_S = 0.1
DROPS_MAX = 20_000
"""Records deleted in one flush: a large compaction is spread out, so that no flush takes long."""


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
            raw = self._reader.get(KEY.pack(main, sub), db=self._tables[b"kv"])
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
        checksum, unpack_key, unpack, header = google_crc32c.value, KEY.unpack, RECORD.unpack_from, RECORD.size
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
            if cursor.set_range(KEY.pack(revision, 0)):
                for raw_key, raw in cursor:
                    main, sub = KEY.unpack(raw_key)
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
            kind, member = ALARM.unpack(key)
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
            records = [(KEY.pack(*where), encode_record(record)) for where, record in dirty.records.items()]
            # Appended, since revisions only grow: pages are filled to the brim instead of split in halves.
            added = txn.cursor(db=kv).putmulti(records, append=True)[1]
            assert added == len(records), "a record older than one on disk"
            for where in dirty.dropped:
                txn.delete(KEY.pack(*where), db=kv)
            for lease_id, ttl_s in dirty.leases.items():
                key, value = encode_lease(lease_id, ttl_s or 0)
                txn.delete(key, db=lease) if ttl_s is None else txn.put(key, value, db=lease)
            for order, encoded in dirty.requests.items():
                key = struct.pack(">Q", order)
                txn.delete(key, db=request) if encoded is None else txn.put(key, encoded, db=request)
            for alarm, is_raised in dirty.alarms.items():
                key = ALARM.pack(*alarm)
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
