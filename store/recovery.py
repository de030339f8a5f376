"""Taking over another member's state, so that a crash at any moment leaves either the old one or the new one.

What comes in is laid beside the old state. When it is whole it is synced and given a name of its own; from then on it
is the member's state, whatever happens. At start the log is made to continue it first, and then it takes the old one's
place. Both steps may be repeated, so a crash between them, or in the middle of one, does no harm.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lmdb

from store.backend import BackendFailed
from store.consensus.consensus import LogIndex, Term
from store.consensus.journal import Journal
from store.consensus.snapshot import SnapshotDamaged, Unframer
from store.records import decode_meta, items_of
from store.state_file import append, beside, open_environment, sync_directory

log = logging.getLogger(__name__)

SYNC_BYTES = 4 << 20
"""Of a state coming in: written between one sync and the next."""


class Incoming:
    """A state coming in; its methods run in one thread, one at a time. An `Installer`."""

    def __init__(self, directory: Path) -> None:
        """Throw away what an earlier attempt left, and begin."""
        self._path = directory / "state.mdb"
        self._partial = beside(self._path, "incoming")
        self._unframer = Unframer()
        self.abort()

    _env: lmdb.Environment | None = None
    _unsynced_bytes = 0
    _tables: dict[bytes, Any]

    def write(self, chunk: bytes) -> None:
        """Take the next chunk."""
        if self._env is None:
            self._env, self._tables = open_environment(self._partial, sync=False)
        try:
            with self._env.begin(write=True) as txn:
                for table, key, value in items_of(self._unframer.take(chunk)):
                    append(txn, self._tables[table], key, value)
                    self._unsynced_bytes += len(value)
            if self._unsynced_bytes >= SYNC_BYTES:
                # Bit by bit: a gigabyte synced at once would keep the disk from everybody else for seconds.
                self._unsynced_bytes = 0
                self._env.sync(True)
        except lmdb.Error as error:
            raise BackendFailed(self._partial, error) from error

    def finish(self) -> tuple[LogIndex, Term]:
        """Sync it, and give it the name by which the next start finds it."""
        if self._unframer.end is None or self._env is None:
            raise SnapshotDamaged("the snapshot is cut short")
        try:
            self._env.sync(True)
        except lmdb.Error as error:
            raise BackendFailed(self._partial, error) from error
        self._close()
        self._partial.rename(beside(self._path, "installed"))
        sync_directory(self._path.parent)
        return LogIndex(self._unframer.end[0]), Term(self._unframer.end[1])

    def abort(self) -> None:
        """Throw away what came."""
        self._close()
        self._partial.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None
        self._partial.with_name(f"{self._partial.name}-lock").unlink(missing_ok=True)


def take_over(directory: Path, journal: Journal) -> None:
    """Put an installed state in the place of the one in `directory`, if there is one; call before that is opened.

    Raises:
        BackendDamaged: it is there and can't be read.
        OSError: it can't be put in place.
    """
    installed = beside(directory / "state.mdb", "installed")
    if not installed.exists():
        return
    env, tables = open_environment(installed)
    try:
        with env.begin() as txn:
            meta = decode_meta(installed, txn.get(b"state", db=tables[b"meta"]) or b"")
    finally:
        env.close()
    continue_from(journal, LogIndex(meta.applied), Term(meta.term))
    staged = journal.take()
    if staged is not None:
        journal.write_and_sync(staged)
    for name in (installed, directory / "state.mdb"):
        name.with_name(f"{name.name}-lock").unlink(missing_ok=True)
    installed.rename(directory / "state.mdb")
    sync_directory(directory)
    log.info("took over another member's state", extra={"entry": meta.applied, "term": meta.term})


def continue_from(journal: Journal, index: LogIndex, term: Term) -> None:
    """Make the log continue a state of entry `index`, keeping what it has beyond if it is of the same history."""
    has_it = bool(journal.entries) and journal.first_index <= index <= journal.last_index
    if not has_it or journal.entries[index - journal.first_index][2] != term:
        # Nothing in it was acknowledged beyond what the state holds: what was would agree with it at `index`.
        journal.set_base(index, term)
