"""Which cgroup hierarchies this kernel has mounted, and a subtree of our own in each of them.

A node made of namespaces sees the subtree as the root of its cgroups. Version 1 (a hierarchy per controller), version 2
(one for all) and both side by side are served: what `/proc/self/mountinfo` shows is what a node gets.
Parsing is pure; `create` and `remove` touch the kernel.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_V1_NOT_CONTROLLERS = frozenset({"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"})
SERVICES = "system"
"""On version 2, the leaf that a node's own processes live in: a cgroup with children must hold none itself."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy: where, which version, and (version 1) the mount options that name its controllers."""

    mountpoint: Path
    version: int
    options: str = ""

    @property
    def controllers(self) -> frozenset[str]:
        """Version 1's controllers; empty for version 2 and for a named hierarchy."""
        return frozenset(part for part in self.options.split(",") if part and "=" not in part)


def parse_mountinfo(text: str) -> list[Hierarchy]:
    """Return the hierarchies in `/proc/self/mountinfo`'s text, each once, in mount order."""
    found: dict[tuple[int, str], Hierarchy] = {}
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        if not separator:
            continue
        kind, _, super_options = right.split(" ")[:3]
        mountpoint = Path(left.split(" ")[4].replace("\\040", " "))
        if kind == "cgroup2":
            found.setdefault((2, ""), Hierarchy(mountpoint, 2))
        elif kind == "cgroup":
            options = ",".join(
                part
                for part in super_options.split(",")
                if part not in _V1_NOT_CONTROLLERS and not part.startswith("release_agent=")
            )
            found.setdefault((1, options), Hierarchy(mountpoint, 1, options))
    return list(found.values())


def hierarchies() -> list[Hierarchy]:
    """Return this machine's hierarchies."""
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text())


def create(mounted: Iterable[Hierarchy], path: str) -> list[Path]:
    """Make `path` in every hierarchy, able to hold processes, and return the directories to put them into.

    Safe to call twice. On version 2 the answer is the leaf `SERVICES` below `path`, controllers handed down to `path`.
    """
    return [_create_v2(one, path) if one.version == 2 else _create_v1(one, path) for one in mounted]


def _create_v1(hierarchy: Hierarchy, path: str) -> Path:
    directory = hierarchy.mountpoint
    for part in Path(path).parts:
        parent, directory = directory, directory / part
        directory.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            # A fresh cpuset is empty, and an empty cpuset takes no process.
            source, target = parent / name, directory / name
            if source.exists() and not target.read_text().strip():
                target.write_text(source.read_text())
    return directory


def _create_v2(hierarchy: Hierarchy, path: str) -> Path:
    directory = hierarchy.mountpoint
    for part in Path(path).parts:
        _hand_down(directory)
        directory = directory / part
        directory.mkdir(exist_ok=True)
    leaf = directory / SERVICES
    leaf.mkdir(exist_ok=True)
    return leaf


def _hand_down(directory: Path) -> None:
    for controller in (directory / "cgroup.controllers").read_text().split():
        # One that is busy or that this kernel keeps back is simply not there for the node.
        with contextlib.suppress(OSError):
            (directory / "cgroup.subtree_control").write_text(f"+{controller}")


def weigh(mounted: Iterable[Hierarchy], path: str, times: int) -> None:
    """Let `path` have as much of a busy processor as so many processes, not as one."""
    for hierarchy in mounted:
        if hierarchy.version == 2 and (weight := hierarchy.mountpoint / path / "cpu.weight").exists():
            weight.write_text(str(min(10_000, 100 * times)))
        elif "cpu" in hierarchy.controllers:
            (hierarchy.mountpoint / path / "cpu.shares").write_text(str(min(262_144, 1024 * times)))


def remove(mounted: Iterable[Hierarchy], path: str, *, timeout_s: float = 5.0) -> None:
    """Remove `path` and everything below it from every hierarchy; its processes must be gone or going.

    Safe to call twice.

    Raises:
        OSError: a cgroup was still busy after `timeout_s`.
    """
    give_up_at = time.monotonic() + timeout_s
    for hierarchy in mounted:
        top = hierarchy.mountpoint / path
        while True:
            try:
                _remove_tree(top)
                break
            except OSError as error:
                # A killed process holds its cgroup until the kernel has taken it apart.
                if error.errno != errno.EBUSY or time.monotonic() > give_up_at:
                    raise
                time.sleep(0.02)


def remove_level_above(path: str) -> None:
    """Remove the group that `path` was in from every hierarchy, unless others are in it still."""
    for hierarchy in hierarchies():
        with contextlib.suppress(OSError):
            (hierarchy.mountpoint / path).parent.rmdir()


def _remove_tree(top: Path) -> None:
    for directory, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(directory)


def processes(mounted: Sequence[Hierarchy], path: str) -> set[int]:
    """Return the pids at or below `path` in any hierarchy."""
    found: set[int] = set()
    for hierarchy in mounted:
        for directory, _, _ in os.walk(hierarchy.mountpoint / path):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in (Path(directory) / "cgroup.procs").read_text().split()}
    return found
