"""Reading a bbolt file that anybody may have written: in bounded memory, and in time that the file's size bounds.

Nothing in it is believed. No page is looked at twice, an element lies within its page, and elements do not share their
bytes: so what comes out is never more than what there is, whatever the file says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from store.bbolt import format

PAGE_BYTES_MAX = 64 << 10
FOLLOWING_BYTES_MAX = 256 << 20
"""How long a page may run on; it holds at least one value, and etcd takes requests of 1.5 MB unless told otherwise."""


class Damaged(Exception):
    """It is not a whole bbolt file; the message says what is wrong."""


class File:
    """A file open for reading; close it."""

    def __init__(self, path: Path) -> None:
        """Open it and find its root.

        Raises:
            Damaged, OSError: it can't be read.
        """
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._page_bytes = 0
        try:
            self._size_bytes = os.fstat(self._descriptor).st_size
            self.transaction, self._root, self._pages = self._describe()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def __enter__(self) -> File:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def bucket(self, name: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield a bucket's keys and values in order; nothing where there is no such bucket.

        Raises:
            Damaged: what came so far may not be used either.
        """
        for flags, key, value in self._items(self._root):
            if key != name:
                continue
            if not flags & format.IS_BUCKET or len(value) < format.BUCKET.size:
                raise Damaged(f"{name.decode()} is not a bucket")
            root, _ = format.BUCKET.unpack_from(value)
            inner = self._items(root) if root else self._elements(0, value[format.BUCKET.size :])
            last: bytes | None = None
            for inner_flags, inner_key, inner_value in inner:
                if inner_flags & format.IS_BUCKET:
                    raise Damaged(f"bucket {name.decode()} has a bucket in it")
                if last is not None and inner_key <= last:
                    raise Damaged(f"the keys of bucket {name.decode()} are out of order")
                last = inner_key
                yield inner_key, inner_value
            return

    def _describe(self) -> tuple[int, int, int]:
        """Return the last transaction, the root's page and how many pages there are: by the newer whole description."""
        found: list[tuple[int, int, int, int]] = []
        length = format.DESCRIPTION.size
        second = 0
        for at in (0, *(512 << power for power in range(8))):
            # The second begins where the first page ends, which a first that is torn does not say.
            if second and at not in (0, second):
                continue
            raw = os.pread(self._descriptor, format.HEAD.size + length + format.CHECKSUM.size, at)
            if len(raw) < format.HEAD.size + length + format.CHECKSUM.size:
                continue
            body = raw[format.HEAD.size : format.HEAD.size + length]
            magic, version, page_bytes, _, root, _, _, pages, transaction = format.DESCRIPTION.unpack(body)
            (carried,) = format.CHECKSUM.unpack_from(raw, format.HEAD.size + length)
            if magic != format.MAGIC or carried != format.checksum(body):
                continue
            if version != format.VERSION:
                raise Damaged(f"it is of bbolt's format {version}; this program reads format {format.VERSION}")
            if not 512 <= page_bytes <= PAGE_BYTES_MAX or page_bytes & (page_bytes - 1):
                raise Damaged(f"its pages are said to be of {page_bytes} bytes")
            second = page_bytes
            found.append((transaction, root, pages, page_bytes))
        if not found:
            raise Damaged("it does not begin as a bbolt file does")
        transaction, root, pages, self._page_bytes = max(found)
        if not 0 < pages * self._page_bytes <= self._size_bytes:
            # A data directory's file may be longer than what is in use, and never shorter.
            raise Damaged(f"it is cut short: {pages} pages of {self._page_bytes} bytes are not in it")
        return transaction, root, pages

    def _items(self, root: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (flags, key, value) of every leaf of a tree, from left to right."""
        ahead, left = [root], self._pages
        while ahead:
            number = ahead.pop()
            kind, raw = self._page(number)
            left -= len(raw) // self._page_bytes
            if left < 0:
                raise Damaged(f"page {number}: pages are used more than once")
            if kind == format.LEAF:
                yield from self._elements(number, raw)
            elif kind == format.BRANCH:
                children = self._children(number, raw)
                if len(ahead) + len(children) > self._pages:
                    raise Damaged(f"page {number}: pages are used more than once")
                ahead += reversed(children)
            else:
                raise Damaged(f"page {number} is no part of a tree")

    def _page(self, number: int) -> tuple[int, bytes]:
        if not 2 <= number < self._pages:
            raise Damaged(f"page {number} is not one of its {self._pages}")
        head = os.pread(self._descriptor, format.HEAD.size, number * self._page_bytes)
        if len(head) < format.HEAD.size:
            raise Damaged("it is cut short")
        own, kind, _, following = format.HEAD.unpack(head)
        if own != number:
            raise Damaged(f"page {number} says that it is page {own}")
        length = (1 + following) * self._page_bytes
        if number + following >= self._pages or length > FOLLOWING_BYTES_MAX:
            raise Damaged(f"page {number} is said to go on for {following} pages")
        raw = os.pread(self._descriptor, length, number * self._page_bytes)
        if len(raw) < length:
            raise Damaged("it is cut short")
        return kind, raw

    def _elements(self, number: int, raw: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        if len(raw) < format.HEAD.size:
            raise Damaged(f"page {number} is cut short")
        _, _, count, _ = format.HEAD.unpack_from(raw)
        used = format.HEAD.size + count * format.ELEMENT_BYTES
        if used > len(raw):
            raise Damaged(f"page {number} has {count} elements, more than there is room for")
        for at in range(format.HEAD.size, used, format.ELEMENT_BYTES):
            flags, offset, key_length, value_length = format.LEAF_ELEMENT.unpack_from(raw, at)
            begin = at + offset
            middle, end = begin + key_length, begin + key_length + value_length
            used += key_length + value_length
            if end > len(raw) or used > len(raw):
                raise Damaged(f"page {number} has an element that is not in it")
            yield flags, raw[begin:middle], raw[middle:end]

    def _children(self, number: int, raw: bytes) -> list[int]:
        _, _, count, _ = format.HEAD.unpack_from(raw)
        if format.HEAD.size + count * format.ELEMENT_BYTES > len(raw):
            raise Damaged(f"page {number} has {count} elements, more than there is room for")
        places = range(format.HEAD.size, format.HEAD.size + count * format.ELEMENT_BYTES, format.ELEMENT_BYTES)
        return [int(format.BRANCH_ELEMENT.unpack_from(raw, at)[2]) for at in places]
