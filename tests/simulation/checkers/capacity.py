"""No node is given more than it has. Pods that have ended hold nothing any more."""

from __future__ import annotations

from api.core.pod import Pod
from scheduler.snapshot import PodView, add
from tests.simulation.cluster import Cluster, Write, decode_pod
from tests.simulation.runtime import CPUS


class Capacity:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pods: dict[str, Pod] = {}
        self._cpu_millis = CPUS * 1000
        cluster.observers.append(self._observe)

    def _observe(self, write: Write) -> None:
        if not write.key.startswith("/registry/core/pods/"):
            return
        pod = decode_pod(write.after)
        if pod is None or pod.status.phase in ("Succeeded", "Failed"):
            self._pods.pop(write.key, None)
            return
        self._pods[write.key] = pod
        if not pod.spec.node_name:
            return
        total = PodView(pod).requests
        for key, other in self._pods.items():
            if key != write.key and other.spec.node_name == pod.spec.node_name:
                total = add(total, PodView(other).requests)
        if total["cpu"] > self._cpu_millis:
            self._cluster.broken(f"{pod.spec.node_name} has {total['cpu']}m of CPU promised, and {self._cpu_millis}m")

    async def sample(self) -> None:
        return

    async def finish(self) -> None:
        return
