"""Runs probes: one task for each probe of each running container; what they find is in `verdicts`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

import aiohttp

from api.core.containers import Container, EphemeralContainer, Probe
from api.core.pod import Pod
from api.core.pod_status import ContainerStatus
from component.clock import Clock
from kubelet.lifecycle import Liveness, Verdict, is_sidecar
from kubelet.metrics_pages import PROBES
from kubelet.probes import exec as exec_probe
from kubelet.probes import grpc as grpc_probe
from kubelet.probes import http as http_probe
from kubelet.probes import tcp as tcp_probe
from kubelet.probes.streak import Result, Streak
from kubelet.runtime.cri import Cri, CriError
from kubelet.runtime.records import ContainerRecord, RuntimePod

log = logging.getLogger(__name__)

QUICK_S = 1.0
"""A fresh container is asked for its readiness this often in its first period, so that what starts in a
second is not kept waiting for ten."""

Unhealthy = Callable[[Pod, str, str, str], None]
"""Told (pod, container name, reason, message) of each probe that failed, or succeeded with a warning."""


class Prober:
    """Probes of one pod's containers."""

    def __init__(
        self,
        cri: Cri,
        clock: Clock,
        http: Callable[[], aiohttp.ClientSession],
        wake: Callable[[], None],
        unhealthy: Unhealthy,
    ) -> None:
        """Make it; `wake` is called whenever a verdict changes, `http` gives the session that probes share."""
        self.verdicts: dict[str, Verdict] = {}
        self._cri = cri
        self._clock = clock
        self._http = http
        self._wake = wake
        self._unhealthy = unhealthy
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._pod: Pod | None = None
        self._ip = ""

    def follow(self, pod: Pod, runtime: RuntimePod, host_ip: str) -> None:
        """Probe exactly the containers that run now.

        A container that the pod's status already calls ready, from before this kubelet started, stays so until
        a probe says otherwise.
        """
        self._pod = pod
        sandbox = runtime.ready_sandbox
        self._ip = host_ip if pod.spec.host_network else (sandbox.ips[0] if sandbox and sandbox.ips else "")
        running = {record.id: record for record in runtime.running}
        for container_id in [c for c in self._tasks if c not in running]:
            self._end(container_id)
        specs = {c.name: c for c in [*pod.spec.containers, *(i for i in pod.spec.init_containers if is_sidecar(i))]}
        old = {s.container_id: s for s in [*pod.status.container_statuses, *pod.status.init_container_statuses]}
        for container_id, record in running.items():
            spec = specs.get(record.name)
            if container_id in self._tasks or spec is None:
                continue
            if spec.startup_probe or spec.readiness_probe or spec.liveness_probe:
                self._begin(spec, record, old.get(f"containerd://{container_id}"))

    def stop_all(self) -> None:
        """End all probes; verdicts are dropped."""
        for container_id in list(self._tasks):
            self._end(container_id)

    def stop_liveness(self) -> None:
        """End liveness and startup probes: the pod is stopping, and nothing is restarted any more.

        Readiness is still asked for: who stops may serve until the end.
        """
        for tasks in self._tasks.values():
            for task in tasks:
                if not task.get_name().startswith("Readiness "):
                    task.cancel()

    def _begin(self, spec: Container, record: ContainerRecord, old: ContainerStatus | None) -> None:
        self.verdicts[record.id] = Verdict(
            is_started=spec.startup_probe is None or bool(old is not None and old.started),
            is_ready=spec.readiness_probe is None or bool(old is not None and old.ready),
        )
        loop = asyncio.get_running_loop()
        kinds: Mapping[str, Probe | None] = {
            "Startup": spec.startup_probe,
            "Readiness": spec.readiness_probe,
            "Liveness": spec.liveness_probe,
        }
        self._tasks[record.id] = [
            loop.create_task(self._run(spec, record, kind, probe), name=f"{kind} probe {record.name}")
            for kind, probe in kinds.items()
            if probe is not None
        ]

    def _end(self, container_id: str) -> None:
        for task in self._tasks.pop(container_id, []):
            task.cancel()
        self.verdicts.pop(container_id, None)

    def _set(self, container_id: str, **changes: bool | Liveness) -> None:
        old = self.verdicts.get(container_id)
        if old is None:
            return
        new = replace(old, **changes)  # type: ignore[arg-type]
        if new != old:
            self.verdicts[container_id] = new
            self._wake()

    async def _run(self, spec: Container, record: ContainerRecord, kind: str, probe: Probe) -> None:
        period_s = float(probe.period_seconds or 10)
        streak = Streak(None)
        delay = record.started_at_s + probe.initial_delay_seconds - self._clock.now()
        if delay > 0:
            await self._clock.sleep(delay)
        quick_until = self._clock.monotonic() + period_s
        while True:
            verdict = self.verdicts.get(record.id)
            if verdict is None:
                return
            if kind == "Startup" and verdict.is_started:
                return
            if kind != "Startup" and not verdict.is_started:
                await self._clock.sleep(min(period_s, QUICK_S))
                quick_until = self._clock.monotonic() + period_s
                continue
            result = await self._ask_safely(spec, record.id, kind, probe)
            self._count(spec.name, kind, result)
            is_quick = (
                kind == "Readiness"
                and not result.is_success
                and not verdict.is_ready
                and self._clock.monotonic() < quick_until
            )
            if is_quick:
                await self._clock.sleep(min(period_s, QUICK_S))
                continue
            if result.is_known:
                self._tell(spec, kind, result)
                streak = streak.add(result.is_success, probe.success_threshold or 1, probe.failure_threshold or 3)
                if self._conclude(record.id, kind, streak):
                    return
            await self._clock.sleep(period_s)

    def _tell(self, spec: Container, kind: str, result: Result) -> None:
        if self._pod is None:
            return
        if not result.is_success:
            self._unhealthy(self._pod, spec.name, "Unhealthy", f"{kind} probe failed: {result.message}")
        elif result.is_warning:
            self._unhealthy(self._pod, spec.name, "ProbeWarning", f"{kind} probe warning: {result.message}")

    def _conclude(self, container_id: str, kind: str, streak: Streak) -> bool:
        """Turn a streak into a verdict; return whether this probe is over."""
        match kind, streak.verdict:
            case "Readiness", True | False as is_ready:
                self._set(container_id, is_ready=is_ready)
            case "Startup", True:
                self._set(container_id, is_started=True)
                return True
            case "Startup", False:
                self._set(container_id, liveness=Liveness.NEVER_STARTED)
                return True
            case "Liveness", False:
                self._set(container_id, liveness=Liveness.FAILED)
                return True
        return False

    def _count(self, container: str, kind: str, result: Result) -> None:
        if self._pod is None:
            return
        metadata = self._pod.metadata
        outcome = ("successful" if result.is_success else "failed") if result.is_known else "unknown"
        PROBES.add((container, metadata.namespace, metadata.name, metadata.uid, kind, outcome))

    async def _ask_safely(self, spec: Container, container_id: str, kind: str, probe: Probe) -> Result:
        """Ask; of what nobody expected nothing is learned, and it is asked again (as upstream)."""
        try:
            return await self._ask(spec, container_id, probe)
        except Exception as error:
            if not isinstance(error, CriError):
                log.exception("probe broke", extra={"container": spec.name, "probe": kind})
            if self._pod is not None:
                message = f"{kind} probe errored and resulted in unknown state: {error}"
                self._unhealthy(self._pod, spec.name, "Unhealthy", message)
            return Result(False, str(error), is_known=False)

    async def _ask(self, spec: Container, container_id: str, probe: Probe) -> Result:
        timeout_s = max(1, probe.timeout_seconds)
        try:
            if probe.exec is not None:
                return await exec_probe.probe(self._cri, container_id, probe.exec, timeout_s)
            if probe.http_get is not None:
                port = port_number(spec, probe.http_get.port)
                host = probe.http_get.host or self._ip
                return await http_probe.probe(self._http(), host, port, probe.http_get, timeout_s)
            if probe.tcp_socket is not None:
                port = port_number(spec, probe.tcp_socket.port)
                return await tcp_probe.probe(probe.tcp_socket.host or self._ip, port, timeout_s)
            if probe.grpc is not None:
                return await grpc_probe.probe(self._ip, probe.grpc.port, probe.grpc.service or "", timeout_s)
        except UnknownPort as error:
            return Result(False, str(error))
        return Result(True, "a probe that asks nothing")


class HollowProber(Prober):
    """Probes of containers that exist in memory only: all succeed."""

    async def _ask(self, spec: Container, container_id: str, probe: Probe) -> Result:
        return Result(True)


class UnknownPort(ValueError):
    """A port is named that the container does not have."""


def port_number(container: Container | EphemeralContainer, port: int | str) -> int:
    """Return a port given by number or by the name of one of the container's. Raises UnknownPort."""
    if isinstance(port, int):
        return port
    for candidate in container.ports:
        if candidate.name == port:
            return candidate.container_port
    if port.isdecimal():
        return int(port)
    raise UnknownPort(f'couldn\'t find port: "{port}" in container {container.name}')
