"""Registers the node, and says how it is: addresses, capacity, conditions, images.

Written when something changes, and otherwise every five minutes as upstream does: the Lease is the frequent sign of
life. `conditions` is pure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from api.core import node as nodes
from api.core.node import (
    ContainerImage,
    DaemonEndpoint,
    Node,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeStatus,
)
from api.core.references import ObjectReference
from api.errors import AlreadyExists, ApiError, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from api.timestamps import render
from client.events import Recorder
from client.verbs import Client, PatchType
from component.clock import Clock, sleep_unless
from kubelet.machine import Machine
from kubelet.runtime.cri import Cri, CriError

log = logging.getLogger(__name__)

REPORT_S = 300.0
"""An unchanged status is written again after this long."""
EAGER_S = 0.5
EAGER_LOOKS = 120
_ANNOTATIONS = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
"""Who attaches volumes to the node: tools look there before they touch any."""
IMAGES_MAX = 50


@dataclass(frozen=True, slots=True)
class Health:
    """What conditions follow from."""

    runtime_problem: str = ""
    """Why the runtime or the network is not ready; empty when they are."""
    pressures: frozenset[str] = frozenset()
    """Those of MemoryPressure, DiskPressure and PIDPressure that hold."""


def conditions(health: Health, old: Sequence[NodeCondition], now: float) -> list[NodeCondition]:
    """Return the node's conditions; those of others, such as NetworkUnavailable, are kept."""
    problem = health.runtime_problem
    wanted = [
        (
            "MemoryPressure",
            "MemoryPressure" in health.pressures,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        (
            "DiskPressure",
            "DiskPressure" in health.pressures,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        (
            "PIDPressure",
            "PIDPressure" in health.pressures,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        (
            "Ready",
            not problem,
            ("KubeletReady", "kubelet is posting ready status"),
            ("KubeletNotReady", problem),
        ),
    ]
    before = {condition.type: condition for condition in old}
    found = []
    for type_, is_true, if_true, if_false in wanted:
        reason, message = if_true if is_true else if_false
        status = "True" if is_true else "False"
        was = before.pop(type_, None)
        since = was.last_transition_time if was is not None and was.status == status else render(now)
        found.append(
            NodeCondition(
                type=type_,
                status=status,
                last_heartbeat_time=render(now),
                last_transition_time=since,
                reason=reason,
                message=message,
            )
        )
    return [*before.values(), *found]


class NodeReporter:
    """Keeps one Node object up to date."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        cri: Cri,
        recorder: Recorder,
        machine: Machine,
        *,
        name: str,
        ips: Sequence[str],
        port: int,
        pressures: Callable[[], frozenset[str]],
        period_s: float,
        on_node: Callable[[Node], None] = lambda node: None,
        volumes_in_use: Callable[[], list[str]] = list,
    ) -> None:
        """Make it.

        `pressures` are the conditions of what is short, `volumes_in_use` must not be taken off the node, `on_node` is
        told of each Node as written.
        """
        self._client = client
        self._clock = clock
        self._cri = cri
        self._recorder = recorder
        self._machine = machine
        self._name = name
        self._ips = ips
        self._port = port
        self._pressures = pressures
        self._period_s = period_s
        self._on_node = on_node
        self._volumes_in_use = volumes_in_use
        self._key = ObjectKey("", name)
        self._last: dict[str, Any] = {}
        self._last_at = float("-inf")
        self._is_cordoned = False
        self._wanted = asyncio.Event()
        self._runtime_version = machine.info.container_runtime_version
        self.runtime_problem = "container runtime has not been asked yet"
        """As of the last look; empty when all is well."""

    @property
    def reference(self) -> ObjectReference:
        """What events about the node refer to; upstream gives the name as UID."""
        return ObjectReference(kind="Node", name=self._name, uid=self._name, api_version="v1")

    async def run(self) -> None:
        """Register, then report until cancelled."""
        failures = 0
        not_ready = 0
        announced = False
        while True:
            try:
                node = await self._get_or_register()
                if not announced:
                    self._event("Starting", "Starting kubelet.")
                    announced = True
                await self._report(node)
                failures = 0
            except ApiError as error:
                failures += 1
                level = logging.WARNING if failures in (1, 10, 100) else logging.DEBUG
                log.log(level, "node status not written", extra={"node": self._name, "error": error.message})
            not_ready = not_ready + 1 if failures or self.runtime_problem else 0
            # A node that is not ready yet is looked at often at first, so that it becomes so as soon as it can.
            is_eager = 0 < not_ready <= EAGER_LOOKS
            await sleep_unless(self._clock, min(self._period_s, EAGER_S) if is_eager else self._period_s, self._wanted)
            self._wanted.clear()

    def report_soon(self) -> None:
        """Look at once: something has changed that the scheduler must know."""
        self._wanted.set()

    async def _get_or_register(self) -> Node:
        try:
            return await self._client.get(nodes.RESOURCE, self._key)
        except NotFound:
            node = Node(metadata=ObjectMeta(name=self._name, labels=self.labels(), annotations=dict(_ANNOTATIONS)))
            try:
                registered = await self._client.create(nodes.RESOURCE, node)
            except AlreadyExists:
                return await self._client.get(nodes.RESOURCE, self._key)
            log.info("node registered", extra={"node": self._name})
            return registered

    def labels(self) -> dict[str, str]:
        """Return the labels that every node has."""
        arch = self._machine.info.architecture
        return {
            "beta.kubernetes.io/arch": arch,
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": arch,
            "kubernetes.io/hostname": self._name,
            "kubernetes.io/os": "linux",
        }

    async def _report(self, node: Node) -> None:
        self._on_node(node)
        missing = missing_metadata(node.metadata, self.labels())
        if missing:
            await self._client.patch(nodes.RESOURCE, self._key, {"metadata": missing})
        old = {condition.type: condition for condition in node.status.conditions}
        self._tell_of_cordon(node)
        status = await self.compute(node.status)
        self._tell_of_reboot(node.status.node_info.boot_id, status.node_info.boot_id)
        patch = self._patch(node.status, status)
        is_due = self._clock.monotonic() - self._last_at >= REPORT_S
        if not patch and not is_due:
            return
        patch["conditions"] = msgspec.to_builtins([c for c in status.conditions if c.type in _OURS])
        written = await self._client.patch(
            nodes.RESOURCE, self._key, {"status": patch}, type=PatchType.STRATEGIC, subresource="status"
        )
        self._last_at = self._clock.monotonic()
        self._on_node(written)
        for condition in status.conditions:
            was = old.get(condition.type)
            if condition.type in _OURS and (was is None or was.status != condition.status):
                self._announce(condition, was)

    def _patch(self, old: NodeStatus, new: NodeStatus) -> dict[str, Any]:
        """Return what changed; heartbeat times alone are no change."""
        before: dict[str, Any] = msgspec.to_builtins(old)
        after: dict[str, Any] = msgspec.to_builtins(new)
        patch = {key: value for key, value in after.items() if key != "conditions" and before.get(key) != value}
        if old.volumes_in_use and not new.volumes_in_use:
            patch["volumesInUse"] = []
        if "allocatable" in patch:
            # Amounts are merged one by one: what is there no more must be named.
            patch["allocatable"] = {**dict.fromkeys(old.allocatable), **patch["allocatable"]}
        if "addresses" in patch:
            patch["addresses"] = [*patch["addresses"], {"$patch": "replace"}]
        if _states(old.conditions) != _states(new.conditions):
            patch["conditions"] = []
        return patch

    async def compute(self, old: NodeStatus) -> NodeStatus:
        """Look at the machine and the runtime, and return the status."""
        images: list[ContainerImage] = old.images
        try:
            if not self._runtime_version:
                version = await self._cri.version()
                self._runtime_version = f"{version.runtime_name}://{version.runtime_version}"
            problems = [
                f"container {'runtime network' if c.type == 'NetworkReady' else 'runtime'} not ready: "
                f"{c.type}=false reason:{c.reason} message:{c.message}"
                for c in await self._cri.status()
                if c.type in ("RuntimeReady", "NetworkReady") and not c.status
            ]
            listed = sorted(await self._cri.list_images(), key=lambda image: -image.size)[:IMAGES_MAX]
            images = [
                ContainerImage(names=[*image.repo_digests, *image.repo_tags], size_bytes=image.size)
                for image in listed
                if image.repo_tags or image.repo_digests
            ]
        except CriError as error:
            problems = [f"container runtime is down: {error.message}"]
        self._notice(", ".join(problems))
        info = msgspec.structs.replace(self._machine.info, container_runtime_version=self._runtime_version)
        addresses = [NodeAddress(type="InternalIP", address=ip) for ip in self._ips]
        extended = _extended(old.capacity)
        return NodeStatus(
            capacity={**extended, **self._machine.capacity()},
            allocatable={**extended, **self._machine.allocatable()},
            conditions=conditions(Health(self.runtime_problem, self._pressures()), old.conditions, self._clock.now()),
            addresses=[*addresses, NodeAddress(type="Hostname", address=self._name)],
            daemon_endpoints=NodeDaemonEndpoints(kubelet_endpoint=DaemonEndpoint(port=self._port)),
            node_info=info,
            images=images,
            volumes_in_use=self._volumes_in_use(),
        )

    def _notice(self, problem: str) -> None:
        if problem != self.runtime_problem:
            if problem:
                log.error("the node is not ready", extra={"node": self._name, "problem": problem})
            elif self.runtime_problem:
                log.info("the node is ready", extra={"node": self._name})
        self.runtime_problem = problem

    def _announce(self, condition: NodeCondition, was: NodeCondition | None) -> None:
        reasons: Mapping[tuple[str, str], str] = {
            ("Ready", "True"): "NodeReady",
            ("Ready", "False"): "NodeNotReady",
            ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
            ("MemoryPressure", "False"): "NodeHasSufficientMemory",
            ("DiskPressure", "True"): "NodeHasDiskPressure",
            ("DiskPressure", "False"): "NodeHasNoDiskPressure",
            ("PIDPressure", "True"): "NodeHasInsufficientPID",
            ("PIDPressure", "False"): "NodeHasSufficientPID",
        }
        reason = reasons[condition.type, condition.status]
        if was is None and reason == "NodeNotReady":
            return  # It has not been ready yet: that is no news.
        self._event(reason, f"Node {self._name} status is now: {reason}")

    def _tell_of_cordon(self, node: Node) -> None:
        if node.spec.unschedulable == self._is_cordoned:
            return
        self._is_cordoned = node.spec.unschedulable
        reason = "NodeNotSchedulable" if self._is_cordoned else "NodeSchedulable"
        self._event(reason, f"Node {self._name} status is now: {reason}")

    def _tell_of_reboot(self, before: str, now: str) -> None:
        if before and before != now:
            message = f"Node {self._name} has been rebooted, boot id: {now}"
            self._recorder.event(self.reference, "Warning", "Rebooted", message)

    def _event(self, reason: str, message: str) -> None:
        self._recorder.event(self.reference, "Normal", reason, message)


def missing_metadata(found: ObjectMeta, labels: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return what of a node's labels and annotations must be written, as a patch of its metadata."""
    missing = {
        "labels": {name: value for name, value in labels.items() if found.labels.get(name) != value},
        "annotations": {name: value for name, value in _ANNOTATIONS.items() if found.annotations.get(name) != value},
    }
    return {part: values for part, values in missing.items() if values}


_OURS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")


def _extended(capacity: Mapping[str, str]) -> dict[str, str]:
    """Return the amounts of extended resources that others have put into the node's capacity."""
    return {name: amount for name, amount in capacity.items() if "/" in name and "kubernetes.io/" not in name}


def _states(found: Sequence[NodeCondition]) -> list[tuple[str, str, str, str]]:
    return sorted((c.type, c.status, c.reason, c.message) for c in found if c.type in _OURS)
