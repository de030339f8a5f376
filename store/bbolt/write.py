"""Writing a bbolt file from its first byte to its last, with what is in it known only bucket by bucket, item by item.

The first page says where the root is and how many pages there are, which depends on everything that comes after. So
what goes in is gone through twice: first for its lengths alone, which is enough to know every page's place, and then
for what it is. Neither time is more held in memory than one open page for each level of a tree.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from store.bbolt import format

PIECE_BYTES = 256 << 10
LEAF_BYTES = 16 * format.PAGE_BYTES
"""As large as a leaf may get with more than one item in it: it runs on over pages, as bbolt lets it. Of pairs of a
kilobyte only three go on one page, and a quarter of it stays empty."""
TRANSACTION = 2
"""What a file says that nothing was written to since it was made: every change takes the next number."""
_FIRST = 3
"""The page after the two descriptions and the free list."""


class Changed(Exception):
    """A bucket had other lengths the second time: the file would be wrong, and what came of it must be thrown away."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is to go into a bucket, in order of keys."""

    name: bytes
    items: Callable[[], Iterable[tuple[bytes, bytes]]]
    sizes: Callable[[], Iterable[tuple[Sized, Sized]]] | None = None
    """The same items with anything as long in the place of each key and value; None: the items will do."""


@dataclass(frozen=True, slots=True)
class _Page:
    number: int
    kind: int
    following: int
    elements: Sequence[tuple[Any, Any]]
    """Of a leaf: key and value; of a branch: key and child's page."""


class _Open:
    """The page of one level that is being filled."""

    __slots__ = ("elements", "used_bytes")

    def __init__(self) -> None:
        self.elements: list[tuple[Any, Any]] = []
        self.used_bytes = format.HEAD.size


class _Tree:
    """A B+tree growing to the right; pages are put on `ready` in the order of their numbers."""

    def __init__(self, first: int) -> None:
        self.next = first
        """The number of the next page."""
        self.ready: list[_Page] = []
        self._levels = [_Open()]

    def add(self, key: Any, value: Any) -> None:
        """Add an item, whose key comes after all others'."""
        # Not by `_add`: this is done twice for every record of a store.
        needed_bytes = format.ELEMENT_BYTES + len(key) + len(value)
        leaf = self._levels[0]
        if leaf.used_bytes + needed_bytes > LEAF_BYTES and leaf.elements:
            self._close(0)
            leaf = self._levels[0]
        leaf.elements.append((key, value))
        leaf.used_bytes += needed_bytes

    def finish(self) -> int:
        """Close what is open; return the root's page, 0 where there is nothing in the tree."""
        if not self._levels[0].elements:
            return 0
        root, level = 0, 0
        while level < len(self._levels):
            page = self._levels[level]
            if level and level == len(self._levels) - 1 and len(page.elements) == 1:
                return int(page.elements[0][1])  # the only one of its level: it needs nobody above it
            root = self._close(level)
            level += 1
        return root

    def _lead_to(self, level: int, key: Any, child: int) -> None:
        """Add a page to the branch above it."""
        if level == len(self._levels):
            self._levels.append(_Open())
        page, needed_bytes = self._levels[level], format.ELEMENT_BYTES + len(key)
        # A branch of one would only make the tree higher.
        if page.used_bytes + needed_bytes > format.PAGE_BYTES and len(page.elements) > 1:
            self._close(level)
            page = self._levels[level]
        page.elements.append((key, child))
        page.used_bytes += needed_bytes

    def _close(self, level: int) -> int:
        page, self._levels[level] = self._levels[level], _Open()
        following = (page.used_bytes - 1) // format.PAGE_BYTES
        number, self.next = self.next, self.next + 1 + following
        self.ready.append(_Page(number, format.BRANCH if level else format.LEAF, following, page.elements))
        self._lead_to(level + 1, page.elements[0][0], number)
        return number


class File:
    """A file of the buckets given, sorted by name; its size is known before its bytes are."""

    def __init__(self, buckets: Iterable[Bucket]) -> None:
        """Go through what goes in for its lengths."""
        self._buckets = sorted(buckets, key=lambda bucket: bucket.name)
        self._roots: list[tuple[int, int]] = []
        """Of each bucket, and the page after its last."""
        following = _FIRST
        for bucket in self._buckets:
            tree = _Tree(following)
            for key, value in bucket.items() if bucket.sizes is None else bucket.sizes():
                tree.add(key, value)
                if tree.ready:
                    tree.ready.clear()
            self._roots.append((tree.finish(), tree.next))
            following = tree.next
        self._directory = _Tree(following)
        for bucket, (root, _) in zip(self._buckets, self._roots, strict=True):
            self._directory.add(bucket.name, _bucket(root))
        self._root = self._directory.finish()
        self.size_bytes = self._directory.next * format.PAGE_BYTES

    def pieces(self) -> Iterator[bytes]:
        """Yield the file's bytes.

        Raises:
            Changed: a bucket had other lengths than the first time.
        """
        description = format.DESCRIPTION.pack(
            *(format.MAGIC, format.VERSION, format.PAGE_BYTES, 0),
            *(self._root, 0, _FIRST - 1, self._directory.next, TRANSACTION),
        )
        description += format.CHECKSUM.pack(format.checksum(description))
        out = bytearray()
        for number in range(_FIRST - 1):
            out += _filled(format.HEAD.pack(number, format.META, 0, 0) + description)
        out += _filled(format.HEAD.pack(_FIRST - 1, format.FREELIST, 0, 0))
        following = _FIRST
        for bucket, place in zip(self._buckets, self._roots, strict=True):
            tree = _Tree(following)
            for key, value in bucket.items():
                tree.add(key, value)
                if tree.ready:
                    out += _encoded(tree.ready)
                    if len(out) >= PIECE_BYTES:
                        yield bytes(out)
                        out.clear()
            if (tree.finish(), tree.next) != place:
                raise Changed(f"bucket {bucket.name.decode()} is not what it was")
            out += _encoded(tree.ready)
            following = tree.next
        out += _encoded(self._directory.ready, format.IS_BUCKET)
        yield bytes(out)


def _bucket(root: int) -> bytes:
    """Return a bucket's element in the directory; an empty one is a leaf right there."""
    return format.BUCKET.pack(root, 0) + (b"" if root else format.HEAD.pack(0, format.LEAF, 0, 0))


def _encoded(ready: list[_Page], flags: int = 0) -> bytes:
    """Return pages' bytes, and empty the list."""
    encoded = [_encode(page, flags) for page in ready]
    ready.clear()
    return b"".join(encoded)


def _encode(page: _Page, flags: int) -> bytes:
    count = len(page.elements)
    parts = [b""]
    numbers: list[int] = []
    at = count * format.ELEMENT_BYTES
    """Where the next key is, counted from the first element."""
    if page.kind == format.LEAF:
        shape = "4I"
        for key, value in page.elements:
            numbers += (flags, at, len(key), len(value))
            parts += (key, value)
            at += len(key) + len(value) - format.ELEMENT_BYTES
    else:
        shape = "2IQ"
        for key, child in page.elements:
            numbers += (at, len(key), child)
            parts.append(key)
            at += len(key) - format.ELEMENT_BYTES
    parts[0] = format.HEAD.pack(page.number, page.kind, count, page.following)
    parts[0] += struct.pack("<" + shape * count, *numbers)
    return _filled(b"".join(parts), page.following)


def _filled(content: bytes, following: int = 0) -> bytes:
    return content.ljust((1 + following) * format.PAGE_BYTES, b"\0")
