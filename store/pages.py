"""Memory that a mapped file takes while all of it is read: given back as reading goes on.

LMDB maps its file, and every page that was looked at counts as the process's memory until the kernel needs it for
something else. A restart, a snapshot or a hash looks at every page once. Giving the mapping's pages back costs nothing:
what is asked for again is still in the kernel's cache.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

RELEASE_BYTES = 64 << 20
"""Read between one release and the next."""
_MADV_DONTNEED = 4
_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class ReadOnce:
    """Counts what is read of a mapped file, and lets go of it now and then; `close` lets go of the rest."""

    def __init__(self, path: Path) -> None:
        """Begin to read `path`, which is mapped."""
        self._path = path
        self._read_bytes = 0

    def add(self, size_bytes: int) -> None:
        """So much more was read."""
        self._read_bytes += size_bytes
        if self._read_bytes >= RELEASE_BYTES:
            self.close()

    def close(self) -> None:
        """Let go of what was read."""
        if self._read_bytes:
            self._read_bytes = 0
            release(self._path)


def release(path: Path) -> None:
    """Take the pages of a file that is mapped to be read out of this process's memory; the file keeps them.

    Only for mappings that are never written through: those of LMDB's files as we open them.
    """
    name = str(path.resolve())
    for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5] == name and fields[1].startswith("r--s"):
            begin, end = (int(part, 16) for part in fields[0].split("-"))
            _libc.madvise(begin, end - begin, _MADV_DONTNEED)  # refused is as good as not asked
