"""A container runtime in memory: containers that run at once, and never do anything.

`--runtime hollow` puts it under the ordinary kubelet, so that a cluster of many nodes fits in one process; the
simulation uses it too, and makes containers exit with `exit`. It reads no clock but the one it is given.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Mapping, Sequence

from component.clock import Clock
from kubelet.runtime.cri import CriError
from kubelet.runtime.labels import POD_UID
from proto.cri import api_pb2 as pb

_NO_STREAMS = "this node is hollow: its containers exist only in memory, so nothing can be run in them"


class HollowCri:
    """CRI over nothing."""

    def __init__(self, clock: Clock, pod_cidr: str = "10.200.0.0/16", *, start_delay_s: float = 0.0) -> None:
        """Make a runtime without pods.

        Args:
            clock: where times come from.
            pod_cidr: where pods' addresses come from, until `use_pod_cidr`.
            start_delay_s: how long each start of a sandbox or container takes.
        """
        self._clock = clock
        self._start_delay_s = start_delay_s
        self._network = ipaddress.ip_network(pod_cidr)
        self._next_ip = 1
        self._next_id = 0
        self._sandboxes: dict[str, pb.PodSandboxStatus] = {}
        self._containers: dict[str, tuple[str, pb.ContainerStatus]] = {}
        """By id: the sandbox's id, and the status."""
        self._exits: asyncio.Queue[str] = asyncio.Queue(10_000)

    def use_pod_cidr(self, pod_cidr: str) -> None:
        """Give addresses out of `pod_cidr` from now on; the same as before changes nothing."""
        network = ipaddress.ip_network(pod_cidr)
        if network != self._network:
            self._network, self._next_ip = network, 1

    def exit(self, container_id: str, exit_code: int = 0, reason: str = "") -> None:
        """Make a running container end."""
        status = self._container(container_id)
        if status.state != pb.CONTAINER_RUNNING:
            return
        status.state = pb.CONTAINER_EXITED
        status.exit_code = exit_code
        status.reason = reason or ("Completed" if exit_code == 0 else "Error")
        status.finished_at = self._now_ns()
        if not self._exits.full():
            self._exits.put_nowait(container_id)

    async def version(self) -> pb.VersionResponse:
        return pb.VersionResponse(
            version="0.1.0", runtime_name="hollow", runtime_version="1.0.0", runtime_api_version="v1"
        )

    async def status(self) -> Sequence[pb.RuntimeCondition]:
        return [pb.RuntimeCondition(type=name, status=True) for name in ("RuntimeReady", "NetworkReady")]

    async def list_sandboxes(self, uid: str = "") -> Sequence[pb.PodSandbox]:
        return [
            pb.PodSandbox(
                id=s.id,
                metadata=s.metadata,
                state=s.state,
                created_at=s.created_at,
                labels=s.labels,
                annotations=s.annotations,
            )
            for s in self._sandboxes.values()
            if not uid or s.metadata.uid == uid
        ]

    async def sandbox_status(self, sandbox_id: str) -> pb.PodSandboxStatus:
        return self._sandbox(sandbox_id)

    async def run_sandbox(self, config: pb.PodSandboxConfig, handler: str = "") -> str:
        await self._work()
        sandbox = pb.PodSandboxStatus(
            id=self._new_id(),
            metadata=config.metadata,
            state=pb.SANDBOX_READY,
            created_at=self._now_ns(),
            labels=config.labels,
            annotations=config.annotations,
        )
        options = config.linux.security_context.namespace_options
        sandbox.linux.namespaces.options.CopyFrom(options)
        if options.network != pb.NODE:
            sandbox.network.ip = self._new_ip()
        self._sandboxes[sandbox.id] = sandbox
        return sandbox.id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        for of_sandbox, status in self._containers.values():
            if of_sandbox == sandbox_id:
                self.exit(status.id, 137)
        sandbox.state = pb.SANDBOX_NOTREADY
        sandbox.network.ip = ""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        self._sandboxes.pop(sandbox_id, None)
        for container_id in [c for c, (s, _) in self._containers.items() if s == sandbox_id]:
            del self._containers[container_id]

    async def list_containers(self, uid: str = "") -> Sequence[pb.Container]:
        return [
            pb.Container(
                id=c.id,
                pod_sandbox_id=sandbox_id,
                metadata=c.metadata,
                image=c.image,
                image_ref=c.image_ref,
                state=c.state,
                created_at=c.created_at,
                labels=c.labels,
                annotations=c.annotations,
            )
            for sandbox_id, c in self._containers.values()
            if not uid or c.labels.get(POD_UID) == uid
        ]

    async def container_status(self, container_id: str) -> pb.ContainerStatus:
        return self._container(container_id)

    async def create_container(self, sandbox_id: str, config: pb.ContainerConfig, sandbox: pb.PodSandboxConfig) -> str:
        self._sandbox(sandbox_id)
        status = pb.ContainerStatus(
            id=self._new_id(),
            metadata=config.metadata,
            state=pb.CONTAINER_CREATED,
            created_at=self._now_ns(),
            image=config.image,
            image_ref=config.image.image,
            labels=config.labels,
            annotations=config.annotations,
            log_path=config.log_path,
        )
        self._containers[status.id] = (sandbox_id, status)
        return status.id

    async def start_container(self, container_id: str) -> None:
        await self._work()
        status = self._container(container_id)
        status.state = pb.CONTAINER_RUNNING
        status.started_at = self._now_ns()

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        # A hollow container minds SIGTERM at once and ends well.
        self.exit(container_id, 0)

    async def remove_container(self, container_id: str) -> None:
        self._containers.pop(container_id, None)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: int) -> pb.ExecSyncResponse:
        self._container(container_id)
        return pb.ExecSyncResponse(exit_code=0)

    async def exec_url(self, request: pb.ExecRequest) -> str:
        raise CriError(_NO_STREAMS)

    async def attach_url(self, request: pb.AttachRequest) -> str:
        raise CriError(_NO_STREAMS)

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        raise CriError(_NO_STREAMS)

    async def reopen_log(self, container_id: str) -> None:
        return

    async def image_status(self, image: str) -> pb.Image | None:
        return pb.Image(id=image, repo_tags=[image])

    async def list_images(self) -> Sequence[pb.Image]:
        return []

    async def pull_image(self, image: str, auth: pb.AuthConfig | None, sandbox: pb.PodSandboxConfig) -> str:
        return image

    async def remove_image(self, image_id: str) -> None:
        return

    async def image_filesystems(self) -> Sequence[pb.FilesystemUsage]:
        return []

    async def writable_bytes(self, container_id: str) -> int:
        return 0

    async def writable_layers(self) -> Mapping[str, tuple[int, int]]:
        return {}

    async def exits(self) -> AsyncIterator[str]:
        while True:
            yield await self._exits.get()

    async def close(self) -> None:
        return

    async def _work(self) -> None:
        if self._start_delay_s:
            await self._clock.sleep(self._start_delay_s)

    def _sandbox(self, sandbox_id: str) -> pb.PodSandboxStatus:
        try:
            return self._sandboxes[sandbox_id]
        except KeyError:
            raise CriError(f"sandbox {sandbox_id} not found", is_absent=True) from None

    def _container(self, container_id: str) -> pb.ContainerStatus:
        try:
            return self._containers[container_id][1]
        except KeyError:
            raise CriError(f"container {container_id} not found", is_absent=True) from None

    def _new_id(self) -> str:
        self._next_id += 1
        return f"{int(self._clock.now()):x}".rjust(16, "0") + f"{self._next_id:048x}"

    def _new_ip(self) -> str:
        # The first address is the bridge's, on a node that has one.
        size = max(1, self._network.num_addresses - 3)
        self._next_ip = self._next_ip % size + 1
        return str(self._network.network_address + self._next_ip)

    def _now_ns(self) -> int:
        return int(self._clock.now() * 1e9)
