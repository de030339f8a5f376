"""A storage driver for tests: registers on a socket, remembers every call, and mounts if it is told how."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from proto.csi import csi_pb2 as pb
from proto.csi import csi_pb2_grpc, registration_pb2, registration_pb2_grpc

CAN = pb.NodeServiceCapability.RPC


class CsiDriver:
    """One driver; `calls` are the requests it got, oldest first."""

    def __init__(
        self,
        directory: Path,
        name: str = "fake.example.com",
        *,
        can: Sequence[int] = (),
        mount: Callable[[str, str], None] | None = None,
        versions: Sequence[str] = ("1.0.0",),
    ) -> None:
        self.name = name
        self.path = directory / f"{name}-reg.sock"
        self.calls: list[Any] = []
        self.refusal = ""
        """If set, what mounting is refused with."""
        self.registered: list[registration_pb2.RegistrationStatus] = []
        self.keeps = False
        """Whether unstaging is refused."""
        self._can = can
        self._mount = mount
        self._versions = versions
        self._server = grpc.aio.server()
        csi_pb2_grpc.add_NodeServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        registration_pb2_grpc.add_RegistrationServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self._server.add_insecure_port(f"unix://{self.path}")

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)
        self.path.unlink(missing_ok=True)

    def of(self, kind: type) -> list[Any]:
        """Return the calls of one kind."""
        return [call for call in self.calls if isinstance(call, kind)]

    async def GetInfo(self, request: Any, context: Any) -> registration_pb2.PluginInfo:
        return registration_pb2.PluginInfo(type="CSIPlugin", name=self.name, supported_versions=self._versions)

    async def NotifyRegistrationStatus(self, request: Any, context: Any) -> registration_pb2.RegistrationStatusResponse:
        self.registered.append(request)
        return registration_pb2.RegistrationStatusResponse()

    async def NodeGetInfo(self, request: Any, context: Any) -> pb.NodeGetInfoResponse:
        topology = pb.Topology(segments={"topology.example.com/rack": "r1"})
        return pb.NodeGetInfoResponse(node_id="node-one", max_volumes_per_node=7, accessible_topology=topology)

    async def NodeGetCapabilities(self, request: Any, context: Any) -> pb.NodeGetCapabilitiesResponse:
        listed = [pb.NodeServiceCapability(rpc=CAN(type=each)) for each in self._can]
        return pb.NodeGetCapabilitiesResponse(capabilities=listed)

    async def NodeStageVolume(self, request: Any, context: Any) -> pb.NodeStageVolumeResponse:
        self.calls.append(request)
        return pb.NodeStageVolumeResponse()

    async def NodeUnstageVolume(self, request: Any, context: Any) -> pb.NodeUnstageVolumeResponse:
        self.calls.append(request)
        if self.keeps:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "busy")
        return pb.NodeUnstageVolumeResponse()

    async def NodePublishVolume(self, request: Any, context: Any) -> pb.NodePublishVolumeResponse:
        self.calls.append(request)
        if self.refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.refusal)
        os.makedirs(request.target_path, exist_ok=True)
        if self._mount is not None:
            self._mount(request.volume_id, request.target_path)
        return pb.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(self, request: Any, context: Any) -> pb.NodeUnpublishVolumeResponse:
        self.calls.append(request)
        return pb.NodeUnpublishVolumeResponse()
