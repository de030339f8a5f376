"""emptyDir: a directory that lives as long as its pod; on disk, or in memory (medium Memory) with a size limit."""

from __future__ import annotations

from pathlib import Path

from api.core.volumes import EmptyDirVolumeSource
from api.quantity import units
from kubelet.volumes import mounts
from kubelet.volumes.ownership import give_to_group


def set_up(directory: Path, source: EmptyDirVolumeSource, group: int | None, memory_bytes: int | None = None) -> None:
    """Make the directory once; later calls leave it and its content alone. Raises OSError.

    One in memory holds its sizeLimit, and never more than `memory_bytes`, which is what the pod may use (KEP-1967).
    """
    is_new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    if source.medium == "Memory" and not mounts.is_mount(directory):
        sizes = [each for each in (units(source.size_limit or "0"), memory_bytes) if each]
        limit = min(sizes, default=None)
        mounts.mount_tmpfs(directory, limit, 0o777)
        is_new = True
    if is_new:
        # Any user of any container may write here.
        directory.chmod(0o777)
        if group is not None:
            give_to_group(directory, group)
