"""What goes wrong half way, or a kubelet that ends at the worst moment, is made good: over containers in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from api.coordination import lease as leases
from api.core import pod as pods
from api.errors import Forbidden
from api.resource import ObjectKey
from client.verbs import Address, RawObject
from kubelet.node_lease import NAMESPACE, NodeLease
from kubelet.probes.prober import HollowProber
from kubelet.probes.streak import Result
from kubelet.runtime.cri import RuntimeUnavailable
from proto.cri import api_pb2 as pb
from tests.local_transport import LocalTransport
from tests.unit.kubelet.test_kubelet import NODE_USER, WEB, World, is_running, world

pytestmark = pytest.mark.looptime

HOOKED = {"name": "main", "image": "i:1", "lifecycle": {"preStop": {"exec": {"command": ["goodbye"]}}}}


class Hooks:
    """The commands run in containers: each takes `seconds`, and is cut off by a runtime that `is_away`."""

    def __init__(self, w: World, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.is_away = False
        self.begun = 0
        self.done = 0
        w.cri.exec_sync = self.exec_sync  # type: ignore[method-assign]
        self._stop = w.cri.stop_container
        w.cri.stop_container = self.stop_container  # type: ignore[method-assign]

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: int) -> pb.ExecSyncResponse:
        self.begun += 1
        await asyncio.sleep(self.seconds)
        self._check()
        self.done += 1
        return pb.ExecSyncResponse(exit_code=0)

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        self._check()
        await self._stop(container_id, timeout_s)

    def _check(self) -> None:
        if self.is_away:
            raise RuntimeUnavailable("no container runtime answers")


async def test_a_hook_that_a_runtime_took_with_it_is_run_again():
    async with world() as w:
        hooks = Hooks(w, seconds=1)
        await w.create(containers=[HOOKED])
        await w.until(is_running)
        hooks.is_away = True
        await w.admin.delete(pods.RESOURCE, WEB)
        await asyncio.sleep(5)
        assert hooks.begun > 0
        hooks.is_away = False
        await w.until_gone(within_s=20)
        assert hooks.done == 1
        assert (await w.reasons()).count("Killing") == 1


async def test_a_hook_broken_off_by_a_shorter_grace_period_is_run_again():
    async with world() as w:
        hooks = Hooks(w, seconds=8)
        await w.create(containers=[HOOKED])
        await w.until(is_running)
        await w.admin.delete(pods.RESOURCE, WEB)
        await asyncio.sleep(3)
        await w.admin.delete(pods.RESOURCE, WEB, grace_period_s=20)
        await w.until_gone(within_s=15)
        assert (hooks.begun, hooks.done) == (2, 1)
        assert (await w.reasons()).count("Killing") == 1


class Refusing(LocalTransport):
    """A way to the API server that lets no status of a pod through while it `refuses`."""

    refuses = False

    async def patch(self, address: Address, patch: bytes, content_type: str) -> RawObject:
        if self.refuses and (address.plural, address.subresource) == ("pods", "status"):
            raise Forbidden("not yet")
        return await super().patch(address, patch, content_type)


async def test_how_a_pod_ended_is_told_however_often_that_was_refused():
    async with world() as w:
        transport = Refusing(w.api, NODE_USER)
        await w.crash_kubelet()
        w.start_kubelet(transport=transport)
        await w.create(restartPolicy="Never")
        await w.until(is_running)
        transport.refuses = True
        w.cri.exit(await w.container_id(), 0)
        await asyncio.sleep(60)
        transport.refuses = False
        await w.until(lambda p: p.status.phase == "Succeeded", within_s=15)


async def test_a_pod_whose_status_is_refused_can_be_deleted():
    async with world() as w:
        transport = Refusing(w.api, NODE_USER)
        await w.crash_kubelet()
        w.start_kubelet(transport=transport)
        await w.create()
        await w.until(is_running)
        transport.refuses = True
        await w.admin.delete(pods.RESOURCE, WEB)
        await w.until_gone(within_s=15)


async def test_a_probe_that_breaks_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    async with world() as w:
        asked = 0

        async def ask(*_: Any) -> Result:
            nonlocal asked
            asked += 1
            if asked < 3:
                raise UnicodeError("label too long")
            return Result(True)

        monkeypatch.setattr(HollowProber, "_ask", ask)
        probe = {"tcpSocket": {"port": 80}, "periodSeconds": 5}
        await w.create(containers=[{"name": "main", "image": "i:1", "readinessProbe": probe}])
        await w.until(is_running, within_s=30)
        assert "Unhealthy" in await w.reasons()


async def test_a_runtime_that_has_lost_everything_loses_no_count():
    async with world() as w:
        await w.create()
        for count in (1, 2):
            await w.until(is_running)
            w.cri.exit(await w.container_id(), 1)
            await w.until(lambda p, n=count: is_running(p) and p.status.container_statuses[0].restart_count == n)
        await w.crash_kubelet()
        for sandbox in await w.cri.list_sandboxes():
            await w.cri.remove_sandbox(sandbox.id)
        w.start_kubelet()
        await w.until(lambda p: is_running(p) and p.status.container_statuses[0].restart_count == 3)


async def test_a_part_of_the_kubelet_that_breaks_takes_nothing_with_it(monkeypatch: pytest.MonkeyPatch):
    async with world() as w:
        renew, is_broken = NodeLease.renew, True

        async def broken(lease: NodeLease) -> None:
            if is_broken:
                raise KeyError("nobody thought of that")
            await renew(lease)

        monkeypatch.setattr(NodeLease, "renew", broken)
        await w.create()
        await w.until(is_running)
        await asyncio.sleep(60)
        w.cri.exit(await w.container_id(), 1)
        await w.until(lambda p: is_running(p) and p.status.container_statuses[0].restart_count == 1)
        key = ObjectKey(NAMESPACE, "n1")
        silent = (await w.admin.get(leases.RESOURCE, key)).spec.renew_time
        is_broken = False
        await asyncio.sleep(20)
        assert (await w.admin.get(leases.RESOURCE, key)).spec.renew_time != silent
