"""Renewed certificates handed to a process while it runs: what `systemctl reload` does with our units.

systemd copies the files that a unit names into memory when it starts the unit (`LoadCredential=`), and never again.
This writes what has changed since into the same place, as `ExecReload=+` of the unit: root, outside the sandbox, and by
nsenter(1) where systemd itself sees the files, which it hides from whatever else it starts. The process looks at its
files by itself (`component.certificates`, `client.transport`). Nothing is believed: at the end the files are looked at
through the process's own eyes, and where it does not see them, whoever asked restarts it instead.

The place is a file system of its own that systemd mounted read-only; only that mount is, and root may make it writable
for the moment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from deploy.machine import host
from deploy.machine.plan import Layout, credential_directory, service
from deploy.report import CannotDo


def named_by(unit: str) -> dict[str, Path]:
    """Return the credentials that a unit file's text names, with the files they come from. Pure."""
    return {name: Path(path) for name, path in re.findall(r"^LoadCredential=([^:\n]+):(.+)$", unit, re.MULTILINE)}


def in_order(names: list[str]) -> list[str]:
    """Return credentials in the order they are written: a certificate after its key, so that it finds it. Pure."""
    return sorted(names, key=lambda name: (name.endswith(".crt"), name))


def hand_over(layout: Layout, name: str, pid: int) -> list[str]:
    """Give the running process `pid` of a unit the credentials as they are now; return which were changed.

    Raises:
        CannotDo: the process does not see them.
    """
    wanted = {
        credential: path.read_bytes()
        for credential, path in named_by((layout.units / service(name)).read_text()).items()
    }
    directory = layout.root / credential_directory(name).removeprefix("/")
    changed = [each for each in in_order(list(wanted)) if _content(directory / each) != wanted[each]]
    if changed:
        with _writable(directory):
            for each in changed:
                _replace(directory / each, wanted[each])
    seen = Path(f"/proc/{pid}/root") / directory.relative_to("/")
    if hidden := [each for each in wanted if _content(seen / each) != wanted[each]]:
        raise CannotDo(f"process {pid} of {service(name)} does not see the new {', '.join(sorted(hidden))}")
    return changed


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _replace(path: Path, content: bytes) -> None:
    """Put `content` in the place of a file, whole, for the same owner and nobody else."""
    former = path.stat()
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchown(descriptor, former.st_uid, former.st_gid)
        os.fchmod(descriptor, former.st_mode & 0o777)
        # systemd lets the unit's user read it by an access list, or where there is none such by making it theirs.
        for attribute in _attributes(path):
            os.setxattr(descriptor, attribute, os.getxattr(path, attribute))
    temporary.replace(path)


def _attributes(path: Path) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return []


@contextlib.contextmanager
def _writable(directory: Path) -> Iterator[None]:
    is_read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    if is_read_only:
        host.run("mount", "-o", "remount,bind,rw,nosuid,nodev,noexec", str(directory))
    try:
        yield
    finally:
        if is_read_only:
            host.run("mount", "-o", "remount,bind,ro,nosuid,nodev,noexec", str(directory))
