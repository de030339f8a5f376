"""What a pod's containers stand on: its volumes, and the sandbox that they share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from api.core.pod import Pod
from api.errors import NotFound
from api.node import runtimeclass
from api.resource import ObjectKey
from client.verbs import key_of
from kubelet import naming
from kubelet.downward import PodFacts
from kubelet.environment import names_of_objects
from kubelet.node import Node
from kubelet.pod_parts import all_containers
from kubelet.runtime.cri import CriError, RuntimeUnavailable
from kubelet.runtime.records import RuntimePod
from kubelet.runtime.sandbox import sandbox_config
from kubelet.stop_signal import StopSignal
from kubelet.volumes.files import names_in
from kubelet.volumes.pod_volumes import Mounted, VolumeError
from proto.cri import api_pb2 as pb

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Failure(Exception):
    """A step failed and is to be tried again; without a time, after a while that grows."""

    message: str
    retry_at_s: float | None = None


class PodSetup:
    """Sets one pod up; its worker says when."""

    def __init__(self, node: Node, uid: str, stop: StopSignal) -> None:
        self._node = node
        self._uid = uid
        self._stop = stop
        self.volumes: dict[str, Mounted] = {}
        """Where the pod's volumes are, by name, as they were last set up."""

    async def make_sandbox(self, pod: Pod, attempt: int) -> None:
        """Make the pod's sandbox; raises Failure."""
        node = self._node
        async with self._slot():
            try:
                node.cgroups.make(pod)
                config = self.sandbox_config(pod, attempt)
                await node.cri.run_sandbox(config, await self._runtime_handler(pod))
            except RuntimeUnavailable:
                raise
            except (CriError, OSError, naming.HostnameTooLong) as error:
                said = error.with_code if isinstance(error, CriError) else str(error)
                message = f"Failed to create pod sandbox: {said}"
                node.recorder.event(pod, "Warning", "FailedCreatePodSandBox", message)
                log.warning("sandbox not made", extra={"pod": key_of(pod), "error": error})
                raise Failure(message) from None

    async def _runtime_handler(self, pod: Pod) -> str:
        """Return what the runtime calls the pod's RuntimeClass; empty for its default. Raises CriError."""
        name = pod.spec.runtime_class_name
        if not name:
            return ""
        try:
            return (await self._node.client.get(runtimeclass.RESOURCE, ObjectKey("", name))).handler
        except NotFound:
            raise CriError(f'runtimeclass.node.k8s.io "{name}" not found') from None

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Wait for a turn: a machine that starts too many sandboxes at once starts them all late."""
        await self._stop.unless_set(self._node.start_slots.acquire())
        try:
            yield
        finally:
            self._node.start_slots.release()

    def sandbox_config(self, pod: Pod, attempt: int) -> pb.PodSandboxConfig:
        """Return what the runtime is told of the pod's sandbox."""
        node = self._node
        resolver = naming.resolver(pod, node.cluster_dns, node.cluster_domain, node.host_resolver())
        for warning in resolver.warnings:
            node.recorder.event(pod, "Warning", "DNSConfigForming", warning)
        return sandbox_config(
            pod,
            attempt,
            hostname=naming.hostname(pod, node.cluster_domain),
            resolver=resolver,
            cgroup_parent=node.cgroups.parent(pod),
            log_directory=node.files.make_log_directory(pod),
            seccomp_root=node.seccomp_root,
        )

    async def set_up_volumes(self, pod: Pod, runtime: RuntimePod) -> None:
        """Bring the pod's volumes up to date, and follow what they and its variables refer to; raises Failure."""
        node = self._node
        config_maps, secrets = names_in(pod)
        for container in all_containers(pod):
            of_env = names_of_objects(container)
            config_maps |= {ObjectKey(pod.metadata.namespace, name) for name in of_env[0]}
            secrets |= {ObjectKey(pod.metadata.namespace, name) for name in of_env[1]}
        if not node.is_hollow:
            node.references.follow(self._uid, config_maps, secrets)
        running = self.volumes if runtime.ready_sandbox is not None else None
        try:
            self.volumes = await self._stop.unless_set(node.volumes.set_up(pod, self.facts(pod, runtime), running))
        except VolumeError as error:
            for message in error.messages:
                node.recorder.event(pod, "Warning", "FailedMount", message)
            raise Failure(str(error)) from None

    def facts(self, pod: Pod, runtime: RuntimePod) -> PodFacts:
        """Return what the downward API says of the pod beside what is in it."""
        sandbox = runtime.ready_sandbox
        ips = () if sandbox is None else (self._node.ips if pod.spec.host_network else sandbox.ips)
        return PodFacts(host_ips=self._node.ips, pod_ips=ips, allocatable=self._node.allocatable)
