"""A backup: the whole store in one file that says itself whether it is whole. What `steer snapshot` is made of.

The file is what Maintenance.Snapshot streams, so `etcdctl snapshot save` makes one too: the state as etcd has it on
disk (`etcd_state`), and the SHA-256 of that. So etcd's tools say what is in it and make an etcd of it; one that etcd
gave is restored here, and so are backups of an earlier form (`older_backup`).

Restoring makes a new cluster, of one member or of several restored alike. Its revision jumps ahead of any that a client
can have seen, whatever was written after the backup, and all before it counts as compacted: so a watcher from before
starts over instead of waiting for a revision that now means something else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import msgspec

from store import etcd_state, older_backup
from store.consensus.snapshot import SnapshotDamaged
from store.etcd_state import StateDamaged
from store.mvcc.index import KeyIndex
from store.reading import Reading
from store.records import Meta, decode_meta, decode_record, encode_meta, place_of, record_key
from store.state_file import install

REVISION_BUMP = 1_000_000_000
"""The least by which a restore moves the revision ahead."""
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
    """When it was made, by the clock of the member that made it, in seconds since the epoch; 0: etcd's do not say."""
    version: str
    """The etcd whose API the member spoke; empty: it was etcd itself."""

    @property
    def is_of_etcd(self) -> bool:
        """Whether etcd made it, and not this store."""
        return not self.version


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


class Outgoing:
    """A backup about to be written; its size is known before its bytes are."""

    def __init__(self, description: Description, reading: Reading) -> None:
        """Prepare; takes a few seconds for a million records."""
        self._file = etcd_state.file_of(reading, msgspec.json.encode(description))
        self.size_bytes = self._file.size_bytes + hashlib.sha256().digest_size

    def pieces(self) -> Iterator[bytes]:
        """Yield the file's bytes, piece by piece; the last piece is the hash."""
        digest = hashlib.sha256()
        for piece in self._file.pieces():
            digest.update(piece)
            yield piece
        yield digest.digest()


def verify(path: Path) -> Description:
    """Check the whole file against its hash; return what it is of.

    Raises:
        BackupDamaged: it may not be used.
        OSError: it can't be read.
    """
    _check_digest(path)
    return _open(path)[0]


def status(path: Path) -> Status:
    """Check the file and say what is in it.

    Raises:
        BackupDamaged, OSError: as `verify`.
    """
    sha256 = _check_digest(path)
    stamps: list[tuple[bytes, int, int, int, int, int]] = []
    marks: list[tuple[bytes, bytes]] = []
    description, incoming = _open(path)
    try:
        for table, key, value in incoming.contents():
            if table != b"kv":
                continue
            main, sub = place_of(key)
            kv = decode_record(main, value)
            stamps.append((kv.key, main, sub, kv.create_revision, kv.version, kv.lease))
            marks.append((key, value[:4]))
    except (StateDamaged, ValueError) as error:
        raise BackupDamaged(f"{path}: {error}") from None
    index = KeyIndex()
    index.load(stamps)
    garbage = {record_key(stamp.main, stamp.sub) for stamp in index.compact(description.compact_revision)}
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
    _check_digest(path)
    description, incoming = _open(path)
    if (directory / "state").exists() or (directory / "log").exists():
        raise RestoreRefused(f"{directory} has a state already; restore into a directory that has none")
    revision = max(description.revision + REVISION_BUMP, int(now_s * 1e6))
    made: list[Meta] = []

    def kept() -> Iterator[tuple[bytes, bytes, bytes]]:
        for table, key, value in incoming.contents():
            if table in (b"kv", b"lease") or key == b"auth":
                yield table, key, value
            elif table == b"meta" and key == b"state":
                meta = dataclasses.replace(
                    decode_meta(path, value), revision=revision, compact_revision=revision, cluster_id=cluster_id
                )
                made.append(meta)
                yield table, key, encode_meta(meta)
            # Alarms, remembered requests and the membership were the old cluster's.

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        install(directory / "state", kept())
    except (SnapshotDamaged, StateDamaged) as error:
        raise BackupDamaged(f"{path}: {error}") from None
    if not made:
        (directory / "state" / "state.mdb").unlink()
        raise BackupDamaged(f"{path}: it has no description of the state")
    return Restored(made[0].revision, cluster_id)


def _check_digest(path: Path) -> str:
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(max(len(older_backup.MAGIC), 16 + len(_BBOLT_MAGIC)))
        if not start.startswith(older_backup.MAGIC) and start[16:20] != _BBOLT_MAGIC:
            raise BackupDamaged(f"{path} is not a snapshot of this store, nor of etcd")
        if start[16:20] == _BBOLT_MAGIC and size_bytes % _BLOCK_BYTES == 0:
            raise BackupDamaged(
                f"{path} carries no hash: it is cut short, or a copy of an etcd's file, which nobody can tell is "
                "whole; take it by `etcdctl snapshot save`"
            )
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


def _open(path: Path) -> tuple[Description, etcd_state.Incoming | older_backup.Incoming]:
    """Return what a file is of, and what reads it."""
    with path.open("rb") as file:
        is_older = file.read(len(older_backup.MAGIC)) == older_backup.MAGIC
    try:
        incoming = older_backup.Incoming(path) if is_older else etcd_state.Incoming(path)
        if incoming.note is not None:
            return msgspec.json.decode(incoming.note, type=Description), incoming
        assert isinstance(incoming, etcd_state.Incoming)
        meta = incoming.meta
        for table, key, value in incoming.contents():
            if (table, key) == (b"meta", b"state"):
                meta = decode_meta(path, value)
    except StateDamaged as error:
        raise BackupDamaged(f"{path}: {error}") from None
    except msgspec.MsgspecError as error:
        raise BackupDamaged(f"{path}: its description can't be read: {error}") from None
    described = Description(0, "", meta.revision, meta.compact_revision, meta.applied, meta.term, 0.0, "")
    return described, incoming


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
