"""hostPath: a file, directory, socket or device of the node, checked or made as its type says."""

from __future__ import annotations

import stat
from pathlib import Path

from api.core.volumes import HostPathVolumeSource


class WrongKind(Exception):
    """What is at the path is not what the volume's type demands."""


def set_up(source: HostPathVolumeSource) -> Path:
    """Return the path on the node; DirectoryOrCreate and FileOrCreate make what is missing.

    Raises:
        WrongKind: the type demands something else.
        OSError: it cannot be made.
    """
    path = Path(source.path)
    match source.type or "":
        case "":
            return path
        case "DirectoryOrCreate":
            if not path.exists():
                path.mkdir(parents=True, mode=0o755)
            demand, is_right = "a directory", path.is_dir()
        case "Directory":
            demand, is_right = "a directory", path.is_dir()
        case "FileOrCreate":
            if not path.exists():
                path.touch(mode=0o644)
            demand, is_right = "a file", path.is_file()
        case "File":
            demand, is_right = "a file", path.is_file()
        case "Socket":
            demand, is_right = "a socket file", path.is_socket()
        case "CharDevice":
            demand, is_right = "a character device", path.is_char_device()
        case "BlockDevice":
            demand, is_right = "a block device", path.exists() and stat.S_ISBLK(path.stat().st_mode)
        case other:
            raise WrongKind(f"hostPath type {other!r} is not known")
    if not is_right:
        raise WrongKind(f"hostPath type check failed: {source.path} is not {demand}")
    return path
