"""One worker for each pod of this node, by UID: for what the API wants, for static pods, and for what still runs.

Static pods begin without waiting for the API server. A changed file is a new pod of the old name: it begins when the
old one has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping

from api.core.pod import Pod
from api.core.static_pods import is_mirror
from api.errors import ApiError
from api.resource import ObjectKey
from client.informer import Change, Informer
from component.supervise import keep_going
from kubelet import admission, metrics
from kubelet.mirror_pods import MirrorPods
from kubelet.node import Node
from kubelet.pod_worker import PodWorker, orphan
from kubelet.runtime.cri import CriError

log = logging.getLogger(__name__)

HOUSEKEEPING_S = 30.0
FAILED_WORKER_RETRY_S = 5.0


class PodWorkers:
    """The workers of one node."""

    def __init__(self, node: Node, informer: Informer[Pod], mirrors: MirrorPods) -> None:
        self._node = node
        self._informer = informer
        self._mirrors = mirrors
        self._workers: dict[str, PodWorker] = {}
        self._statics: Mapping[ObjectKey, Pod] = {}
        self._group: asyncio.TaskGroup | None = None
        self._follows_api = False
        informer.add_handler(self._on_pod)
        node.pleg.on_change(self._on_runtime)
        node.neighbours = self._neighbours
        node.make_room = self._make_room

    def pods(self) -> list[Pod]:
        """Return the pods that this node should run, each with its newest status; static pods, not their mirrors."""
        wanted = [pod for pod in self._informer.store if not is_mirror(pod)]
        return [self._node.statuses.newest(pod) for pod in [*self._statics.values(), *wanted]]

    def worker_of(self, uid: str) -> PodWorker | None:
        """Return the worker of a pod."""
        return self._workers.get(uid)

    def _neighbours(self, uid: str) -> list[Pod]:
        return [worker.pod for worker in self._workers.values() if worker.uid != uid and worker.uses_node]

    def _make_room(self, pod: Pod) -> bool:
        """End the pods that have to leave for a critical one; return whether it will fit then."""
        using = [worker for worker in self._workers.values() if worker.uid != pod.metadata.uid and worker.uses_node]
        staying = [worker.pod for worker in using if not worker.is_ending]
        victims = admission.victims(pod, staying, self._node.own)
        if victims is None:
            return False
        for victim in victims:
            worker = self._workers[victim.metadata.uid]
            worker.evict("Preempted in order to admit critical pod", "Preempting", is_urgent=False)
            metrics.PREEMPTIONS.add(("",))
        return bool(victims) or len(staying) < len(using)

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

    def wish_static(self, statics: Mapping[ObjectKey, Pod]) -> None:
        """Take the static pods that there should be now: the others end, and new ones begin."""
        self._statics = statics
        uids = {pod.metadata.uid for pod in statics.values()}
        for worker in list(self._workers.values()):
            if worker.is_static and worker.uid not in uids:
                worker.vanish()
        self._settle_statics()

    def _settle_statics(self) -> None:
        """Begin those static pods whose predecessors have ended, and have the API server show what runs."""
        if self._group is None:
            return
        ending = {worker.key for worker in self._workers.values() if worker.is_static and worker.is_gone}
        for key, pod in self._statics.items():
            if key not in ending and pod.metadata.uid not in self._workers:
                self._wish(pod)
        self._mirrors.show({key: pod for key, pod in self._statics.items() if key not in ending}, ending)

    async def run(self, is_ready: Callable[[], Awaitable[None]]) -> None:
        """Drive pods until cancelled; containers are left running.

        Args:
            is_ready: returns when pods of the API server may begin; static pods do not wait for it.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._settle_statics()
            await is_ready()
            await self._informer.wait_synced()
            self._follows_api = True
            group.create_task(keep_going("mirror pods", self._mirrors.run, self._node.clock), name="mirror pods")
            for pod in self._informer.store:
                if not is_mirror(pod):
                    self._wish(pod)
            while True:
                await self._housekeep()
                await self._node.clock.sleep(HOUSEKEEPING_S)

    def _on_pod(self, change: Change[Pod]) -> None:
        self._mirrors.note(change)
        if not self._follows_api or is_mirror(change.object):
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
            if not pod.status.start_time:
                self._node.statuses.starts.saw(pod.metadata.uid)
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
                current = (self._statics if worker.is_static else self._informer.store).get(worker.key)
                if current is not None and current.metadata.uid == worker.uid:
                    fresh.wish(current)
                else:
                    fresh.vanish()
                worker = self._workers[worker.uid] = fresh
                continue
            self._workers.pop(worker.uid, None)
            self._node.statuses.starts.forget(worker.uid)
            if worker.is_static:
                self._settle_statics()
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
        for uid in sorted(node.volumes.uids() - known):
            with _logged(uid):
                await node.volumes.release(uid)
                node.volumes.tear_down(uid)
        for uid in sorted(node.cgroups.uids() - known):
            with _logged(uid):
                node.cgroups.remove(uid)
        for namespace, name, uid in node.files.pods_with_logs():
            if uid not in known:
                node.files.remove_logs(namespace, name, uid)


@contextlib.contextmanager
def _logged(uid: str) -> Iterator[None]:
    """Log that what a pod of the past has left could not be removed: others' goes none the less."""
    try:
        yield
    except (OSError, ApiError) as error:
        log.warning("leftovers of a past pod not removed", extra={"uid": uid, "error": error})
