"""The loop: what it writes to the kernel when the cluster changes."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from api.core import node as node_api
from api.core import service as service_api
from api.core.node import Node
from api.discovery import endpointslice as slice_api
from api.meta import ObjectMeta
from client.informer import Informers
from client.verbs import Client
from component.clock import RealClock
from kubeproxy.conntrack import Conntrack
from kubeproxy.proxy import Proxy
from tests.unit.client.memory_api import MemoryApi
from tests.unit.kubeproxy.builders import NODE, endpoint, endpoint_slice, service
from tests.unit.kubeproxy.kernel import Kernel, KernelTables


class Flows(Conntrack):
    """No flows at all."""

    async def _run(self, *arguments: str) -> str:
        return ""


class Bench:
    """A proxy that writes to a kernel in memory."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.client = Client(MemoryApi())
        self.informers = Informers(self.client, clock=RealClock(), rng=random.Random())
        self.proxy = Proxy(NODE, self.informers, KernelTables(self.kernel), None, RealClock(), Flows())

    async def until(self, claim: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not claim():  # noqa: ASYNC110 - what it waits for is what the proxy wrote
                await asyncio.sleep(0.01)

    def text(self) -> str:
        return self.kernel.save()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    one = Bench()
    await one.client.create(node_api.RESOURCE, node("a"))
    await one.client.create(service_api.RESOURCE, service())
    near, far = endpoint("10.244.1.1", zones=("a",)), endpoint("10.244.1.2", zones=("b",))
    await one.client.create(slice_api.RESOURCE, endpoint_slice(near, far))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.informers.run()), group.create_task(one.proxy.run())]
        await one.until(lambda: one.proxy.last_error is None)
        yield one
        for task in tasks:
            task.cancel()


def node(zone: str) -> Node:
    return Node(metadata=ObjectMeta(name=NODE.name, labels={"topology.kubernetes.io/zone": zone}))


async def test_the_nodes_own_label_says_which_zone_it_is_in_and_a_change_moves_traffic(bench):
    assert "10.244.1.1:8080" in bench.text()
    assert "10.244.1.2:8080" not in bench.text()
    await bench.client.update(node_api.RESOURCE, node("b"))
    await bench.until(lambda: "10.244.1.2:8080" in bench.text())
    assert "10.244.1.1:8080" not in bench.text()


async def test_a_health_check_port_that_a_predecessor_had_is_opened_though_nothing_changes():
    one = Bench()
    running = asyncio.ensure_future(one.informers.run())
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        balanced = service(type="LoadBalancer", external_traffic_policy="Local", health_check_node_port=port)
        await one.client.create(service_api.RESOURCE, balanced)
        await one.informers.wait_synced()
        await one.proxy.sync()
    await one.proxy.sync()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
