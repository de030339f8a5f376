"""Where audit events go: a file, turned over when it has grown, or stdout.

An old file is called like the log with the time of its turning between name and ending. Events are written before the
request is answered, so that none is lost with the process; one that cannot be written is counted and let go, for a full
disk must not stop the cluster.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

log = logging.getLogger(__name__)

_MEGABYTE: Final = 1024 * 1024
_DAY_S: Final = 24 * 3600
_COMPLAIN_EVERY_S: Final = 60.0


class AuditLog:
    """Takes events, a line each.

    Args:
        path: of the file; `-` is stdout.
        age_max_days: old files are deleted after so long; 0: never.
        backups_max: how many old files are kept; 0: all.
        size_max_mb: the file is turned over before it grows beyond that; 0: never.
        now: wall time.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(
        self,
        path: str,
        *,
        age_max_days: int = 0,
        backups_max: int = 0,
        size_max_mb: int = 100,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = None if path == "-" else Path(path)
        self._age_max_s = age_max_days * _DAY_S
        self._backups_max = backups_max
        self._size_max = size_max_mb * _MEGABYTE
        self._now = now
        self._complained_at = 0.0
        self.errors = 0
        """Events that could not be written."""
        self._file: BinaryIO = sys.stdout.buffer if self._path is None else self._open(self._path)
        self._size = 0 if self._path is None else self._file.tell()

    @staticmethod
    def _open(path: Path) -> BinaryIO:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Nobody but the owner reads it: it may hold what was written to the API.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        file = os.fdopen(descriptor, "ab", buffering=0)
        file.seek(0, os.SEEK_END)
        return file

    def write(self, event: bytes) -> None:
        """Write one event."""
        line = event + b"\n"
        try:
            if self._path is not None and self._size_max and self._size and self._size + len(line) > self._size_max:
                self._turn_over(self._path)
            self._file.write(line)
            if self._path is None:
                self._file.flush()
            self._size += len(line)
        except OSError as error:
            self.errors += 1
            now = self._now()
            if now - self._complained_at > _COMPLAIN_EVERY_S:
                self._complained_at = now
                log.error("audit events cannot be written", extra={"path": self._path or "-", "error": error})

    def close(self) -> None:
        """Close the file."""
        if self._path is not None:
            self._file.close()

    def _turn_over(self, path: Path) -> None:
        now = self._now()
        stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}"
        os.rename(path, path.with_name(f"{path.stem}-{stamp}{path.suffix}"))
        self._file.close()
        self._file = self._open(path)
        self._size = 0
        old = sorted(path.parent.glob(f"{path.stem}-????-??-??T*{path.suffix}"), reverse=True)
        for place, backup in enumerate(old):
            is_surplus = self._backups_max and place >= self._backups_max
            if is_surplus or (self._age_max_s and now - backup.stat().st_mtime > self._age_max_s):
                backup.unlink(missing_ok=True)
