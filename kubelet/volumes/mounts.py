"""mount(2) and umount(2), for the little that volumes need: tmpfs and bind mounts."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_MS_BIND = 4096
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8


def _call(what: str, result: int, path: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}", str(path))


def mount_tmpfs(path: Path, size_bytes: int | None, mode: int, group: int | None = None) -> None:
    """Mount an empty tmpfs on `path`. Raises OSError (PermissionError without the privilege).

    With a `group`, it and all that is made in it is the group's.
    """
    options = f"mode={mode:o}" if group is None else f"mode={mode | stat.S_ISGID:o},gid={group}"
    options += f",size={size_bytes}" if size_bytes else ""
    _call("mount tmpfs", _libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, options.encode()), path)


def bind(source: Path, target: Path) -> None:
    """Show `source` at `target` too. Raises OSError."""
    result = _libc.mount(os.fsencode(source), os.fsencode(target), None, _MS_BIND, None)
    _call("bind mount", result, target)


def unmount(path: Path) -> None:
    """Take a mount off, even if busy; what is not a mount is left alone. Raises OSError."""
    if is_mount(path):
        _call("umount", _libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW), path)


def is_mount(path: Path) -> bool:
    """Whether something is mounted on `path`, a bind mount included."""
    wanted = os.fsencode(path.absolute()).replace(b"\\", b"\\134").replace(b" ", b"\\040")
    with open("/proc/self/mountinfo", "rb") as table:
        return any(line.split(b" ", 5)[4] == wanted for line in table)


def mounts_below(path: Path) -> list[Path]:
    """Return mount points at or below `path`, deepest first."""
    prefix = os.fsencode(path.absolute())
    with open("/proc/self/mountinfo", "rb") as table:
        points = [os.fsencode(point_of(line)) for line in table]
    found = [point for point in points if point == prefix or point.startswith(prefix + b"/")]
    return [Path(os.fsdecode(point)) for point in sorted(found, key=len, reverse=True)]


def point_of(line: bytes) -> Path:
    """Return where something is mounted, of a line of `/proc/self/mountinfo`. Pure."""
    return Path(os.fsdecode(line.split(b" ", 5)[4].replace(b"\\040", b" ").replace(b"\\134", b"\\")))
