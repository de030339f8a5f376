"""Bringing up a member from nothing: a state, cut into checksummed chunks that any reader can verify.

A snapshot is taken from an LMDB read transaction (`store.backend`), so it neither stops the store nor forks. Each
chunk carries its number; the last carries the count and a checksum over all, so that a cut, reordered or altered
snapshot is refused. This file is the framing only: what the chunks hold is the backend's business.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import google_crc32c

_HEADER = struct.Struct("<IIB")  # crc of all after it, number, is last
_TRAILER = struct.Struct("<QQI")  # index, term, crc of all payloads


class SnapshotDamaged(Exception):
    """The snapshot is cut short, out of order or altered; nothing of it may be used."""


def frame(payloads: Iterable[bytes], index: int, term: int) -> Iterator[bytes]:
    """Yield the chunks of a snapshot of the state at (`index`, `term`)."""
    overall, number = 0, 0
    for payload in payloads:
        overall = google_crc32c.extend(overall, payload)
        yield _chunk(number, False, payload)
        number += 1
    yield _chunk(number, True, _TRAILER.pack(index, term, overall))


class Unframer:
    """Checks chunks as they come; `end` is set once the last has."""

    def __init__(self) -> None:
        self._next = 0
        self._overall = 0
        self.end: tuple[int, int] | None = None
        """(index, term) of the state, once every chunk has come and agrees with the whole."""

    def take(self, chunk: bytes) -> bytes:
        """Return a chunk's payload, empty for the last.

        Raises:
            SnapshotDamaged: begin again from the first chunk.
        """
        if self.end is not None or len(chunk) < _HEADER.size:
            raise SnapshotDamaged(f"chunk {self._next} is not one")
        crc, number, is_last = _HEADER.unpack_from(chunk)
        if google_crc32c.value(chunk[4:]) != crc:
            raise SnapshotDamaged(f"chunk {self._next} is altered")
        if number != self._next:
            raise SnapshotDamaged(f"chunk {number} came where {self._next} was due")
        self._next += 1
        payload = chunk[_HEADER.size :]
        if not is_last:
            self._overall = google_crc32c.extend(self._overall, payload)
            return payload
        index, term, overall = _TRAILER.unpack(payload)
        if overall != self._overall:
            raise SnapshotDamaged("the chunks do not add up to the whole")
        self.end = (index, term)
        return b""


def _chunk(number: int, is_last: bool, payload: bytes) -> bytes:
    covered = _HEADER.pack(0, number, is_last)[4:] + payload
    return struct.pack("<I", google_crc32c.value(covered)) + covered
