"""All controllers over the real API server and a store in memory, on virtual time, with the smallest of kubelets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from api import timestamps
from api.apps import deployment as deployments
from api.apps import replicaset as replicasets
from api.coordination import lease as leases
from api.core import binding
from api.core import node as nodes
from api.core import pod as pods
from api.core.node_matching import selects
from api.errors import ApiError, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.app import build
from apiserver.request import User
from client.verbs import Client
from component.clock import LoopClock
from controllers.manager import Process, Settings
from tests.first_start import started_store
from tests.simulation.server import ADMIN, VerbTransport

CONTROLLERS = User("system:kube-controller-manager", groups=("system:authenticated",))


class World:
    """What a test holds."""

    def __init__(self, api: Any, settings: Settings) -> None:
        self.clock = LoopClock()
        self.client = Client(VerbTransport(api, ADMIN))
        self.settings = settings
        self._controllers = Client(VerbTransport(api, CONTROLLERS))
        self.process: Process | None = None
        self.silent: set[str] = set()
        """Nodes whose kubelets say nothing and do nothing."""
        self.unready: Callable[[pods.Pod], bool] = lambda pod: False
        self._address = 0
        self._task: asyncio.Task[None] | None = None

    async def start_controllers(self) -> None:
        self.process = Process(self._controllers, self.settings, self.clock, random.Random(2), None)
        self._task = asyncio.ensure_future(self.process.run())
        await asyncio.sleep(0.5)

    async def stop_controllers(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def add_node(self, name: str) -> None:
        node = nodes.Node(metadata=ObjectMeta(name=name))
        await self.client.create(nodes.RESOURCE, node)
        lease = leases.Lease(metadata=ObjectMeta(namespace="kube-node-lease", name=name))
        await self.client.create(leases.RESOURCE, lease)

    async def kubelets(self) -> None:
        """Twice a second, for every pod: bind it, start it, or let it go; and heartbeats."""
        while True:
            with suppress(ApiError):
                await self._turn()
            await asyncio.sleep(0.5)

    async def _turn(self) -> None:
        now = timestamps.render(self.clock.now())
        alive: dict[str, nodes.Node] = {}
        for node in (await self.client.list(nodes.RESOURCE)).items:
            name = node.metadata.name
            if name in self.silent:
                continue
            if not any(taint.effect == "NoSchedule" for taint in node.spec.taints):
                alive[name] = node
            key = ObjectKey("kube-node-lease", name)
            micro = timestamps.render_micro(self.clock.now())
            await self.client.patch(leases.RESOURCE, key, {"spec": {"holderIdentity": name, "renewTime": micro}})
            if not any(c.type == "Ready" and c.status == "True" for c in node.status.conditions):
                ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "reason": "KubeletReady"}
                change = {"status": {"conditions": [ready]}}
                await self.client.patch(nodes.RESOURCE, ObjectKey("", name), change, subresource="status")
        for pod in (await self.client.list(pods.RESOURCE)).items:
            key = ObjectKey(pod.metadata.namespace, pod.metadata.name)
            if pod.metadata.deletion_timestamp and pod.spec.node_name not in self.silent:
                with suppress(NotFound):
                    await self.client.delete(pods.RESOURCE, key, grace_period_s=0, uid=pod.metadata.uid)
                continue
            fitting = [name for name, node in alive.items() if selects(pod.spec, node)]
            if not pod.spec.node_name and fitting:
                target = {"apiVersion": "v1", "kind": "Node", "name": fitting[hash(pod.metadata.uid) % len(fitting)]}
                body = {"metadata": {"name": key.name}, "target": target}
                await self.client.create_subresource(
                    pods.RESOURCE, key, "binding", msgspec.convert(body, binding.Binding)
                )
            elif pod.spec.node_name in alive and not pod.status.pod_ip:
                self._address += 1
                ready = "False" if self.unready(pod) else "True"
                status = {
                    "phase": "Running",
                    "podIP": f"10.244.0.{self._address}",
                    "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}],
                }
                await self.client.patch(pods.RESOURCE, key, {"status": status}, subresource="status")

    async def until(self, holds: Callable[[], Any], within_s: float = 60.0) -> None:
        """Wait until `holds` is true or becomes so, or fail."""
        end = self.clock.monotonic() + within_s
        while True:
            try:
                if await holds():
                    return
            except NotFound:
                pass
            assert self.clock.monotonic() < end, "it never came about"
            await asyncio.sleep(0.2)

    async def deployment(self, name: str = "web") -> deployments.Deployment:
        return await self.client.get(deployments.RESOURCE, ObjectKey("default", name))

    async def replica_sets(self) -> list[replicasets.ReplicaSet]:
        return (await self.client.list(replicasets.RESOURCE, "default")).items

    async def pods(self) -> list[pods.Pod]:
        return (await self.client.list(pods.RESOURCE, "default")).items


@asynccontextmanager
async def world(node_names: tuple[str, ...] = ("n1", "n2", "n3"), **settings: Any) -> AsyncIterator[World]:
    """Yield a running world."""
    api = build(started_store(), LoopClock(), random.Random(1))
    serving = asyncio.ensure_future(api.run())
    await api.wait_ready()
    made = World(api, Settings(root_ca="CERTIFICATE", **settings))
    await made.start_controllers()
    for name in node_names:
        await made.add_node(name)
    kubelets = asyncio.ensure_future(made.kubelets())
    try:
        yield made
    finally:
        await made.stop_controllers()
        for task in (kubelets, serving):
            task.cancel()
        await asyncio.gather(kubelets, serving, return_exceptions=True)
