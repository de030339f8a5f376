"""What pods use, read from their control groups: the runtime's own statistics take seconds at 100 pods."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from api.core.pod import Pod
from api.timestamps import render
from kubelet import machine
from kubelet.cgroups import Cgroups, GroupUsage
from kubelet.runtime.records import RuntimePod
from kubelet.stats import storage, system

Stats = dict[str, Any]
_APART_S = 1.0
_REMEMBERED_MAX = 4000
_COUNTED = ("Bytes", "Packets", "Errors", "Dropped")
"""The first columns of /proc/net/dev, each way. Packets and dropped ones are not in upstream's summary."""

_NOT_OURS = ("lo", "veth")
"""A node's interfaces whose names begin so are its own loop and its pods' ends (as cAdvisor)."""


class Rates:
    """What is used of processors, from one reading to the next; readings too close together tell nothing new."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[float, int, int | None]] = {}

    def nano_cores(self, what: str, at: float, cpu_ns: int) -> int | None:
        """Return how much of a processor `what` used since it was read last; None at the first reading."""
        before, spent, rate = self._read.get(what, (0.0, 0, None))
        if not before or cpu_ns < spent:
            rate = None
        elif at - before < _APART_S:
            return rate
        else:
            rate = int((cpu_ns - spent) / (at - before))
        self._read.pop(what, None)
        self._read[what] = (at, cpu_ns, rate)
        while len(self._read) > _REMEMBERED_MAX:
            del self._read[next(iter(self._read))]
        return rate


def summary(
    node_name: str,
    pods: list[tuple[Pod, RuntimePod]],
    cgroups: Cgroups | None,
    now: float,
    rates: Rates,
    started: float = 0.0,
    own: Mapping[str, system.Process] = MappingProxyType({}),
) -> Stats:
    """Return the body of /stats/summary as far as it is of processors and memory, in upstream's shape.

    Args:
        node_name: of the Node.
        pods: what runs.
        cgroups: where their use is read; None on a hollow node, whose pods use nothing.
        now: seconds since the epoch.
        rates: remembers the last reading.
        started: when the kubelet did.
        own: the node's own processes by what they are called there ("kubelet", "runtime").
    """
    stamp = render(now)
    spent = _machine_cpu_ns()
    rate = rates.nano_cores("", now, spent)
    if rate is not None:  # ticks are coarse: no more than there is
        rate = min(rate, (os.cpu_count() or 1) * 1_000_000_000)
    cpu = {"time": stamp, "usageCoreNanoSeconds": spent, **_rate(rate)}
    held = system.memory()
    node: Stats = {"nodeName": node_name, "startTime": render(started), "cpu": cpu}
    node["memory"] = {
        "time": stamp,
        "availableBytes": held.available_bytes,
        "usageBytes": held.used_bytes,
        "workingSetBytes": held.working_set_bytes,
        "rssBytes": held.rss_bytes,
        "pageFaults": held.faults,
        "majorPageFaults": held.major_faults,
    }
    node["swap"] = {"time": stamp, "swapUsageBytes": held.swapped_bytes}
    if cgroups is None:
        return {"node": node, "pods": []}

    def use(group: str) -> Stats:
        return _usage(cgroups.usage(group), rates, group, now, stamp)

    together = cgroups.usage(cgroups.root)
    if not together.limit_bytes:
        together = together._replace(limit_bytes=machine.memory_bytes())
    node["systemContainers"] = [
        {"name": name, "startTime": render(each.started_at)} | _usage(each.usage, rates, f"({name})", now, stamp)
        for name, each in own.items()
    ]
    of_pods = {"name": "pods", "startTime": render(started)} | _usage(together, rates, "(pods)", now, stamp)
    node["systemContainers"].append(of_pods)
    return {"node": node, "pods": [_of_pod(pod, runtime, cgroups.parent(pod), use) for pod, runtime in pods]}


def fill(
    told: Stats,
    pods: list[tuple[Pod, RuntimePod]],
    cgroups: Cgroups | None,
    now: float,
    root: Path,
    claimed: Callable[[str], Mapping[str, tuple[str, Path]]],
    stored: Mapping[str, storage.PodStorage],
) -> Stats:
    """Return a summary with what else there is to say: of networks, file systems, volumes and processes.

    Args:
        told: what `summary` returned for the same pods.
        pods: what runs.
        cgroups: as there.
        now: as there.
        root: on the file system that pods' files and images are kept on.
        claimed: returns what volumes a pod, by UID, has by claims: claim and path by the volume's name.
        stored: what pods hold on disk, by UID.
    """
    stamp = render(now)
    disk = _file_system(root, stamp)
    more: Stats = {"fs": disk, "runtime": {"imageFs": disk}, "rlimit": {"time": stamp, **_processes()}}
    with contextlib.suppress(OSError):
        found = interfaces(Path("/proc/net/dev").read_text())
        more["network"] = _of_interfaces([each for each in found if not each["name"].startswith(_NOT_OURS)], stamp)
    filled = []
    for (pod, runtime), about in zip(pods, told["pods"], strict=False):
        assert cgroups is not None, "a hollow node tells of no pods"
        held = stored.get(pod.metadata.uid, storage.PodStorage())
        containers = [
            each
            | {"rootfs": _part(disk, held.layers.get(each["name"], storage.Held()))}
            | {"logs": _part(disk, held.logs.get(each["name"], storage.Held()))}
            for each in about["containers"]
        ]
        volumes = [*_own_volumes(held, stamp), *_full(claimed(pod.metadata.uid), pod.metadata.namespace, stamp)]
        filled.append(
            about
            | {"containers": containers}
            | _network(pod, runtime, cgroups, stamp)
            | ({"volume": volumes} if volumes else {})
            | {"ephemeral-storage": _part(disk, held.ephemeral(pod))}
            | {"process_stats": {"process_count": cgroups.process_count(pod)}}
        )
    return {"node": told["node"] | more, "pods": filled}


def _of_pod(pod: Pod, runtime: RuntimePod, group: str, use: Callable[[str], Stats]) -> Stats:
    meta = pod.metadata
    return {
        "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "startTime": pod.status.start_time,
        "containers": [
            {"name": record.name, "startTime": render(record.started_at_s)} | use(f"{group}/{record.id}")
            for record in runtime.running
        ],
        **use(group),
    }


def _network(pod: Pod, runtime: RuntimePod, cgroups: Cgroups, stamp: str) -> Stats:
    found = carried(pod, runtime, cgroups)
    return {} if found is None else {"network": _of_interfaces(found, stamp)}


def _of_interfaces(found: list[Stats], stamp: str) -> Stats:
    first = next((each for each in found if each["name"] == "eth0"), {"name": ""})
    return {"time": stamp, **first, "interfaces": found}


def carried(pod: Pod, runtime: RuntimePod, cgroups: Cgroups) -> list[Stats] | None:
    """Return what went over each of a pod's own interfaces; None for one that has its node's, or none."""
    sandbox = runtime.ready_sandbox
    if pod.spec.host_network or sandbox is None:
        return None
    process = cgroups.process(f"{cgroups.parent(pod)}/{sandbox.id}")
    with contextlib.suppress(OSError):
        return interfaces(Path(f"/proc/{process}/net/dev").read_text()) if process else None
    return None


def volumes(
    pods: Iterable[tuple[Pod, RuntimePod]], claimed: Callable[[str], Mapping[str, tuple[str, Path]]], now: float
) -> list[Stats]:
    """Return how full the volumes of all claims are, for which nothing else need be read."""
    stamp = render(now)
    metas = [pod.metadata for pod, _ in pods]
    return [each for meta in metas for each in _full(claimed(meta.uid), meta.namespace, stamp)]


def interfaces(text: str) -> list[Stats]:
    """Return what /proc/net/dev says of every interface but loopback, in the words of /stats/summary. Pure."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, counted = line.partition(":")
        numbers = [int(each) for each in counted.split()]
        if name.strip() == "lo" or len(numbers) < 12:
            continue
        told: Stats = {"name": name.strip()}
        for direction, at in (("rx", 0), ("tx", 8)):
            told |= {f"{direction}{what}": numbers[at + place] for place, what in enumerate(_COUNTED)}
        found.append(told)
    return found


def _full(claimed: Mapping[str, tuple[str, Path]], namespace: str, stamp: str) -> list[Stats]:
    """Return how full the volumes of a pod's claims are; `claimed` has claim and path by the volume's name."""
    found = []
    for name, (claim, path) in claimed.items():
        with contextlib.suppress(OSError):
            found.append({"name": name, "pvcRef": {"name": claim, "namespace": namespace}, **_file_system(path, stamp)})
    return found


def _own_volumes(held: storage.PodStorage, stamp: str) -> list[Stats]:
    found = []
    for name, (path, taken) in held.volumes.items():
        with contextlib.suppress(OSError):
            found.append({"name": name, **_part(_file_system(path, stamp), taken)})
    return found


def _part(file_system: Stats, held: storage.Held) -> Stats:
    """Return what is used of a file system by one who has a part of it."""
    return file_system | {"usedBytes": held.used_bytes, "inodesUsed": held.inodes}


def _usage(used: GroupUsage, rates: Rates, group: str, now: float, stamp: str) -> Stats:
    rate = rates.nano_cores(group, now, used.cpu_ns)
    return {
        "cpu": {"time": stamp, "usageCoreNanoSeconds": used.cpu_ns, **_rate(rate)},
        "memory": {
            "time": stamp,
            **({} if used.available_bytes is None else {"availableBytes": used.available_bytes}),
            "usageBytes": used.used_bytes,
            "workingSetBytes": used.working_set_bytes,
            "rssBytes": used.rss_bytes,
            "pageFaults": used.faults,
            "majorPageFaults": used.major_faults,
        },
        "swap": {"time": stamp, "swapUsageBytes": used.swapped_bytes},
    }


def _rate(nano_cores: int | None) -> Stats:
    return {} if nano_cores is None else {"usageNanoCores": nano_cores}


def _file_system(root: Path, stamp: str) -> Stats:
    found = os.statvfs(root)
    return {
        "time": stamp,
        "availableBytes": found.f_bavail * found.f_frsize,
        "capacityBytes": found.f_blocks * found.f_frsize,
        "usedBytes": (found.f_blocks - found.f_bfree) * found.f_frsize,
        "inodesFree": found.f_ffree,
        "inodes": found.f_files,
        "inodesUsed": found.f_files - found.f_ffree,
    }


def _processes() -> Stats:
    with contextlib.suppress(OSError, ValueError, IndexError):
        running = Path("/proc/loadavg").read_text().split()[3].partition("/")[2]
        return {"maxpid": int(Path("/proc/sys/kernel/pid_max").read_text()), "curproc": int(running)}
    return {}


def _machine_cpu_ns() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        idle = ticks[3] + ticks[4]
        return (sum(ticks[:8]) - idle) * 10_000_000
    return 0
