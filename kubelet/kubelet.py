"""Puts one node's kubelet together, and runs it.

`Kubelet` is built from what differs between a real node and a hollow one: the runtime, the disk, the machine. A
simulation builds one in the same way, on its own clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp

from api.core import node as nodes
from api.core import pod as pods
from api.core import service as services
from api.core.pod import Pod
from api.core.service import Service
from api.errors import ApiError
from api.resource import ObjectKey
from client.events import EventRecorder
from client.informer import Informer
from client.verbs import Client
from component.clock import Clock
from component.health import Check
from component.supervise import keep_going
from kubelet import hollow, registry_auth
from kubelet import machine as machines
from kubelet.access import Access
from kubelet.cgroups import Cgroups
from kubelet.csi.registry import Registry
from kubelet.csi.volumes import CsiVolumes
from kubelet.image_gc import ImageGc
from kubelet.log_rotation import LogRotation
from kubelet.machine import Machine
from kubelet.manifests import Manifests
from kubelet.mirror_pods import MirrorPods
from kubelet.naming import Resolver, parse_resolv_conf
from kubelet.node import STARTS_AT_ONCE, Files, Node, PodCgroups, Volumes
from kubelet.node_lease import DURATION_S, NodeLease
from kubelet.node_status import NodeReporter
from kubelet.paths import Paths
from kubelet.pod_files import PodFiles
from kubelet.pod_workers import PodWorkers
from kubelet.pressure import PressureWatch
from kubelet.probes.prober import HollowProber, Prober, Unhealthy
from kubelet.references import References
from kubelet.runtime.cri import Cri
from kubelet.runtime.hollow import HollowCri
from kubelet.runtime.images import Images, normalize
from kubelet.runtime.pleg import Pleg
from kubelet.server import Served
from kubelet.status_writer import StatusWriter
from kubelet.volumes.local_volumes import LocalVolumes
from kubelet.volumes.pod_volumes import PodVolumes
from kubelet.volumes.tokens import TokenSource
from proto.cri import api_pb2 as pb

log = logging.getLogger(__name__)

BAD_FILE = "InvalidStaticPod"
"""Reason of the event on the Node about a file that is no static pod."""
FILE_CHECK_S = 1.0
HOLLOW_RESYNC_S = 600.0
HOLLOW_RELIST_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """What one node is called and where it is."""

    name: str
    ips: tuple[str, ...]
    port: int
    """Of its HTTPS server."""
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"


class Kubelet:
    """One node."""

    def __init__(
        self,
        identity: NodeIdentity,
        *,
        client: Client,
        cri: Cri,
        clock: Clock,
        rng: random.Random,
        machine: Machine,
        root: Path | None = None,
        pod_logs_dir: Path | None = None,
        manifests: Path | None = None,
        volume_dir: Path | None = None,
        unsafe_sysctls: tuple[str, ...] = (),
        cgroup_root: str = "/kubepods",
        service_informer: Informer[Service] | None = None,
        status_period_s: float = 10.0,
        lease_duration_s: int = DURATION_S,
        on_node: Callable[[nodes.Node], None] = lambda node: None,
    ) -> None:
        """Build it; nothing runs yet.

        Args:
            identity: the node's name and addresses.
            client: speaks to the API server in the node's name.
            cri: the container runtime.
            clock: where time comes from.
            rng: where jitter comes from.
            machine: what the node reports of itself.
            root: where pods' files go; None for a hollow node, which has none.
            pod_logs_dir: where their logs go, if not below that.
            manifests: directory of static pods' files, or one such file; None for no static pods.
            volume_dir: where volumes of the cluster's own provisioner are made; None for nowhere.
            unsafe_sysctls: what pods may set beside the safe ones.
            cgroup_root: above all pods' control groups.
            service_informer: shared between nodes of one process; somebody else runs it. None: one of our own.
            status_period_s: how often the node's status is looked at.
            lease_duration_s: of the node's Lease, which is renewed four times as often.
            on_node: told of the Node object as it is at the API server, again and again.
        """
        self.identity = identity
        self._client = client
        self._clock = clock
        self._machine = machine
        self._paths: Paths | None = None
        self._http: aiohttp.ClientSession | None = None
        self._own_services = service_informer is None
        self._services = service_informer or Informer(client, services.RESOURCE, clock=clock, rng=rng)
        selector = f"spec.nodeName={identity.name}"
        self.pods = Informer(client, pods.RESOURCE, clock=clock, rng=rng, field_selector=selector)
        self.recorder = EventRecorder(client, "kubelet", clock=clock, rng=rng, host=identity.name)
        is_hollow = root is None
        self._cgroups: Cgroups | None = None
        self._images: ImageGc | None = None
        self._storage_drivers: Registry | None = None
        self._driver_volumes: CsiVolumes | None = None
        self._pressure: PressureWatch | None = None
        files: Files
        volumes: Volumes
        cgroups: PodCgroups
        self._manifests = None
        if manifests is not None:
            self._manifests = Manifests(manifests, identity.name, clock.now, lambda why: self._warn(BAD_FILE, why))
        self._mirrors = MirrorPods(
            client,
            clock,
            self.pods.store,
            node=lambda: self.node.own,
            on_mirror=lambda static: self._statuses.show_again(static),
        )
        self._statuses = StatusWriter(client, clock, self._mirrors.of)
        self._references = References(client, clock, rng, self._refresh)
        self._local = LocalVolumes(client, clock, volume_dir, identity.name) if volume_dir is not None else None
        if root is None:
            files, volumes, cgroups = hollow.HollowFiles(), hollow.HollowVolumes(), hollow.HollowCgroups()
            self.pleg = Pleg(cri, clock, lambda status: "", relist_s=HOLLOW_RELIST_S)
        else:
            paths = self._paths = Paths(root, pod_logs_dir)
            real_files = PodFiles(paths, identity.cluster_domain)
            tokens = TokenSource(client, clock)
            registry = self._storage_drivers = Registry(client, clock, paths.plugin_sockets, lambda: self.node.own)
            drivers = self._driver_volumes = CsiVolumes(
                client, paths, registry, self._references, tokens, identity.name, clock
            )
            files = real_files
            volumes = PodVolumes(paths, self._references, tokens, lambda: self.node.own, self._local, drivers)
            cgroups = self._cgroups = Cgroups(cgroup_root)
            self.pleg = Pleg(cri, clock, real_files.read_message)
            self._images = ImageGc(cri, clock, self._warn)
            self._pressure = PressureWatch(
                clock,
                self.pleg,
                self._cgroups,
                self._images,
                paths,
                pods=lambda: self._workers.pods(),
                evict=lambda uid, message: self._workers.evict(uid, message),
                written=cri.writable_bytes,
                tell=self._warn,
                on_change=lambda: self._reporter.report_soon(),
            )
        self._reporter = NodeReporter(
            client,
            clock,
            cri,
            self.recorder,
            machine,
            name=identity.name,
            ips=identity.ips,
            port=identity.port,
            pressures=lambda: self._pressure.conditions if self._pressure is not None else frozenset(),
            period_s=status_period_s,
            on_node=self._note_node,
            volumes_in_use=lambda: self._driver_volumes.in_use() if self._driver_volumes is not None else [],
        )
        self._on_node = on_node
        self._lease = NodeLease(client, clock, identity.name, lease_duration_s)
        self._cri = cri
        self._is_hollow = is_hollow
        self.node = Node(
            name=identity.name,
            ips=identity.ips,
            client=client,
            cri=cri,
            clock=clock,
            recorder=self.recorder,
            pleg=self.pleg,
            images=Images(cri, clock),
            statuses=self._statuses,
            references=self._references,
            volumes=volumes,
            cgroups=cgroups,
            files=files,
            start_slots=asyncio.Semaphore(STARTS_AT_ONCE),
            cluster_dns=identity.cluster_dns,
            cluster_domain=identity.cluster_domain,
            host_resolver=(lambda: Resolver()) if is_hollow else read_host_resolver,
            services=self._list_services,
            http=self._session,
            make_prober=self._make_prober,
            pull_secrets=self._pull_secrets,
            allocatable=machine.allocatable(),
            memory_capacity_bytes=machine.memory_bytes,
            resync_s=HOLLOW_RESYNC_S if is_hollow else 60.0,
            is_hollow=is_hollow,
            unsafe_sysctls=unsafe_sysctls,
            has_apparmor=not is_hollow and machines.has_apparmor(),
            seccomp_root=str((root or Path("/var/lib/kubelet")) / "seccomp"),
            why_not_admitted=lambda pod: self._pressure.why_not_admitted(pod) if self._pressure is not None else "",
        )
        self._workers = PodWorkers(self.node, self.pods, self._mirrors)
        self._rotation = None if is_hollow else LogRotation(self.pleg, cri, clock)

    async def run(self) -> None:
        """Be the node until cancelled. Containers are left running."""
        self._limit_pods_together()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.recorder.run(), name="events")
                group.create_task(self.pods.run(), name="pods informer")
                if self._own_services:
                    group.create_task(self._services.run(), name="services informer")
                parts = {"pleg": self.pleg.run, "node status": self._reporter.run, "node lease": self._lease.run}
                if self._manifests is not None:
                    # Known before anything is tidied up, so that a restart does not take them for orphans.
                    self._workers.wish_static(self._manifests.look())
                    parts["static pods"] = partial(self._follow_manifests, self._manifests)
                group.create_task(self._run_pods(), name="pods")
                if self._images is not None:
                    parts["image collection"] = self._images.run
                if self._pressure is not None:
                    parts["pressure"] = self._pressure.run
                if self._storage_drivers is not None:
                    parts["storage drivers"] = self._storage_drivers.run
                if self._local is not None:
                    parts["local volumes"] = self._local.run
                if self._rotation is not None:
                    parts["log rotation"] = self._rotation.run
                for name, part in parts.items():
                    group.create_task(keep_going(name, part, self._clock), name=name)
        finally:
            await self._statuses.close()
            await self._references.close()
            if self._http is not None:
                await self._http.close()

    async def _run_pods(self) -> None:
        # A pod's environment names Services: none of the API server's starts before they are known.
        await self._workers.run(self._services.wait_synced)

    async def _follow_manifests(self, manifests: Manifests) -> None:
        while True:
            await self._clock.sleep(FILE_CHECK_S)
            self._workers.wish_static(manifests.look())

    def _limit_pods_together(self) -> None:
        if self._cgroups is None:
            return
        try:
            self._cgroups.make_root(self._machine.cpus, self._machine.memory_bytes)
        except OSError as error:
            log.warning("pods are not limited together", extra={"error": error})

    def served(self) -> Served:
        """Return what the node's HTTPS server shows."""
        return Served(
            node_name=self.identity.name,
            cri=self._cri,
            pleg=self.pleg,
            pods=self._workers.pods,
            cgroups=self._cgroups,
            now=self._clock.now,
            access=Access(self.identity.name, self._client, self._clock),
            ready=self.checks(),
            is_hollow=self._is_hollow,
            paths=self._paths,
            claimed=self.node.volumes.claimed,
        )

    def checks(self) -> Mapping[str, Check]:
        """Return what must be well for the kubelet to be ready."""
        return {
            "runtime": lambda: self._reporter.runtime_problem or None,
            "pods": lambda: None if self.pods.has_synced else "the API server has not listed this node's pods yet",
        }

    def _warn(self, reason: str, message: str) -> None:
        self.recorder.event(self._reporter.reference, "Warning", reason, message)

    def _refresh(self, uid: str) -> None:
        self._workers.refresh(uid)

    def _note_node(self, node: nodes.Node) -> None:
        self._lease.node_uid = node.metadata.uid
        self.node.own = node
        if isinstance(self._cri, HollowCri) and node.spec.pod_cidr:
            self._cri.use_pod_cidr(node.spec.pod_cidr)
        self._on_node(node)

    def _list_services(self) -> Sequence[Service]:
        return self._services.store.list()

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            connector = aiohttp.TCPConnector(force_close=True, limit=0)
            self._http = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._http

    def _make_prober(self, wake: Callable[[], None], unhealthy: Unhealthy) -> Prober:
        kind = HollowProber if self._is_hollow else Prober
        return kind(self._cri, self._clock, self._session, wake, unhealthy)

    async def _pull_secrets(self, pod: Pod) -> list[pb.AuthConfig]:
        found = []
        for reference in pod.spec.image_pull_secrets:
            with contextlib.suppress(ApiError):
                secret = await self._references.secret(ObjectKey(pod.metadata.namespace, reference.name))
                if secret is not None:
                    found += registry_auth.credentials(secret)
        images = [c.image for c in [*pod.spec.init_containers, *pod.spec.containers]]
        return [auth for image in images for auth in registry_auth.matching(found, normalize(image))]


def read_host_resolver() -> Resolver:
    """Return the node's own resolv.conf."""
    with contextlib.suppress(OSError):
        return parse_resolv_conf(Path("/etc/resolv.conf").read_text())
    return Resolver()
