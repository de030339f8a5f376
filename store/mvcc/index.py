"""The key index: for every key, in order, the stamps it went through since the last compaction.

All in memory; values are elsewhere (`kv.Records`). A key is in the index from its first change until compaction
has dropped its last stamp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedDict

from store.mvcc.compaction import Garbage
from store.mvcc.revision import Stamp

FROM_KEY = b"\x00"
"""As a range end: every key from the start on (etcd's convention)."""


class KeyIndex:
    """Sorted keys and their stamps, oldest first."""

    def __init__(self) -> None:
        self._histories: SortedDict = SortedDict()
        self._garbage = Garbage()
        self.newest_revision = 0
        """Of what was loaded."""

    def __len__(self) -> int:
        return len(self._histories)

    def add(self, key: bytes, stamp: Stamp) -> None:
        """Append the newest change of `key`; stamps come in revision order."""
        history: list[Stamp] | None = self._histories.get(key)
        if history is None:
            self._histories[key] = [stamp]
        else:
            last = history[-1]
            if not last.is_tombstone:
                self._garbage.covered(stamp.main, key, last)
            history.append(stamp)
        if stamp.is_tombstone:
            self._garbage.covered(stamp.main, key, stamp)

    def load(self, records: Iterable[tuple[bytes, int, int, int, int, int]]) -> None:
        """Fill an empty index from (key, main, sub, create_revision, version, lease), in revision order.

        The same as `add` for each, several times faster: keys are sorted once, at the end.
        """
        assert not self._histories, "only an empty index is loaded"
        histories: dict[bytes, list[Stamp]] = {}
        covered, find, main = self._garbage.covered, histories.get, 0
        for key, main, sub, create_revision, version, lease in records:
            stamp = Stamp(main, sub, create_revision, version, lease)
            history = find(key)
            if history is None:
                histories[key] = [stamp]
            else:
                last = history[-1]
                if last.version:
                    covered(main, key, last)
                history.append(stamp)
            if not version:
                covered(main, key, stamp)
        self._histories = SortedDict(histories)
        self.newest_revision = main

    def leased(self) -> Iterator[tuple[int, bytes]]:
        """Yield (lease, key) of every living key on a lease."""
        for key, history in self._histories.items():
            last = history[-1]
            if last.lease and last.version:
                yield last.lease, key

    def latest(self, key: bytes) -> Stamp | None:
        """Return the living stamp of `key`, or None where it does not exist now."""
        history: list[Stamp] | None = self._histories.get(key)
        if history is None or history[-1].version == 0:
            return None
        return history[-1]

    def at(self, key: bytes, revision: int) -> Stamp | None:
        """Return the stamp `key` was alive with at `revision`, or None."""
        history: list[Stamp] | None = self._histories.get(key)
        return None if history is None else _as_of(history, revision)

    def before(self, key: bytes, stamp: Stamp) -> Stamp | None:
        """Return the living stamp that `stamp` replaced, or None (also when compacted away)."""
        history: list[Stamp] = self._histories.get(key, [])
        earlier = None
        for candidate in reversed(history):
            if (candidate.main, candidate.sub) < (stamp.main, stamp.sub):
                earlier = candidate
                break
        return None if earlier is None or earlier.is_tombstone else earlier

    def alive(self, key: bytes, range_end: bytes, revision: int | None) -> Iterator[tuple[bytes, Stamp]]:
        """Yield keys in order with the stamp each was alive with at `revision` (None: now).

        `range_end` empty means `key` alone; `FROM_KEY` means every key from `key` on; else [key, range_end).
        """
        if not range_end:
            stamp = self.latest(key) if revision is None else self.at(key, revision)
            if stamp is not None:
                yield key, stamp
            return
        histories = self._histories
        if range_end == FROM_KEY:
            keys = histories.irange(minimum=key)
        elif range_end <= key:
            return
        else:
            keys = histories.irange(minimum=key, maximum=range_end, inclusive=(True, False))
        for found in keys:
            history = histories[found]
            last = history[-1]
            if revision is not None and last.main > revision:
                last = _as_of(history, revision)
                if last is None:
                    continue
            if last.version:
                yield found, last

    def compact(self, revision: int) -> Iterator[Stamp]:
        """Drop what a compaction at `revision` makes unreachable; yield each stamp whose record may go."""
        for key, stamp in self._garbage.take(revision):
            history = self._histories[key]
            assert history[0] is stamp, "garbage of one key is dropped oldest first"
            del history[0]
            if not history:
                del self._histories[key]
            yield stamp


def _as_of(history: list[Stamp], revision: int) -> Stamp | None:
    for stamp in reversed(history):
        if stamp.main <= revision:
            return None if stamp.version == 0 else stamp
    return None
