"""Watches how much memory and disk the node has left, says so in its conditions, and has pods leave when it runs out.

Every ten seconds: measure, remember what is short (`Pressure`, pure), free the disk of unused images, and if that is
not enough, end the one pod that `eviction.select_pod` names. A condition stays for five minutes after it was last true,
so that pods do not come back at once. The thresholds are upstream's for memory; for disk they are lower (5 %, not 10),
since a node here often shares the disk of a developer's machine.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from api.core.pod import Pod
from component.clock import Clock
from kubelet import eviction, metrics, qos
from kubelet import machine as machines
from kubelet.cgroups import Cgroups
from kubelet.eviction import DISK, MEMORY, Shortage, Used
from kubelet.image_gc import ImageGc
from kubelet.paths import Paths
from kubelet.runtime.cri import CriError
from kubelet.runtime.pleg import Pleg
from kubelet.runtime.records import ContainerRecord, RuntimePod
from kubelet.stats.storage import tree
from kubelet.storage_limits import Usage, excess, has_container_limit, limited_volumes

log = logging.getLogger(__name__)

PERIOD_S = 10.0
TRANSITION_S = 300.0
LEAVING_S_MAX = 30.0
"""How long to wait for a pod that has to go before another has to."""
MEMORY_BYTES_MIN = 100 << 20
FREE_FRACTION_MIN = machines.DISK_KEPT


@dataclass(frozen=True, slots=True)
class Measured:
    """What the node has left."""

    memory_bytes: int = 1 << 62
    disk_bytes: int = 1 << 62
    disk_fraction: float = 1.0
    pids_fraction: float = 1.0

    def shortages(self) -> dict[str, Shortage | None]:
        """Return the condition of everything that is short, and what pods can do about it."""
        found: dict[str, Shortage | None] = {}
        if self.memory_bytes < MEMORY_BYTES_MIN:
            found["MemoryPressure"] = Shortage(MEMORY, "100Mi", self.memory_bytes)
        if self.disk_fraction < FREE_FRACTION_MIN:
            found["DiskPressure"] = Shortage(DISK, "5%", self.disk_bytes)
        if self.pids_fraction < FREE_FRACTION_MIN:
            found["PIDPressure"] = None
        return found


@dataclass(slots=True)
class Pressure:
    """Which conditions hold, by when each was last seen to."""

    _seen_at: dict[str, float] = field(default_factory=dict)

    def note(self, measured: Measured, now: float) -> frozenset[str]:
        """Take a measurement, and return the conditions that hold now or did a moment ago."""
        self._seen_at |= dict.fromkeys(measured.shortages(), now)
        return frozenset(each for each, at in self._seen_at.items() if now - at < TRANSITION_S)


class PressureWatch:
    """Keeps one node from running out of memory and disk."""

    def __init__(
        self,
        clock: Clock,
        pleg: Pleg,
        cgroups: Cgroups,
        images: ImageGc,
        paths: Paths,
        *,
        pods: Callable[[], Sequence[Pod]],
        evict: Callable[[str, str], None],
        tell: Callable[[str, str], None],
        written: Callable[[str], Awaitable[int]],
        on_change: Callable[[], None],
    ) -> None:
        """Make it.

        Args:
            clock: where time comes from.
            pleg: what runs.
            cgroups: what pods use of memory.
            images: what can be deleted before pods.
            paths: where pods' files are.
            pods: the node's pods.
            evict: ends a pod by UID, with a message.
            tell: makes a warning about the node of a reason and a message.
            written: how many bytes a container, by id, has written to its own file system.
            on_change: called when other conditions hold than before, for the scheduler to hear of it soon: until then
                it sends pods here, and each is turned away.
        """
        self._clock = clock
        self._pleg = pleg
        self._cgroups = cgroups
        self._images = images
        self._paths = paths
        self._pods = pods
        self._evict = evict
        self._tell = tell
        self._written = written
        self._on_change = on_change
        self._pressure = Pressure()
        self._leaving: tuple[str, float] | None = None
        self.conditions: frozenset[str] = frozenset()
        """Those of MemoryPressure, DiskPressure and PIDPressure that hold."""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except (CriError, OSError) as error:
                log.warning("pressure not looked at", extra={"error": error})
            await self._clock.sleep(PERIOD_S)

    async def look(self) -> None:
        """Measure once, and do what it asks for. Raises CriError, OSError."""
        measured = self._measure()
        await self._enforce_limits()
        if "DiskPressure" in measured.shortages():
            self._tell("EvictionThresholdMet", f"Attempting to reclaim {DISK}")
            if await self._images.delete_unused():
                measured = self._measure()
        shortage = next((each for each in measured.shortages().values() if each is not None), None)
        if shortage is None or self._is_somebody_leaving():
            return
        if shortage.resource == MEMORY:
            self._tell("EvictionThresholdMet", f"Attempting to reclaim {MEMORY}")
        running = await asyncio.to_thread(self._usage, shortage.resource, self._running())
        chosen = eviction.select_pod(shortage, running)
        if chosen is not None:
            self._end(chosen.pod, eviction.message(shortage, chosen), f"{shortage.resource}.available")

    def why_not_admitted(self, pod: Pod) -> str:
        """Return why a pod may not start on this node now; empty if it may."""
        best_effort = qos.qos_class(pod) == qos.BEST_EFFORT
        return eviction.why_not_admitted(pod, self.conditions - {"PIDPressure"}, is_best_effort=best_effort)

    def _measure(self) -> Measured:
        disk = shutil.disk_usage(next(path for path in [self._paths.root, *self._paths.root.parents] if path.exists()))
        measured = Measured(
            machines.memory_available_bytes(), disk.free, disk.free / max(1, disk.total), machines.pids_free()
        )
        before, self.conditions = self.conditions, self._pressure.note(measured, self._clock.monotonic())
        if self.conditions != before:
            self._on_change()
        return measured

    def _running(self) -> list[tuple[Pod, RuntimePod]]:
        runtimes = self._pleg.pods
        return [
            (pod, runtimes[pod.metadata.uid])
            for pod in self._pods()
            if pod.metadata.uid in runtimes and runtimes[pod.metadata.uid].running
        ]

    def _is_somebody_leaving(self) -> bool:
        if self._leaving is None:
            return False
        uid, since = self._leaving
        runtime = self._pleg.pods.get(uid)
        return runtime is not None and bool(runtime.running) and self._clock.monotonic() - since < LEAVING_S_MAX

    def _end(self, pod: Pod, message: str, signal: str) -> None:
        metrics.EVICTIONS.add((signal,))
        log.warning("evicting a pod", extra={"pod": f"{pod.metadata.namespace}/{pod.metadata.name}", "why": message})
        self._leaving = (pod.metadata.uid, self._clock.monotonic())
        self._evict(pod.metadata.uid, message)

    def _usage(self, resource: str, running: list[tuple[Pod, RuntimePod]]) -> list[Used]:
        """Return what pods use; for disk that is logs, and files in their volumes under the name of no container."""
        found = []
        for pod, runtime in running:
            by_container: dict[str, int] = {}
            for record in runtime.running:
                if resource == MEMORY:
                    by_container[record.name] = self._cgroups.usage(f"{self._cgroups.parent(pod)}/{record.id}")[1]
                elif record.log_path:
                    by_container[record.name] = tree(Path(record.log_path).parent).used_bytes
            if resource == DISK:
                by_container[""] = sum(tree(path).used_bytes for path in self._empty_dirs(pod).values())
            found.append(Used(pod, by_container))
        return found

    async def _enforce_limits(self) -> None:
        """End pods that are over a limit of their own: of an emptyDir's size, or of ephemeral storage."""
        for pod, runtime in self._running():
            volumes, has_limit = limited_volumes(pod), has_container_limit(pod)
            if not volumes and not has_limit:
                continue
            on_disk = self._empty_dirs(pod)
            usage = Usage(
                {name: await _tree_bytes(on_disk[name]) for name in volumes if name in on_disk},
                {record.name: await self._of_container(record) for record in runtime.running} if has_limit else {},
            )
            message = excess(pod, usage)
            if message:
                self._end(pod, message, "ephemeralcontainerfs.limit" if has_limit else "emptydirfs.limit")

    async def _of_container(self, record: ContainerRecord) -> int:
        logs = await _tree_bytes(Path(record.log_path).parent) if record.log_path else 0
        return logs + await self._written(record.id)

    def _empty_dirs(self, pod: Pod) -> Mapping[str, Path]:
        uid = pod.metadata.uid
        return {
            volume.name: self._paths.volume(uid, "empty-dir", volume.name)
            for volume in pod.spec.volumes
            if volume.empty_dir is not None and volume.empty_dir.medium == ""
        }


async def _tree_bytes(path: Path) -> int:
    return (await asyncio.to_thread(tree, path)).used_bytes
