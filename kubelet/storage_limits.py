"""Ends pods that put more on the node's disk than they said they would: emptyDir's sizeLimit, and limits of
ephemeral-storage, which count what containers write to their file systems, their logs and their emptyDirs (KEP-361).

`excess` is pure; `StorageLimits` measures again and again. A pod that is over is Failed with the reason Evicted, as
upstream's are: the disk is everybody's, so it is given no time to save anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from api.core.pod import Pod
from api.core.pod_resources import pod_limits
from api.quantity import parse, units
from component.clock import Clock
from kubelet.paths import Paths
from kubelet.runtime.cri import Cri, CriError
from kubelet.runtime.pleg import Pleg
from kubelet.runtime.records import ContainerRecord

log = logging.getLogger(__name__)

PERIOD_S = 10.0
RESOURCE = "ephemeral-storage"
_BLOCK_BYTES = 512
"""What st_blocks counts, whatever the file system's own blocks are."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pod has on the node's disk, in bytes."""

    volumes: Mapping[str, int] = field(default_factory=dict)
    """Of its emptyDirs, by name; those in memory too, though only their own limit counts."""
    containers: Mapping[str, int] = field(default_factory=dict)
    """Of its containers' own files and logs, by name."""


def limited_volumes(pod: Pod) -> list[str]:
    """Return the emptyDirs whose use must be known: all, if a container has a limit, else those with one."""
    everything = has_container_limit(pod)
    return [
        volume.name
        for volume in pod.spec.volumes
        if volume.empty_dir is not None and (everything or volume.empty_dir.size_limit)
    ]


def has_container_limit(pod: Pod) -> bool:
    """Whether any container's ephemeral storage is limited."""
    return any(RESOURCE in c.resources.limits for c in (*pod.spec.init_containers, *pod.spec.containers))


def excess(pod: Pod, usage: Usage) -> str:
    """Return which limit a pod is over, as a sentence for people; empty if none."""
    on_disk = sum(usage.containers.values())
    for volume in pod.spec.volumes:
        if volume.empty_dir is None:
            continue
        used, limit = usage.volumes.get(volume.name, 0), volume.empty_dir.size_limit
        if limit and 0 < units(limit) < used:
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit}". '
        if volume.empty_dir.medium != "Memory":
            on_disk += used
    total = pod_limits(pod.spec).get(RESOURCE)
    if total is not None and on_disk > total.units:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        own = container.resources.limits.get(RESOURCE)
        if own is not None and usage.containers.get(container.name, 0) > parse(own).units:
            return f'Container {container.name} exceeded its local ephemeral storage limit "{own}". '
    return ""


class StorageLimits:
    """Looks after the disk of one node.

    Args:
        pods: the pods that run here.
        evict: ends the pod of a UID, for a reason that people will read.
    """

    def __init__(
        self,
        paths: Paths,
        pleg: Pleg,
        cri: Cri,
        clock: Clock,
        pods: Callable[[], Sequence[Pod]],
        evict: Callable[[str, str], None],
    ) -> None:
        self._paths = paths
        self._pleg = pleg
        self._cri = cri
        self._clock = clock
        self._pods = pods
        self._evict = evict

    async def run(self) -> None:
        """Measure again and again, until cancelled."""
        while True:
            await self._clock.sleep(PERIOD_S)
            for pod in self._pods():
                if not (limited_volumes(pod) or has_container_limit(pod)):
                    continue
                try:
                    message = excess(pod, await self._measure(pod))
                except (OSError, CriError) as error:
                    log.warning("disk usage not known", extra={"pod": pod.metadata.name, "error": error})
                    continue
                if message:
                    self._evict(pod.metadata.uid, message)

    async def _measure(self, pod: Pod) -> Usage:
        uid = pod.metadata.uid
        volumes = {
            name: await asyncio.to_thread(bytes_below, self._paths.volume(uid, "empty-dir", name))
            for name in limited_volumes(pod)
        }
        if not has_container_limit(pod):
            return Usage(volumes)
        runtime = self._pleg.pods.get(uid)
        containers: dict[str, int] = {}
        for record in runtime.running if runtime is not None else ():
            containers[record.name] = await self._of_container(record)
        return Usage(volumes, containers)

    async def _of_container(self, record: ContainerRecord) -> int:
        logs = Path(record.log_path).parent if record.log_path else None
        written = await self._cri.writable_bytes(record.id)
        return written + (await asyncio.to_thread(bytes_below, logs) if logs is not None else 0)


def bytes_below(root: Path) -> int:
    """Return what a tree takes of its disk; what goes away meanwhile does not count."""
    return sum(_bytes_of(path) for path in _everything(root))


def _everything(root: Path) -> Iterable[str]:
    for directory, _, files in os.walk(root):
        yield directory
        yield from (os.path.join(directory, name) for name in files)


def _bytes_of(path: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.lstat(path).st_blocks * _BLOCK_BYTES
    return 0
