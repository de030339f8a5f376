"""What this machine is: its processors, memory, disk and system, as a node reports them."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from api.core.node import NodeSystemInfo
from api.quantity import from_bytes
from component.version import GIT_VERSION

PODS_MAX = 110
DISK_KEPT = 0.05
"""The share of the disk that is kept free: pods are ended when less is, so they may not count on it."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while the kubelet runs."""

    info: NodeSystemInfo
    cpus: int
    memory_bytes: int
    disk_bytes: int
    pods_max: int = PODS_MAX

    def capacity(self) -> dict[str, str]:
        """Return what the machine has, as quantities."""
        return {
            "cpu": str(self.cpus),
            "memory": from_bytes(self.memory_bytes // 1024 * 1024),
            "ephemeral-storage": from_bytes(self.disk_bytes // 1024 * 1024),
            "hugepages-2Mi": "0",
            "pods": str(self.pods_max),
        }

    def allocatable(self) -> dict[str, str]:
        """Return what pods may have of it: all but the memory and the disk below which pods are ended."""
        reserved = min(100 * 1024 * 1024, self.memory_bytes // 20)
        disk_bytes = self.disk_bytes // 1024 * 1024
        return self.capacity() | {
            "memory": from_bytes((self.memory_bytes - reserved) // 1024 * 1024),
            "ephemeral-storage": from_bytes(disk_bytes - int(disk_bytes * DISK_KEPT)),
        }


def architecture() -> str:
    """Return the machine's architecture by Go's name for it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def has_apparmor() -> bool:
    """Return whether this kernel enforces AppArmor's profiles."""
    return _first_line("/sys/module/apparmor/parameters/enabled") == "Y"


def read(root: Path) -> Machine:
    """Return this machine; `root` says which disk counts."""
    release = _os_release()
    info = NodeSystemInfo(
        machine_id=_first_line("/etc/machine-id"),
        system_uuid=_first_line("/sys/class/dmi/id/product_uuid") or _first_line("/etc/machine-id"),
        boot_id=_first_line("/proc/sys/kernel/random/boot_id"),
        kernel_version=platform.release(),
        os_image=release.get("PRETTY_NAME", "Linux"),
        kubelet_version=GIT_VERSION,
        kube_proxy_version=GIT_VERSION,
        operating_system="linux",
        architecture=architecture(),
    )
    existing = next(path for path in [root, *root.parents] if path.exists())
    return Machine(info, len(os.sched_getaffinity(0)), memory_bytes(), shutil.disk_usage(existing).total)


def hollow(name: str) -> Machine:
    """Return an imagined machine for a hollow node."""
    info = NodeSystemInfo(
        machine_id=name,
        system_uuid=name,
        boot_id=name,
        kernel_version=platform.release(),
        os_image="Hollow",
        container_runtime_version="hollow://1.0.0",
        kubelet_version=GIT_VERSION,
        kube_proxy_version=GIT_VERSION,
        operating_system="linux",
        architecture=architecture(),
    )
    return Machine(info, 8, 32 << 30, 100 << 30)


def memory_bytes() -> int:
    """Return how much memory there is: the machine's, or less if our control group is limited to less."""
    total = meminfo().get("MemTotal", 0)
    for path in ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"):
        text = _first_line(path)
        if text.isdecimal() and 0 < int(text) < total:
            return int(text)
    return total


def memory_available_bytes() -> int:
    """Return how much memory could be given out now."""
    return meminfo().get("MemAvailable", 0)


def pids_free() -> float:
    """Return the share of process ids that nobody has."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        limit = int(Path("/proc/sys/kernel/pid_max").read_text())
        running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])
        return max(0.0, (limit - running) / limit)
    return 1.0


def meminfo() -> dict[str, int]:
    """Return what /proc/meminfo says, in bytes by its names (`MemFree`)."""
    found: dict[str, int] = {}
    with open("/proc/meminfo") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            found[name] = int(rest.split()[0]) * 1024
    return found


def _os_release() -> dict[str, str]:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release()
    return {}


def _first_line(path: str) -> str:
    with contextlib.suppress(OSError, IndexError):
        return Path(path).read_text().splitlines()[0].strip()
    return ""
