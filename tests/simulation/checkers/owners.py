"""A pod of a ReplicaSet has one owner, from its first moment to its last."""

from __future__ import annotations

from tests.simulation.cluster import Cluster, Write, decode_pod


class Owners:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._owner_of: dict[str, str] = {}
        cluster.observers.append(self._observe)

    def _observe(self, write: Write) -> None:
        if not write.key.startswith("/registry/core/pods/"):
            return
        pod = decode_pod(write.after)
        if pod is None:
            return
        owners = [owner.uid for owner in pod.metadata.owner_references if owner.controller]
        if len(owners) != 1:
            self._cluster.broken(f"pod {pod.metadata.name} has {len(owners)} controllers")
        elif self._owner_of.setdefault(pod.metadata.uid, owners[0]) != owners[0]:
            self._cluster.broken(f"pod {pod.metadata.name} changed its owner")

    async def sample(self) -> None:
        return

    async def finish(self) -> None:
        return
