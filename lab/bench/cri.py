"""The part of a pod's start that is the container runtime's own: the floor under any kubelet."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from lab.bench.steer import BenchFailed
from proto.cri import api_pb2 as pb
from proto.cri import api_pb2_grpc

TIMEOUT_S = 60.0


class Runtime:
    """A node's containerd, spoken to directly."""

    def __init__(self, socket: Path) -> None:
        # Python's gRPC would send the quoted path as :authority, which containerd's HTTP/2 refuses.
        options = [("grpc.default_authority", "localhost")]
        self._channel = grpc.aio.insecure_channel(f"unix://{socket}", options=options)
        self._stub: Any = api_pb2_grpc.RuntimeServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def time_pod_s(self, image: str) -> float:
        """Start a pod of one container, remove it, and return how long starting took.

        Its labels name no pod, so that a kubelet leaves it alone.
        """
        name = f"bench-{uuid.uuid4().hex[:8]}"
        metadata = pb.PodSandboxMetadata(name=name, namespace="steer-bench", uid=uuid.uuid4().hex)
        sandbox = pb.PodSandboxConfig(metadata=metadata, hostname=name, linux=pb.LinuxPodSandboxConfig())
        sandbox_id = ""
        try:
            started = time.monotonic()
            made = await self._stub.RunPodSandbox(pb.RunPodSandboxRequest(config=sandbox), timeout=TIMEOUT_S)
            sandbox_id = made.pod_sandbox_id
            config = pb.ContainerConfig(
                metadata=pb.ContainerMetadata(name="c"),
                image=pb.ImageSpec(image=image),
                linux=pb.LinuxContainerConfig(),
            )
            request = pb.CreateContainerRequest(pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox)
            container = await self._stub.CreateContainer(request, timeout=TIMEOUT_S)
            start = pb.StartContainerRequest(container_id=container.container_id)
            await self._stub.StartContainer(start, timeout=TIMEOUT_S)
            return time.monotonic() - started
        except grpc.aio.AioRpcError as error:
            raise BenchFailed(f"containerd: {error.details()}") from None
        finally:
            if sandbox_id:
                stop = pb.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
                await self._stub.StopPodSandbox(stop, timeout=TIMEOUT_S)
                await self._stub.RemovePodSandbox(
                    pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id), timeout=TIMEOUT_S
                )

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()
