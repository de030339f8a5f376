"""What pods use, read from their control groups: the runtime's own statistics take seconds at 100 pods."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from api.core.pod import Pod
from api.timestamps import render
from kubelet import machine
from kubelet.cgroups import Cgroups, GroupUsage
from kubelet.runtime.records import RuntimePod

Stats = dict[str, Any]
_APART_S = 1.0
_REMEMBERED_MAX = 4000
_COUNTED = ("Bytes", "Packets", "Errors", "Dropped")
"""The first columns of /proc/net/dev, each way. Packets and dropped ones are not in upstream's summary."""


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
    root: Path | None = None,
    claimed: Callable[[str], Mapping[str, tuple[str, Path]]] = lambda uid: {},
) -> Stats:
    """Return the body of /stats/summary, in upstream's shape.

    Args:
        node_name: of the Node.
        pods: what runs.
        cgroups: where their use is read; None on a hollow node, whose pods use nothing.
        now: seconds since the epoch.
        rates: remembers the last reading.
        started: when the kubelet did.
        root: on the file system that pods' files and images are kept on.
        claimed: returns what volumes a pod, by UID, has by claims: claim and path by the volume's name.
    """
    stamp = render(now)
    available = machine.memory_available_bytes()
    total = machine.memory_bytes()
    memory = {"time": stamp, "availableBytes": available, "workingSetBytes": max(0, total - available)}
    spent = _machine_cpu_ns()
    cpu = {"time": stamp, "usageCoreNanoSeconds": spent, **_rate(rates.nano_cores("", now, spent))}
    node: Stats = {"nodeName": node_name, "startTime": render(started), "cpu": cpu, "memory": memory}
    node["rlimit"] = {"time": stamp, **_processes()}
    if root is not None:
        node["fs"] = _file_system(root, stamp)
        node["runtime"] = {"imageFs": node["fs"]}
    if cgroups is None:
        return {"node": node, "pods": []}

    def use(group: str) -> Stats:
        return _usage(cgroups.usage(group), rates, group, now, stamp)

    told = []
    for pod, runtime in pods:
        meta, group = pod.metadata, cgroups.parent(pod)
        about = _of_pod(pod, runtime, group, use)
        about |= _network(pod, runtime, cgroups, stamp) | _volumes(claimed(meta.uid), meta.namespace, stamp)
        told.append(about)
    return {"node": node, "pods": told}


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
    if found is None:
        return {}
    first = next((each for each in found if each["name"] == "eth0"), None)
    return {"network": {"time": stamp, **(first or {}), "interfaces": found}}


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


def _volumes(claimed: Mapping[str, tuple[str, Path]], namespace: str, stamp: str) -> Stats:
    found = _full(claimed, namespace, stamp)
    return {"volume": found} if found else {}


def _full(claimed: Mapping[str, tuple[str, Path]], namespace: str, stamp: str) -> list[Stats]:
    """Return how full the volumes of a pod's claims are; `claimed` has claim and path by the volume's name."""
    found = []
    for name, (claim, path) in claimed.items():
        with contextlib.suppress(OSError):
            found.append({"name": name, "pvcRef": {"name": claim, "namespace": namespace}, **_file_system(path, stamp)})
    return found


def _usage(used: GroupUsage, rates: Rates, group: str, now: float, stamp: str) -> Stats:
    rate = rates.nano_cores(group, now, used.cpu_ns)
    return {
        "cpu": {"time": stamp, "usageCoreNanoSeconds": used.cpu_ns, **_rate(rate)},
        "memory": {
            "time": stamp,
            "usageBytes": used.used_bytes,
            "workingSetBytes": used.working_set_bytes,
            "rssBytes": used.rss_bytes,
            "pageFaults": used.faults,
            "majorPageFaults": used.major_faults,
        },
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
