"""A backup: the whole store in one file that says itself whether it is whole. What `steer snapshot` is made of.

The file is what Maintenance.Snapshot streams, so `etcdctl snapshot save` makes one too: a head that describes it, the
chunks of `consensus.snapshot` each with its length, zeros up to a multiple of 512 bytes, and the SHA-256 of all of
that. The last two are etcd's convention, by which its clients see that nothing is missing; what is inside is ours.

Restoring makes a new cluster, of one member or of several restored alike. Its revision jumps ahead of any that a client
can have seen, whatever was written after the backup, and all before it counts as compacted: so a watcher from before
starts over instead of waiting for a revision that now means something else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import msgspec

from store.backend import Meta, decode_meta, decode_record, encode_meta, install, items
from store.consensus.snapshot import SnapshotDamaged, Unframer
from store.mvcc.index import KeyIndex

MAGIC = b"steersman store snapshot\n"
FORMAT = 1
REVISION_BUMP = 1_000_000_000
"""The least by which a restore moves the revision ahead."""
_HEAD = struct.Struct("<II")  # format, length of the description
_LENGTH = struct.Struct("<I")
_BLOCK_BYTES = 512
_READ_BYTES = 1 << 20
_BBOLT_MAGIC = b"\xed\xda\x0c\xed"


class BackupDamaged(Exception):
    """The file is not a whole backup of this store; the message says what is wrong with it. Nothing was done."""


class RestoreRefused(Exception):
    """There is something where the backup was to be restored to; the message says what."""


class Description(msgspec.Struct, frozen=True):
    """What a backup is of."""

    cluster_id: int
    member: str
    revision: int
    compact_revision: int
    index: int
    term: int
    created_s: float
    """When it was made, by the clock of the member that made it, in seconds since the epoch."""
    version: str
    """The etcd whose API the member spoke."""


class Status(msgspec.Struct, frozen=True):
    """What is in a backup."""

    description: Description
    keys: int
    """Keys that exist."""
    records: int
    """Changes kept: more than keys, where there is history."""
    size_bytes: int
    hash: int
    """What HashKV answers for the backup's revision."""
    sha256: str


class Restored(msgspec.Struct, frozen=True):
    """What a backup was restored to."""

    revision: int
    cluster_id: int


def pack(description: Description, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the file's bytes, piece by piece; the last piece has the hash."""
    digest, size_bytes = hashlib.sha256(), 0
    encoded = msgspec.json.encode(description)
    pieces = [MAGIC + _HEAD.pack(FORMAT, len(encoded)) + encoded]
    for chunk in chunks:
        pieces.append(_LENGTH.pack(len(chunk)) + chunk)
        for piece in pieces:
            digest.update(piece)
            size_bytes += len(piece)
            yield piece
        pieces = []
    pieces.append(_LENGTH.pack(0))
    last = b"".join(pieces)
    last += bytes(-(size_bytes + len(last)) % _BLOCK_BYTES)
    digest.update(last)
    yield last + digest.digest()


def verify(path: Path) -> Description:
    """Check the whole file against its hash; return what it is of.

    Raises:
        BackupDamaged: it may not be used.
        OSError: it can't be read.
    """
    _check_digest(path)
    with path.open("rb") as file:
        return _read_head(path, file)


def status(path: Path) -> Status:
    """Check the file and say what is in it.

    Raises:
        BackupDamaged, OSError: as `verify`.
    """
    sha256 = _check_digest(path)
    stamps: list[tuple[bytes, int, int, int, int, int]] = []
    marks: list[tuple[bytes, bytes]] = []
    with path.open("rb") as file:
        description = _read_head(path, file)
        try:
            for table, key, value in items(_chunks(path, file), Unframer()):
                if table != b"kv":
                    continue
                main, sub = struct.unpack(">QI", key)
                kv = decode_record(main, value)
                stamps.append((kv.key, main, sub, kv.create_revision, kv.version, kv.lease))
                marks.append((key, value[:4]))
        except (SnapshotDamaged, ValueError) as error:
            raise BackupDamaged(f"{path}: {error}") from None
    index = KeyIndex()
    index.load(stamps)
    garbage = {struct.pack(">QI", stamp.main, stamp.sub) for stamp in index.compact(description.compact_revision)}
    covered = b"".join(key + mark for key, mark in marks if key not in garbage)
    return Status(
        description=description,
        keys=sum(1 for _ in index.alive(b"\x00", b"\x00", None)),
        records=len(stamps) - len(garbage),
        size_bytes=path.stat().st_size,
        hash=google_crc32c.value(covered),
        sha256=sha256,
    )


def restore(path: Path, directory: Path, *, cluster_id: int, now_s: float) -> Restored:
    """Make `directory` the data directory of a cluster of one that holds what the backup does.

    Args:
        path: the backup.
        directory: a data directory that has neither state nor log.
        cluster_id: the new cluster's id, never used before; the same for all of its members.
        now_s: the time, in seconds since the epoch; the same for all members. In microseconds it is the new revision,
            unless the backup's is larger: so restoring one backup twice gives revisions apart, whatever was written
            in between.

    Raises:
        BackupDamaged, OSError: nothing was made.
        RestoreRefused: there is a state in `directory` already.
    """
    description = verify(path)
    if (directory / "state").exists() or (directory / "log").exists():
        raise RestoreRefused(f"{directory} has a state already; restore into a directory that has none")
    revision = max(description.revision + REVISION_BUMP, int(now_s * 1e6))
    made: list[Meta] = []

    def keep(table: bytes, key: bytes, value: bytes) -> bytes | None:
        if table in (b"kv", b"lease"):
            return value
        if table == b"meta" and key == b"state":
            meta = dataclasses.replace(
                decode_meta(path, value), revision=revision, compact_revision=revision, cluster_id=cluster_id
            )
            made.append(meta)
            return encode_meta(meta)
        return None  # alarms, remembered requests and the membership were the old cluster's

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("rb") as file:
        _read_head(path, file)
        try:
            install(directory / "state", _chunks(path, file), keep)
        except SnapshotDamaged as error:
            raise BackupDamaged(f"{path}: {error}") from None
    if not made:
        (directory / "state" / "state.mdb").unlink()
        raise BackupDamaged(f"{path}: it has no description of the state")
    return Restored(made[0].revision, cluster_id)


def _check_digest(path: Path) -> str:
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
        if start != MAGIC:
            file.seek(16)
            if file.read(4) == _BBOLT_MAGIC:
                raise BackupDamaged(f"{path} is a snapshot of etcd itself, which only etcd restores")
            raise BackupDamaged(f"{path} is not a snapshot of this store")
        if size_bytes % _BLOCK_BYTES != hashlib.sha256().digest_size:
            raise BackupDamaged(f"{path} is cut short: take the snapshot again")
        file.seek(0)
        digest, left = hashlib.sha256(), size_bytes - hashlib.sha256().digest_size
        while left:
            piece = file.read(min(_READ_BYTES, left))
            if not piece:
                raise BackupDamaged(f"{path} is cut short: take the snapshot again")
            digest.update(piece)
            left -= len(piece)
        if file.read() != digest.digest():
            raise BackupDamaged(f"{path} is altered: its SHA-256 is not the one it carries")
    return digest.hexdigest()


def _read_head(path: Path, file: BinaryIO) -> Description:
    head = file.read(len(MAGIC) + _HEAD.size)
    version, length = _HEAD.unpack_from(head, len(MAGIC))
    if version != FORMAT:
        raise BackupDamaged(f"{path} is of format {version}; this program reads format {FORMAT}")
    try:
        return msgspec.json.decode(file.read(length), type=Description)
    except msgspec.MsgspecError as error:
        raise BackupDamaged(f"{path}: its description can't be read: {error}") from None


def _chunks(path: Path, file: BinaryIO) -> Iterator[bytes]:
    while True:
        raw = file.read(_LENGTH.size)
        if len(raw) < _LENGTH.size:
            raise BackupDamaged(f"{path} is cut short: take the snapshot again")
        length = _LENGTH.unpack(raw)[0]
        if not length:
            return
        yield file.read(length)


def set_aside(directory: Path, suffix: str) -> Path | None:
    """Move what a member keeps in its data directory to `before-restore-<suffix>` in it; return that, or None.

    Call with the directory's lock held.
    """
    found = [name for name in ("state", "log", "member.json") if (directory / name).exists()]
    if not found:
        return None
    aside = directory / f"before-restore-{suffix}"
    aside.mkdir(mode=0o700)
    for name in found:
        os.rename(directory / name, aside / name)
    return aside
