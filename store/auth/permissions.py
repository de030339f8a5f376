"""What a user may read and write: ranges of keys, united over all of its roles. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from proto.etcd import auth_pb2
from store.mvcc.index import FROM_KEY

READ, WRITE = auth_pb2.Permission.READ, auth_pb2.Permission.WRITE
_BOTH = auth_pb2.Permission.READWRITE

End = bytes | None
"""Of a range of keys, itself not in it; None: there is none."""


class Ranges:
    """Keys, as ranges that neither touch nor overlap."""

    def __init__(self, ranges: Iterable[tuple[bytes, End]]) -> None:
        """Unite the ranges given; those with nothing in them do not count."""
        self._begins: list[bytes] = []
        self._ends: list[End] = []
        for begin, end in sorted(ranges, key=lambda each: each[0]):
            if end is not None and end <= begin:
                continue
            last = self._ends[-1] if self._ends else b""
            if self._ends and (last is None or begin <= last):
                self._ends[-1] = None if last is None or end is None else max(last, end)
            else:
                self._begins.append(begin)
                self._ends.append(end)

    def cover(self, begin: bytes, end: End) -> bool:
        """Whether all keys of a range are among these."""
        at = bisect_right(self._begins, begin) - 1
        if at < 0:
            return False
        last = self._ends[at]
        if last is None:
            return True
        return begin < last and end is not None and end <= last


def span_of(key: bytes, range_end: bytes) -> tuple[bytes, End]:
    """Return the range that a request or a permission means by a key and a range's end, each as etcd has it."""
    if not range_end:
        return key, key + b"\x00"
    return key, None if range_end == FROM_KEY else range_end


class Permissions:
    """One user's."""

    def __init__(self, roles: Iterable[auth_pb2.Role]) -> None:
        """Unite what the roles permit."""
        every = [each for role in roles for each in role.keyPermission]
        self._by_kind = {
            kind: Ranges(span_of(each.key, each.range_end) for each in every if each.permType in (kind, _BOTH))
            for kind in (READ, WRITE)
        }

    def allow(self, kind: int, key: bytes, range_end: bytes) -> bool:
        """Whether all keys of a range may be read (READ) or written (WRITE)."""
        return self._by_kind[kind].cover(*span_of(key, range_end))  # type: ignore[index]
