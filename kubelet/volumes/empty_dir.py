"""emptyDir: a directory that lives as long as its pod; on disk, or in memory (medium Memory) with a size limit."""

from __future__ import annotations

from pathlib import Path

from api.core.volumes import EmptyDirVolumeSource
from api.quantity import units
from kubelet.volumes import mounts
from kubelet.volumes.ownership import make_whole

OPEN = 0o777
"""Any user of any container may write: volumes of files are as open, but mounted to be read only."""
OPEN_IN_MEMORY = 0o1777
"""As any fresh tmpfs is."""


def set_up(directory: Path, source: EmptyDirVolumeSource, group: int | None, memory_bytes: int | None = None) -> None:
    """Make the directory once; later calls leave it and its content alone. Raises OSError.

    One in memory holds its sizeLimit, and never more than `memory_bytes`, which is what the pod may use (KEP-1967).
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    if source.medium == "Memory":
        directory.mkdir(exist_ok=True)
        if not mounts.is_mount(directory):
            sizes = [each for each in (units(source.size_limit or "0"), memory_bytes) if each]
            mounts.mount_tmpfs(directory, min(sizes, default=None), OPEN_IN_MEMORY, group)
    elif not directory.exists():
        make_whole(directory, OPEN, group)
