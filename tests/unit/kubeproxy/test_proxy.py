from __future__ import annotations

import asyncio
import random
import socket
from typing import Any, cast

from api.core import service as services
from client.informer import Informers
from client.verbs import Client
from component.clock import RealClock
from kubeproxy.proxy import Proxy
from kubeproxy.restore import Iptables
from kubeproxy.rules import TABLES
from tests.unit.client.memory_api import MemoryApi
from tests.unit.kubeproxy.builders import NODE, service


class Kernel:
    """Takes all rules, and has none."""

    chains_per_call = 1_000_000

    async def read(self) -> tuple[dict[str, list[str]], list[Any]]:
        return {table: [] for table in TABLES}, []

    async def apply(self, text: str) -> None:
        return


async def test_a_health_check_port_that_a_predecessor_had_is_opened_though_nothing_changes():
    client = Client(MemoryApi())
    informers = Informers(client, clock=RealClock(), rng=random.Random(1))
    proxy = Proxy(NODE, informers, cast(Iptables, Kernel()), None, RealClock())
    running = asyncio.ensure_future(informers.run())
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        balanced = service(type="LoadBalancer", external_traffic_policy="Local", health_check_node_port=port)
        await client.create(services.RESOURCE, balanced)
        await informers.wait_synced()
        await proxy.sync()
    await proxy.sync()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
