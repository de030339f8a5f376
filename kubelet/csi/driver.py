"""One storage driver on this node, over its socket: the Node service of the Container Storage Interface v1."""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
import grpc.aio

from kubelet.rpc_errors import rpc_error
from proto.csi import csi_pb2 as pb
from proto.csi import csi_pb2_grpc

CALL_TIMEOUT_S = 120.0

T = TypeVar("T")


class CsiError(OSError):
    """A driver refused, or does not answer; the message is what the event says."""


def channel_to(path: str) -> grpc.aio.Channel:
    """Return a channel to a unix socket, which connects when it is used."""
    # Python's gRPC would send the quoted path as :authority, which Go's HTTP/2 servers refuse.
    return grpc.aio.insecure_channel(f"unix://{path}", options=[("grpc.default_authority", "localhost")])


def said(error: grpc.aio.AioRpcError) -> CsiError:
    """Return a failed call as upstream words it."""
    return CsiError(rpc_error(error.code(), error.details()))


class Driver:
    """A driver that is registered here."""

    def __init__(self, name: str, endpoint: str) -> None:
        self.name = name
        self.endpoint = endpoint
        self._channel = channel_to(endpoint)
        self._node: Any = csi_pb2_grpc.NodeStub(self._channel)  # type: ignore[no-untyped-call]
        self._capabilities: frozenset[int] | None = None

    async def info(self) -> pb.NodeGetInfoResponse:
        """Return what the driver calls this node. Raises CsiError."""
        answer: pb.NodeGetInfoResponse = await self._call(self._node.NodeGetInfo, pb.NodeGetInfoRequest())
        return answer

    async def capabilities(self) -> frozenset[int]:
        """Return what the driver can do beyond mounting, as `NodeServiceCapability.RPC.Type`. Raises CsiError."""
        if self._capabilities is None:
            answer = await self._call(self._node.NodeGetCapabilities, pb.NodeGetCapabilitiesRequest())
            self._capabilities = frozenset(each.rpc.type for each in answer.capabilities)
        return self._capabilities

    async def stage(self, request: pb.NodeStageVolumeRequest) -> None:
        """Prepare a volume on this node, once for all pods. Raises CsiError."""
        await self._call(self._node.NodeStageVolume, request)

    async def unstage(self, request: pb.NodeUnstageVolumeRequest) -> None:
        """Undo `stage`. Raises CsiError."""
        await self._call(self._node.NodeUnstageVolume, request)

    async def publish(self, request: pb.NodePublishVolumeRequest) -> None:
        """Mount a volume for one pod. Raises CsiError."""
        await self._call(self._node.NodePublishVolume, request)

    async def unpublish(self, request: pb.NodeUnpublishVolumeRequest) -> None:
        """Undo `publish`. Raises CsiError."""
        await self._call(self._node.NodeUnpublishVolume, request)

    async def close(self) -> None:
        """Give up the connection."""
        await self._channel.close()

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise said(error) from None
