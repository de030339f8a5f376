"""What the workers of one node share: the world as arguments, so that a simulation can hand in another one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp

from api.core.node import Node as ApiNode
from api.core.pod import Pod
from api.core.service import Service
from client.events import Recorder
from client.verbs import Client
from component.clock import Clock
from kubelet.downward import PodFacts
from kubelet.lifecycle import AnyContainer
from kubelet.naming import Resolver
from kubelet.probes.prober import Prober, Unhealthy
from kubelet.references import References
from kubelet.runtime.cri import Cri
from kubelet.runtime.images import Images
from kubelet.runtime.pleg import Pleg
from kubelet.status_writer import StatusWriter
from kubelet.volumes.pod_volumes import Mounted
from proto.cri import api_pb2 as pb

STARTS_AT_ONCE = 8


class Volumes(Protocol):
    """See `kubelet.volumes.pod_volumes.PodVolumes`."""

    async def set_up(
        self, pod: Pod, facts: PodFacts, running: Mapping[str, Mounted] | None = None
    ) -> dict[str, Mounted]: ...
    async def release(self, uid: str) -> None: ...
    def renew_at_s(self, uid: str) -> float | None: ...
    def claimed(self, uid: str) -> Mapping[str, tuple[str, Path]]: ...
    def tear_down(self, uid: str) -> None: ...
    def uids(self) -> set[str]: ...


class PodCgroups(Protocol):
    """See `kubelet.cgroups.Cgroups`."""

    def parent(self, pod: Pod) -> str: ...
    def make(self, pod: Pod) -> None: ...
    def remove(self, uid: str) -> None: ...
    def uids(self) -> set[str]: ...


class Files(Protocol):
    """See `kubelet.pod_files.PodFiles`."""

    def make_log_directory(self, pod: Pod) -> str: ...
    def container_mounts(
        self, pod: Pod, container: AnyContainer, attempt: int, pod_ips: tuple[str, ...]
    ) -> list[pb.Mount]: ...
    def link_log(self, pod: Pod, name: str, attempt: int, container_id: str) -> None: ...
    def remove_attempt(self, pod: Pod, name: str, attempt: int) -> None: ...
    def remove_logs(self, namespace: str, name: str, uid: str) -> None: ...
    def pods_with_logs(self) -> list[tuple[str, str, str]]: ...


@dataclass(slots=True, kw_only=True)
class Node:
    """One node's means."""

    name: str
    ips: tuple[str, ...]
    client: Client
    cri: Cri
    clock: Clock
    recorder: Recorder
    pleg: Pleg
    images: Images
    statuses: StatusWriter
    references: References
    volumes: Volumes
    cgroups: PodCgroups
    files: Files
    start_slots: asyncio.Semaphore
    """How many sandboxes may be in the making."""
    cluster_dns: tuple[str, ...]
    cluster_domain: str
    host_resolver: Callable[[], Resolver]
    services: Callable[[], Sequence[Service]]
    """Services of all namespaces, for containers' environment."""
    http: Callable[[], aiohttp.ClientSession]
    make_prober: Callable[[Callable[[], None], Unhealthy], Prober]
    pull_secrets: Callable[[Pod], Awaitable[list[pb.AuthConfig]]]
    allocatable: Mapping[str, str]
    memory_capacity_bytes: int
    why_not_admitted: Callable[[Pod], str] = lambda pod: ""
    """Why a pod may not begin on this node now; empty if it may."""
    own: ApiNode | None = None
    """This node's object, as last seen."""
    neighbours: Callable[[str], Sequence[Pod]] = lambda uid: ()
    """The pods that use this node beside the one of that UID."""
    make_room: Callable[[Pod], bool] = lambda pod: False
    """Ends pods so that a critical one fits; whether there will be room."""
    unsafe_sysctls: tuple[str, ...] = ()
    """Sysctls that pods may set beside the safe ones; `kernel.msg*` names all that begin so."""
    has_apparmor: bool = False
    """Whether the kernel enforces AppArmor's profiles."""
    seccomp_root: str = "/var/lib/kubelet/seccomp"
    resync_s: float = 60.0
    is_hollow: bool = False
