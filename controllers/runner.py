"""Carries any controller: informers to work queue to reconcile to actions, once for all of them.

A `Controller` is a declaration; `Runner` gives it caches and workers. Each turn of a key: hold it while the cache
does not show our own last writes (see `freshness.py`), `observe` from caches, `reconcile` without I/O, carry out the
plan. Success forgets the key's failures; any error brings it back later, more slowly each time. A `Dialogue` is a
controller that must talk with the server while it decides; it gets no plan and no gate.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from api.core.references import ObjectReference
from api.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
)
from api.resource import ObjectKey, Resource
from api.schema import Struct
from client.events import EventRecorder
from client.informer import Change, Informer, Informers
from client.store import IndexFunction, Store
from client.verbs import Client, key_of
from client.workqueue import WorkQueue
from component import tracing
from component.clock import Clock
from component.metrics import Gauge, Spread, Tally, exponential, shared
from controllers.actions import Action, Burst, Create, Delete, Emit, Guard, Patch, Plan
from controllers.freshness import FreshnessGate
from controllers.metadata import metadata_only
from controllers.ownership import (
    BY_CONTROLLER,
    ORPHANS,
    index_by_controller,
    index_orphans,
    keys_of_owned,
    metadata_of,
)

T = TypeVar("T", bound=Struct)
Observed = TypeVar("Observed")

FRESHNESS_S_MAX = 30.0
"""A cache that has not shown our own write for so long is listed again."""
TURN_S_MAX = 120.0
OUTAGE_RETRY_S_MAX = 2.0
CONCURRENT_STEPS_MAX = 64

log = logging.getLogger(__name__)

_queues: dict[str, WorkQueue[Any]] = {}
"""By controller, for what is read when somebody scrapes."""


def _of_queues(
    name: str, help: str, read: Callable[[WorkQueue[Any]], float], kind: Literal["gauge", "counter"] = "gauge"
) -> None:
    shared(Gauge(name, help, lambda: {(owner,): read(one) for owner, one in _queues.items()}, ("name",), kind))


_of_queues("workqueue_depth", "Keys ready to be worked on.", len)
_of_queues("workqueue_adds_total", "Keys made ready.", lambda queue: queue.added_count, "counter")
_of_queues(
    "workqueue_retries_total", "Keys asked for again as they had failed.", lambda queue: queue.retried_count, "counter"
)
_of_queues(
    "workqueue_unfinished_work_seconds", "What is being worked on, added up.", lambda queue: sum(queue.working_s())
)
_of_queues(
    "workqueue_longest_running_processor_seconds",
    "How long the oldest turn has taken.",
    lambda queue: max(queue.working_s(), default=0.0),
)
_BOUNDS = exponential(1e-8, 10, 10)
_turns = shared(Tally("controller_reconcile_total", "Turns by outcome.", ("controller", "result")))
_wait = shared(Spread("workqueue_queue_duration_seconds", "From ready to taken.", ("name",), _BOUNDS))
_work = shared(Spread("workqueue_work_duration_seconds", "From taken to done.", ("name",), _BOUNDS))


class Listers:
    """The caches a controller declared, by kind."""

    def __init__(self, informers: Mapping[tuple[str, str], Informer[Any]]) -> None:
        self._informers = informers

    def __getitem__(self, resource: Resource[T]) -> Store[T]:
        """Return the cache of a kind; KeyError if the controller does not watch it."""
        store: Store[T] = self._informers[resource.group, resource.plural].store
        return store

    def connected_since(self, resource: Resource[Any]) -> float:
        """Return since when, by the monotonic clock, every change of a kind has been heard."""
        return self._informers[resource.group, resource.plural].connected_since


def no_keys(obj: Any, listers: Listers) -> Iterable[ObjectKey]:
    """Map to nothing: for kinds that are read, and whose changes wake nobody."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Watch(Generic[T]):
    """Another kind to follow, and which keys a change of one of its objects concerns."""

    resource: Resource[T]
    keys: Callable[[T, Listers], Iterable[ObjectKey]] = no_keys
    """Asked about the old object and the new one."""
    indexes: Mapping[str, IndexFunction[T]] = field(default_factory=dict)
    field_selector: str = ""
    only_deleted: bool = False
    """Ask only about objects that are gone."""
    is_news: Callable[[T, T], bool] = lambda old, new: True
    """Whether a change from the old object to the new one can matter to anybody."""
    is_metadata_enough: bool = False
    """Follow the kind by its metadata alone, unless somebody declared before needs it whole."""


def watch_owned(resource: Resource[T], owners: Resource[Any]) -> Watch[T]:
    """Return what makes a controller of `owners` follow what it owns, and the orphans that it could adopt.

    Both indexes that `ownership.candidates` reads are there.
    """
    indexes: dict[str, IndexFunction[T]] = {BY_CONTROLLER: index_by_controller, ORPHANS: index_orphans}
    return Watch(resource=resource, keys=keys_of_owned(owners), indexes=indexes)


@dataclass(frozen=True, kw_only=True)
class Controller(Generic[T, Observed]):
    """A controller that decides without I/O."""

    name: str
    """Also the component its events come from."""
    resource: Resource[T]
    observe: Callable[[ObjectKey, Listers], Observed | None]
    """Read caches; None when there is nothing to do for the key."""
    reconcile: Callable[[Observed, float], Plan]
    """Decide; the float is wall time in seconds since the epoch."""
    keys: Callable[[T, Listers], Iterable[ObjectKey]] = lambda obj, listers: (key_of(obj),)
    indexes: Mapping[str, IndexFunction[T]] = field(default_factory=dict)
    watches: Sequence[Watch[Any]] = ()
    first: Sequence[ObjectKey] = ()
    """Keys to work on at the start, whatever there is: for those who sweep."""
    workers: int = 4


@dataclass(frozen=True, slots=True)
class Context:
    """What a dialogue may use."""

    client: Client
    listers: Listers
    clock: Clock
    emit: Callable[[Emit], None]


@dataclass(frozen=True, kw_only=True)
class Dialogue(Generic[T]):
    """A controller that talks with the server while it decides."""

    name: str
    resource: Resource[T]
    reconcile: Callable[[ObjectKey, Context], Awaitable[float | None]]
    """Return after how many seconds to look again, or None. Any ApiError brings the key back later."""
    keys: Callable[[T, Listers], Iterable[ObjectKey]] = lambda obj, listers: (key_of(obj),)
    indexes: Mapping[str, IndexFunction[T]] = field(default_factory=dict)
    watches: Sequence[Watch[Any]] = ()
    workers: int = 4


class _StepFailed(Exception):
    def __init__(self, step: Create | Patch | Delete, error: ApiError) -> None:
        super().__init__(str(error))
        self.step = step
        self.error = error


class Runner:
    """One controller at work. Build all runners before the informers run."""

    def __init__(
        self,
        controller: Controller[Any, Any] | Dialogue[Any],
        informers: Informers,
        client: Client,
        recorder: EventRecorder,
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.name = controller.name
        self.queue: WorkQueue[ObjectKey] = WorkQueue(clock, rng=rng)
        self._controller = controller
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._gate = FreshnessGate()
        self._causes: dict[ObjectKey, set[str]] = {}
        """While traces are recorded: the steps that led to a key's being looked at."""
        self._held: dict[ObjectKey, float] = {}
        """Keys that came up while not fresh, and since when."""
        self._listing: set[ObjectKey] = set()
        """Those of them for which everything is listed again."""
        self._doubts: dict[ObjectKey, list[tuple[Resource[Any], str]]] = {}
        """Kinds, and namespaces, in which a write for the key may or may not have happened."""
        self._informers: dict[tuple[str, str], Informer[Any]] = {}
        self.listers = Listers(self._informers)
        main: Watch[Any] = Watch(resource=controller.resource, keys=controller.keys, indexes=controller.indexes)
        for watch in (main, *controller.watches):
            self._follow(_informer(informers, watch), watch)

    def _follow(self, informer: Informer[Any], watch: Watch[Any]) -> None:
        resource = watch.resource
        self._informers[resource.group, resource.plural] = informer
        for name, function in watch.indexes.items():
            informer.add_index(name, function)

        def changed(change: Change[Any]) -> None:
            for owner in self._gate.changed(resource, change):
                self._release(owner)
            if watch.keys is no_keys or (watch.only_deleted and change.new is not None):
                return
            if change.old is not None and change.new is not None and not watch.is_news(change.old, change.new):
                return
            for obj in (change.old, change.new):
                if obj is not None:
                    for key in watch.keys(obj, self.listers):
                        self.queue.add(key)
                        if tracing.is_on():
                            self._causes.setdefault(key, set()).add(tracing.causes.of(obj.metadata.resource_version))

        def advanced(version: int) -> None:
            for owner in self._gate.advanced(resource, version):
                self._release(owner)

        informer.add_handler(changed)
        informer.on_advance(advanced)

    def _release(self, key: ObjectKey) -> None:
        if self._held.pop(key, None) is not None:
            self.queue.add(key)

    @property
    def has_synced(self) -> bool:
        """Whether all caches it reads are filled."""
        return all(informer.has_synced for informer in self._informers.values())

    async def run(self) -> None:
        """Work until cancelled."""
        for informer in self._informers.values():
            await informer.wait_synced()
        _queues[self.name] = self.queue
        if isinstance(self._controller, Controller):
            for key in self._controller.first:
                self.queue.add(key)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._controller.workers):
                    group.create_task(self._work(), name=f"{self.name} worker {number}")
        finally:
            self.queue.close()
            if _queues.get(self.name) is self.queue:
                del _queues[self.name]  # nobody works on it any more, nor is there a loop to tell the time for it

    async def _work(self) -> None:
        waited, worked = _wait.of((self.name,)), _work.of((self.name,))
        while True:
            key, wait_s = await self.queue.get_with_wait()
            waited.observe(wait_s)
            started_at = self._clock.monotonic()
            result = "error"
            try:
                async with asyncio.timeout(TURN_S_MAX):
                    with tracing.caused_span(
                        f"reconcile {self.name}", self._causes.pop(key, ()), k8s__object__key=str(key)
                    ):
                        result = await self._turn(key)
            except (Conflict, _StepFailed, ApiError, TimeoutError) as error:
                cause = error.error if isinstance(error, _StepFailed) else error
                level = logging.DEBUG if isinstance(cause, Conflict) else logging.WARNING
                log.log(level, "will try again", extra={"controller": self.name, "key": key, "error": repr(cause)})
                # What is not the key's fault passes soon.
                passing = isinstance(cause, Conflict | ServiceUnavailable | Timeout | TooManyRequests | TimeoutError)
                self.queue.add_rate_limited(key, OUTAGE_RETRY_S_MAX if passing else float("inf"))
            except Exception:
                log.exception("broken", extra={"controller": self.name, "key": key})
                self.queue.add_rate_limited(key)
            finally:
                self.queue.done(key)
                worked.observe(self._clock.monotonic() - started_at)
                _turns.add((self.name, result))

    async def _turn(self, key: ObjectKey) -> str:
        controller = self._controller
        if isinstance(controller, Dialogue):
            requeue_after_s = await controller.reconcile(
                key, Context(self._client, self.listers, self._clock, self._emit)
            )
            self.queue.forget(key)
            if requeue_after_s is not None:
                self.queue.add_after(key, requeue_after_s)
            return "done"
        if key in self._doubts:
            await self._settle_doubts(key)
        if not self._gate.is_fresh(key) and not self._waited_enough(key):
            return "held"
        self._held.pop(key, None)
        self._listing.discard(key)
        observed = controller.observe(key, self.listers)
        if observed is None:
            self._gate.forget(key)
            self.queue.forget(key)
            return "gone"
        plan = controller.reconcile(observed, self._clock.now())
        await self._carry_out(key, plan)
        self.queue.forget(key)
        if plan.requeue_after_s is not None:
            self.queue.add_after(key, plan.requeue_after_s)
        return "acted" if plan.actions or plan.status else "unchanged"

    def _waited_enough(self, key: ObjectKey) -> bool:
        """Note that `key` is held; after FRESHNESS_S_MAX ask for new lists, and after as long again let it go."""
        now = self._clock.monotonic()
        left_s = self._held.setdefault(key, now) + FRESHNESS_S_MAX - now
        if left_s > 0:
            self.queue.add_after(key, left_s)
            return False
        if key not in self._listing:
            log.warning("own writes not seen: listing again", extra={"controller": self.name, "key": key})
            self._listing.add(key)
            self._held[key] = now
            # Set free by what the lists show, not before.
            for informer in self._informers.values():
                informer.relist()
            self.queue.add_after(key, FRESHNESS_S_MAX)
            return False
        log.warning("own writes not seen in new lists: going on", extra={"controller": self.name, "key": key})
        self._gate.forget(key)
        return True

    async def _settle_doubts(self, key: ObjectKey) -> None:
        """After a write of unknown outcome, ask how far the server is, and wait until the cache is there too."""
        for resource, namespace in self._doubts[key]:
            informer = self._informers.get((resource.group, resource.plural))
            if informer is None:
                continue
            # Nothing has this name: only the version is wanted, and a list without one is a quorum read.
            answer = await self._client.list(resource, namespace, field_selector="metadata.name=-")
            self._gate.wrote(key, resource, int(answer.resource_version), informer.version)
            informer.relist()
        self._doubts.pop(key, None)

    async def _carry_out(self, key: ObjectKey, plan: Plan) -> None:
        failure: _StepFailed | None = None
        try:
            for action in plan.actions:
                await self._perform(key, action)
        except _StepFailed as failed:
            failure = failed
        status = plan.status
        if failure is not None and plan.status_after_failure is not None:
            status = plan.status_after_failure(failure.step, failure.error)
        if status is not None:
            await self._perform(key, status)
        if failure is not None:
            raise failure

    async def _perform(self, key: ObjectKey, action: Action) -> None:
        match action:
            case Emit():
                self._emit(action)
            case Burst():
                await self._burst(key, action)
            case Create() | Patch() | Delete():
                try:
                    await self._step(key, action)
                except asyncio.CancelledError:
                    # The turn took too long: nobody will say what became of this.
                    self._doubt(key, action)
                    raise
                except ApiError as error:
                    if isinstance(error, ServiceUnavailable | Timeout):
                        self._doubt(key, action)
                    if action.failed is not None and not _namespace_is_going(error):
                        self._emit(action.failed(error))
                    if _namespace_is_going(error):
                        return
                    raise _StepFailed(action, error) from error

    def _doubt(self, key: ObjectKey, action: Create | Patch | Delete) -> None:
        about = metadata_of(action.object) if isinstance(action, Create) else action.key
        self._doubts.setdefault(key, []).append((action.resource, about.namespace))

    async def _burst(self, key: ObjectKey, burst: Burst) -> None:
        steps = list(burst.steps)
        size = 1 if burst.slow_start else CONCURRENT_STEPS_MAX
        while steps:
            batch, steps = steps[:size], steps[size:]
            outcomes = await asyncio.gather(*(self._perform(key, step) for step in batch), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
            size = min(size * 2, CONCURRENT_STEPS_MAX)

    async def _step(self, key: ObjectKey, step: Create | Patch | Delete) -> None:
        match step:
            case Create():
                try:
                    made = await self._client.create(step.resource, step.object)
                except AlreadyExists:
                    # Our own, from before a restart or unseen as yet; else the next turn will see whose it is.
                    self.queue.add_after(key, 1.0)
                    return
                self._wrote(key, step.resource, made)
                if step.done is not None:
                    self._emit(step.done(made))
            case Patch():
                if step.guard is not None and not await self._holds(step.guard):
                    return
                try:
                    changed = await self._client.patch(
                        step.resource, step.key, step.patch, subresource=step.subresource
                    )
                except NotFound:
                    return
                self._wrote(key, step.resource, changed)
                if step.done is not None:
                    self._emit(step.done)
            case Delete():
                try:
                    await self._client.delete(
                        step.resource,
                        step.key,
                        grace_period_s=step.grace_period_s,
                        propagation=step.propagation,
                        uid=step.uid,
                        resource_version=step.resource_version,
                    )
                except NotFound:
                    pass
                except Conflict:
                    if step.resource_version:
                        raise
                else:
                    if step.done is not None:
                        self._emit(step.done)
                informer = self._informers.get((step.resource.group, step.resource.plural))
                shown = informer.store.get(step.key) if informer is not None else None
                if shown is not None:
                    metadata = metadata_of(shown)
                    if metadata.uid == step.uid and not metadata.deletion_timestamp:
                        self._gate.deleted(key, step.resource, step.key, step.uid)

    def _wrote(self, key: ObjectKey, resource: Resource[Any], obj: Struct) -> None:
        informer = self._informers.get((resource.group, resource.plural))
        if informer is not None:
            version = int(metadata_of(obj).resource_version or 0)
            self._gate.wrote(key, resource, version, informer.version)

    async def _holds(self, guard: Guard) -> bool:
        try:
            metadata = metadata_of(await self._client.get(guard.resource, guard.key))
        except NotFound:
            return False
        return metadata.uid == guard.uid and not metadata.deletion_timestamp

    def _emit(self, emit: Emit) -> None:
        about: Struct | ObjectReference = emit.about
        self._recorder.event_from(emit.component or self.name, about, emit.type, emit.reason, emit.message)


def _informer(informers: Informers, watch: Watch[Any]) -> Informer[Any]:
    if watch.is_metadata_enough:
        return informers.find(watch.resource) or informers.of(metadata_only(watch.resource))
    return informers.of(watch.resource, field_selector=watch.field_selector)


def _namespace_is_going(error: ApiError) -> bool:
    """Whether a create was refused because its namespace is being deleted: nothing to report or to retry."""
    return isinstance(error, Forbidden) and any(cause.reason == "NamespaceTerminating" for cause in error.causes)
