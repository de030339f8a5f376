"""File systems on block devices: made if the device is empty, mounted once for the node and bound into each pod.

Which pods have one is what the kernel says, not what is remembered: a device that no pod's directory has is let go.
So a kubelet that begins anew finds all that an earlier one did. Decision 124.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from kubelet.volumes import mounts

DEFAULT_FS = "ext4"
_lock = threading.Lock()
"""Between mounting a device for the node and binding it into a pod it must not look as if nobody had it."""
_EMPTY = 2
"""What blkid(8) ends with when it finds nothing on a device, whose name it was given."""
_OF_EXT = ("-F", "-m0")


class DeviceError(Exception):
    """A device cannot be mounted; in words for an event."""


def mount(device: Path, shared: Path, target: Path, fs_type: str = "", options: Sequence[str] = ()) -> None:
    """Have the file system of `device` at `target`, by way of the node's own place for it. Safe to call again.

    Args:
        device: what is mounted; an empty one is formatted first, anything that has content of any kind never is.
        shared: a directory that is this volume's alone.
        target: below the pod's directory.
        fs_type: that of an empty device (ext4 if none is named); others must have it, if it is named.
        options: of mount(8).

    Raises:
        DeviceError: what is on the device is not a file system of this type, or a program failed.
        OSError: a directory cannot be made, or bound.
    """
    with _lock:
        if mounts.is_mount(target):
            return
        if not mounts.is_mount(shared):
            _mount(device, shared, fs_type or DEFAULT_FS, bool(fs_type), options)
        target.mkdir(parents=True, exist_ok=True)
        mounts.bind(shared, target)


def _mount(device: Path, shared: Path, fs_type: str, is_asked_for: bool, options: Sequence[str]) -> None:
    found = _content(device)
    where = f"failed to mount device {device} at {shared} (fstype: {fs_type if is_asked_for else ''})"
    if found is None:
        program = [f"mkfs.{fs_type}", *(_OF_EXT if fs_type in ("ext3", "ext4") else ()), str(device)]
        _run(program, f"{where}, error: format of disk failed")
        found = fs_type
    if is_asked_for and found != fs_type:
        raise DeviceError(f'{where}, error: failed to mount the volume as "{fs_type}", it already contains {found}')
    shared.mkdir(parents=True, exist_ok=True)
    _run(["mount", "-t", found, "-o", ",".join(["defaults", *options]), str(device), str(shared)], f"{where}, error")


def _content(device: Path) -> str | None:
    """Return what is on a device: a file system's type, another word for anything else, None for nothing."""
    program = ["blkid", "-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", str(device)]
    try:
        done = subprocess.run(program, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DeviceError(f"failed to look at device {device}: {error}") from None
    if done.returncode == _EMPTY:
        return None
    if done.returncode != 0:
        raise DeviceError(f"failed to look at device {device}: blkid: exit status {done.returncode}: {done.stderr}")
    told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return told.get("TYPE") or "unknown data, probably partitions"


def _run(program: Sequence[str], failed: str) -> None:
    try:
        done = subprocess.run(program, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DeviceError(f"{failed}: {error}") from None
    if done.returncode != 0:
        raise DeviceError(f"{failed}: exit status {done.returncode}: {(done.stderr or done.stdout).strip()}")


def let_go(directory: Path, pods: Path) -> None:
    """Unmount what is mounted in `directory`, one volume below the other, and for no pod any more. Raises OSError."""
    with _lock:
        for point in unused(directory, pods, Path("/proc/self/mountinfo").read_bytes()):
            mounts.unmount(point)
            point.rmdir()


def unused(directory: Path, pods: Path, table: bytes) -> list[Path]:
    """Return the mount points right below `directory` whose devices no pod has. Pure.

    Args:
        directory: where each volume has a directory.
        pods: what all directories of pods are below.
        table: as of `/proc/self/mountinfo`.
    """
    points = [(line.split(b" ", 5)[2], mounts.point_of(line)) for line in table.splitlines()]
    used = {number for number, point in points if pods in point.parents}
    return [point for number, point in points if point.parent == directory and number not in used]
