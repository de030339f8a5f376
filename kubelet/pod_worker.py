"""One pod's life on this node: syncing, terminating, terminated; one way only.

A worker holds the newest wish and looks at the newest state; `lifecycle.decide` says what to do, the worker does it,
reports, and sleeps until something changes. Killing wins over starting: a wait that deletion makes pointless (an image
pull, a volume, a hook) is broken off, while a sandbox or container that is just being made is finished first, so that
there is never one that nobody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

from api.core import node as nodes
from api.core import pod as pods
from api.core.pod import Pod, PodSpec
from api.core.static_pods import is_static
from api.errors import ApiError, Conflict, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.verbs import key_of
from component import tracing
from component.clock import sleep_unless
from kubelet import admission
from kubelet.container_starter import ContainerStarter
from kubelet.durations import as_go
from kubelet.eviction import is_critical
from kubelet.hooks import HookFailed
from kubelet.lifecycle import (
    STOP_GRACE_MIN_S,
    Finish,
    Kill,
    PodActions,
    decide,
    grace_period_s,
    has_finished,
    stop_order,
    to_forget,
)
from kubelet.node import Node
from kubelet.pod_parts import all_containers, field_path
from kubelet.pod_setup import Failure, PodSetup
from kubelet.probes.prober import Prober
from kubelet.runtime.cri import CriError, RuntimeUnavailable
from kubelet.runtime.records import ContainerRecord, RuntimePod
from kubelet.status import Circumstances, Waiting, compute_status
from kubelet.stop_signal import Interrupted, StopSignal

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 20.0
EVICTED = "Evicted"
URGENT_GRACE_S = 1.0
ROOM_RETRY_S = 0.5
"""How soon a critical pod looks again whether those that had to leave for it have left."""
ROUNDS_MAX = 20
"""Steps taken in one go; a pod that is never done within them is looked at again like any other."""


class PodWorker:
    """Drives one pod, by UID. `wish` and `vanish` tell it what is wanted, `wake` that something may have changed."""

    def __init__(self, node: Node, pod: Pod) -> None:
        self._node = node
        self._pod = pod
        self.uid = pod.metadata.uid
        self.key = key_of(pod)
        self.is_static = is_static(pod)
        """Whether the pod is its file's, so that the API server has no say in it."""
        self._is_gone = False
        self._changed = asyncio.Event()
        self._stop = StopSignal()
        self._finish: Finish | None = None
        self._told_backoffs: dict[str, str] = {}
        self._failures = 0
        self._deadline: float | None = None
        """When the grace period ends, by the monotonic clock; only ever moved forward in time, never back."""
        self._told_stopping: set[str] = set()
        """Containers of which an event says that they are stopped."""
        self._hooked: set[str] = set()
        """Containers whose preStop hook has ended, well or not; one that was broken off is run again (as upstream)."""
        self._setup = PodSetup(node, self.uid, self._stop)
        self._starter = ContainerStarter(node, self._setup, self._stop)
        self._prober: Prober = node.make_prober(self.wake, self._unhealthy)
        self._refresh_at_s: float | None = 0.0
        """When what volumes refer to should be looked at again, by the wall clock; None while it is followed.

        At first of every pod, so that one that ran before this kubelet did is followed too.
        """
        self._refresh_failures = 0
        self._is_admitted = bool(pod.status.start_time)
        """Whether this node has taken the pod: a start time says that it had, before this kubelet began."""
        self._is_stopped = False

    @property
    def uses_node(self) -> bool:
        """Whether the pod takes of what the node has, so that a newcomer cannot."""
        return self._is_admitted and not self._is_stopped and not self._is_gone and not has_finished(self.pod)

    @property
    def is_ending(self) -> bool:
        """Whether the pod is about to give back what it has of the node."""
        return self._stop.is_set or self._finish is not None

    @property
    def is_gone(self) -> bool:
        """Whether nobody wants the pod any more: what is left of it is on the way out."""
        return self._is_gone

    @property
    def pod(self) -> Pod:
        """The newest wish, with the newest status."""
        return self._node.statuses.newest(self._pod)

    def wish(self, pod: Pod) -> None:
        """Take a newer version of the pod."""
        if (pod.metadata.labels, pod.metadata.annotations) != (
            self._pod.metadata.labels,
            self._pod.metadata.annotations,
        ):
            self._refresh_at_s = 0.0
        self._pod = pod
        if pod.metadata.deletion_timestamp:
            self._shrink_grace()
            self._stop.set()
        self._changed.set()

    def vanish(self, pod: Pod | None = None) -> None:
        """Learn that the API has the pod no more."""
        self._is_gone = True
        if pod is not None:
            self._pod = pod
        if self._stop.is_set:
            self._shrink_grace()
        self._stop.set()
        self._changed.set()

    def evict(self, message: str, reason: str = EVICTED, *, is_urgent: bool = True) -> None:
        """End the pod for the node's sake; it stays as Failed. One that is not urgent has its grace period."""
        if self._stop.is_set or self._finish is not None:
            return
        self._node.recorder.event(self._pod, "Warning", reason, message)
        self._finish = Finish("Failed", reason, message, was_disrupted=True)
        if is_urgent:
            # Long enough for a preStop hook to begin, as upstream.
            self._deadline = self._node.clock.monotonic() + URGENT_GRACE_S
        self._stop.set()
        self._changed.set()

    def wake(self) -> None:
        """Look again soon."""
        self._changed.set()

    def refresh(self) -> None:
        """Look again soon, at what the pod's volumes and variables refer to as well."""
        self._refresh_at_s = 0.0
        self._changed.set()

    async def run(self) -> None:
        """Live the pod's life; return when nothing of it is left, here and at the API server."""
        try:
            if not self._stop.is_set:
                await self._sync_until_stopped()
            await self._retrying(self._terminate)
            self._is_stopped = True
            await self._retrying(self._clean_up)
            while not (self._is_gone or self._pod.metadata.deletion_timestamp):
                self._changed.clear()
                await self._changed.wait()
            await self._retrying(self._remove)
        finally:
            self._prober.stop_all()
            self._node.references.follow(self.uid, set(), set())
            self._node.statuses.forget(self.uid)

    # Syncing

    async def _sync_until_stopped(self) -> None:
        while not self._stop.is_set and self._finish is None:
            self._changed.clear()
            wake_at_s: float | None
            try:
                cause = tracing.causes.of(self._pod.metadata.resource_version)
                with tracing.caused_span("sync pod", [cause], k8s__pod__uid=self.uid):
                    wake_at_s = await self._sync()
                self._failures = 0
            except Interrupted:
                return
            except Failure as failure:
                self._failures += 1
                wake_at_s = failure.retry_at_s
                if wake_at_s is None:
                    wake_at_s = self._now() + _backoff_s(self._failures)
            except RuntimeUnavailable as error:
                log.debug("pod waits for the container runtime", extra={"pod": self.key, "error": error})
                wake_at_s = self._now() + 1.0
            except (CriError, ApiError, OSError) as error:
                self._failures += 1
                log.warning("pod not synced, trying again", extra={"pod": self.key, "error": error})
                wake_at_s = self._now() + _backoff_s(self._failures)
            if self._finish is None:
                await self._wait_for_change(wake_at_s)

    async def _wait_for_change(self, wake_at_s: float | None) -> None:
        now = self._now()
        until = now + self._node.resync_s
        renew_at_s = self._node.volumes.renew_at_s(self.uid)
        if renew_at_s is not None:
            until = min(until, max(renew_at_s, now + 1.0))
        if wake_at_s is not None:
            until = min(until, wake_at_s)
        if self._refresh_at_s is not None and self._refresh_at_s > now:
            until = min(until, self._refresh_at_s)
        await sleep_unless(self._node.clock, max(0.0, until - now), self._changed)
        if renew_at_s is not None and self._refresh_at_s is None and self._now() >= renew_at_s:
            self._refresh_at_s = 0.0

    async def _refresh(self, runtime: RuntimePod) -> None:
        """Bring a running pod's volumes up to date. What cannot be is tried again: the pod goes on with what it has."""
        self._refresh_at_s = None
        try:
            await self._setup.set_up_volumes(self.pod, runtime)
        except Failure:
            self._refresh_failures += 1
            self._refresh_at_s = self._now() + _backoff_s(self._refresh_failures)
            return
        self._refresh_failures = 0
        self._starter.forget_config_errors()

    async def _sync(self) -> float | None:
        """Bring the pod as near to its wish as can be now; return when to look again."""
        node = self._node
        if not self._is_admitted and not await self._admit():
            return None
        runtime = await node.pleg.observe(self.uid)
        is_due = self._refresh_at_s is not None and self._refresh_at_s <= self._now()
        if is_due and runtime.ready_sandbox is not None:
            await self._refresh(runtime)
        wake_at_s: float | None = None
        for _ in range(ROUNDS_MAX):
            pod = self.pod
            self._prober.follow(pod, runtime, node.ips[0])
            actions = decide(pod, runtime, self._prober.verdicts, self._now())
            self._report(pod, runtime, actions)
            wake_at_s = actions.wake_at_s
            if actions.finish is not None:
                self._finish = actions.finish
                if actions.finish.reason == "DeadlineExceeded" and not has_finished(pod):
                    node.recorder.event(pod, "Normal", actions.finish.reason, actions.finish.message)
                return None
            if actions.changes_nothing:
                break
            self._stop.check()
            retry_at_s = await self._carry_out(pod, runtime, actions)
            runtime = await node.pleg.observe(self.uid)
            if retry_at_s is not None:
                self._prober.follow(pod, runtime, node.ips[0])
                self._report(self.pod, runtime, decide(self.pod, runtime, self._prober.verdicts, self._now()))
                wake_at_s = min(retry_at_s, wake_at_s or retry_at_s)
                break
        await self._forget_old(self.pod, runtime)
        return wake_at_s

    async def _admit(self) -> bool:
        """Decide once whether this node takes the pod; a pod that it does not take is finished."""
        node, pod = self._node, self.pod
        refused = self._refusal(pod)
        if refused is not None and not self.is_static:
            # What is known of the node may be old; somebody may have just labelled it for this very pod.
            node.own = await node.client.get(nodes.RESOURCE, ObjectKey("", node.name))
            refused = self._refusal(pod)
        too_short = node.why_not_admitted(pod)
        if refused is None and too_short:
            refused = admission.Refusal(EVICTED, too_short)
        if refused is not None and is_critical(pod) and node.make_room(pod):
            raise Failure(refused.message, self._now() + ROOM_RETRY_S)
        if refused is None:
            self._is_admitted = True
            return True
        node.recorder.event(pod, "Warning", refused.reason, refused.message)
        self._finish = Finish("Failed", refused.reason, f"Pod was rejected: {refused.message}")
        return False

    def _refusal(self, pod: Pod) -> admission.Refusal | None:
        node = self._node
        others = node.neighbours(self.uid)
        return admission.refusal(pod, others, node.own, node.unsafe_sysctls, has_apparmor=node.has_apparmor)

    async def _carry_out(self, pod: Pod, runtime: RuntimePod, actions: PodActions) -> float | None:
        """Do what was decided; return when to try again what failed."""
        cri = self._node.cri
        if actions.stop_sandbox and runtime.sandbox is not None:
            message = "Pod sandbox changed, it will be killed and re-created."
            self._node.recorder.event(pod, "Normal", "SandboxChanged", message)
            await cri.stop_sandbox(runtime.sandbox.id)
        if actions.sandbox_attempt is not None:
            self._refresh_at_s = None
            await self._setup.set_up_volumes(self.pod, runtime)
            await self._setup.make_sandbox(pod, actions.sandbox_attempt)
        for kill in actions.kill:
            await self._kill_one(pod, runtime, kill)
        retries: list[float] = []
        for start in actions.start:
            self._stop.check()
            retry_at_s = await self._starter.start(pod, runtime, start)
            if retry_at_s is not None:
                retries.append(retry_at_s)
        return min(retries, default=None)

    async def _forget_old(self, pod: Pod, runtime: RuntimePod) -> None:
        containers, sandboxes = to_forget(pod, runtime)
        by_id = {record.id: record for record in runtime.containers}
        for container_id in containers:
            await self._node.cri.remove_container(container_id)
            record = by_id[container_id]
            self._node.files.remove_attempt(pod, record.name, record.attempt)
        for sandbox_id in sandboxes:
            await self._node.cri.remove_sandbox(sandbox_id)

    # Reporting

    def _report(self, pod: Pod, runtime: RuntimePod, actions: PodActions) -> None:
        waiting = dict(self._starter.waiting)
        for backoff in actions.backoffs:
            delay = as_go(round(backoff.delay_s))
            who = f"{pod.metadata.name}_{pod.metadata.namespace}({self.uid})"
            message = f"back-off {delay} restarting failed container={backoff.name} pod={who}"
            waiting[backoff.name] = Waiting("CrashLoopBackOff", message)
            last = runtime.newest(backoff.name)
            if last is not None and self._told_backoffs.get(backoff.name) != last.id:
                self._told_backoffs[backoff.name] = last.id
                container = next(c for c in all_containers(pod) if c.name == backoff.name)
                text = f"Back-off restarting failed container {backoff.name} in pod {who}"
                self._node.recorder.event(pod, "Warning", "BackOff", text, field_path=field_path(pod, container))
        self._set_status(pod, runtime, waiting, actions.finish)

    def _set_status(self, pod: Pod, runtime: RuntimePod, waiting: Mapping[str, Waiting], finish: Finish | None) -> None:
        if self._is_gone:
            return
        around = Circumstances(
            host_ips=self._node.ips,
            verdicts=self._prober.verdicts,
            waiting=waiting,
            finish=finish,
            is_stopping=self._stop.is_set or finish is not None,
        )
        self._node.statuses.set(pod, compute_status(pod, runtime, around, self._now()))

    def _unhealthy(self, pod: Pod, name: str, reason: str, message: str) -> None:
        container = next((c for c in all_containers(pod) if c.name == name), None)
        path = field_path(pod, container) if container is not None else ""
        self._node.recorder.event(pod, "Warning", reason, message, field_path=path)

    def _event_killing(self, pod: Pod, path: str, message: str) -> None:
        self._node.recorder.event(pod, "Normal", "Killing", message, field_path=path)

    # Terminating

    def _shrink_grace(self) -> None:
        now = self._node.clock.monotonic()
        deadline = now + grace_period_s(self._pod)
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)

    async def _terminate(self) -> None:
        """Stop every container, then the sandbox; return when nothing runs."""
        node = self._node
        self._prober.stop_liveness()
        if self._deadline is None:
            self._shrink_grace()
        while True:
            self._changed.clear()
            runtime = await node.pleg.observe(self.uid)
            self._set_status(self.pod, runtime, {}, self._finish)
            if not runtime.running:
                break
            deadline = self._deadline
            stopping = asyncio.ensure_future(self._stop_all(runtime))
            try:
                while not stopping.done() and self._deadline == deadline:
                    changed = asyncio.ensure_future(self._changed.wait())
                    await asyncio.wait({stopping, changed}, return_when=asyncio.FIRST_COMPLETED)
                    changed.cancel()
                    self._changed.clear()
                    # Whoever stops may serve until the end: what readiness probes say, and who has ended, is told.
                    self._set_status(self.pod, node.pleg.get(self.uid), {}, self._finish)
                if stopping.done():
                    stopping.result()
            finally:
                # A shorter grace period starts this over: the runtime is told the new one.
                stopping.cancel()
                await asyncio.gather(stopping, return_exceptions=True)
        for sandbox in runtime.sandboxes:
            if sandbox.is_ready or sandbox is runtime.sandbox:
                await node.cri.stop_sandbox(sandbox.id)
        runtime = await node.pleg.observe(self.uid)
        self._set_status(self.pod, runtime, {}, self._finish)
        log.info("pod stopped", extra={"pod": self.key})

    async def _stop_all(self, runtime: RuntimePod) -> None:
        for group in stop_order(self._pod, runtime):
            await asyncio.gather(*(self._stop_one(runtime, record) for record in group))

    async def _stop_one(self, runtime: RuntimePod, record: ContainerRecord, grace_s: int | None = None) -> None:
        """Run the preStop hook, then ask the container to end, and kill it when its time is over."""
        node, pod = self._node, self._pod
        container = next((c for c in all_containers(pod) if c.name == record.name), None)
        path = field_path(pod, container) if container is not None else ""
        began = node.clock.monotonic()

        def left_s() -> float:
            if grace_s is not None:
                return grace_s - (node.clock.monotonic() - began)
            return (self._deadline or 0.0) - node.clock.monotonic()

        if grace_s is None and record.id not in self._told_stopping:
            self._told_stopping.add(record.id)
            self._event_killing(pod, path, f"Stopping container {record.name}")
        if record.id not in self._hooked:
            lifecycle = container.lifecycle if container is not None else None
            if container is not None and lifecycle is not None and lifecycle.pre_stop is not None and left_s() > 0:
                try:
                    async with asyncio.timeout(left_s()):
                        await self._starter.hook(pod, container, record.id, runtime, "pre_stop")
                except HookFailed:
                    # What a hook printed stays out of events, which more people read than the pod's status.
                    node.recorder.event(pod, "Warning", "FailedPreStopHook", "PreStopHook failed", field_path=path)
                except TimeoutError:
                    log.info("the preStop hook took all of the grace period", extra={"pod": self.key})
            self._hooked.add(record.id)
        try:
            await node.cri.stop_container(record.id, max(STOP_GRACE_MIN_S, round(left_s())))
        except CriError as error:
            if not error.is_absent:
                raise

    async def _kill_one(self, pod: Pod, runtime: RuntimePod, kill: Kill) -> None:
        """Stop one container of a pod that goes on."""
        container = next(c for c in all_containers(pod) if c.name == kill.name)
        self._event_killing(pod, field_path(pod, container), kill.message)
        grace_s = grace_period_s(pod)
        probe = container.liveness_probe if kill.from_liveness_probe else None
        probe = container.startup_probe if kill.from_startup_probe else probe
        if probe is not None and probe.termination_grace_period_seconds is not None:
            grace_s = probe.termination_grace_period_seconds
        record = next(r for r in runtime.containers if r.id == kill.container_id)
        await self._stop.unless_set(self._stop_one(runtime, record, grace_s))

    # Terminated

    async def _clean_up(self) -> None:
        """Give back what only running containers need."""
        self._prober.stop_all()
        self._node.references.follow(self.uid, set(), set())
        await self._node.volumes.release(self.uid)
        self._node.volumes.tear_down(self.uid)
        self._node.cgroups.remove(self.uid)

    async def _remove(self) -> None:
        """Remove the last traces here, then the object at the API server, if it is still this pod."""
        node = self._node
        runtime = await node.pleg.observe(self.uid)
        if not self._is_gone:
            await node.statuses.flush(self.uid)
        for sandbox in runtime.sandboxes:
            await node.cri.remove_sandbox(sandbox.id)
        for record in runtime.containers:
            with contextlib.suppress(CriError):
                await node.cri.remove_container(record.id)
        await node.volumes.release(self.uid)
        node.volumes.tear_down(self.uid)
        node.cgroups.remove(self.uid)
        node.files.remove_logs(self.key.namespace, self.key.name, self.uid)
        await node.pleg.observe(self.uid)
        while not self._is_gone:
            self._changed.clear()
            try:
                await node.client.delete(pods.RESOURCE, self.key, grace_period_s=0, uid=self.uid)
            except (NotFound, Conflict):
                break
            # Finalizers may keep the object; the deletion is tried again when it changes.
            await self._wait_for_change(None)

    # Waiting

    def _now(self) -> float:
        return self._node.clock.now()

    async def _retrying(self, step: Callable[[], Awaitable[None]]) -> None:
        """Carry out one step of the way out, again and again until it succeeds."""
        failures = 0
        while True:
            try:
                await step()
                return
            except (CriError, ApiError, OSError) as error:
                failures += 1
                level = logging.DEBUG if isinstance(error, RuntimeUnavailable) else logging.WARNING
                log.log(level, "pod not stopped yet, trying again", extra={"pod": self.key, "error": error})
                await self._node.clock.sleep(min(RETRY_FIRST_S * 2 ** min(failures - 1, 10), 5.0))


def orphan(runtime: RuntimePod) -> Pod:
    """Return a pod object for what runs here though the API knows nothing of it: enough to stop it properly."""
    grace = runtime.sandbox.grace_period_s if runtime.sandbox is not None else STOP_GRACE_MIN_S
    metadata = ObjectMeta(name=runtime.name, namespace=runtime.namespace, uid=runtime.uid)
    return Pod(metadata=metadata, spec=PodSpec(termination_grace_period_seconds=grace))


def _backoff_s(failures: int) -> float:
    """Return how long to wait after so many failures in a row."""
    return min(RETRY_FIRST_S * 2.0 ** min(failures - 1, 10), RETRY_MAX_S)
