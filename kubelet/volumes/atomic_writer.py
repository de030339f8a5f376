"""Puts a set of files into a directory all at once, so that no reader ever sees half of a change.

The files live in a directory named for the time; `..data` is a symbolic link to it, and each visible name is a link
through `..data`. An update writes a new directory and renames a new `..data` over the old one. Programs know
this layout: they watch `..data` to learn of changes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from kubelet.volumes.payload import File, Payload

_DATA = "..data"
_DATA_NEW = "..data_tmp"


def write(target: Path, payload: Payload, group: int | None = None) -> bool:
    """Make `target` show exactly `payload`; return whether anything changed. Safe to call again after a crash.

    Args:
        target: the volume's directory, which exists.
        payload: files by relative path.
        group: who may read the files beside their owner (fsGroup).
    """
    current = _current(target)
    if current is not None and _holds(target / current, payload, group) and _links(target) == _tops(payload):
        return False
    name = _new_directory(target, payload, group)
    new_link = target / _DATA_NEW
    with contextlib.suppress(FileNotFoundError):
        new_link.unlink()
    new_link.symlink_to(name)
    os.replace(new_link, target / _DATA)
    for top in sorted(_tops(payload) - _links(target)):
        (target / top).symlink_to(f"{_DATA}/{top}")
    for top in sorted(_links(target) - _tops(payload)):
        (target / top).unlink()
    for entry in os.listdir(target):
        if entry.startswith("..") and entry not in (_DATA, name):
            shutil.rmtree(target / entry, ignore_errors=True)
    return True


def _current(target: Path) -> str | None:
    try:
        return os.readlink(target / _DATA)
    except OSError:
        return None


def _tops(payload: Payload) -> set[str]:
    return {path.split("/", 1)[0] for path in payload}


def _links(target: Path) -> set[str]:
    return {entry.name for entry in os.scandir(target) if entry.is_symlink() and not entry.name.startswith("..")}


def _modes(file: File, group: int | None) -> int:
    # The group must be able to read what was made readable for it (upstream's read-only ownership mask).
    return file.mode | 0o440 if group is not None else file.mode


def _holds(directory: Path, payload: Payload, group: int | None) -> bool:
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    if found != set(payload):
        return False
    for name, file in payload.items():
        path = directory / name
        state = path.stat()
        if state.st_mode & 0o7777 != _modes(file, group) or path.read_bytes() != file.content:
            return False
        if file.user is not None and state.st_uid != file.user:
            return False
    return True


def _new_directory(target: Path, payload: Payload, group: int | None) -> str:
    stamp = time.strftime("%Y_%m_%d_%H_%M_%S", time.gmtime())
    name = f"..{stamp}.{time.monotonic_ns()}"
    directory = target / name
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    for relative, file in payload.items():
        path = directory / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        # Created closed, so that a secret is never readable for longer than meant.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(file.content)
            if group is not None or file.user is not None:
                user = -1 if file.user is None else file.user
                os.fchown(stream.fileno(), user, -1 if group is None else group)
            os.fchmod(stream.fileno(), _modes(file, group))
    return name
