"""What the pages of a bbolt file look like; little-endian, as on every machine that etcd is for.

A page begins with its number, kind, count of elements, and how many further pages it runs on for. Elements come next,
each saying where, counted from itself, its key and value are.
"""

from __future__ import annotations

import struct
from typing import Final

PAGE_BYTES: Final = 4096
"""Of files that are written; those read say so themselves."""
HEAD = struct.Struct("<QHHI")  # number, kind, count, how many pages follow that are part of it
BRANCH: Final = 0x01
LEAF: Final = 0x02
META: Final = 0x04
FREELIST: Final = 0x10
BRANCH_ELEMENT = struct.Struct("<IIQ")  # where the key is, its length, the child's page
LEAF_ELEMENT = struct.Struct("<IIII")  # flags, where the key is, its length, the length of the value right after it
ELEMENT_BYTES: Final = 16
"""Of either."""
IS_BUCKET: Final = 0x01
"""An element's flag: its value is a bucket's root, and not a value."""
BUCKET = struct.Struct("<QQ")  # the root's page, 0: right here; a counter for whoever wants one
DESCRIPTION = struct.Struct("<IIIIQQQQQ")
"""Magic, version, page size, flags, root bucket (two), free list's page, number of pages, transaction; a checksum
follows."""
CHECKSUM = struct.Struct("<Q")
MAGIC: Final = 0xED0CDAED
VERSION: Final = 2


def checksum(raw: bytes) -> int:
    """Return the FNV-1a hash of a description's bytes, 64 bits wide."""
    found = 0xCBF29CE484222325
    for byte in raw:
        found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return found
