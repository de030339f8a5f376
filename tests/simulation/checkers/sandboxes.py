"""A sandbox runs only where its pod is bound, once; in the end, only for pods that exist."""

from __future__ import annotations

from collections import Counter

from proto.cri import api_pb2 as pb
from tests.simulation.cluster import Cluster, Write, decode_pod


class Sandboxes:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._node_of: dict[str, str] = {}
        """Of every pod there ever was, by UID."""
        cluster.observers.append(self._observe)

    def _observe(self, write: Write) -> None:
        pod = decode_pod(write.after) if write.key.startswith("/registry/core/pods/") else None
        if pod is not None and pod.spec.node_name:
            self._node_of[pod.metadata.uid] = pod.spec.node_name

    async def sample(self) -> None:
        for node, machine in self._cluster.nodes.items():
            ready = [each for each in await machine.cri.list_sandboxes() if each.state == pb.SANDBOX_READY]
            counts = Counter(each.metadata.uid for each in ready)
            for sandbox in ready:
                name, uid = sandbox.metadata.name, sandbox.metadata.uid
                assert self._node_of.get(uid) == node, f"{node} runs {name}, bound to {self._node_of.get(uid)}"
                assert counts[uid] == 1, f"{node} runs {counts[uid]} sandboxes of {name}"

    async def finish(self) -> None:
        pods = await self._cluster.pods()
        for node, machine in self._cluster.nodes.items():
            running = {
                each.metadata.name for each in await machine.cri.list_sandboxes() if each.state == pb.SANDBOX_READY
            }
            bound = {pod.metadata.name for pod in pods if pod.spec.node_name == node}
            assert running == bound, f"{node} runs {sorted(running)} and should run {sorted(bound)}"
