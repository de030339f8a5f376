"""Writes pods' status: the newest wish only, only what changed, a few at a time.

What the API server refuses is wished for again a while later, for as long as nobody wishes for something else: what
stood in its way may pass, and of a pod that has ended nobody would ever say so again.
A static pod's status is kept here, and written to its mirror while there is one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from api.core import pod as pods
from api.core.pod import Pod
from api.core.pod_status import PodStatus
from api.core.static_pods import is_static
from api.errors import ApiError, Conflict, NotFound
from api.timestamps import parse
from client.verbs import Client, PatchType, key_of
from component.clock import Clock
from kubelet.metrics import PodStarts
from kubelet.status import diff

log = logging.getLogger(__name__)

RETRY_S = 0.5
RETRY_MAX_S = 10.0
REFUSED_RETRY_S = 10.0


class StatusWriter:
    """One node's; each pod has at most one write under way, and at most one waiting behind it."""

    def __init__(self, client: Client, clock: Clock, mirror_of: Callable[[Pod], Pod | None] = lambda pod: None) -> None:
        """Make it; `mirror_of` returns the mirror of a static pod, if there is one."""
        self._client = client
        self._clock = clock
        self._mirror_of = mirror_of
        self._wanted: dict[str, tuple[Pod, PodStatus]] = {}
        self._written: dict[str, Pod] = {}
        """By UID: the pod as our last write left it."""
        self._of_static: dict[str, PodStatus] = {}
        """By UID: the newest status of each static pod."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, asyncio.Task[None]] = {}
        """By UID: what brings back a status that was refused."""
        self.starts = PodStarts(clock)

    def newest(self, pod: Pod) -> Pod:
        """Return the pod with the status that is newest: as the cache has it, or as our last write left it."""
        if not is_static(pod):
            return self._newest(pod)
        status = self._of_static.get(pod.metadata.uid)
        if status is None:
            # A kubelet that begins anew goes on from what its predecessor said.
            mirror = self._mirror_of(pod)
            status = mirror.status if mirror is not None else pod.status
        return msgspec.structs.replace(pod, status=status)

    def _newest(self, pod: Pod) -> Pod:
        """Return the newest version of a pod that the API server has."""
        written = self._written.get(pod.metadata.uid)
        if written is None or _version(pod) >= _version(written):
            self._written.pop(pod.metadata.uid, None)
            return pod
        return written

    def _target(self, pod: Pod) -> Pod | None:
        return self._mirror_of(pod) if is_static(pod) else pod

    def set(self, pod: Pod, status: PodStatus) -> None:
        """Wish for a status; returns at once. An equal one is not written."""
        uid = pod.metadata.uid
        if status.phase == "Running":
            made = pod.metadata.creation_timestamp
            self.starts.runs(uid, self._clock.now() - parse(made) if made else 0.0)
        if is_static(pod):
            self._of_static[uid] = status
        self._end_refused(uid)
        target = self._target(pod)
        if target is None or (uid not in self._tasks and not diff(self._newest(target).status, status)):
            return
        self._wanted[uid] = (pod, status)
        if uid not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._write(uid), name=f"status {key_of(pod)}")
            self._tasks[uid] = task
            task.add_done_callback(lambda _: self._tasks.pop(uid, None))

    def show_again(self, static: Pod) -> None:
        """Write a static pod's status once more, since its mirror is new or was changed."""
        status = self._of_static.get(static.metadata.uid)
        if status is not None:
            self.set(static, status)

    async def flush(self, uid: str) -> None:
        """Return once nothing of this pod waits to be written, but for what was refused."""
        while uid in self._tasks:
            await asyncio.wait([self._tasks[uid]])

    def forget(self, uid: str) -> None:
        """Drop what is known of a pod that is gone."""
        self._wanted.pop(uid, None)
        self._written.pop(uid, None)
        self._end_refused(uid)
        if uid in self._of_static:
            # The same file may come back: what its mirror still shows is of a life that is over.
            self._of_static[uid] = PodStatus(phase="Pending")

    async def _write(self, uid: str) -> None:
        delay_s = RETRY_S
        while uid in self._wanted:
            pod, status = self._wanted.pop(uid)
            target = self._target(pod)
            patch = diff(self._newest(target).status, status) if target is not None else {}
            if target is None or not patch:
                continue
            target_uid = target.metadata.uid
            body = {"metadata": {"uid": target_uid}, "status": patch}
            try:
                written = await self._client.patch(
                    pods.RESOURCE, key_of(pod), body, type=PatchType.STRATEGIC, subresource="status"
                )
                delay_s = RETRY_S
                if written.metadata.uid == target_uid:
                    self._written[target_uid] = written
            except NotFound:
                log.debug("status not written: the pod is gone", extra={"pod": key_of(pod)})
            except ApiError as error:
                if error.code < 500 and error.code != 429:
                    # A conflict: another pod of that name is there by now.
                    level = logging.DEBUG if isinstance(error, Conflict) else logging.ERROR
                    log.log(level, "status refused", extra={"pod": key_of(pod), "error": error.message})
                    if uid not in self._wanted:
                        self._later(uid, pod, status)
                    continue
                log.warning("status not written, trying again", extra={"pod": key_of(pod), "error": error.message})
                self._wanted.setdefault(uid, (pod, status))
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_MAX_S)
            except Exception:
                log.exception("status not written", extra={"pod": key_of(pod)})
                if uid not in self._wanted:
                    self._later(uid, pod, status)

    def _later(self, uid: str, pod: Pod, status: PodStatus) -> None:
        async def wish_again() -> None:
            await self._clock.sleep(REFUSED_RETRY_S)
            del self._refused[uid]
            self.set(pod, status)

        self._end_refused(uid)
        self._refused[uid] = asyncio.get_running_loop().create_task(wish_again(), name=f"refused status {key_of(pod)}")

    def _end_refused(self, uid: str) -> None:
        task = self._refused.pop(uid, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Stop writing."""
        tasks = [*self._tasks.values(), *self._refused.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _version(pod: Pod) -> int:
    return int(pod.metadata.resource_version or 0)
