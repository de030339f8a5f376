"""Sees what the runtime does: lists everything again and again, and at once when something ends.

The relist is the truth; the runtime's events only say when to look (design: level, not edge). A container's end is
told before its state shows it, so after an event the look is repeated, ever later, until the state agrees.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from component.clock import Clock, sleep_unless
from kubelet import metrics
from kubelet.runtime import labels
from kubelet.runtime.cri import Cri, CriError
from kubelet.runtime.records import ContainerRecord, RuntimePod, SandboxRecord, State
from proto.cri import api_pb2 as pb

log = logging.getLogger(__name__)

RELIST_S = 1.0
CLOSEST_S = 0.02
"""Relists are at least so far apart, however many events come."""
FOLLOW_UP_MAX_S = 0.5

_STATES = {
    pb.CONTAINER_CREATED: State.CREATED,
    pb.CONTAINER_RUNNING: State.RUNNING,
    pb.CONTAINER_EXITED: State.EXITED,
    pb.CONTAINER_UNKNOWN: State.UNKNOWN,
}


class Pleg:
    """The pod lifecycle event generator: `pods` is what the runtime has, by pod UID."""

    def __init__(
        self,
        cri: Cri,
        clock: Clock,
        read_message: Callable[[pb.ContainerStatus], str],
        *,
        relist_s: float = RELIST_S,
    ) -> None:
        """Make it; `read_message` returns the termination message of a container that ended."""
        self.pods: Mapping[str, RuntimePod] = {}
        self.relisted_at = float("-inf")
        """When a relist last succeeded, by the monotonic clock."""
        self.last_error: CriError | None = None
        self._cri = cri
        self._clock = clock
        self._read_message = read_message
        self._relist_s = relist_s
        self._on_change: Callable[[str], None] = lambda uid: None
        self._look = asyncio.Event()
        self._expected_exits: set[str] = set()
        self._sandboxes: dict[tuple[str, bool], SandboxRecord] = {}
        self._containers: dict[tuple[str, State], ContainerRecord] = {}
        """What was asked in detail, and cannot change any more."""

    def on_change(self, handler: Callable[[str], None]) -> None:
        """Call `handler` with the UID of each pod of which the runtime shows something new."""
        self._on_change = handler

    def get(self, uid: str) -> RuntimePod:
        """Return what the last look showed of a pod."""
        return self.pods.get(uid) or RuntimePod(uid)

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_exits(), name="pleg events")
            group.create_task(self._relist_for_ever(), name="pleg relist")

    async def _relist_for_ever(self) -> None:
        follow_up_s = CLOSEST_S
        while True:
            self._look.clear()
            try:
                await self.relist()
                if isinstance(self.last_error, CriError):
                    log.info("the container runtime answers again")
                self.last_error = None
            except CriError as error:
                if self.last_error is None:
                    log.error("the container runtime does not answer: is containerd running?", extra={"error": error})
                self.last_error = error
            if self._expected_exits:
                delay_s, follow_up_s = follow_up_s, min(follow_up_s * 2, FOLLOW_UP_MAX_S)
                await self._clock.sleep(delay_s)
                continue
            follow_up_s = CLOSEST_S
            await self._clock.sleep(CLOSEST_S)
            await sleep_unless(self._clock, self._relist_s, self._look)

    async def _follow_exits(self) -> None:
        while True:
            try:
                async for container_id in self._cri.exits():
                    if (container_id, State.RUNNING) in self._containers:
                        self._expected_exits.add(container_id)
                    self._look.set()
            except CriError as error:
                log.debug("no events from the runtime; it is looked at every second anyway", extra={"error": error})
            await self._clock.sleep(self._relist_s)

    async def relist(self) -> None:
        """Look at everything; tell of each pod that changed. Raises CriError."""
        began = self._clock.monotonic()
        if self.relisted_at > float("-inf"):
            metrics.RELIST_INTERVAL.of().observe(began - self.relisted_at)
        sandboxes, containers = await asyncio.gather(self._cri.list_sandboxes(), self._cri.list_containers())
        seen = await self._build(sandboxes, containers)
        before, self.pods = self.pods, seen
        self.relisted_at = self._clock.monotonic()
        metrics.RELIST_DURATION.of().observe(self.relisted_at - began)
        metrics.LAST_SEEN.set(self._clock.now())
        self._forget(sandboxes, containers)
        for uid in before.keys() | seen.keys():
            if before.get(uid) != seen.get(uid):
                self._on_change(uid)

    async def observe(self, uid: str) -> RuntimePod:
        """Look at one pod, now; what is seen is not told again. Raises CriError."""
        sandboxes, containers = await asyncio.gather(self._cri.list_sandboxes(uid), self._cri.list_containers(uid))
        seen = await self._build(sandboxes, containers)
        pod = seen.get(uid) or RuntimePod(uid)
        pods = dict(self.pods)
        if pod.is_empty:
            pods.pop(uid, None)
        else:
            pods[uid] = pod
        self.pods = pods
        return pod

    async def _build(
        self, sandboxes: Sequence[pb.PodSandbox], containers: Sequence[pb.Container]
    ) -> dict[str, RuntimePod]:
        sandbox_records: dict[str, list[SandboxRecord]] = defaultdict(list)
        container_records: dict[str, list[ContainerRecord]] = defaultdict(list)
        names: dict[str, tuple[str, str]] = {}
        for sandbox in sandboxes:
            uid = sandbox.labels.get(labels.POD_UID)
            if not uid:
                continue
            names[uid] = (sandbox.labels[labels.POD_NAMESPACE], sandbox.labels[labels.POD_NAME])
            record = await self._sandbox(sandbox)
            if record is not None:
                sandbox_records[uid].append(record)
        for container in containers:
            uid = container.labels.get(labels.POD_UID)
            if not uid:
                continue
            names.setdefault(uid, (container.labels[labels.POD_NAMESPACE], container.labels[labels.POD_NAME]))
            found = await self._container(container)
            if found is not None:
                container_records[uid].append(found)
        return {
            uid: RuntimePod(
                uid,
                *name,
                tuple(sorted(sandbox_records[uid], key=lambda s: (s.attempt, s.created_at_s), reverse=True)),
                tuple(sorted(container_records[uid], key=lambda c: (c.attempt, c.created_at_s), reverse=True)),
            )
            for uid, name in names.items()
        }

    async def _sandbox(self, listed: pb.PodSandbox) -> SandboxRecord | None:
        is_ready = listed.state == pb.SANDBOX_READY
        known = self._sandboxes.get((listed.id, is_ready))
        if known is not None:
            return known
        try:
            status = await self._cri.sandbox_status(listed.id)
        except CriError as error:
            if error.is_absent:
                return None
            raise
        network = status.network
        record = SandboxRecord(
            id=listed.id,
            attempt=listed.metadata.attempt,
            is_ready=status.state == pb.SANDBOX_READY,
            created_at_s=listed.created_at / 1e9,
            ips=tuple(ip for ip in (network.ip, *(more.ip for more in network.additional_ips)) if ip),
            host_network=status.linux.namespaces.options.network == pb.NODE,
            grace_period_s=int(listed.annotations.get(labels.GRACE_PERIOD) or 30),
        )
        if not record.is_ready or record.has_network:
            self._sandboxes[listed.id, record.is_ready] = record
        return record

    async def _container(self, listed: pb.Container) -> ContainerRecord | None:
        state = _STATES[listed.state]
        known = self._containers.get((listed.id, state))
        if known is not None:
            return known
        try:
            status = await self._cri.container_status(listed.id)
        except CriError as error:
            if error.is_absent:
                return None
            raise
        record = to_record(listed.pod_sandbox_id, status)
        if record.has_ended:
            message = self._read_message(status)
            if message:
                record = dataclasses.replace(record, message=message)
            self._expected_exits.discard(record.id)
        if record.state is not State.CREATED:
            self._containers[listed.id, record.state] = record
        return record

    def _forget(self, sandboxes: Sequence[pb.PodSandbox], containers: Sequence[pb.Container]) -> None:
        present = {s.id for s in sandboxes}
        self._sandboxes = {key: record for key, record in self._sandboxes.items() if key[0] in present}
        states = {c.id: _STATES[c.state] for c in containers}
        self._containers = {
            key: record for key, record in self._containers.items() if states.get(key[0]) in (key[1], State.RUNNING)
        }
        self._expected_exits &= {
            container_id for container_id in states if states[container_id] in (State.RUNNING, State.CREATED)
        }


def to_record(sandbox_id: str, status: pb.ContainerStatus) -> ContainerRecord:
    """Return the record of a container from CRI's full status."""
    notes = status.annotations
    return ContainerRecord(
        id=status.id,
        name=status.labels.get(labels.CONTAINER_NAME) or status.metadata.name,
        attempt=status.metadata.attempt,
        sandbox_id=sandbox_id,
        state=_STATES[status.state],
        created_at_s=status.created_at / 1e9,
        started_at_s=max(0, status.started_at) / 1e9,
        finished_at_s=max(0, status.finished_at) / 1e9,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        image=status.image.image,
        image_ref=status.image_ref,
        spec_hash=notes.get(labels.SPEC_HASH, ""),
        backoff_s=float(notes.get(labels.BACKOFF) or 0),
        log_path=status.log_path,
    )
