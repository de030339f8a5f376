"""The simulated cluster: a store in memory, the real server, and processes that can crash.

A crash takes a process's tasks and everything it remembered; what it had on its way stops mid-sentence. Its next
life is built from nothing, as a supervisor would start it. The store and the nodes' containers are the machines', and
stay.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from api.apps import replicaset as replicasets
from api.apps.replicaset import ReplicaSet, ReplicaSetSpec
from api.core import pod as pods
from api.core import serviceaccount as accounts
from api.core.containers import Container, ResourceRequirements
from api.core.pod import Pod, PodSpec, PodTemplateSpec
from api.core.serviceaccount import ServiceAccount
from api.errors import ApiError
from api.meta import LabelSelector, ObjectMeta
from api.resource import ObjectKey
from apiserver.request import User
from client.events import EventRecorder
from client.informer import Informers
from client.leader_election import LeaderElector, LeadershipLost
from client.verbs import Client
from component.clock import LoopClock
from controllers import node_lifecycle
from controllers import replicaset as replicaset_controller
from controllers.runner import Runner
from scheduler.metrics import Metrics
from scheduler.scheduler import Scheduler
from store.local import LocalStore
from tests.simulation.loop import EPOCH_S, fork
from tests.simulation.network import Network, SimulatedTransport
from tests.simulation.runtime import SimulatedNode
from tests.simulation.server import ADMIN, ApiServer, VerbTransport

WEB = ObjectKey("default", "web")
NODE_GRACE_S, EVICTION_AFTER_S = 50.0, 300.0

Record = tuple[float, str, int, str]
"""When, which key, at which revision, and a digest of its value: one line of the trace."""


@dataclass(frozen=True, slots=True)
class Write:
    """One change of the store: the objects' JSON before and after, None where there is none."""

    key: str
    revision: int
    before: bytes | None
    after: bytes | None


Observer = Callable[[Write], None]
"""Told of every write, in order."""


class Process:
    """Something that runs, crashes and is started again."""

    def __init__(
        self, name: str, live: Callable[[], tuple[Coroutine[Any, Any, None], SimulatedTransport | None]]
    ) -> None:
        self.name = name
        self.lives = 0
        self._live = live
        self._task: asyncio.Task[None] | None = None
        self._transport: SimulatedTransport | None = None

    def start(self) -> None:
        """Begin a life."""
        assert self._task is None, f"{self.name} runs already"
        work, self._transport = self._live()
        self.lives += 1
        self._task = asyncio.get_running_loop().create_task(work, name=self.name)

    async def crash(self) -> None:
        """End the life at once; returns when nothing of it is left. A bug that ended it earlier is raised here."""
        if self._task is None:
            return
        if self._transport is not None:
            self._transport.is_dead = True
        task, self._task = self._task, None
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return
        except BaseExceptionGroup as errors:
            # A process that loses leadership ends by itself, and is meant to.
            others = errors.split(LeadershipLost)[1]
            if others is not None:
                raise others from None

    @property
    def is_alive(self) -> bool:
        """Whether it was started and has not crashed; it may have ended by itself."""
        return self._task is not None

    @property
    def has_ended(self) -> bool:
        """Whether it stopped by itself, as one does that loses leadership; a supervisor starts it again."""
        return self._task is not None and self._task.done()


class Cluster:
    """Everything, wired. Make it with `running`."""

    def __init__(self, rng: random.Random, node_count: int) -> None:
        self.clock = LoopClock(EPOCH_S)
        self.store = LocalStore()
        self.server = ApiServer(self.store, self.clock, fork(rng, "apiserver"))
        self.network = Network(fork(rng, "network"), self.server)
        self.nodes = {f"node-{n}": SimulatedNode(f"node-{n}", n, self.clock) for n in range(1, node_count + 1)}
        self.trace: list[Record] = []
        self.observers: list[Observer] = []
        self.violations: list[str] = []
        self._rng = fork(rng, "processes")
        self.processes: dict[str, Process] = {}
        self._add("apiserver", lambda: (self.server.run(), None))
        self._add("controllers", self._controllers)
        self._add("scheduler", self._scheduler)
        for name in self.nodes:
            self._add(f"kubelet-{name}", self._kubelet(name))

    def admin(self) -> Client:
        """Return a client that reaches the server without a network, as the one who tests."""
        endpoint = self.server.endpoint
        assert endpoint is not None, "the server is down"
        return Client(VerbTransport(endpoint.api, ADMIN))

    async def pods(self) -> Sequence[Pod]:
        """Return all pods, as they are now."""
        return (await self.admin().list(pods.RESOURCE)).items

    def broken(self, what: str) -> None:
        """Note that an invariant does not hold; the run fails in the end, with everything that was noted."""
        self.violations.append(f"{asyncio.get_running_loop().time():.3f}  {what}")

    def fingerprint(self) -> str:
        """Return a digest of everything that was written, when and in which order."""
        return hashlib.sha256(repr(self.trace).encode()).hexdigest()

    async def replicaset(self) -> ReplicaSet:
        """Return the ReplicaSet, as it is now."""
        return await self.admin().get(replicasets.RESOURCE, WEB)

    async def set_replicas(self, count: int) -> None:
        """Change the ReplicaSet's size."""
        patch = {"spec": {"replicas": count}}
        await self.admin().patch(replicasets.RESOURCE, WEB, patch)

    def _add(self, name: str, live: Any) -> None:
        self.processes[name] = Process(name, live)

    def _client(self, process: str, user: User) -> tuple[Client, SimulatedTransport]:
        transport = self.network.link(process, user)
        return Client(transport), transport

    def _controllers(self) -> tuple[Coroutine[Any, Any, None], SimulatedTransport]:
        rng = fork(self._rng, "controllers")
        client, transport = self._client("controllers", _user("system:kube-controller-manager"))
        informers = Informers(client, clock=self.clock, rng=rng)
        recorder = EventRecorder(client, "controllers", clock=self.clock, rng=rng)
        # A node that registers may take no pods until somebody has seen it Ready.
        lifecycle = node_lifecycle.controller(node_lifecycle.Heartbeats(self.clock), NODE_GRACE_S, EVICTION_AFTER_S)
        runners = [
            Runner(each, informers, client, recorder, clock=self.clock, rng=rng)
            for each in (replicaset_controller.CONTROLLER, lifecycle)
        ]
        return _together(informers.run(), recorder.run(), *(each.run() for each in runners)), transport

    def _scheduler(self) -> tuple[Coroutine[Any, Any, None], SimulatedTransport]:
        rng = fork(self._rng, "scheduler")
        client, transport = self._client("scheduler", _user("system:kube-scheduler"))
        informers = Informers(client, clock=self.clock, rng=rng)
        recorder = EventRecorder(client, "default-scheduler", clock=self.clock, rng=rng)
        metrics = Metrics()
        scheduler = Scheduler(client, informers, recorder, clock=self.clock, metrics=metrics)
        lease = ObjectKey("kube-system", "steer-scheduler")
        life = f"scheduler-{rng.getrandbits(32):x}"
        elector = LeaderElector(client, lease, life, clock=self.clock, rng=rng)
        return _together(informers.run(), recorder.run(), elector.run(scheduler.run)), transport

    def _kubelet(self, node: str) -> Callable[[], tuple[Coroutine[Any, Any, None], SimulatedTransport]]:
        def live() -> tuple[Coroutine[Any, Any, None], SimulatedTransport]:
            rng = fork(self._rng, node)
            client, transport = self._client(f"kubelet-{node}", _user(f"system:node:{node}", "system:nodes"))
            return self.nodes[node].kubelet(client, rng).run(), transport

        return live

    async def supervise(self) -> None:
        """Start again what ended by itself, as the supervisor does."""
        while True:
            await asyncio.sleep(1)
            for process in self.processes.values():
                if process.has_ended:
                    await process.crash()
                    process.start()

    async def watch_store(self) -> None:
        """Write the trace and tell the observers, straight from the store."""
        loop = asyncio.get_running_loop()
        async for batch in self.store.watch(b"/registry/"):
            for event in batch.events:
                key = event.kv.key.decode()
                digest = hashlib.sha256(event.kv.value).hexdigest()[:12]
                self.trace.append((round(loop.time(), 9), key, event.kv.mod_revision, digest))
                before = event.prev_kv.value if event.prev_kv is not None else None
                write = Write(key, event.kv.mod_revision, before, event.kv.value or None)
                for observe in self.observers:
                    observe(write)

    async def populate(self) -> None:
        """Make what controllers left out here would: a default account; and an empty ReplicaSet."""
        admin = self.admin()
        account = ServiceAccount(metadata=ObjectMeta(name="default", namespace="default"))
        await _once_allowed(lambda: admin.create(accounts.RESOURCE, account))
        await _once_allowed(lambda: admin.create(replicasets.RESOURCE, _web()))


@asynccontextmanager
async def running(rng: random.Random, *, nodes: int = 3) -> AsyncIterator[Cluster]:
    """Start a cluster, populated and on a good network; stop it at the end."""
    cluster = Cluster(rng, nodes)
    loop = asyncio.get_running_loop()
    helpers = [loop.create_task(cluster.watch_store(), name="store observer")]
    cluster.processes["apiserver"].start()
    try:
        await until(lambda: cluster.server.endpoint is not None, within_s=30)
        await cluster.populate()
        for process in cluster.processes.values():
            if process.name != "apiserver":
                process.start()
        helpers.append(loop.create_task(cluster.supervise(), name="supervisor"))
        yield cluster
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        for process in reversed(cluster.processes.values()):
            await process.crash()


async def until(holds: Callable[[], Any], *, within_s: float) -> float:
    """Wait until `holds()`, or what it returns once awaited, is true; return how long that took in virtual seconds.

    Raises:
        AssertionError: it is not true in time.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        answer = holds()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return loop.time() - began
        assert loop.time() - began < within_s, f"not reached within {within_s} s: {holds}"
        await asyncio.sleep(0.25)


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


async def _once_allowed(create: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Create something as soon as the caches that admission reads know what it depends on."""
    for _ in range(100):
        try:
            await create()
            return
        except ApiError as error:
            last = error
            await asyncio.sleep(0.1)
    raise last


def _user(name: str, *groups: str) -> User:
    return User(name, groups=(*groups, "system:authenticated"))


def _web() -> ReplicaSet:
    labels = {"app": "web"}
    requests = {"cpu": "100m", "memory": "64Mi"}
    container = Container(name="web", image="web:1", resources=ResourceRequirements(requests=requests))
    template = PodTemplateSpec(metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=[container]))
    spec = ReplicaSetSpec(replicas=0, selector=LabelSelector(match_labels=labels), template=template)
    return ReplicaSet(metadata=ObjectMeta(name=WEB.name, namespace=WEB.namespace), spec=spec)


def decode_pod(value: bytes | None) -> Pod | None:
    """Return the pod that the store holds as `value`."""
    return _POD.decode(value) if value else None


_POD = msgspec.json.Decoder(Pod)
