"""The control group above each pod: made before its sandbox, removed after it.

The layout is upstream's: `<root>/pod<uid>` for guaranteed pods, `<root>/burstable/pod<uid>` and
`<root>/besteffort/pod<uid>` for the others. cgroup v1 has a hierarchy for each controller, v2 has one for all
(cgroupfs driver; kernel documentation, admin-guide/cgroup-v1 and cgroup-v2).
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from api.core.pod import Pod
from api.quantity import millis, units
from kubelet import qos
from kubelet.lifecycle import is_sidecar
from kubelet.runtime.containers import CPU_PERIOD_US, CPU_SHARES_MAX, CPU_SHARES_MIN, cpu_quota_us, cpu_shares

log = logging.getLogger(__name__)

MOUNT = Path("/sys/fs/cgroup")
_LIMITED = ("cpu", "memory", "pids")
_NO_LIMIT_V1 = 1 << 62
"""Whatever is above stands for no limit; the kernel shows the largest number of whole pages."""


@dataclass(frozen=True, slots=True)
class PodLimits:
    """What a whole pod may use; None for no limit."""

    cpu_request_millis: int
    cpu_limit_millis: int | None
    memory_limit_bytes: int | None


def pod_limits(pod: Pod) -> PodLimits:
    """Return the pod's limits: sums over main containers and sidecars, or the largest init container if more. Pure.

    A limit exists only if every container has one. The overhead of the pod's RuntimeClass comes on top (KEP-688).
    """

    def total(kind: str, name: str) -> int | None:
        count = millis if name == "cpu" else units
        together = 0
        largest_init = 0
        for container in [*pod.spec.containers, *pod.spec.init_containers]:
            table = getattr(container.resources, kind)
            amount = count(table.get(name, ""))
            if kind == "limits" and not amount:
                return None
            if container in pod.spec.init_containers and not is_sidecar(container):
                largest_init = max(largest_init, amount)
            else:
                together += amount
        return max(together, largest_init) + count(pod.spec.overhead.get(name, ""))

    return PodLimits(total("requests", "cpu") or 0, total("limits", "cpu"), total("limits", "memory"))


class GroupUsage(NamedTuple):
    """What a control group has used, and holds now."""

    cpu_ns: int
    used_bytes: int
    droppable_bytes: int
    """Page cache that nobody has touched lately."""
    rss_bytes: int
    faults: int
    major_faults: int
    cached_bytes: int = 0
    """Page cache."""
    swapped_bytes: int = 0
    periods: int = 0
    """In which its limit of processors was looked at."""
    throttled_periods: int = 0
    throttled_ns: int = 0
    """For how long it had to stand still."""
    limit_bytes: int = 0
    """Of memory; 0 for none."""

    @property
    def available_bytes(self) -> int | None:
        """What it may have beyond its working set; None without a limit."""
        return max(0, self.limit_bytes - self.working_set_bytes) if self.limit_bytes else None

    @property
    def working_set_bytes(self) -> int:
        """What would be missed."""
        return max(0, self.used_bytes - self.droppable_bytes)


class DeviceUsage(NamedTuple):
    """What a control group has read from a disk and written to it."""

    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


class Cgroups:
    """Control groups of one node's pods, below `root` ("/kubepods", "/node-1/kubepods")."""

    def __init__(self, root: str, mount: Path = MOUNT) -> None:
        self.root = "/" + root.strip("/")
        self._mount = mount
        self.is_v2 = (mount / "cgroup.controllers").exists()

    def parent(self, pod: Pod) -> str:
        """Return the pod's group, as the runtime names it."""
        match qos.qos_class(pod):
            case "Burstable":
                middle = "burstable/"
            case "BestEffort":
                middle = "besteffort/"
            case _:
                middle = ""
        return f"{self.root}/{middle}pod{pod.metadata.uid}"

    def hierarchies(self) -> list[Path]:
        """Return where groups are mounted: one for v2, one for each controller for v1."""
        if self.is_v2:
            return [self._mount]
        return [path for path in sorted(self._mount.iterdir()) if path.is_dir() and not path.is_symlink()]

    def make(self, pod: Pod) -> None:
        """Make the pod's group and set its limits; safe to call twice.

        Raises:
            OSError: the kernel refuses.
        """
        self._make(self.parent(pod).strip("/"), pod_limits(pod))

    def make_root(self, cpus: int, memory_bytes: int) -> None:
        """Make the groups of all pods, who together may have what the node has (upstream's `enforceNodeAllocatable`).

        Raises:
            OSError: the kernel refuses.
        """
        root = self.root.strip("/")
        self._make(root, PodLimits(cpus * 1000, None, memory_bytes))
        for middle in ("burstable", "besteffort"):
            self._make(f"{root}/{middle}", PodLimits(0, None, None))

    def _make(self, group: str, limits: PodLimits) -> None:
        if self.is_v2:
            self._make_v2(group, limits)
            return
        settings: dict[str, dict[str, int | None]] = {
            "cpu": {"cpu.shares": cpu_shares(limits.cpu_request_millis)},
            "memory": {"memory.limit_in_bytes": limits.memory_limit_bytes},
            "pids": {},
        }
        if limits.cpu_limit_millis is not None:
            settings["cpu"] |= {
                "cpu.cfs_period_us": CPU_PERIOD_US,
                "cpu.cfs_quota_us": cpu_quota_us(limits.cpu_limit_millis),
            }
        for controller in _LIMITED:
            directory = self._mount / controller / group
            if not (self._mount / controller).is_dir():
                continue
            directory.mkdir(parents=True, exist_ok=True)
            for name, value in settings[controller].items():
                if value is not None:
                    _write(directory / name, str(value))
        self._weigh_classes()

    def _make_v2(self, group: str, limits: PodLimits) -> None:
        directory = self._mount
        for part in group.split("/"):
            with contextlib.suppress(OSError):
                _write(directory / "cgroup.subtree_control", "+cpu +memory +pids +io")
            directory = directory / part
            directory.mkdir(exist_ok=True)
        _write(directory / "cpu.weight", self._weight(cpu_shares(limits.cpu_request_millis)))
        if limits.cpu_limit_millis is not None:
            _write(directory / "cpu.max", f"{cpu_quota_us(limits.cpu_limit_millis)} {CPU_PERIOD_US}")
        if limits.memory_limit_bytes is not None:
            _write(directory / "memory.max", str(limits.memory_limit_bytes))
        self._weigh_classes()

    def _weigh_classes(self) -> None:
        """Give classes of service their part of the processors: what burstable pods ask for together, others the least.

        Without it all pods that ask for nothing would weigh as much as all that ask for something.
        """
        hierarchy, name = (self._mount, "cpu.weight") if self.is_v2 else (self._mount / "cpu", "cpu.shares")
        root = hierarchy / self.root.strip("/")
        with contextlib.suppress(OSError):
            asked = sum(self._shares(pod / name) for pod in (root / "burstable").glob("pod*"))
            _write(root / "burstable" / name, self._weight(min(max(asked, CPU_SHARES_MIN), CPU_SHARES_MAX)))
        with contextlib.suppress(OSError):
            _write(root / "besteffort" / name, self._weight(CPU_SHARES_MIN))

    def _weight(self, shares: int) -> str:
        # On v2 the conversion that runc makes too: shares 2..262144 onto weights 1..10000.
        return str(1 + (shares - 2) * 9999 // 262_142 if self.is_v2 else shares)

    def _shares(self, file: Path) -> int:
        found = _number(file)
        return 2 + (found - 1) * 262_142 // 9999 if self.is_v2 and found else found

    def usage(self, group: str) -> GroupUsage:
        """Return what a group has used and holds; zeros where there is none."""
        below = group.strip("/")
        if self.is_v2:
            directory = self._mount / below
            cpu = _table(directory / "cpu.stat")
            told = _table(directory / "memory.stat")
            return GroupUsage(
                cpu.get("usage_usec", 0) * 1000,
                _number(directory / "memory.current"),
                told.get("inactive_file", 0),
                told.get("anon", 0),
                told.get("pgfault", 0),
                told.get("pgmajfault", 0),
                told.get("file", 0),
                _number(directory / "memory.swap.current"),
                cpu.get("nr_periods", 0),
                cpu.get("nr_throttled", 0),
                cpu.get("throttled_usec", 0) * 1000,
                _number(directory / "memory.max"),
            )
        memory = self._mount / "memory" / below
        told = _table(memory / "memory.stat")
        cpu = _table(self._mount / "cpu" / below / "cpu.stat")
        return GroupUsage(
            _number(self._mount / "cpuacct" / below / "cpuacct.usage"),
            _number(memory / "memory.usage_in_bytes"),
            told.get("total_inactive_file", 0),
            told.get("total_rss", 0),
            told.get("total_pgfault", 0),
            told.get("total_pgmajfault", 0),
            told.get("total_cache", 0),
            told.get("total_swap", 0),
            cpu.get("nr_periods", 0),
            cpu.get("nr_throttled", 0),
            cpu.get("throttled_time", 0),
            limit if (limit := _number(memory / "memory.limit_in_bytes")) < _NO_LIMIT_V1 else 0,
        )

    def disks(self, group: str) -> dict[str, DeviceUsage]:
        """Return what a group and those below it did with each disk, by its path; none that it never used."""
        below = group.strip("/")
        found: dict[str, dict[str, int]] = {}
        if self.is_v2:
            for number, *pairs in _lines(self._mount / below / "io.stat"):
                told = dict(pair.split("=", 1) for pair in pairs)
                found[number] = {ours: int(told.get(theirs, 0)) for ours, theirs in _IO_V2.items()}
        else:
            for name, ours in _IO_V1.items():
                for number, what, *value in _lines(self._mount / "blkio" / below / f"blkio.throttle.{name}_recursive"):
                    if what in ours and value:
                        found.setdefault(number, {})[ours[what]] = int(value[0])
        return {_disk(number): DeviceUsage(**told) for number, told in found.items() if any(told.values())}

    def process_count(self, pod: Pod) -> int:
        """Return how many processes a pod's containers have, its sandbox's included."""
        hierarchy = self._mount if self.is_v2 else self._mount / "memory"
        count = 0
        for directory, _, _ in os.walk(hierarchy / self.parent(pod).strip("/")):
            with contextlib.suppress(OSError):
                count += len(Path(directory, "cgroup.procs").read_text().split())
        return count

    def process(self, group: str) -> int:
        """Return a process of a group, by its id; 0 where there is none."""
        hierarchy = self._mount if self.is_v2 else self._mount / "memory"
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int((hierarchy / group.strip("/") / "cgroup.procs").read_text().split()[0])
        return 0

    def remove(self, uid: str) -> None:
        """Remove a pod's group from wherever it is; what still holds a process stays, and is logged."""
        for hierarchy in self.hierarchies():
            for middle in ("", "burstable", "besteffort"):
                directory = hierarchy / self.root.strip("/") / middle / f"pod{uid}"
                if directory.is_dir():
                    _remove_tree(directory)
        self._weigh_classes()

    def uids(self) -> set[str]:
        """Return UIDs of pods that have a group."""
        found: set[str] = set()
        for hierarchy in self.hierarchies():
            for middle in ("", "burstable", "besteffort"):
                with contextlib.suppress(OSError):
                    names = os.listdir(hierarchy / self.root.strip("/") / middle)
                    found |= {name.removeprefix("pod") for name in names if name.startswith("pod")}
        return found


_IO_V1 = {
    "io_service_bytes": {"Read": "read_bytes", "Write": "written_bytes"},
    "io_serviced": {"Read": "reads", "Write": "writes"},
}
_IO_V2 = {"read_bytes": "rbytes", "written_bytes": "wbytes", "reads": "rios", "writes": "wios"}


def _lines(path: Path) -> list[list[str]]:
    """Return a file's lines of two words or more, as words."""
    with contextlib.suppress(OSError):
        return [words for line in path.read_text().splitlines() if len(words := line.split()) > 1]
    return []


def _disk(number: str) -> str:
    """Return the path of a disk by its numbers (`8:0`), or those if it has none here."""
    with contextlib.suppress(OSError):
        return f"/dev/{os.path.basename(os.readlink(f'/sys/dev/block/{number}'))}"
    return number


def _number(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def _table(path: Path) -> dict[str, int]:
    with contextlib.suppress(OSError, ValueError):
        return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}
    return {}


def _write(path: Path, value: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.read_text().strip() == value:
            return
    path.write_text(value)


def _remove_tree(directory: Path) -> None:
    """Remove a group and those below it; a group is a directory whose files cannot be removed."""
    for child in list(directory.iterdir()):
        if child.is_dir():
            _remove_tree(child)
    try:
        directory.rmdir()
    except OSError as error:
        log.debug("control group not removed", extra={"path": directory, "error": error})
