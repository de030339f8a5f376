"""What the scheduler does when its own parts fail; all else is seen in the simulation."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from api.core.pod import Pod
from api.errors import NotFound, ServiceUnavailable
from client.informer import Informers
from client.verbs import Address, Client, EventType, RawEvent, RawList, RawObject
from component.clock import LoopClock
from scheduler.framework import SUCCESS, ClusterEvent, CycleState, Status
from scheduler.metrics import Metrics
from scheduler.profile import Profile
from scheduler.scheduler import Scheduler
from scheduler.snapshot import NodeView, PodView
from tests.unit.scheduler.builders import node, pod


class Server:
    """An API server of one node and a few pods, which can lose the answer to a binding."""

    def __init__(self, *pods: PodView) -> None:
        self.pods = {each.key.name: each.pod for each in pods}
        self.bindings: list[tuple[str, str]] = []
        self.answers_lost = 0
        self._news: asyncio.Queue[RawEvent] = asyncio.Queue()
        self._version = 1

    async def get(self, address: Address, options: Mapping[str, str] = {}) -> RawObject:
        if address.name not in self.pods:
            raise NotFound("gone")
        return RawObject(msgspec.json.encode(self.pods[address.name]), "1")

    async def list(self, address: Address, **_: str) -> RawList:
        found: list[Any] = [node("n1").node] if address.plural == "nodes" else list(self.pods.values())
        return RawList([RawObject(msgspec.json.encode(each), "1") for each in found], "1")

    async def create(self, address: Address, json: bytes) -> RawObject:
        target = msgspec.json.decode(json)["target"]["name"]
        self.bindings.append((address.name, target))
        bound: Pod = msgspec.convert(msgspec.to_builtins(self.pods[address.name]), Pod)
        bound.spec.node_name = target
        self._version += 1
        bound.metadata.resource_version = str(self._version)
        self.pods[address.name] = bound
        if self.answers_lost:
            self.answers_lost -= 1
            raise ServiceUnavailable("lost")
        self._news.put_nowait(RawEvent(EventType.MODIFIED, msgspec.json.encode(bound), str(self._version)))
        return RawObject(b"{}", "")

    async def update(self, address: Address, json: bytes) -> RawObject:
        raise NotImplementedError

    async def patch(self, address: Address, patch: bytes, content_type: str) -> RawObject:
        return await self.get(address)

    async def delete(self, address: Address, options: bytes) -> RawObject:
        raise NotImplementedError

    async def watch(self, address: Address, **_: str) -> AsyncIterator[Sequence[RawEvent]]:
        while address.plural == "pods":
            yield [await self._news.get()]
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        return


class Told:
    """A recorder that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.awaited = 0
        self.heard = asyncio.Event()

    def event(self, about: Any, type: str, reason: str, message: str, *, field_path: str = "") -> None:
        self.events.append((about.metadata.name, reason))
        if len(self.events) >= self.awaited:
            self.heard.set()


class Clumsy:
    """A plugin that fails for one pod."""

    name = "Clumsy"
    helped_by = ClusterEvent(0)

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        if pod.key.name == "cursed":
            raise KeyError("a mistake")
        return SUCCESS


async def run_for_a_moment(server: Server, told: Told, wanted: int) -> None:
    told.awaited = wanted
    clock = LoopClock()
    client = Client(server)
    informers = Informers(client, clock=clock, rng=random.Random(1))
    profile = Profile("default-scheduler", ((Clumsy(), 0),))
    metrics = Metrics()
    scheduler = Scheduler(client, informers, told, clock=clock, metrics=metrics, profiles=[profile])
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        tasks = [group.create_task(informers.run()), group.create_task(scheduler.run())]
        await told.heard.wait()
        for task in tasks:
            task.cancel()


async def test_a_mistake_about_one_pod_leaves_the_others_served() -> None:
    server, told = Server(pod("cursed"), pod("a"), pod("b")), Told()
    await run_for_a_moment(server, told, 2)
    assert sorted(server.bindings) == [("a", "n1"), ("b", "n1")]


async def test_a_binding_whose_answer_was_lost_is_asked_after_and_not_repeated() -> None:
    server, told = Server(pod("a")), Told()
    server.answers_lost = 1
    await run_for_a_moment(server, told, 1)
    assert server.bindings == [("a", "n1")]
    assert told.events == [("a", "Scheduled")]
