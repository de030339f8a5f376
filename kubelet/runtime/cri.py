"""The Container Runtime Interface: what the kubelet asks of a runtime, and its gRPC form.

`Cri` is the seam: `GrpcCri` speaks to containerd over a unix socket, `kubelet.runtime.hollow` keeps containers in
memory. Messages are those of `proto/cri/api.proto`. Serves containerd 1.6, 1.7 and 2.x.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

import grpc
import grpc.aio

from component import tracing
from kubelet import metrics
from kubelet.rpc_errors import rpc_error
from kubelet.runtime.labels import POD_UID
from proto.containerd import events_pb2, events_pb2_grpc
from proto.cri import api_pb2 as pb
from proto.cri import api_pb2_grpc

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 30.0
START_TIMEOUT_S = 120.0
"""For calls that make or stop something: a machine under load can be slow."""
PULL_TIMEOUT_S = 3600.0
SOCKET_PATH_BYTES_MAX = 107
"""The kernel's limit for a unix socket's path."""


class CriError(Exception):
    """The runtime refused or failed; `message` is what it said."""

    def __init__(
        self, message: str, *, is_absent: bool = False, timed_out: bool = False, code: grpc.StatusCode | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        """What gRPC calls it; None for what is no answer of the runtime."""
        self.is_absent = is_absent
        """What was asked about does not exist."""
        self.timed_out = timed_out

    @property
    def with_code(self) -> str:
        """The message as Go's gRPC words an error."""
        return self.message if self.code is None else rpc_error(self.code, self.message)


class RuntimeUnavailable(CriError):
    """Nobody answers on the socket: the runtime is down, or was never installed."""


class Cri(Protocol):
    """What the kubelet asks of a runtime. All raise CriError."""

    async def version(self) -> pb.VersionResponse: ...
    async def status(self) -> Sequence[pb.RuntimeCondition]: ...
    async def list_sandboxes(self, uid: str = "") -> Sequence[pb.PodSandbox]: ...
    async def sandbox_status(self, sandbox_id: str) -> pb.PodSandboxStatus: ...
    async def run_sandbox(self, config: pb.PodSandboxConfig, handler: str = "") -> str: ...
    async def stop_sandbox(self, sandbox_id: str) -> None: ...
    async def remove_sandbox(self, sandbox_id: str) -> None: ...
    async def list_containers(self, uid: str = "") -> Sequence[pb.Container]: ...
    async def container_status(self, container_id: str) -> pb.ContainerStatus: ...
    async def create_container(
        self, sandbox_id: str, config: pb.ContainerConfig, sandbox: pb.PodSandboxConfig
    ) -> str: ...
    async def start_container(self, container_id: str) -> None: ...
    async def stop_container(self, container_id: str, timeout_s: int) -> None: ...
    async def remove_container(self, container_id: str) -> None: ...
    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: int) -> pb.ExecSyncResponse: ...
    async def exec_url(self, request: pb.ExecRequest) -> str: ...
    async def attach_url(self, request: pb.AttachRequest) -> str: ...
    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str: ...
    async def reopen_log(self, container_id: str) -> None: ...
    async def image_status(self, image: str) -> pb.Image | None: ...
    async def list_images(self) -> Sequence[pb.Image]: ...
    async def pull_image(self, image: str, auth: pb.AuthConfig | None, sandbox: pb.PodSandboxConfig) -> str: ...
    async def remove_image(self, image_id: str) -> None: ...
    async def image_filesystems(self) -> Sequence[pb.FilesystemUsage]: ...
    async def writable_bytes(self, container_id: str) -> int: ...
    async def writable_layers(self) -> Mapping[str, tuple[int, int]]:
        """Return what every container has written to its own file system, by id: bytes, and files."""
        ...

    def exits(self) -> AsyncIterator[str]:
        """Yield the id of each container whose main process ends, as it ends.

        Only a hint of when to look: it may miss some, and raises CriError when it breaks off.
        """
        ...

    async def close(self) -> None: ...


def socket_path(endpoint: str) -> str:
    """Return the path of `unix:///path/to.sock`; raises ValueError for anything that cannot be one."""
    path = endpoint.removeprefix("unix://")
    if not path.startswith("/"):
        raise ValueError(f"{endpoint}: expected unix:///path/to/containerd.sock")
    if len(path.encode()) > SOCKET_PATH_BYTES_MAX:
        raise ValueError(f"{path}: a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes")
    return path


class GrpcCri:
    """CRI over a unix socket."""

    def __init__(self, endpoint: str) -> None:
        """Connect lazily to `unix:///path/to.sock`.

        Raises:
            ValueError: the endpoint is not a unix socket's, or its path is longer than the kernel takes.
        """
        path = socket_path(endpoint)
        self.endpoint = endpoint
        # Python's gRPC would send the quoted path as :authority, which containerd's HTTP/2 refuses.
        options = [
            ("grpc.default_authority", "localhost"),
            ("grpc.max_receive_message_length", 64 * 1024 * 1024),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._channel = grpc.aio.insecure_channel(f"unix://{path}", options=options)
        self._runtime: Any = api_pb2_grpc.RuntimeServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._images: Any = api_pb2_grpc.ImageServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._events: Any = events_pb2_grpc.EventsStub(self._channel)  # type: ignore[no-untyped-call]

    async def _call(self, method: Any, request: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        kind = type(request).__name__
        labels = (metrics.operation(kind),)
        metrics.OPERATIONS.add(labels)
        try:
            with (
                metrics.OPERATION_DURATION.of(labels).timing(),
                tracing.span(f"cri {kind.removesuffix('Request')}", kind="client"),
            ):
                return await method(request, timeout=timeout_s, metadata=tracing.metadata())
        except grpc.aio.AioRpcError as error:
            metrics.OPERATION_ERRORS.add(labels)
            raise self._translate(error) from None

    def _translate(self, error: grpc.aio.AioRpcError) -> CriError:
        message = error.details() or error.code().name
        match error.code():
            case grpc.StatusCode.UNAVAILABLE:
                return RuntimeUnavailable(f"no container runtime answers at {self.endpoint}: {message}")
            case grpc.StatusCode.NOT_FOUND:
                return CriError(message, is_absent=True, code=error.code())
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return CriError(message, timed_out=True, code=error.code())
            case _:
                return CriError(message, code=error.code())

    async def version(self) -> pb.VersionResponse:
        answer: pb.VersionResponse = await self._call(self._runtime.Version, pb.VersionRequest(), 5.0)
        return answer

    async def status(self) -> Sequence[pb.RuntimeCondition]:
        answer = await self._call(self._runtime.Status, pb.StatusRequest(), 10.0)
        conditions: Sequence[pb.RuntimeCondition] = answer.status.conditions
        return conditions

    async def list_sandboxes(self, uid: str = "") -> Sequence[pb.PodSandbox]:
        request = pb.ListPodSandboxRequest()
        if uid:
            request.filter.label_selector[POD_UID] = uid
        answer = await self._call(self._runtime.ListPodSandbox, request)
        items: Sequence[pb.PodSandbox] = answer.items
        return items

    async def sandbox_status(self, sandbox_id: str) -> pb.PodSandboxStatus:
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        answer = await self._call(self._runtime.PodSandboxStatus, request)
        status: pb.PodSandboxStatus = answer.status
        return status

    async def run_sandbox(self, config: pb.PodSandboxConfig, handler: str = "") -> str:
        answer = await self._call(
            self._runtime.RunPodSandbox,
            pb.RunPodSandboxRequest(config=config, runtime_handler=handler),
            START_TIMEOUT_S * 2,
        )
        return str(answer.pod_sandbox_id)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        request = pb.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._call(self._runtime.StopPodSandbox, request, START_TIMEOUT_S)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        request = pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._call(self._runtime.RemovePodSandbox, request, START_TIMEOUT_S)

    async def list_containers(self, uid: str = "") -> Sequence[pb.Container]:
        request = pb.ListContainersRequest()
        if uid:
            request.filter.label_selector[POD_UID] = uid
        answer = await self._call(self._runtime.ListContainers, request)
        containers: Sequence[pb.Container] = answer.containers
        return containers

    async def container_status(self, container_id: str) -> pb.ContainerStatus:
        answer = await self._call(self._runtime.ContainerStatus, pb.ContainerStatusRequest(container_id=container_id))
        status: pb.ContainerStatus = answer.status
        return status

    async def create_container(self, sandbox_id: str, config: pb.ContainerConfig, sandbox: pb.PodSandboxConfig) -> str:
        request = pb.CreateContainerRequest(pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox)
        answer = await self._call(self._runtime.CreateContainer, request, START_TIMEOUT_S)
        return str(answer.container_id)

    async def start_container(self, container_id: str) -> None:
        request = pb.StartContainerRequest(container_id=container_id)
        await self._call(self._runtime.StartContainer, request, START_TIMEOUT_S)

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        request = pb.StopContainerRequest(container_id=container_id, timeout=timeout_s)
        await self._call(self._runtime.StopContainer, request, timeout_s + START_TIMEOUT_S)

    async def remove_container(self, container_id: str) -> None:
        request = pb.RemoveContainerRequest(container_id=container_id)
        await self._call(self._runtime.RemoveContainer, request, START_TIMEOUT_S)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: int) -> pb.ExecSyncResponse:
        request = pb.ExecSyncRequest(container_id=container_id, cmd=command, timeout=timeout_s)
        answer: pb.ExecSyncResponse = await self._call(
            self._runtime.ExecSync, request, timeout_s + 10 if timeout_s else PULL_TIMEOUT_S
        )
        return answer

    async def exec_url(self, request: pb.ExecRequest) -> str:
        return str((await self._call(self._runtime.Exec, request)).url)

    async def attach_url(self, request: pb.AttachRequest) -> str:
        return str((await self._call(self._runtime.Attach, request)).url)

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        request = pb.PortForwardRequest(pod_sandbox_id=sandbox_id, port=ports)
        return str((await self._call(self._runtime.PortForward, request)).url)

    async def reopen_log(self, container_id: str) -> None:
        await self._call(self._runtime.ReopenContainerLog, pb.ReopenContainerLogRequest(container_id=container_id))

    async def image_status(self, image: str) -> pb.Image | None:
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=image))
        answer = await self._call(self._images.ImageStatus, request)
        return answer.image if answer.HasField("image") else None

    async def list_images(self) -> Sequence[pb.Image]:
        answer = await self._call(self._images.ListImages, pb.ListImagesRequest())
        images: Sequence[pb.Image] = answer.images
        return images

    async def pull_image(self, image: str, auth: pb.AuthConfig | None, sandbox: pb.PodSandboxConfig) -> str:
        request = pb.PullImageRequest(image=pb.ImageSpec(image=image), auth=auth, sandbox_config=sandbox)
        return str((await self._call(self._images.PullImage, request, PULL_TIMEOUT_S)).image_ref)

    async def remove_image(self, image_id: str) -> None:
        await self._call(self._images.RemoveImage, pb.RemoveImageRequest(image=pb.ImageSpec(image=image_id)))

    async def image_filesystems(self) -> Sequence[pb.FilesystemUsage]:
        answer = await self._call(self._images.ImageFsInfo, pb.ImageFsInfoRequest())
        filesystems: Sequence[pb.FilesystemUsage] = answer.image_filesystems
        return filesystems

    async def writable_bytes(self, container_id: str) -> int:
        request = pb.ListContainerStatsRequest(filter=pb.ContainerStatsFilter(id=container_id))
        answer = await self._call(self._runtime.ListContainerStats, request)
        return sum(int(stats.writable_layer.used_bytes.value) for stats in answer.stats)

    async def writable_layers(self) -> Mapping[str, tuple[int, int]]:
        answer = await self._call(self._runtime.ListContainerStats, pb.ListContainerStatsRequest())
        return {
            each.attributes.id: (int(each.writable_layer.used_bytes.value), int(each.writable_layer.inodes_used.value))
            for each in answer.stats
        }

    async def exits(self) -> AsyncIterator[str]:
        """Yield ids from containerd's own event stream; CRI's is not served by 1.6."""
        filters = ['namespace==k8s.io,topic=="/tasks/exit"']
        try:
            async for envelope in self._events.Subscribe(events_pb2.SubscribeRequest(filters=filters)):
                container_id, exec_id = _exit_ids(envelope.event.value)
                if container_id and exec_id in ("", container_id):
                    yield container_id
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from None

    async def close(self) -> None:
        await self._channel.close()


def _exit_ids(event: bytes) -> tuple[str, str]:
    """Return fields 1 and 2 of a containerd TaskExit: the container's id, and the id of what ended in it.

    They are equal when the main process ended, and differ for an exec.
    """
    found = {1: "", 2: ""}
    at = 0
    while at < len(event) and not (found[1] and found[2]):
        tag, at = _varint(event, at)
        if tag & 7 != 2:
            break  # the strings come first
        length, at = _varint(event, at)
        if tag >> 3 in found:
            found[tag >> 3] = event[at : at + length].decode()
        at += length
    return found[1], found[2]


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
