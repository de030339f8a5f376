"""fsGroup: volumes that belong to a group which every container of the pod is in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_SHARED = 0o660
_SEARCHED = 0o110
_READ = 0o440


def give_to_group(root: Path, group: int, *, only_if_root_differs: bool = False) -> None:
    """Give a tree to `group`, readable and writable by it; what is made in it later belongs to the group too.

    With `only_if_root_differs` (fsGroupChangePolicy OnRootMismatch) a tree whose top is as it should be is left alone:
    so the top is the last to be given.
    """
    if only_if_root_differs:
        found = root.stat()
        wanted = _SHARED | _SEARCHED | stat.S_ISGID
        if found.st_gid == group and found.st_mode & wanted == wanted:
            return
    for directory, _, files in os.walk(root, topdown=False):
        for name in files:
            path = Path(directory, name)
            if path.is_symlink():
                os.lchown(path, -1, group)
                continue
            os.chown(path, -1, group)
            path.chmod(stat.S_IMODE(path.stat().st_mode) | _SHARED)
        os.chown(directory, -1, group)
        mode = stat.S_IMODE(os.stat(directory).st_mode)
        os.chmod(directory, mode | _SHARED | _SEARCHED | stat.S_ISGID)


def make_whole(directory: Path, mode: int, group: int | None = None) -> None:
    """Make a directory that is there only once it is as it should be, whenever this process ends. Raises OSError."""
    fresh = directory.with_name(f".{directory.name}.new")
    fresh.mkdir(exist_ok=True)
    fresh.chmod(mode)
    if group is not None:
        give_to_group(fresh, group)
    fresh.rename(directory)


def show_to_group(root: Path, group: int) -> None:
    """Let `group` read a tree that nobody writes but us, such as a Secret's; files of it are not looked at."""
    for directory, below, files in os.walk(root):
        state = os.stat(directory)
        wanted = stat.S_IMODE(state.st_mode) | _READ | _SEARCHED | stat.S_ISGID
        if state.st_gid != group:
            os.chown(directory, -1, group)
        if stat.S_IMODE(os.stat(directory).st_mode) != wanted:
            os.chmod(directory, wanted)
        for name in (*below, *files):
            path = Path(directory, name)
            if path.is_symlink() and path.lstat().st_gid != group:
                os.lchown(path, -1, group)
