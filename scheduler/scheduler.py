"""The loop around the cycle: take a pod, choose, assume, bind. The only file here that awaits anything.

Choosing is one step without an await, so it sees one state of the world; binding goes on in the background while the
next pod is chosen for, with the first one counted where it was assumed. The process may be killed anywhere: what it
knows is rebuilt from the API server, and a binding is refused there for a pod that has a node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from api import timestamps
from api.core import namespace as namespaces
from api.core import node as nodes
from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.core.binding import Binding
from api.core.namespace import Namespace
from api.core.node import Node
from api.core.pod import Pod
from api.core.references import ObjectReference
from api.errors import ApiError, Conflict, NotFound
from api.lister import Lister
from api.meta import ObjectMeta
from api.policy import poddisruptionbudget as budgets
from api.resource import Resource
from api.schema import Struct
from api.storage import storageclass as classes
from client.backoff import Backoff
from client.events import NORMAL, WARNING, Recorder
from client.informer import Change, Informers
from client.verbs import Client, PatchType
from component import tracing
from component.clock import Clock
from scheduler.cache import Cache
from scheduler.cycle import Placement, Unschedulable, schedule
from scheduler.framework import ANY_EVENT, ClusterEvent, Context, NodeGivenUp, Remedy
from scheduler.metrics import Metrics
from scheduler.nominations import Nominations
from scheduler.plugins.default_preemption import PREEMPTED
from scheduler.profile import DEFAULT, Profile
from scheduler.queue import QueuedPod, SchedulingQueue
from scheduler.snapshot import PodView, Surroundings

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Struct)

WRITES_MAX = 64
"""Bindings and status patches under way at once."""
WRITE_S_MAX = 30.0
HOUSEKEEPING_S = 30.0
"""How often pods are looked for that waited too long, and assumptions that nobody confirmed."""
_ASK_AGAIN = Backoff(0.2, 5.0)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one attempt, on its way to being written down."""

    queued: QueuedPod
    view: PodView
    profile: Profile
    result: Placement | Unschedulable
    started: float


class Scheduler:
    """Gives every pod without a node one; pods choose among `profiles` by spec.schedulerName."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: Recorder,
        *,
        clock: Clock,
        metrics: Metrics,
        profiles: Sequence[Profile] = (DEFAULT,),
    ) -> None:
        """Add handlers to `informers`, which whoever calls runs."""
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._metrics = metrics
        self._profiles = {profile.scheduler_name: profile for profile in profiles}
        self._cache = Cache()
        self._nominations = Nominations()
        self._queue = SchedulingQueue()
        self._work = asyncio.Event()
        self._writes = asyncio.Semaphore(WRITES_MAX)
        self._informers = informers
        self._pods = informers.of(pods.RESOURCE)
        self._pods.add_handler(self._on_pod)
        informers.of(nodes.RESOURCE).add_handler(self._on_node)
        spaces = informers.of(namespaces.RESOURCE)
        spaces.add_handler(self._on_namespace)
        self._around = Surroundings(
            budgets=informers.of(budgets.RESOURCE).store,
            namespaces=spaces.store,
            claims=self._follow(claims.RESOURCE, ClusterEvent.CLAIM),
            volumes=self._follow(volumes.RESOURCE, ClusterEvent.VOLUME),
            classes=self._follow(classes.RESOURCE, ClusterEvent.STORAGE_CLASS),
        )
        node_store = informers.of(nodes.RESOURCE).store
        self._context = Context(client, self._around, self._pods.store, node_store, clock)

    def _follow(self, resource: Resource[T], event: ClusterEvent) -> Lister[T]:
        """Return the cache of a kind whose new or changed objects are each the `event`."""
        informer = self._informers.of(resource)

        def changed(change: Change[T]) -> None:
            if change.new is not None:
                self._queue.happened(event, self._clock.monotonic())
                self._work.set()

        informer.add_handler(changed)
        return informer.store

    async def run(self) -> None:
        """Schedule until cancelled."""
        await self._informers.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_house(), name="scheduler housekeeping")
            while True:
                await self._writes.acquire()
                queued = self._queue.pop(self._clock.monotonic())
                if queued is None:
                    self._writes.release()
                    await self._wait_for_work()
                    continue
                try:
                    outcome = self._schedule_one(queued)
                except Exception:
                    # A plugin's mistake about one pod must not keep all others waiting.
                    log.exception("broken", extra={"pod": str(queued.view.key)})
                    self._give_back(queued)
                    self._writes.release()
                    continue
                group.create_task(self._write(outcome), name=f"schedule {queued.view.key}")
                # The informers' turn: the next choice should be made on their newest word.
                await asyncio.sleep(0)

    async def _wait_for_work(self) -> None:
        self._tell_sizes()
        self._work.clear()
        wake = self._queue.next_wake()
        try:
            async with asyncio.timeout(None if wake is None else max(0.0, wake - self._clock.monotonic())):
                await self._work.wait()
        except TimeoutError:
            return

    def _tell_sizes(self) -> None:
        self._metrics.pending(self._queue.lengths())
        self._metrics.came(self._queue.incoming)
        self._metrics.known(self._cache.sizes())

    async def _keep_house(self) -> None:
        while True:
            await self._clock.sleep(HOUSEKEEPING_S)
            now = self._clock.monotonic()
            self._queue.flush(now)
            for uid in self._cache.expire(now):
                log.warning("a bound pod was never seen bound", extra={"uid": uid})
                for pod in self._pods.store:
                    if pod.metadata.uid == uid:
                        self._on_pod(Change(None, pod))
            self._tell_sizes()
            self._work.set()

    # --- one pod ------------------------------------------------------------------------------------------------

    def _schedule_one(self, queued: QueuedPod) -> _Outcome:
        """Choose a node for the pod and count it there, or put it back; what to write is left to `_write`."""
        started = self._clock.monotonic()
        view = queued.view
        profile = self._profiles[view.pod.spec.scheduler_name or DEFAULT.scheduler_name]
        snapshot = replace(self._cache.snapshot(), nominated=self._nominations.by_node(), around=self._around)
        result = schedule(view, snapshot, profile)
        self._metrics.chose(self._clock.monotonic() - started)
        match result:
            case Placement(node_name=node_name, state=state):
                self._cache.assume(view, node_name)
                self._nominations.drop(view.uid)
                for plugin in profile.reserves:
                    plugin.reserve(state, view, node_name)
            case Unschedulable(rejected_by=rejected_by, remedy=remedy):
                if remedy.nominated is not None:
                    self._nominations.put(view, remedy.nominated)
                waits_for = ClusterEvent(0)
                for rejecting in rejected_by:
                    waits_for |= rejecting.helped_by
                self._queue.put_back_unschedulable(queued, waits_for or ANY_EVENT, started)
        return _Outcome(queued, view, profile, result, started)

    async def _write(self, outcome: _Outcome) -> None:
        try:
            about = outcome.view.pod.metadata
            with tracing.caused_span(
                "schedule pod", [tracing.causes.of(about.resource_version)], k8s__pod__uid=about.uid
            ):
                match outcome.result:
                    case Placement():
                        await self._bind(outcome, outcome.result)
                    case Unschedulable(message=message, remedy=remedy):
                        self._metrics.rejected(outcome.profile.scheduler_name, attempt_s=self._since(outcome.started))
                        if remedy.nominated and not await self._preempt(outcome.view, remedy):
                            remedy = Remedy()
                        await self._report(outcome.view, "Unschedulable", message, nominated=remedy.nominated)
        except Exception:
            log.exception("broken", extra={"pod": str(outcome.view.key)})
            if isinstance(outcome.result, Placement):
                self._unreserve(outcome, outcome.result)
            self._give_back(outcome.queued)
        finally:
            self._writes.release()

    async def _bind(self, outcome: _Outcome, placement: Placement) -> None:
        """Bind the pod. Whatever goes wrong, the API server is asked what became of it before the next step."""
        view, node_name = outcome.view, placement.node_name
        try:
            await self._pre_bind(outcome, placement)
            async with asyncio.timeout(WRITE_S_MAX):
                if outcome.profile.binds:
                    await outcome.profile.binds[0].bind(placement.state, view, node_name)
                else:
                    await self._create_binding(view, node_name)
        except (ApiError, NodeGivenUp, TimeoutError) as error:
            log.info("binding failed", extra={"pod": str(view.key), "node": node_name, "error": str(error)})
            found = await self._fetch_node_name(view)
            if found != node_name:
                self._give_up(outcome, placement, found)
                if found == "":
                    said = str(error) if isinstance(error, NodeGivenUp) else f"binding rejected: {error or 'no answer'}"
                    await self._report(view, "SchedulerError", said)
                return
        now = self._clock.monotonic()
        self._cache.finish_binding(view.uid, now)
        self._queue.remove(view.uid)
        self._metrics.scheduled(
            outcome.profile.scheduler_name,
            attempt_s=now - outcome.started,
            since_added_s=now - outcome.queued.added_at,
            attempts=outcome.queued.attempts,
        )
        self._recorder.event(view.pod, NORMAL, "Scheduled", f"Successfully assigned {view.key} to {node_name}")

    async def _pre_bind(self, outcome: _Outcome, placement: Placement) -> None:
        """Do what comes before binding. It may take long: meanwhile others may write in our place."""
        self._writes.release()
        try:
            for plugin, pre in outcome.profile.pre_binds:
                try:
                    await pre.pre_bind(placement.state, outcome.view, placement.node_name, self._context)
                except (NodeGivenUp, ApiError) as error:
                    raise NodeGivenUp(f'running PreBind plugin "{plugin.name}": {error}') from None
        finally:
            await self._writes.acquire()

    def _give_back(self, queued: QueuedPod) -> None:
        """Try a pod again from the beginning; if it was bound after all, the informer will say so."""
        self._cache.forget(queued.view.uid)
        self._queue.put_back_failed(queued, self._clock.monotonic())
        self._work.set()

    async def _create_binding(self, view: PodView, node_name: str) -> None:
        meta = ObjectMeta(namespace=view.key.namespace, name=view.key.name, uid=view.uid)
        binding = Binding(metadata=meta, target=ObjectReference(kind="Node", name=node_name))
        await self._client.create_subresource(pods.RESOURCE, view.key, "binding", binding)

    async def _fetch_node_name(self, view: PodView) -> str | None:
        """Return the node the pod has, empty for none; None if the pod is gone. Asks until there is an answer."""
        failures = 0
        while True:
            try:
                async with asyncio.timeout(WRITE_S_MAX):
                    pod = await self._client.get(pods.RESOURCE, view.key)
                return pod.spec.node_name if pod.metadata.uid == view.uid else None
            except NotFound:
                return None
            except (ApiError, TimeoutError):
                failures += 1
                await self._clock.sleep(_ASK_AGAIN.delay_s(failures))

    def _give_up(self, outcome: _Outcome, placement: Placement, found: str | None) -> None:
        """Take the placement back; the pod is tried again if it still has no node (`found` is empty)."""
        self._unreserve(outcome, placement)
        now = self._clock.monotonic()
        self._cache.forget(outcome.view.uid)
        self._queue.happened(ClusterEvent.POD_GONE, now)
        if found == "":
            self._nominations.saw(None, outcome.view)
            self._queue.put_back_failed(outcome.queued, now)
        else:
            self._queue.remove(outcome.view.uid)
        self._metrics.rejected(outcome.profile.scheduler_name, attempt_s=self._since(outcome.started), error=True)
        self._work.set()

    def _unreserve(self, outcome: _Outcome, placement: Placement) -> None:
        for plugin in outcome.profile.reserves:
            plugin.unreserve(placement.state, outcome.view, placement.node_name)

    async def _preempt(self, view: PodView, remedy: Remedy) -> bool:
        """Have the victims leave; return whether all were told. If not, the pod is tried again from the beginning."""
        assert remedy.nominated
        told = await asyncio.gather(*(self._evict(view, victim, remedy.nominated) for victim in remedy.victims))
        if not all(told):
            self._nominations.drop(view.uid)
            self._queue.happened(ANY_EVENT, self._clock.monotonic())
            self._work.set()
            return False
        # Those that were to have this room look for another.
        for other in self._nominations.lower_than(view, remedy.nominated):
            self._nominations.drop(other.uid)
            await self._write_status(other, {"nominatedNodeName": None})
        self._metrics.preempted(len(remedy.victims))
        return True

    async def _evict(self, view: PodView, victim: PodView, node_name: str) -> bool:
        """Have one pod leave in its grace period; return whether it was told, or is leaving or gone anyway."""
        if victim.pod.metadata.deletion_timestamp:
            return True
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": PREEMPTED,
            "message": f"{view.pod.spec.scheduler_name or DEFAULT.scheduler_name}: "
            "preempting to accommodate a higher priority pod",
            "lastTransitionTime": timestamps.render(self._clock.now()),
        }
        if not await self._write_status(victim, {"conditions": [condition]}):
            return False
        try:
            async with asyncio.timeout(WRITE_S_MAX):
                await self._client.delete(pods.RESOURCE, victim.key, uid=victim.uid)
        except (NotFound, Conflict):
            return True
        except (ApiError, TimeoutError) as error:
            log.info("victim not deleted", extra={"pod": str(victim.key), "error": str(error)})
            return False
        self._recorder.event(victim.pod, NORMAL, "Preempted", f"Preempted by pod {view.uid} on node {node_name}")
        return True

    async def _report(self, view: PodView, reason: str, message: str, *, nominated: str | None = None) -> None:
        """Tell why the pod has no node: as an event, and in its status unless that says so already.

        `nominated` is the node where room is made for it; empty takes an earlier nomination back, None leaves it.
        """
        self._recorder.event(view.pod, WARNING, "FailedScheduling", message)
        status: dict[str, Any] = {}
        known = next((each for each in view.pod.status.conditions if each.type == "PodScheduled"), None)
        if not known or (known.status, known.reason, known.message) != ("False", reason, message):
            since = known.last_transition_time if known and known.status == "False" else ""
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": reason,
                "message": message,
                "lastTransitionTime": since or timestamps.render(self._clock.now()),
            }
            status["conditions"] = [condition]
        if nominated is not None and nominated != view.pod.status.nominated_node_name:
            status["nominatedNodeName"] = nominated or None
        if status:
            # If it cannot be written, the next attempt will.
            await self._write_status(view, status)

    async def _write_status(self, view: PodView, status: dict[str, Any]) -> bool:
        """Patch a pod's status; return whether it is written, or the pod gone."""
        patch = {"metadata": {"uid": view.uid}, "status": status}
        try:
            async with asyncio.timeout(WRITE_S_MAX):
                await self._client.patch(pods.RESOURCE, view.key, patch, type=PatchType.STRATEGIC, subresource="status")
        except (NotFound, Conflict):
            pass
        except (ApiError, TimeoutError) as error:
            log.info("status not written", extra={"pod": str(view.key), "error": str(error)})
            return False
        return True

    def _since(self, started: float) -> float:
        return self._clock.monotonic() - started

    # --- what the informers say ---------------------------------------------------------------------------------

    def _on_pod(self, change: Change[Pod]) -> None:
        now = self._clock.monotonic()
        pod = change.object
        uid = pod.metadata.uid
        if change.new is None or pod.status.phase in ("Succeeded", "Failed"):
            self._queue.remove(uid)
            had_room_made = self._nominations.drop(uid)
            if self._cache.has_pod(uid) or had_room_made:
                self._cache.remove_pod(uid)
                self._queue.happened(ClusterEvent.POD_GONE, now)
        elif pod.spec.node_name:
            self._queue.remove(uid)
            self._nominations.drop(uid)
            is_new = change.old is None or not change.old.spec.node_name
            self._cache.set_pod(PodView(pod))
            if is_new or (change.old and change.old.metadata.labels != pod.metadata.labels):
                self._queue.happened(ClusterEvent.POD_ASSIGNED, now)
        elif pod.metadata.deletion_timestamp:
            self._queue.remove(uid)
            if self._nominations.drop(uid):
                self._queue.happened(ClusterEvent.POD_GONE, now)
        elif (pod.spec.scheduler_name or DEFAULT.scheduler_name) in self._profiles and (
            self._queue.find(uid) is not None or not self._cache.is_assumed(uid)
        ):
            view = PodView(pod)
            self._nominations.saw(PodView(change.old) if change.old is not None else None, view)
            self._queue.add(view, now)
        self._work.set()

    def _on_node(self, change: Change[Node]) -> None:
        now = self._clock.monotonic()
        if change.new is None:
            self._cache.remove_node(change.object.metadata.name)
            return
        self._cache.set_node(change.new)
        happened = _what_happened(change.old, change.new)
        if happened:
            self._queue.happened(happened, now)
            self._work.set()

    def _on_namespace(self, change: Change[Namespace]) -> None:
        if change.new and (change.old is None or change.old.metadata.labels != change.new.metadata.labels):
            self._queue.happened(ClusterEvent.NAMESPACE_LABELS, self._clock.monotonic())
            self._work.set()


def _what_happened(old: Node | None, new: Node) -> ClusterEvent:
    """Return what of a node changed that pods may have waited for; heartbeats are nothing."""
    if old is None:
        return ClusterEvent.NODE_ADDED
    happened = ClusterEvent(0)
    if old.status.allocatable != new.status.allocatable:
        happened |= ClusterEvent.NODE_ALLOCATABLE
    if old.metadata.labels != new.metadata.labels:
        happened |= ClusterEvent.NODE_LABELS
    if old.spec.taints != new.spec.taints or old.spec.unschedulable != new.spec.unschedulable:
        happened |= ClusterEvent.NODE_TAINTS
    return happened
