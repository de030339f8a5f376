"""The form of the state on disk: tables, records with their checksums, and how a snapshot carries them. Pure.

Tables: `kv` (main, sub) → record; `lease` id → TTL; `request` order → remembered request; `alarm` (type, member);
`meta`. Each record carries a CRC32C, checked whenever it is read. Record numbers are big-endian, so LMDB's order is
revision order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from store.consensus.snapshot import SnapshotDamaged, Unframer
from store.mvcc.revision import KeyValue

_FORMAT = 1
KEY = struct.Struct(">QI")  # main, sub
RECORD = struct.Struct("<IqqqI")  # crc of all after it, create_revision, version, lease, key length
_META = struct.Struct("<IIQQQQQ")  # crc, format, applied index, its term, revision, compact_revision, cluster id
TABLES = (b"kv", b"lease", b"request", b"meta", b"alarm")
"""Their numbers are in snapshots: new ones go last."""
ALARM = struct.Struct(">IQ")  # type, member
ITEM = struct.Struct("<BII")  # table, key length, value length


class BackendDamaged(Exception):
    """The state on disk can't be trusted; the message says where and what to do."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"state file {path}: {why}. If the other members are healthy: remove this member, delete its data "
            "directory, and add it again. If it is the only one: restore its data directory from a snapshot."
        )


@dataclass(frozen=True, slots=True)
class Meta:
    """What the state on disk is the state of."""

    applied: int = 0
    term: int = 0
    revision: int = 1
    compact_revision: int = 0
    cluster_id: int = 0


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
        number, key_length, value_length = ITEM.unpack_from(payload, offset)
        if number >= len(TABLES):
            raise SnapshotDamaged(f"it has a table, number {number}, that this program does not know")
        offset += ITEM.size
        key = payload[offset : offset + key_length]
        offset += key_length
        yield TABLES[number], key, payload[offset : offset + value_length]
        offset += value_length


def encode_record(kv: KeyValue) -> bytes:
    """Return a record's bytes on disk; its mod_revision is in its key."""
    covered = RECORD.pack(0, kv.create_revision, kv.version, kv.lease, len(kv.key))[4:] + kv.key + kv.value
    return struct.pack("<I", google_crc32c.value(covered)) + covered


def record_key(main: int, sub: int) -> bytes:
    """Return a record's key on disk."""
    return KEY.pack(main, sub)


def place_of(key: bytes) -> tuple[int, int]:
    """Return (main, sub) of a record's key on disk."""
    main, sub = KEY.unpack(key)
    return main, sub


def encode_lease(lease: int, ttl_s: int) -> tuple[bytes, bytes]:
    """Return a lease's key and value on disk."""
    return struct.pack(">q", lease), struct.pack("<q", ttl_s)


def decode_record(main: int, raw: bytes) -> KeyValue:
    """Return the record; raises ValueError where its checksum is wrong."""
    if len(raw) < RECORD.size:
        raise ValueError("cut short")
    crc, create_revision, version, lease, key_length = RECORD.unpack_from(raw)
    if google_crc32c.value(raw[4:]) != crc:
        raise ValueError("checksum mismatch")
    middle = RECORD.size + key_length
    return KeyValue(raw[RECORD.size : middle], raw[middle:], create_revision, main, version, lease)


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
