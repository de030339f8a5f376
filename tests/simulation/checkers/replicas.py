"""In the end there are as many pods as the ReplicaSet wants, all of them run, and its status says so."""

from __future__ import annotations

from tests.simulation.cluster import Cluster


class Replicas:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def sample(self) -> None:
        return

    async def finish(self) -> None:
        wanted = await self._cluster.replicaset()
        pods = await self._cluster.pods()
        names = [pod.metadata.name for pod in pods]
        assert len(pods) == wanted.spec.replicas, f"{wanted.spec.replicas} are wanted, there are {names}"
        for pod in pods:
            assert pod.status.phase == "Running", f"{pod.metadata.name} is {pod.status.phase}: {pod.status.conditions}"
            assert not pod.metadata.deletion_timestamp, f"{pod.metadata.name} is still being deleted"
        status = wanted.status
        counted = (status.replicas, status.ready_replicas, status.observed_generation)
        assert counted == (len(pods), len(pods), wanted.metadata.generation), f"status is {status}"
