"""The network between a process and the API server: it delays, loses and cuts, as the seed says.

A `SimulatedTransport` is what `client.verbs.Client` is given in place of gRPC. Requests reach the server's own verbs;
an answer may be lost after the work was done, which is the case that programs get wrong. The order of one watch's
batches is kept, as TCP would.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.errors import ServiceUnavailable
from apiserver.request import User
from client.verbs import Address, RawEvent, RawList, RawObject
from tests.simulation.server import ApiServer, Endpoint, VerbTransport

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """One watch, as a process asked for it; equal to no other."""

    number: int
    process: str
    address: Address
    selectors: str
    """Empty when everything of the kind was asked for."""
    after: int
    """The resourceVersion it begins after."""


Tap = Callable[[WatchRequest, Sequence[RawEvent]], None]
"""Told of every batch that a process gets."""


@dataclass(slots=True)
class Weather:
    """How bad the network is at the moment; all zero is a good day."""

    delay_s_max: float = 0.02
    loss: float = 0.0
    """Of requests, before or after the server has done the work."""
    cut: float = 0.0
    """Of watch batches, each of which may be the last of its watch."""
    partitioned: set[str] = field(default_factory=set)
    """Processes that reach nobody."""


class Network:
    """All links; one `Weather` for all of them."""

    def __init__(self, rng: random.Random, server: ApiServer) -> None:
        self.rng = rng
        self.server = server
        self.weather = Weather()
        self.taps: list[Tap] = []
        self.at_work: set[asyncio.Future[Any]] = set()
        """What the server is doing for clients that may have given up."""
        self._watches = 0

    def link(self, process: str, user: User) -> SimulatedTransport:
        """Return a transport for `process`, which the server knows as `user`."""
        return SimulatedTransport(self, process, user)

    def new_watch(self) -> int:
        """Return a number for a watch."""
        self._watches += 1
        return self._watches


class SimulatedTransport:
    """`client.verbs.Transport` over a `Network`."""

    def __init__(self, network: Network, process: str, user: User) -> None:
        self._network = network
        self._process = process
        self._user = user
        self.is_dead = False
        """The process has crashed: what is left of it can no longer say anything."""

    async def get(self, address: Address, options: Mapping[str, str] = {}) -> RawObject:
        return await self._call(lambda server: server.get(address, options))

    async def list(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> RawList:
        return await self._call(
            lambda server: server.list(
                address,
                label_selector=label_selector,
                field_selector=field_selector,
                resource_version=resource_version,
            )
        )

    async def create(self, address: Address, json: bytes) -> RawObject:
        return await self._call(lambda server: server.create(address, json))

    async def update(self, address: Address, json: bytes) -> RawObject:
        return await self._call(lambda server: server.update(address, json))

    async def patch(self, address: Address, patch: bytes, content_type: str) -> RawObject:
        return await self._call(lambda server: server.patch(address, patch, content_type))

    async def delete(self, address: Address, options: bytes) -> RawObject:
        return await self._call(lambda server: server.delete(address, options))

    async def watch(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> AsyncIterator[Sequence[RawEvent]]:
        selectors = f"{label_selector}{field_selector}"
        after = int(resource_version or 0)
        request = WatchRequest(self._network.new_watch(), self._process, address, selectors, after)
        await self._travel()
        endpoint = self._endpoint()
        batches = VerbTransport(endpoint.api, self._user).watch(
            address, label_selector=label_selector, field_selector=field_selector, resource_version=resource_version
        )
        try:
            while True:
                batch = await self._unless_it_crashes(endpoint, anext(batches))
                await self._travel()
                if self._draw() < self._network.weather.cut:
                    raise ServiceUnavailable("the connection broke")
                for tap in self._network.taps:
                    tap(request, batch)
                yield batch
        finally:
            await batches.aclose()

    async def close(self) -> None:
        return

    async def _call(self, do: Callable[[VerbTransport], Coroutine[Any, Any, A]]) -> A:
        """Carry a request there and its answer back.

        A client that gives up, or dies, does not undo what the server is doing.
        """
        await self._travel()
        if self._draw() < self._network.weather.loss / 2:
            await self._vanish()
        endpoint = self._endpoint()
        answer = await self._unless_it_crashes(endpoint, do(VerbTransport(endpoint.api, self._user)), goes_on=True)
        await self._travel()
        if self._draw() < self._network.weather.loss / 2:
            await self._vanish()
        return answer

    async def _unless_it_crashes(self, endpoint: Endpoint, work: Coroutine[Any, Any, A], goes_on: bool = False) -> A:
        """Return what `work` at the server does; raise ServiceUnavailable if the server crashes first."""
        task = asyncio.ensure_future(work)
        self._network.at_work.add(task)
        task.add_done_callback(self._network.at_work.discard)
        try:
            await asyncio.wait([task, endpoint.crashed], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not goes_on:
                await _cancel(task)
            raise
        if not task.done():
            await _cancel(task)
            raise ServiceUnavailable("the connection broke")
        return task.result()

    def _endpoint(self) -> Endpoint:
        endpoint = self._network.server.endpoint
        if endpoint is None:
            raise ServiceUnavailable("connection refused")
        return endpoint

    async def _travel(self) -> None:
        if self.is_dead:
            raise ServiceUnavailable("the process is dead")
        await asyncio.sleep(self._draw() * self._network.weather.delay_s_max)
        if self._process in self._network.weather.partitioned:
            await self._vanish()

    async def _vanish(self) -> None:
        """Let the connection die, as its owner finds out by keepalive."""
        await asyncio.sleep(1 + 9 * self._draw())
        raise ServiceUnavailable("the connection was lost")

    def _draw(self) -> float:
        return self._network.rng.random()


async def _cancel(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
