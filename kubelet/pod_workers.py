"""One worker for each pod of this node, by UID: started for what the API wants and for what the runtime still has."""

from __future__ import annotations

import asyncio
import logging

from api.core.pod import Pod
from api.errors import ApiError
from client.informer import Change, Informer
from kubelet.node import Node
from kubelet.pod_worker import PodWorker, orphan
from kubelet.runtime.cri import CriError

log = logging.getLogger(__name__)

HOUSEKEEPING_S = 30.0
FAILED_WORKER_RETRY_S = 5.0


class PodWorkers:
    """The workers of one node."""

    def __init__(self, node: Node, informer: Informer[Pod]) -> None:
        self._node = node
        self._informer = informer
        self._workers: dict[str, PodWorker] = {}
        self._group: asyncio.TaskGroup | None = None
        informer.add_handler(self._on_pod)
        node.pleg.on_change(self._on_runtime)
        node.neighbours = self._neighbours

    def worker_of(self, uid: str) -> PodWorker | None:
        """Return the worker of a pod."""
        return self._workers.get(uid)

    def _neighbours(self, uid: str) -> list[Pod]:
        return [worker.pod for worker in self._workers.values() if worker.uid != uid and worker.uses_node]

    def refresh(self, uid: str) -> None:
        """Have a pod look again at what it refers to."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.refresh()

    def evict(self, uid: str, message: str) -> None:
        """End a pod for the node's sake."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.evict(message)

    async def run(self) -> None:
        """Drive pods until cancelled; containers are left running."""
        await self._informer.wait_synced()
        async with asyncio.TaskGroup() as group:
            self._group = group
            for pod in self._informer.store:
                self._wish(pod)
            while True:
                await self._housekeep()
                await self._node.clock.sleep(HOUSEKEEPING_S)

    def _on_pod(self, change: Change[Pod]) -> None:
        if self._group is None:
            return
        if change.new is not None:
            self._wish(change.new)
            return
        pod = change.object
        worker = self._workers.get(pod.metadata.uid)
        if worker is not None:
            worker.vanish(pod)

    def _on_runtime(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake()

    def _wish(self, pod: Pod) -> None:
        worker = self._workers.get(pod.metadata.uid)
        if worker is not None:
            worker.wish(pod)
        else:
            self._start(PodWorker(self._node, pod)).wish(pod)

    def _start(self, worker: PodWorker) -> PodWorker:
        assert self._group is not None
        self._workers[worker.uid] = worker
        self._group.create_task(self._supervise(worker), name=f"pod {worker.key}")
        return worker

    async def _supervise(self, worker: PodWorker) -> None:
        """Run one worker; if it fails, begin again from what is: its failure is no other pod's."""
        while True:
            try:
                await worker.run()
            except Exception:
                log.exception("pod worker failed, starting it again", extra={"pod": worker.key})
                await self._node.clock.sleep(FAILED_WORKER_RETRY_S)
                fresh = PodWorker(self._node, worker.pod)
                current = self._informer.store.get(worker.key)
                if current is not None and current.metadata.uid == worker.uid:
                    fresh.wish(current)
                else:
                    fresh.vanish()
                worker = self._workers[worker.uid] = fresh
                continue
            self._workers.pop(worker.uid, None)
            return

    async def _housekeep(self) -> None:
        """Stop what runs though nobody wants it, and delete what pods of the past have left on disk."""
        node = self._node
        try:
            await node.pleg.relist()
        except CriError:
            return
        for uid, runtime in sorted(node.pleg.pods.items()):
            if uid not in self._workers:
                log.info(
                    "stopping a pod that the API server does not have",
                    extra={"pod": f"{runtime.namespace}/{runtime.name}"},
                )
                self._start(PodWorker(node, orphan(runtime))).vanish()
        known = self._workers.keys() | node.pleg.pods.keys()
        try:
            for uid in sorted(node.volumes.uids() - known):
                node.volumes.tear_down(uid)
            for uid in sorted(node.cgroups.uids() - known):
                node.cgroups.remove(uid)
            for namespace, name, uid in node.files.pods_with_logs():
                if uid not in known:
                    node.files.remove_logs(namespace, name, uid)
        except (OSError, ApiError) as error:
            log.warning("leftovers of past pods not removed", extra={"error": error})
