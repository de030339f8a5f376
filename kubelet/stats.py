"""What pods use, read from their control groups: the runtime's own statistics take seconds at 100 pods."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from api.core.pod import Pod
from api.timestamps import render
from kubelet import machine
from kubelet.cgroups import Cgroups
from kubelet.runtime.records import RuntimePod

Stats = dict[str, Any]


def summary(node_name: str, pods: list[tuple[Pod, RuntimePod]], cgroups: Cgroups | None, now: float) -> Stats:
    """Return the body of /stats/summary, in upstream's shape."""
    stamp = render(now)
    available = machine.memory_available_bytes()
    total = machine.memory_bytes()
    memory = {"time": stamp, "availableBytes": available, "workingSetBytes": max(0, total - available)}
    node = {"nodeName": node_name, "cpu": {"time": stamp, "usageCoreNanoSeconds": _machine_cpu_ns()}, "memory": memory}
    if cgroups is None:
        return {"node": node, "pods": []}
    return {"node": node, "pods": [_of_pod(pod, runtime, cgroups, stamp) for pod, runtime in pods]}


def _of_pod(pod: Pod, runtime: RuntimePod, cgroups: Cgroups, stamp: str) -> Stats:
    meta = pod.metadata
    group = cgroups.parent(pod)
    return {
        "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "startTime": pod.status.start_time,
        "containers": [
            {"name": record.name, "startTime": render(record.started_at_s)}
            | _usage(cgroups, f"{group}/{record.id}", stamp)
            for record in runtime.running
        ],
        **_usage(cgroups, group, stamp),
    }


def _usage(cgroups: Cgroups, group: str, stamp: str) -> Stats:
    cpu_ns, working_set = cgroups.usage(group)
    return {
        "cpu": {"time": stamp, "usageCoreNanoSeconds": cpu_ns},
        "memory": {"time": stamp, "workingSetBytes": working_set},
    }


def _machine_cpu_ns() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        idle = ticks[3] + ticks[4]
        return (sum(ticks[:8]) - idle) * 10_000_000
    return 0
