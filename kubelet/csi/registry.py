"""Which storage drivers this node has: found by their sockets, told to the cluster in CSINode and in the Node's labels.

A plugin's registrar listens below `<root>/plugins_registry`; whatever socket is there is asked who it is, and told
whether it was taken. When the socket goes, so does the driver. "Device Plugins and CSI: plugin registration" in
Kubernetes' documentation; messages of upstream's plugin watcher.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec

from api.core import node as nodes
from api.core.node import Node
from api.errors import ApiError, NotFound
from api.meta import ObjectMeta, OwnerReference
from api.resource import ObjectKey
from api.storage import csinode
from api.storage.csinode import CSINode, CSINodeDriver, VolumeNodeResources
from client.verbs import Client
from component.clock import Clock
from component.supervise import keep_going
from kubelet.csi.driver import CsiError, Driver, channel_to, said
from proto.csi import registration_pb2, registration_pb2_grpc

log = logging.getLogger(__name__)

LOOK_S = 1.0
ASK_TIMEOUT_S = 10.0
RETRY_MAX_S = 60.0
TYPE = "CSIPlugin"
NODE_IDS = "csi.volume.kubernetes.io/nodeid"
"""Annotation of the Node: what each driver calls it, as JSON."""

_Socket = tuple[str, int]
"""A path, and its inode: a plugin that begins anew makes another one."""


class Registry:
    """The drivers of one node."""

    def __init__(self, client: Client, clock: Clock, directory: Path, own: Callable[[], Node | None]) -> None:
        """Make it; `directory` is where plugins' sockets are, `own` returns the Node object once it is known."""
        self._client = client
        self._clock = clock
        self._directory = directory
        self._own = own
        self._drivers: dict[str, Driver] = {}
        self._taken: dict[_Socket, str] = {}
        """By socket: the driver's name, or nothing for a plugin of another type."""
        self._failures: dict[_Socket, tuple[int, float]] = {}
        """By socket: how often it was asked in vain, and when it is to be asked again."""
        self._told_of = ""
        """The UID of the Node that has a CSINode."""

    def find(self, name: str) -> Driver | None:
        """Return a driver that is registered here."""
        return self._drivers.get(name)

    async def run(self) -> None:
        """Follow the sockets until cancelled."""
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            await keep_going("storage drivers", self._follow, self._clock)
        finally:
            for driver in self._drivers.values():
                await driver.close()

    async def _follow(self) -> None:
        while True:
            await self.look()
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Take what is new, and let go what is gone."""
        await self._keep_csinode()
        found = set(_sockets(self._directory))
        for socket in [each for each in self._taken if each not in found]:
            await self._let_go(socket)
        self._failures = {each: value for each, value in self._failures.items() if each in found}
        for socket in sorted(found - self._taken.keys()):
            count, again_at = self._failures.get(socket, (0, 0.0))
            if self._clock.monotonic() < again_at:
                continue
            try:
                self._taken[socket] = await self._take(socket[0])
                self._failures.pop(socket, None)
            except (CsiError, ApiError) as error:
                level = logging.DEBUG if count else logging.WARNING
                log.log(level, "storage driver not registered", extra={"socket": socket[0], "error": error})
                wait_s = min(LOOK_S * 2**count, RETRY_MAX_S)
                self._failures[socket] = (min(count + 1, 10), self._clock.monotonic() + wait_s)

    async def _keep_csinode(self) -> None:
        """See that the node has a CSINode, with or without drivers; one that was made anew is told of all again."""
        own = self._own()
        if own is None or own.metadata.uid == self._told_of:
            return
        try:
            await self._csinode(own)
        except ApiError as error:
            log.debug("CSINode not made yet", extra={"error": error.message})
            return
        self._taken.clear()
        self._told_of = own.metadata.uid

    async def _csinode(self, own: Node) -> CSINode:
        """Return this node's CSINode, made if it is not there. Raises ApiError."""
        key = ObjectKey("", own.metadata.name)
        with contextlib.suppress(NotFound):
            found = await self._client.get(csinode.RESOURCE, key)
            if any(owner.uid == own.metadata.uid for owner in found.metadata.owner_references):
                return found
            # A former Node's of this name: the garbage collector is about to take it.
            await self._client.delete(csinode.RESOURCE, key, uid=found.metadata.uid)
        owner = OwnerReference(api_version="v1", kind="Node", name=key.name, uid=own.metadata.uid)
        metadata = ObjectMeta(name=key.name, owner_references=[owner])
        return await self._client.create(csinode.RESOURCE, CSINode(metadata=metadata))

    async def _take(self, path: str) -> str:
        """Ask a plugin who it is and register it; return the driver's name. Raises CsiError, ApiError."""
        channel = channel_to(path)
        stub: Any = registration_pb2_grpc.RegistrationStub(channel)  # type: ignore[no-untyped-call]
        try:
            info = await stub.GetInfo(registration_pb2.InfoRequest(), timeout=ASK_TIMEOUT_S)
            if info.type != TYPE:
                return ""
            try:
                why = refusal(info)
                if why:
                    raise CsiError(why)
                await self._register(info.name, info.endpoint or path)
            except (CsiError, ApiError) as error:
                told = registration_pb2.RegistrationStatus(plugin_registered=False, error=str(error))
                await stub.NotifyRegistrationStatus(told, timeout=ASK_TIMEOUT_S)
                raise
            done = registration_pb2.RegistrationStatus(plugin_registered=True)
            await stub.NotifyRegistrationStatus(done, timeout=ASK_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise said(error) from None
        finally:
            await channel.close()
        return str(info.name)

    async def _register(self, name: str, endpoint: str) -> None:
        driver = Driver(name, endpoint)
        try:
            info = await driver.info()
            if not info.node_id:
                raise CsiError("the driver gave this node no name: NodeGetInfo answered without node_id")
            segments = dict(info.accessible_topology.segments)
            limit = int(info.max_volumes_per_node)
            entry = CSINodeDriver(
                name=name,
                node_id=info.node_id,
                topology_keys=sorted(segments),
                allocatable=VolumeNodeResources(count=limit) if limit > 0 else None,
            )
            await self._mark_node(name, info.node_id, segments)
            await self._write(name, entry)
        except (CsiError, ApiError):
            await driver.close()
            raise
        old = self._drivers.get(name)
        self._drivers[name] = driver
        if old is not None:
            await old.close()
        log.info("storage driver registered", extra={"driver": name, "endpoint": endpoint})

    async def _let_go(self, socket: _Socket) -> None:
        name = self._taken[socket]
        if name and list(self._taken.values()).count(name) == 1:
            try:
                await self._write(name, None)
                await self._mark_node(name, "", {})
            except (CsiError, ApiError) as error:
                log.warning("storage driver not taken off the list", extra={"driver": name, "error": error})
                return
            driver = self._drivers.pop(name, None)
            if driver is not None:
                await driver.close()
            log.info("storage driver gone", extra={"driver": name})
        del self._taken[socket]

    async def _mark_node(self, name: str, node_id: str, labels: dict[str, str]) -> None:
        own = self._own()
        if own is None:
            raise CsiError("the Node object is not known yet")
        found = await self._client.get(nodes.RESOURCE, ObjectKey("", own.metadata.name))
        ids = _ids_of(found)
        ids = {key: value for key, value in ids.items() if key != name} | ({name: node_id} if node_id else {})
        marks = {"annotations": {NODE_IDS: json.dumps(ids, sort_keys=True) if ids else None}, "labels": labels}
        await self._client.patch(nodes.RESOURCE, ObjectKey("", own.metadata.name), {"metadata": marks})

    async def _write(self, name: str, entry: CSINodeDriver | None) -> None:
        """Put a driver into this node's CSINode, or take it out. Raises ApiError, CsiError."""
        own = self._own()
        if own is None:
            raise CsiError("the Node object is not known yet")
        found = await self._csinode(own)
        drivers = [each for each in found.spec.drivers if each.name != name] + ([entry] if entry is not None else [])
        change = {
            "metadata": {"resourceVersion": found.metadata.resource_version},
            "spec": {"drivers": msgspec.to_builtins(drivers)},
        }
        await self._client.patch(csinode.RESOURCE, ObjectKey("", own.metadata.name), change)


def _ids_of(node: Node) -> dict[str, str]:
    """Return what drivers call a node. Raises CsiError: somebody wrote something else there."""
    try:
        return msgspec.json.decode(node.metadata.annotations.get(NODE_IDS) or "{}", type=dict[str, str])
    except msgspec.DecodeError as error:
        raise CsiError(f"the Node's annotation {NODE_IDS} is not an object of drivers and names: {error}") from None


def refusal(info: registration_pb2.PluginInfo) -> str:
    """Return why a plugin cannot be a storage driver here; empty if it can."""
    if not info.name:
        return "the plugin has no name"
    if not any(version.removeprefix("v").startswith("1.") for version in info.supported_versions):
        versions = ", ".join(info.supported_versions)
        return f"the plugin speaks none of the interface's versions that this kubelet does, 1.x: {versions}"
    return ""


def _sockets(directory: Path) -> Iterator[_Socket]:
    for place, below, files in os.walk(directory):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in files:
            path = os.path.join(place, name)
            try:
                state = os.stat(path)
            except OSError:
                continue
            if stat.S_ISSOCK(state.st_mode) and not name.startswith("."):
                yield path, state.st_ino
