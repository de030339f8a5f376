"""A whole kubelet over containers in memory and the real API server's verbs, on virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from api.core import event as events
from api.core import node as nodes
from api.core import pod as pods
from api.core import serviceaccount
from api.core.pod import Pod, PodStatus
from api.core.serviceaccount import ServiceAccount
from api.errors import NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.app import build
from apiserver.request import User
from client.events import EventRecorder
from client.verbs import Client
from component.clock import LoopClock
from kubelet import machine, pod_worker
from kubelet.kubelet import Kubelet, NodeIdentity
from kubelet.node_status import NodeReporter
from kubelet.probes.prober import HollowProber
from kubelet.probes.streak import Result
from kubelet.runtime.cri import CriError
from kubelet.runtime.hollow import HollowCri
from kubelet.runtime.records import RuntimePod
from kubelet.status import Circumstances, compute_status
from proto.cri import api_pb2 as pb
from tests.first_start import started_store
from tests.local_transport import LocalTransport

pytestmark = pytest.mark.looptime

WEB = ObjectKey("default", "web")
NODE_USER = User("system:node:n1", groups=("system:nodes", "system:authenticated"))


class World:
    """One API server, one node."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.clock = LoopClock()
        self.cri = HollowCri(self.clock)
        self._group = group
        self._kubelet: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.api = build(started_store(), self.clock, random.Random(1))
        self._group.create_task(self.api.run())
        await self.api.wait_ready()
        self.admin = Client(LocalTransport(self.api))
        account = ServiceAccount(metadata=ObjectMeta(name="default", namespace="default"))
        await self.admin.create(serviceaccount.RESOURCE, account)
        self.start_kubelet()

    def start_kubelet(self, manifests: Path | None = None, transport: Any = None) -> Kubelet:
        kubelet = Kubelet(
            NodeIdentity(name="n1", ips=("192.0.2.1",), port=10250),
            client=Client(transport or LocalTransport(self.api, NODE_USER)),
            cri=self.cri,
            clock=self.clock,
            rng=random.Random(2),
            machine=machine.hollow("n1"),
            manifests=manifests,
        )
        self._kubelet = self._group.create_task(kubelet.run())
        return kubelet

    async def crash_kubelet(self) -> None:
        assert self._kubelet is not None
        self._kubelet.cancel()
        await asyncio.gather(self._kubelet, return_exceptions=True)

    async def create(self, **spec: object) -> Pod:
        body = {"nodeName": "n1", "containers": [{"name": "main", "image": "i:1"}]} | spec
        body["automountServiceAccountToken"] = False
        pod = msgspec.convert({"metadata": {"name": "web", "namespace": "default"}, "spec": body}, Pod)
        return await self.admin.create(pods.RESOURCE, pod)

    async def pod(self) -> Pod | None:
        try:
            return await self.admin.get(pods.RESOURCE, WEB)
        except NotFound:
            return None

    async def until(self, claim: Callable[[Pod], bool], within_s: float = 30.0) -> Pod:
        deadline = self.clock.monotonic() + within_s
        while True:
            pod = await self.pod()
            if pod is not None and claim(pod):
                return pod
            assert self.clock.monotonic() < deadline, pod.status if pod else "no pod"
            await asyncio.sleep(0.05)

    async def until_gone(self, within_s: float = 30.0) -> None:
        deadline = self.clock.monotonic() + within_s
        while await self.pod() is not None:
            assert self.clock.monotonic() < deadline
            await asyncio.sleep(0.05)

    async def container_id(self, name: str = "main") -> str:
        found = [c for c in await self.cri.list_containers() if c.metadata.name == name]
        return max(found, key=lambda c: c.metadata.attempt).id

    async def reasons(self) -> list[str]:
        await asyncio.sleep(1)
        listed = await self.admin.list(events.RESOURCE, "default")
        return [event.reason for event in listed.items if event.involved_object.name == "web"]


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as group:
        made = World(group)
        await made.start()
        await asyncio.sleep(1)
        yield made
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()


def is_running(pod: Pod) -> bool:
    return pod.status.phase == "Running" and all(s.ready for s in pod.status.container_statuses)


def waits_for(pod: Pod) -> str:
    waiting = [s.state.waiting for s in pod.status.container_statuses]
    return waiting[0].reason if waiting and waiting[0] is not None else ""


async def test_a_node_registers_and_becomes_ready():
    async with world() as w:
        node = await w.admin.get(nodes.RESOURCE, ObjectKey("", "n1"))
        assert node.metadata.labels["kubernetes.io/hostname"] == "n1"
        assert {c.type: c.status for c in node.status.conditions}["Ready"] == "True"


async def test_a_node_that_comes_under_pressure_says_so_at_once():
    short: set[str] = set()
    async with world() as w:
        await w.crash_kubelet()
        client = Client(LocalTransport(w.api, NODE_USER))
        reporter = NodeReporter(
            client,
            w.clock,
            w.cri,
            EventRecorder(client, "kubelet", clock=w.clock, rng=random.Random(3), host="n1"),
            machine.hollow("n1"),
            name="n1",
            ips=("192.0.2.1",),
            port=10250,
            pressures=lambda: frozenset(short),
            period_s=10.0,
        )
        running = asyncio.create_task(reporter.run())
        await asyncio.sleep(15)
        short.add("DiskPressure")
        reporter.report_soon()
        await asyncio.sleep(0.5)
        node = await w.admin.get(nodes.RESOURCE, ObjectKey("", "n1"))
        assert {c.type: c.status for c in node.status.conditions}["DiskPressure"] == "True"
        running.cancel()


async def test_a_node_tells_when_it_is_cordoned_and_freed_and_when_its_machine_was_started_anew():
    async with world() as w:
        key = ObjectKey("", "n1")
        for value in (True, None):
            await w.admin.patch(nodes.RESOURCE, key, {"spec": {"unschedulable": value}})
            await asyncio.sleep(15)
        await w.admin.patch(nodes.RESOURCE, key, {"status": {"nodeInfo": {"bootID": "older"}}}, subresource="status")
        await asyncio.sleep(15)
        told = (await w.admin.list(events.RESOURCE, "default")).items
        found = [(one.type, one.reason, one.message) for one in told if one.involved_object.kind == "Node"]
        boot = (await w.admin.get(nodes.RESOURCE, key)).status.node_info.boot_id
        expected = [
            ("Normal", what, f"Node n1 status is now: {what}") for what in ("NodeNotSchedulable", "NodeSchedulable")
        ]
        assert found[-3:] == [*expected, ("Warning", "Rebooted", f"Node n1 has been rebooted, boot id: {boot}")]


async def test_a_pod_runs_and_is_deleted():
    async with world() as w:
        await w.create()
        pod = await w.until(is_running, within_s=2)
        assert pod.status.pod_ip.startswith("10.")
        assert pod.status.host_ip == "192.0.2.1"
        await w.admin.delete(pods.RESOURCE, WEB)
        await w.until_gone(within_s=2)
        assert await w.cri.list_sandboxes() == []
        assert sorted(await w.reasons()) == ["Created", "Killing", "Pulled", "Started"]


async def test_a_container_that_ends_is_started_again_and_counted():
    async with world() as w:
        await w.create()
        await w.until(is_running)
        w.cri.exit(await w.container_id(), 1)
        pod = await w.until(lambda p: is_running(p) and p.status.container_statuses[0].restart_count == 1, within_s=2)
        last = pod.status.container_statuses[0].last_state.terminated
        assert last is not None and last.exit_code == 1


async def test_a_crash_loop_waits_ever_longer():
    async with world() as w:
        await w.create()
        waits = []
        for attempt in range(4):
            began = w.clock.monotonic()
            await w.until(lambda p, n=attempt: is_running(p) and p.status.container_statuses[0].restart_count == n, 100)
            waits.append(round(w.clock.monotonic() - began))
            w.cri.exit(await w.container_id(), 1)
        assert waits == [0, 0, 10, 20]


async def test_a_pod_that_should_end_well_does():
    async with world() as w:
        await w.create(restartPolicy="Never")
        await w.until(is_running)
        w.cri.exit(await w.container_id(), 0)
        pod = await w.until(lambda p: p.status.phase == "Succeeded")
        assert pod.status.container_statuses[0].state.terminated is not None
        await w.admin.delete(pods.RESOURCE, WEB)
        await w.until_gone()


async def test_init_containers_run_before_main_ones():
    async with world() as w:
        await w.create(initContainers=[{"name": "first", "image": "i:1"}])
        await w.until(lambda p: bool(p.status.init_container_statuses) and
                      p.status.init_container_statuses[0].state.running is not None)  # fmt: skip
        assert [c.metadata.name for c in await w.cri.list_containers()] == ["first"]
        w.cri.exit(await w.container_id("first"), 0)
        await w.until(is_running, within_s=3)


async def test_a_kubelet_that_begins_anew_touches_nothing():
    async with world() as w:
        await w.create()
        before = await w.until(is_running)
        container = await w.container_id()
        await w.crash_kubelet()
        w.start_kubelet()
        await asyncio.sleep(60)
        after = await w.until(is_running)
        assert await w.container_id() == container
        assert after.status == before.status


async def test_a_pod_deleted_while_the_kubelet_was_down_is_stopped():
    async with world() as w:
        await w.create()
        await w.until(is_running)
        await w.crash_kubelet()
        await w.admin.delete(pods.RESOURCE, WEB, grace_period_s=0)
        assert len(await w.cri.list_sandboxes()) == 1
        w.start_kubelet()
        await asyncio.sleep(5)
        assert await w.cri.list_sandboxes() == []


async def test_a_pod_that_stops_is_unready_as_soon_as_its_probe_says_so(monkeypatch: pytest.MonkeyPatch):
    async with world() as w:
        serves = True

        async def ask(*_: Any) -> Result:
            return Result(serves)

        async def stop_slowly(container_id: str, timeout_s: int) -> None:
            await asyncio.sleep(10)
            w.cri.exit(container_id, 0)

        monkeypatch.setattr(HollowProber, "_ask", ask)
        monkeypatch.setattr(w.cri, "stop_container", stop_slowly)
        probe = {"exec": {"command": ["x"]}, "periodSeconds": 1, "failureThreshold": 1}
        await w.create(containers=[{"name": "main", "image": "i:1", "readinessProbe": probe, "livenessProbe": probe}])
        await w.until(is_running)
        serves = False
        await w.admin.delete(pods.RESOURCE, WEB)
        stopping = await w.until(lambda p: not p.status.container_statuses[0].ready, within_s=5)
        assert stopping.metadata.deletion_timestamp and stopping.status.container_statuses[0].restart_count == 0
        assert {c.type: c.status for c in stopping.status.conditions}["Ready"] == "False"
        await w.until_gone()


async def test_a_lost_sandbox_is_replaced_with_all_its_containers():
    async with world() as w:
        await w.create()
        first = await w.until(is_running)
        (sandbox,) = await w.cri.list_sandboxes()
        await w.cri.stop_sandbox(sandbox.id)
        pod = await w.until(lambda p: is_running(p) and p.status.pod_ip != first.status.pod_ip, within_s=60)
        assert pod.status.container_statuses[0].restart_count == 1


async def test_a_missing_config_map_is_shown_and_waited_for():
    async with world() as w:
        env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}]
        await w.create(containers=[{"name": "main", "image": "i:1", "env": env}])
        pod = await w.until(lambda p: waits_for(p) == "CreateContainerConfigError")
        waiting = pod.status.container_statuses[0].state.waiting
        assert waiting is not None and waiting.message == 'configmap "settings" not found'


async def test_an_image_that_cannot_be_named_is_told_apart_from_one_that_cannot_be_had():
    async with world() as w:
        await w.create(containers=[{"name": "main", "image": "registry.example/BAD::x"}])
        await w.until(lambda p: waits_for(p) == "InvalidImageName")


async def test_an_image_that_may_not_be_pulled_is_told_in_an_event_of_its_own():
    async def absent(image: str) -> None:
        return None

    async with world() as w:
        w.cri.image_status = absent  # type: ignore[method-assign]
        await w.create(containers=[{"name": "main", "image": "absent:1", "imagePullPolicy": "Never"}])
        await w.until(lambda p: waits_for(p) == "ErrImageNeverPull")
        await asyncio.sleep(5)
        told = {e.reason: e.message for e in (await w.admin.list(events.RESOURCE, namespace="default")).items}
        assert told["ErrImageNeverPull"] == 'Container image "absent:1" is not present with pull policy of Never'
        assert told["Failed"] == "Error: ErrImageNeverPull"


async def test_what_a_failed_hook_printed_is_in_the_status_and_not_in_events(monkeypatch: pytest.MonkeyPatch):
    async def failing(container_id: str, command: object, timeout_s: int) -> pb.ExecSyncResponse:
        return pb.ExecSyncResponse(stderr=b"secret", exit_code=3)

    def computing(pod: Pod, runtime: RuntimePod, around: Circumstances, now: float) -> PodStatus:
        shown.extend((waiting.reason, waiting.message) for waiting in around.waiting.values())
        return compute_status(pod, runtime, around, now)

    async def stopping(container_id: str, timeout_s: int) -> None:
        graces.add(timeout_s)
        await stop(container_id, timeout_s)

    graces: set[int] = set()
    shown: list[tuple[str, str]] = []
    monkeypatch.setattr(pod_worker, "compute_status", computing)
    async with world() as w:
        stop = w.cri.stop_container
        monkeypatch.setattr(w.cri, "exec_sync", failing)
        monkeypatch.setattr(w.cri, "stop_container", stopping)
        hook = {"exec": {"command": ["sh", "-c", "x"]}}
        lifecycle = {"postStart": hook, "preStop": hook}
        await w.create(containers=[{"name": "main", "image": "i:1", "lifecycle": lifecycle}])
        pod = await w.until(lambda p: waits_for(p) == "CrashLoopBackOff")
        who = f"web_default({pod.metadata.uid})"
        assert shown[0] == (
            "PostStartHookError",
            f'Exec lifecycle hook ([sh -c x]) for Container "main" in Pod "{who}" failed - error: '
            "command 'sh -c x' exited with 3: secret, message: \"secret\"",
        )
        await asyncio.sleep(5)
        told = {e.reason: e.message for e in (await w.admin.list(events.RESOURCE, namespace="default")).items}
        assert told["FailedPostStartHook"] == "PostStartHook failed"
        assert told["Killing"] == "FailedPostStartHook"
        assert told["FailedPreStopHook"] == "PreStopHook failed"
        assert graces == {30}


async def test_a_sandbox_that_cannot_be_made_is_told_with_the_runtime_s_code():
    async def failing(config: object, handler: str = "") -> str:
        raise CriError("no network", code=grpc.StatusCode.FAILED_PRECONDITION)

    async with world() as w:
        w.cri.run_sandbox = failing  # type: ignore[method-assign]
        await w.create()
        await asyncio.sleep(2)
        told = {e.reason: e.message for e in (await w.admin.list(events.RESOURCE, namespace="default")).items}
        said = "rpc error: code = FailedPrecondition desc = no network"
        assert told["FailedCreatePodSandBox"] == f"Failed to create pod sandbox: {said}"


@pytest.mark.parametrize(
    ("code", "said"),
    [(grpc.StatusCode.NOT_FOUND, "rpc error: code = NotFound desc = gone"), (grpc.StatusCode.UNKNOWN, "gone")],
)
async def test_a_failed_pull_is_told_with_the_runtime_s_code_unless_that_says_nothing(code: grpc.StatusCode, said: str):
    async def absent(image: str) -> None:
        return None

    async def failing(image: str, auth: object, sandbox: object) -> str:
        raise CriError("gone", code=code)

    async with world() as w:
        w.cri.image_status = absent  # type: ignore[method-assign]
        w.cri.pull_image = failing  # type: ignore[method-assign]
        await w.create()
        await asyncio.sleep(3)
        told = [e.message for e in (await w.admin.list(events.RESOURCE, namespace="default")).items]
        assert f'Failed to pull image "i:1": {said}' in told


async def test_a_pod_over_its_deadline_says_so_in_an_event():
    async with world() as w:
        await w.create(activeDeadlineSeconds=5)
        pod = await w.until(lambda p: p.status.phase == "Failed")
        assert pod.status.reason == "DeadlineExceeded"
        await asyncio.sleep(5)
        told = await w.admin.list(events.RESOURCE, namespace="default")
        assert [e.reason for e in told.items].count("DeadlineExceeded") == 1
