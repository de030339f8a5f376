"""Backups of this store's own earlier form, which are still read: a head, the chunks that new members get, zeros.

Now backups are files of etcd's (`etcd_state`), so that its tools read them too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from store.consensus.snapshot import SnapshotDamaged, Unframer
from store.etcd_state import StateDamaged
from store.records import items

MAGIC = b"steersman store snapshot\n"
FORMAT = 1
_HEAD = struct.Struct("<II")  # format, length of the description
_LENGTH = struct.Struct("<I")
_DESCRIPTION_BYTES_MAX = 64 << 10


class Incoming:
    """The state in such a file, whose hash was checked."""

    def __init__(self, path: Path) -> None:
        """Read its head.

        Raises:
            StateDamaged, OSError: it can't be read.
        """
        self._path = path
        with path.open("rb") as file:
            self.note = _read_head(file)
            """What the file says of itself."""

    def contents(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Yield (table, key, value) of all that is in it.

        Raises:
            StateDamaged, OSError: what came so far may not be used either.
        """
        with self._path.open("rb") as file:
            _read_head(file)
            try:
                yield from items(_chunks(file), Unframer())
            except SnapshotDamaged as error:
                raise StateDamaged(str(error)) from None


def _read_head(file: BinaryIO) -> bytes:
    head = file.read(len(MAGIC) + _HEAD.size)
    if len(head) < len(MAGIC) + _HEAD.size:
        raise StateDamaged("it is cut short")
    version, length = _HEAD.unpack_from(head, len(MAGIC))
    if version != FORMAT:
        raise StateDamaged(f"it is of format {version}; this program reads format {FORMAT}")
    if length > _DESCRIPTION_BYTES_MAX:
        raise StateDamaged(f"its description is said to be {length} bytes long")
    return file.read(length)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while True:
        raw = file.read(_LENGTH.size)
        if len(raw) < _LENGTH.size:
            raise StateDamaged("it is cut short")
        length = _LENGTH.unpack(raw)[0]
        if not length:
            return
        yield file.read(length)
