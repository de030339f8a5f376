"""How much of the node's disk pods hold: what their containers write, their logs and their volumes (KEP-361)."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from api.core.pod import Pod
from kubelet.paths import Paths
from kubelet.runtime.records import RuntimePod

_OWN_KINDS: Final = ("empty-dir", "configmap", "secret", "downward-api", "projected")
"""Directories of volumes that the kubelet fills itself; those of claims and hosts are file systems of their own."""


class Held(NamedTuple):
    """What a tree, or a container's own layer, takes."""

    used_bytes: int = 0
    inodes: int = 0

    def plus(self, other: Held) -> Held:
        """Return both together."""
        return Held(self.used_bytes + other.used_bytes, self.inodes + other.inodes)


@dataclass(frozen=True, slots=True)
class PodStorage:
    """What one pod holds, by the names of its containers and volumes."""

    layers: Mapping[str, Held] = field(default_factory=dict)
    logs: Mapping[str, Held] = field(default_factory=dict)
    volumes: Mapping[str, tuple[Path, Held]] = field(default_factory=dict)

    def ephemeral(self, pod: Pod) -> Held:
        """Return what counts as ephemeral storage: all but volumes in memory, as upstream adds it up."""
        on_disk = {
            volume.name
            for volume in pod.spec.volumes
            if volume.config_map is not None or (volume.empty_dir is not None and volume.empty_dir.medium != "Memory")
        }
        total = Held()
        for held in (*self.layers.values(), *self.logs.values()):
            total = total.plus(held)
        for name, (_, held) in self.volumes.items():
            total = total.plus(held) if name in on_disk else total
        return total


def measure(pod: Pod, runtime: RuntimePod, layers: Mapping[str, Held], paths: Paths) -> PodStorage:
    """Read what a pod holds; walks its files, so not for the event loop. `layers` is what containers hold, by id."""
    running = runtime.running
    return PodStorage(
        layers={record.name: layers[record.id] for record in running if record.id in layers},
        logs={record.name: tree(Path(record.log_path).parent) for record in running if record.log_path},
        volumes={name: (path, tree(path)) for name, path in _volumes(pod, paths)},
    )


def tree(root: Path) -> Held:
    """Return what a tree takes on its own file system; what vanishes meanwhile counts as nothing."""
    total = inodes = 0
    seen: set[int] = set()
    for directory, _, files in os.walk(root):
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            try:
                found = os.lstat(path)
            except OSError:
                continue
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                if found.st_ino in seen:
                    continue
                seen.add(found.st_ino)
            total += found.st_blocks * 512
            inodes += 1
    return Held(total, inodes)


def _volumes(pod: Pod, paths: Paths) -> Iterator[tuple[str, Path]]:
    for volume in pod.spec.volumes:
        for kind in _OWN_KINDS:
            path = paths.volume(pod.metadata.uid, kind, volume.name)
            with contextlib.suppress(OSError):
                if path.is_dir():
                    yield volume.name, path
