"""A pod is bound once: the node it got is its node until it is deleted."""

from __future__ import annotations

from tests.simulation.cluster import Cluster, Write, decode_pod


class Binding:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._node_of: dict[str, str] = {}
        self.bound = 0
        cluster.observers.append(self._observe)

    def _observe(self, write: Write) -> None:
        if not write.key.startswith("/registry/core/pods/"):
            return
        pod = decode_pod(write.after)
        if pod is None or not pod.spec.node_name:
            return
        uid, node = pod.metadata.uid, pod.spec.node_name
        known = self._node_of.setdefault(uid, node)
        if known != node:
            self._cluster.broken(f"pod {pod.metadata.name} was bound to {known} and then to {node}")
        if node not in self._cluster.nodes:
            self._cluster.broken(f"pod {pod.metadata.name} was bound to {node}, which does not exist")

    async def sample(self) -> None:
        return

    async def finish(self) -> None:
        assert self._node_of, "nothing was ever bound: the run showed nothing"
