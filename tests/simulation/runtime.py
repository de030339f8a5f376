"""A node: its containers, which outlive its kubelet, and a kubelet small enough to be read at a glance.

The containers are `kubelet.runtime.hollow`'s. The kubelet here does what any must: start a sandbox for each pod bound
to its node, report Running, and stop and confirm a pod that is being deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

from api import timestamps
from api.core import node as nodes
from api.core import pod as pods
from api.core.node import Node, NodeCondition, NodeStatus
from api.core.pod import Pod
from api.errors import AlreadyExists, ApiError, Conflict, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.informer import Change, Informers
from client.verbs import Client, key_of
from client.workqueue import WorkQueue
from component.clock import Clock
from kubelet.runtime.hollow import HollowCri
from kubelet.runtime.labels import POD_UID
from proto.cri import api_pb2 as pb

CAPACITY = {"cpu": "1", "memory": "8Gi", "pods": "110"}
"""Of every node: ten pods of 100m fit."""


class SmallKubelet:
    """One life of one node's kubelet; `cri` is the node's, and stays when this one crashes."""

    def __init__(self, name: str, client: Client, cri: HollowCri, *, clock: Clock, rng: random.Random) -> None:
        self._name = name
        self._client = client
        self._cri = cri
        self._clock = clock
        self._informers = Informers(client, clock=clock, rng=rng)
        self._pods = self._informers.of(pods.RESOURCE, field_selector=f"spec.nodeName={name}")
        self._queue: WorkQueue[ObjectKey] = WorkQueue(clock, rng=rng)
        self._pods.add_handler(self._on_pod)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informers.run())
            await self._register()
            await self._pods.wait_synced()
            await self._remove_orphans()
            for _ in range(3):
                group.create_task(self._work())

    def _on_pod(self, change: Change[Pod]) -> None:
        self._queue.add(key_of(change.object))

    async def _register(self) -> None:
        ready = NodeCondition(type="Ready", status="True", reason="KubeletReady")
        labels = {"kubernetes.io/hostname": self._name}
        node = Node(metadata=ObjectMeta(name=self._name, labels=labels))
        status = NodeStatus(capacity=CAPACITY, allocatable=CAPACITY, conditions=[ready])
        while True:
            try:
                with contextlib.suppress(AlreadyExists):
                    await self._client.create(nodes.RESOURCE, node)
                found = await self._client.get(nodes.RESOURCE, key_of(node))
                found.status = status
                await self._client.update(nodes.RESOURCE, found, subresource="status")
                return
            except ApiError:
                await self._clock.sleep(1)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._sync(key)
                self._queue.forget(key)
            except ApiError:
                self._queue.add_after(key, 1)
            finally:
                self._queue.done(key)

    async def _sync(self, key: ObjectKey) -> None:
        pod = self._pods.store.get(key)
        if pod is None:
            await self._remove_orphans()
            return
        uid = pod.metadata.uid
        sandboxes = await self._cri.list_sandboxes(uid)
        if pod.metadata.deletion_timestamp:
            for sandbox in sandboxes:
                await self._cri.remove_sandbox(sandbox.id)
            try:
                await self._client.delete(pods.RESOURCE, key, grace_period_s=0, uid=uid)
            except (NotFound, Conflict):
                return
            return
        if not sandboxes:
            metadata = pb.PodSandboxMetadata(name=key.name, namespace=key.namespace, uid=uid)
            await self._cri.run_sandbox(pb.PodSandboxConfig(metadata=metadata, labels={POD_UID: uid}))
        if pod.status.phase != "Running":
            since = timestamps.render(self._clock.now())
            conditions = [
                {"type": name, "status": "True", "lastTransitionTime": since} for name in ("Ready", "PodScheduled")
            ]
            patch = {"metadata": {"uid": uid}, "status": {"phase": "Running", "conditions": conditions}}
            try:
                await self._client.patch(pods.RESOURCE, key, patch, subresource="status")
            except (NotFound, Conflict):
                return

    async def _remove_orphans(self) -> None:
        """Remove sandboxes of pods that are no more."""
        known = {pod.metadata.uid for pod in self._pods.store}
        for sandbox in await self._cri.list_sandboxes():
            if sandbox.metadata.uid not in known:
                await self._cri.remove_sandbox(sandbox.id)
