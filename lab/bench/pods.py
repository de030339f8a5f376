"""How long a pod takes from being created to being seen Running by a watch, beside the runtime's own part of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from lab.bench.cri import Runtime
from lab.bench.kube import NAMESPACE, Kube, namespace
from lab.bench.kubeconfig import Json
from lab.bench.report import Figure, Goal, Report
from lab.bench.steer import BenchFailed

_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
FLOOR_MS, AIM_MS = 500.0, 100.0
"""What a pod may take beyond the runtime's own sum."""
RUNNING_WITHIN_S = 120.0


async def measure(*, data_dir: Path, rounds: int, at_once: int, image: str) -> Report:
    """Start pods one by one, each right after a bare one on the same node's runtime; then `at_once` together."""
    async with Kube(data_dir / "admin.kubeconfig") as kube, namespace(kube):
        node = await _ready_node(kube)
        socket = data_dir / "nodes" / node / "containerd.sock"
        runtime = Runtime(socket) if socket.exists() else None
        bare: list[float] = []
        running: list[float] = []
        beyond: list[float] = []
        async with _Watch(kube) as seen:
            try:
                # The first of each pays for what later ones find warm.
                for number in range(-1, rounds):
                    own = await runtime.time_pod_s(image) if runtime else 0.0
                    took = (await _start(kube, seen, [f"one-{number + 1}"], image, node))[0]
                    if number >= 0:
                        bare.append(own * 1000)
                        running.append(took * 1000)
                        beyond.append((took - own) * 1000)
                burst = await _start(kube, seen, [f"many-{n}" for n in range(at_once)], image, "") if at_once else []
            finally:
                if runtime:
                    await runtime.close()
    figures = [Figure("created to Running", "ms", running)]
    if runtime:
        figures += [Figure("the runtime's own sum", "ms", bare), Figure("beyond the runtime", "ms", beyond)]
    if burst:
        figures.append(Figure(f"{at_once} at once, each", "s", burst))
        figures.append(Figure(f"{at_once} at once, all Running", "s", [max(burst)]))
    return Report(
        "pods, from created to seen Running",
        figures,
        goals=[Goal("beyond the runtime", FLOOR_MS, AIM_MS)] if runtime else [],
        notes=[] if runtime else ["hollow nodes: there is no runtime to compare with"],
        facts={"rounds": rounds, "node": node, "image": image},
    )


class _Watch:
    """One watch on the namespace's pods: when each was first seen Running, and which are gone."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._running_at: dict[str, float] = {}
        self._gone: set[str] = set()
        self._trouble: dict[str, str] = {}
        self._news = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> _Watch:
        listed = await self._kube.get(_PODS)
        self._task = asyncio.create_task(self._follow(listed["metadata"]["resourceVersion"]))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self, version: str) -> None:
        while True:
            async for event in self._kube.watch(_PODS, version):
                now = time.monotonic()
                metadata = event["object"].get("metadata", {})
                version = metadata.get("resourceVersion", version)
                name = metadata.get("name")
                if event["type"] == "ERROR":
                    raise BenchFailed(f"watch of pods: {event['object'].get('message')}")
                if not name:
                    continue
                status = event["object"].get("status", {})
                async with self._news:
                    if event["type"] == "DELETED":
                        self._gone.add(name)
                    elif status.get("phase") == "Running":
                        self._running_at.setdefault(name, now)
                    else:
                        self._trouble[name] = _trouble(status)
                    self._news.notify_all()

    async def running_at(self, name: str) -> float:
        """Return when the pod was seen Running; raises BenchFailed with what holds it up if it never is."""
        await self._until(lambda: name in self._running_at, name, "Running")
        return self._running_at[name]

    async def gone(self, name: str) -> None:
        """Return once the pod is deleted."""
        await self._until(lambda: name in self._gone, name, "gone")

    async def _until(self, holds: Callable[[], bool], name: str, what: str) -> None:
        assert self._task is not None
        task = self._task
        try:
            async with asyncio.timeout(RUNNING_WITHIN_S), self._news:
                await self._news.wait_for(lambda: holds() or task.done())
        except TimeoutError:
            raise BenchFailed(
                f"pod {name} was not {what} within {RUNNING_WITHIN_S:.0f} s: {self._trouble.get(name) or 'no status'}"
            ) from None
        if task.done() and not holds():
            raise BenchFailed(f"the watch ended: {task.exception()}")


async def _start(kube: Kube, seen: _Watch, names: list[str], image: str, node: str) -> list[float]:
    """Create the pods together, delete them again, and return the seconds each took to be seen Running."""

    async def one(name: str) -> float:
        started = time.monotonic()
        await kube.create(_PODS, _pod(name, image, node))
        return await seen.running_at(name) - started

    took = await asyncio.gather(*map(one, names))
    for name in names:
        await kube.delete(f"{_PODS}/{name}")
    await asyncio.gather(*map(seen.gone, names))
    return list(took)


def _pod(name: str, image: str, node: str) -> Json:
    spec: Json = {
        "containers": [{"name": "c", "image": image, "imagePullPolicy": "IfNotPresent"}],
        "terminationGracePeriodSeconds": 0,
    }
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def _trouble(status: Json) -> str:
    for container in status.get("containerStatuses") or []:
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("message"):
            return str(waiting["message"])
    for condition in status.get("conditions") or []:
        if condition.get("status") == "False" and condition.get("message"):
            return str(condition["message"])
    return str(status.get("phase", ""))


async def _ready_node(kube: Kube) -> str:
    for node in (await kube.get("/api/v1/nodes"))["items"]:
        for condition in node.get("status", {}).get("conditions") or []:
            if (condition["type"], condition["status"]) == ("Ready", "True"):
                return str(node["metadata"]["name"])
    raise BenchFailed("no node is Ready: steer status says why")
