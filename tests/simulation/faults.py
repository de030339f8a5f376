"""What goes wrong, and what users do meanwhile, drawn from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from api.core import pod as pods
from api.errors import ApiError
from client.verbs import key_of
from proto.cri import api_pb2 as pb
from store.client import Compacted
from tests.simulation.cluster import Cluster, Process
from tests.simulation.network import Weather


class Storm:
    """Faults and load for a while; afterwards `calm` mends everything."""

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        self._cluster = cluster
        self._rng = rng
        self.log: list[str] = []
        """What was done, for the report of a failure."""

    async def blow(self, duration_s: float) -> None:
        """Do something every other second."""
        loop = asyncio.get_running_loop()
        end = loop.time() + duration_s
        deeds: list[tuple[int, Callable[[], Awaitable[str]]]] = [
            (4, self._crash),
            (2, self._change_weather),
            (2, self._partition),
            (4, self._scale),
            (3, self._delete_pod),
            (2, self._end_container),
            (1, self._compact),
        ]
        async with asyncio.TaskGroup() as self._group:
            while loop.time() < end:
                await asyncio.sleep(self._rng.expovariate(0.5))
                weights = [weight for weight, _ in deeds]
                deed = self._rng.choices([deed for _, deed in deeds], weights)[0]
                self.log.append(f"{loop.time():8.3f}  {await deed()}")

    async def calm(self) -> None:
        """Mend the network and start what is down; what users wanted stays."""
        self._cluster.network.weather = Weather()
        for process in self._cluster.processes.values():
            if not process.is_alive:
                process.start()

    async def _crash(self) -> str:
        process = self._rng.choice(list(self._cluster.processes.values()))
        if not process.is_alive:
            return f"{process.name} is down already"
        await process.crash()
        down_s = self._rng.uniform(0, 8)
        self._group.create_task(self._restart(process, down_s))
        return f"{process.name} crashes, for {down_s:.1f} s"

    async def _restart(self, process: Process, down_s: float) -> None:
        await asyncio.sleep(down_s)
        if not process.is_alive:
            process.start()

    async def _change_weather(self) -> str:
        weather = self._cluster.network.weather
        weather.delay_s_max = self._rng.choice([0.005, 0.05, 0.5])
        weather.loss = self._rng.choice([0, 0.05, 0.2])
        weather.cut = self._rng.choice([0, 0.05, 0.2])
        return f"the network delays up to {weather.delay_s_max} s, loses {weather.loss}, cuts {weather.cut}"

    async def _partition(self) -> str:
        name = self._rng.choice([name for name in self._cluster.processes if name != "apiserver"])
        away_s = self._rng.uniform(1, 20)
        partitioned = self._cluster.network.weather.partitioned
        partitioned.add(name)
        asyncio.get_running_loop().call_later(away_s, partitioned.discard, name)
        return f"{name} reaches nobody, for {away_s:.1f} s"

    async def _scale(self) -> str:
        # More than fits: some pods find no node, until others go.
        count = self._rng.choice([0, 1, 5, 10, 20, 45])
        return await self._as_user(f"scale to {count}", lambda: self._cluster.set_replicas(count))

    async def _delete_pod(self) -> str:
        if self._cluster.server.endpoint is None:
            return "delete a pod: the server is down"
        found = await self._cluster.pods()
        if not found:
            return "delete a pod: there is none"
        victim = self._rng.choice(found)
        # By force, the pod is gone before its node has heard of it.
        force = self._rng.random() < 0.3
        delete = self._cluster.admin().delete
        what = f"delete {victim.metadata.name}" + (" by force" if force else "")
        return await self._as_user(
            what, lambda: delete(pods.RESOURCE, key_of(victim), grace_period_s=0 if force else None)
        )

    async def _end_container(self) -> str:
        node = self._rng.choice(list(self._cluster.nodes.values()))
        running = [each for each in await node.cri.list_containers() if each.state == pb.CONTAINER_RUNNING]
        if not running:
            return f"end a container on {node.name}: there is none"
        victim = self._rng.choice(running)
        code = self._rng.choice([0, 1, 137])
        node.cri.exit(victim.id, code)
        return f"a container on {node.name} ends with {code}"

    async def _compact(self) -> str:
        revision = (await self._cluster.store.status()).revision
        with contextlib.suppress(Compacted):
            await self._cluster.store.compact(revision)
        return f"the store forgets what was before {revision}"

    async def _as_user(self, what: str, do: Callable[[], Awaitable[None]]) -> str:
        if self._cluster.server.endpoint is None:
            return f"{what}: the server is down"
        try:
            await do()
        except ApiError as error:
            return f"{what}: {error}"
        return what
