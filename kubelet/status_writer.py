"""Writes pods' status: the newest wish only, only what changed, a few at a time."""

from __future__ import annotations

import asyncio
import logging

from api.core import pod as pods
from api.core.pod import Pod
from api.core.pod_status import PodStatus
from api.errors import ApiError, Conflict, NotFound
from client.verbs import Client, PatchType, key_of
from component.clock import Clock
from kubelet.status import diff

log = logging.getLogger(__name__)

RETRY_S = 0.5
RETRY_MAX_S = 10.0


class StatusWriter:
    """One node's; each pod has at most one write under way, and at most one waiting behind it."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._wanted: dict[str, tuple[Pod, PodStatus]] = {}
        self._written: dict[str, Pod] = {}
        """By UID: the pod as our last write left it."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def newest(self, pod: Pod) -> Pod:
        """Return the pod with the status that is newest: as the cache has it, or as our last write left it."""
        written = self._written.get(pod.metadata.uid)
        if written is None or _version(pod) >= _version(written):
            self._written.pop(pod.metadata.uid, None)
            return pod
        return written

    def set(self, pod: Pod, status: PodStatus) -> None:
        """Wish for a status; returns at once. An equal one is not written."""
        uid = pod.metadata.uid
        if uid not in self._tasks and not diff(self.newest(pod).status, status):
            return
        self._wanted[uid] = (pod, status)
        if uid not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._write(uid), name=f"status {key_of(pod)}")
            self._tasks[uid] = task
            task.add_done_callback(lambda _: self._tasks.pop(uid, None))

    async def flush(self, uid: str) -> None:
        """Return once nothing of this pod waits to be written."""
        while uid in self._tasks:
            await asyncio.wait([self._tasks[uid]])

    def forget(self, uid: str) -> None:
        """Drop what is known of a pod that is gone."""
        self._wanted.pop(uid, None)
        self._written.pop(uid, None)

    async def _write(self, uid: str) -> None:
        delay_s = RETRY_S
        while uid in self._wanted:
            pod, status = self._wanted.pop(uid)
            patch = diff(self.newest(pod).status, status)
            if not patch:
                continue
            body = {"metadata": {"uid": uid}, "status": patch}
            try:
                written = await self._client.patch(
                    pods.RESOURCE, key_of(pod), body, type=PatchType.STRATEGIC, subresource="status"
                )
                delay_s = RETRY_S
                if written.metadata.uid == uid:
                    self._written[uid] = written
            except NotFound:
                log.debug("status not written: the pod is gone", extra={"pod": key_of(pod)})
            except Conflict as error:
                # Another pod of that name is there by now.
                log.debug("status not written", extra={"pod": key_of(pod), "error": error.message})
            except ApiError as error:
                if error.code < 500 and error.code != 429:
                    log.error("status refused", extra={"pod": key_of(pod), "error": error.message})
                    continue
                log.warning("status not written, trying again", extra={"pod": key_of(pod), "error": error.message})
                self._wanted.setdefault(uid, (pod, status))
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_MAX_S)

    async def close(self) -> None:
        """Stop writing."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _version(pod: Pod) -> int:
    return int(pod.metadata.resource_version or 0)
