"""The state on disk at one moment, for whoever needs all of it: a new member, a backup, a hash."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import lmdb

from store.consensus.consensus import LogIndex, Term
from store.consensus.snapshot import frame
from store.mvcc.revision import KeyValue
from store.pages import ReadOnce
from store.records import ALARM, ITEM, KEY, RECORD, TABLES, BackendDamaged, Meta, decode_meta, decode_record

if TYPE_CHECKING:
    from store.backend import Backend

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
        dropped, unpack, once = self._dropped, KEY.unpack, ReadOnce(self._path)
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
            main, sub = KEY.unpack(raw_key)
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
        unpack_key, unpack, header = KEY.unpack, RECORD.unpack_from, RECORD.size
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
        kinds = [ALARM.unpack(key) for key, _ in self._txn.cursor(db=self._tables[b"alarm"])]
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
        for number, name in enumerate(TABLES):
            for key, value in self._txn.cursor(db=self._tables[name]):
                chunk += ITEM.pack(number, len(key), len(value))
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
