"""The file that the state is kept in: opened, made anew of a snapshot, and made durable."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lmdb

from store.consensus.snapshot import SnapshotDamaged
from store.records import TABLES, BackendDamaged

MAP_BYTES = 64 << 30
"""Address space for the file to grow into; it costs nothing until used."""


def open_environment(path: Path, *, sync: bool = True) -> tuple[lmdb.Environment, dict[bytes, Any]]:
    """Open a state file, creating it if need be; return it and its tables.

    Raises:
        BackendDamaged: it can't be opened.
    """
    try:
        env = lmdb.open(str(path), subdir=False, map_size=MAP_BYTES, max_dbs=len(TABLES), max_readers=16, sync=sync)
        return env, {name: env.open_db(name) for name in TABLES}
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
