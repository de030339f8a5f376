"""Backups on machines under systemd: scheduled ones with retention, the cluster's keys, and the way back.

A snapshot holds what the store held; Secrets in it are encrypted with a key that only control-plane machines have. So
two things make a cluster again: a snapshot, and the keys (`export_keys`), to be kept apart from each other.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from component.files import write_private
from component.serve import Identity
from deploy import snapshot
from deploy.machine import credentials, host
from deploy.machine.build import Site
from deploy.machine.credentials import SHARED_FILES
from deploy.machine.plan import STORE_CLIENT_PORT, Layout, Machine, credential_name, own_first, service
from deploy.report import BadInput, CannotDo, Report

NAME = re.compile(r"steersman-\d{8}T\d{6}Z\.snapshot")
USER = "steersman-store"
EXPORT_BYTES_MAX = 1 << 20


def access(layout: Layout, machine: Machine) -> tuple[list[str], Identity]:
    """Return where the members of this machine's cluster listen, its own first, and who may talk to them."""
    endpoints = [f"{member.address}:{STORE_CLIENT_PORT}" for member in own_first(machine)]
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    if given is None:
        return endpoints, credentials.store_identity(layout)

    def credential(file: str) -> Path:
        return Path(given) / credential_name(f"store/{file}")

    return endpoints, Identity(credential("apiserver.crt"), credential("apiserver.key"), credential("ca.crt"))


def rotate(
    directory: Path, keep: int, endpoints: Sequence[str], identity: Identity, now: datetime
) -> tuple[Path, list[Path]]:
    """Write a snapshot into `directory` and delete the oldest beyond `keep`; return what was written and deleted.

    Nothing is deleted unless the new one is whole.

    Raises:
        CannotDo: no member gave one.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = directory / f"steersman-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.snapshot"
    snapshot.save(made, list(endpoints), identity)
    old = stale([path.name for path in directory.iterdir()], keep)
    for name in old:
        (directory / name).unlink()
    return made, [directory / name for name in old]


def stale(names: Sequence[str], keep: int) -> list[str]:
    """Return which files of a directory are snapshots beyond the newest `keep`, the oldest first. Pure."""
    ours = sorted(name for name in names if NAME.fullmatch(name))
    return ours[: max(0, len(ours) - keep)]


def export_keys(layout: Layout, file: Path) -> None:
    """Write what makes a control plane this cluster's into one file, readable by its owner only, not encrypted."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for place in SHARED_FILES:
            data = (layout.pki / place).read_bytes()
            entry = tarfile.TarInfo(place)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    write_private(file, content.getvalue())


def import_keys(layout: Layout, file: Path) -> None:
    """Put in place what `export_keys` wrote; none is written unless all are there.

    Raises:
        CannotDo: the file is not such a file, or this machine has other keys already.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(file) as archive:
            for entry in archive.getmembers():
                data = archive.extractfile(entry) if entry.isreg() else None
                if entry.name in SHARED_FILES and data is not None and entry.size < EXPORT_BYTES_MAX:
                    found[entry.name] = data.read()
    except (OSError, tarfile.TarError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from None
    missing = [place for place in SHARED_FILES if place not in found]
    if missing:
        raise BadInput(f"{file} lacks {', '.join(missing)}: `steer certs export` on a control-plane machine writes it")
    for place, content in found.items():
        path = layout.pki / place
        if path.exists() and path.read_bytes() != content:
            raise CannotDo(f"this machine has another {place} already: `steer reset` first")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, content)


def restore(site: Site, file: Path, report: Report) -> None:
    """Make this machine's store what `file` says: a new cluster of one, which other machines join anew.

    What the store held is moved aside, not deleted. The machine's processes are stopped for it; its containers run on.

    Raises:
        CannotDo: the file is damaged, and nothing was changed.
    """
    machine, layout = site.machine, site.layout
    snapshot.check(file)
    # The timer first, which would start again what is stopped; a target's stop would not wait for its units.
    site.systemd.stop("steersman-sync.timer", service("sync"), *reversed(site.services))
    directory = layout.data / "store"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    restored, aside = snapshot.restore(file, directory)
    report(f"restored revision {restored.revision}")
    for path in aside:
        report(f"what was there is in {path}")
    for path in [directory, *directory.rglob("*")]:
        shutil.chown(path, USER, USER)
    machine.founder = machine.name
    host.write_machine(layout, machine)
