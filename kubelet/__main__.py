"""`steer-kubelet`: the agent of one node, or of many hollow ones."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from api.core import service as services
from client.informer import Informer
from client.transport import GrpcTransport
from client.verbs import Client
from component import health, logs, signals, tracing
from component.clock import RealClock
from component.flags import parse, setting
from component.metrics import SHARED
from component.serve import Identity
from kubelet import machine
from kubelet.kubelet import Kubelet, NodeIdentity
from kubelet.node_pages import configuration_of
from kubelet.paths import Paths
from kubelet.runtime.cri import GrpcCri, socket_path
from kubelet.runtime.hollow import HollowCri
from kubelet.server import Server

if TYPE_CHECKING:
    from kubelet.rotation import Rotation

log = logging.getLogger(__name__)

HOLLOW_IP = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The node's agent: runs the pods that are bound to it."""

    apiserver: tuple[str, ...] = setting("API server's gRPC addresses, host:port")
    cert: str = setting("this node's client certificate, PEM; {node} is replaced by the node's name")
    key: str = setting("its private key; {node} likewise")
    ca: Path = setting("the cluster's CA")
    node_name: str = setting("name of the Node", "")
    node_ip: tuple[str, ...] = setting("the node's addresses, the main one first", ())
    runtime: Literal["containerd", "hollow"] = setting("containers in containerd, or in memory only", "containerd")
    hollow_nodes: tuple[str, ...] = setting("names of all hollow nodes in this process", ())
    runtime_endpoint: str = setting("the runtime's socket", "unix:///run/containerd/containerd.sock")
    root_dir: str = setting("where volumes go; {node} likewise", "/var/lib/steersman/kubelet")
    pod_logs_dir: str = setting("where logs go; links to them beside it in `containers`", "/var/log/pods")
    pod_manifest_path: str = setting(
        "directory of static pods' files, or one such file; empty for no static pods", "", also="static_pod_path"
    )
    allowed_unsafe_sysctls: tuple[str, ...] = setting(
        "sysctls that pods may set beside the safe ones; a name may end in *", ()
    )
    volume_dir: str = setting(
        "directory of volumes made by the cluster's own provisioner, as the StorageClass names it; empty for none", ""
    )
    cgroup_root: str = setting("control group above all pods; no two kubelets on one kernel may share one", "/kubepods")
    cluster_dns: tuple[str, ...] = setting("address of the cluster's DNS service", ())
    cluster_domain: str = setting("domain of Services", "cluster.local")
    bind_address: str = setting("where the HTTPS server listens", "0.0.0.0")
    port: int = setting("its port; hollow nodes count up from it", 10250)
    serving_cert: str = setting("certificate of the HTTPS server; {node} likewise")
    serving_key: str = setting("its private key; {node} likewise")
    client_ca: Path = setting("CA of those who may call the HTTPS server")
    rotate_certificates: bool = setting(
        "renew both certificates before they end; each must be in one file with its key", False
    )
    node_status_update_s: float = setting("seconds between looks at the node's own state", 10.0)
    node_lease_duration_s: int = setting("seconds the node's Lease lasts; it is renewed four times as often", 40)
    health: str = setting("host:port of plain HTTP health and metrics; empty for none", "")
    tracing_endpoint: str = setting(tracing.ENDPOINT_HELP, "")
    log_level: str = setting("debug, info, warning or error", "info")
    log_format: Literal["text", "json"] = setting("text or json", "text")


def check(settings: Settings) -> str | None:
    """Return what is wrong with the settings in one sentence, or None."""
    if settings.runtime == "hollow":
        if settings.pod_manifest_path:
            return "--pod-manifest-path is not for hollow nodes"
        if not (settings.hollow_nodes or settings.node_name):
            return "--runtime hollow needs --hollow-nodes NAME,NAME or --node-name NAME"
    else:
        if not settings.node_name:
            return "--node-name is required: the name of the Node object"
        if not settings.node_ip:
            return "--node-ip is required: the address at which other nodes reach this one"
        if settings.pod_manifest_path and not os.path.isabs(settings.pod_manifest_path):
            return f"--pod-manifest-path: {settings.pod_manifest_path} must be a path from the root"
        if settings.hollow_nodes:
            return "--hollow-nodes is only for --runtime hollow"
        if os.geteuid() != 0:
            return "running containers needs root; try --runtime hollow, which does not"
        try:
            socket_path(settings.runtime_endpoint)
        except ValueError as error:
            return f"--runtime-endpoint: {error}"
    if settings.rotate_certificates:
        if settings.runtime == "hollow":
            return "--rotate-certificates is not for hollow nodes"
        if settings.cert != settings.key or settings.serving_cert != settings.serving_key:
            return "--rotate-certificates needs certificate and key in one file: give it as --cert and as --key"
    files = [settings.ca, settings.client_ca]
    for name in node_names(settings):
        files += [Path(_of(template, name)) for template in _identities(settings)]
    for file in files:
        if not file.is_file():
            return f"{file}: no such file; it should hold PEM"
    return None


def node_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of the nodes that this process is."""
    return settings.hollow_nodes or (settings.node_name,)


def _identities(settings: Settings) -> tuple[str, ...]:
    return settings.cert, settings.key, settings.serving_cert, settings.serving_key


def _of(template: str, node: str) -> str:
    return template.replace("{node}", node)


async def run(settings: Settings) -> None:
    """Run until cancelled."""
    clock = RealClock()
    shared_services = None
    kubelets: list[Kubelet] = []
    clients: list[Client] = []
    servers: list[Server] = []
    runners = []
    try:
        async with asyncio.TaskGroup() as group:
            for index, name in enumerate(node_names(settings)):
                identity = Identity(Path(_of(settings.cert, name)), Path(_of(settings.key, name)), settings.ca)
                client = Client(GrpcTransport(settings.apiserver, identity, server_name="kubernetes"))
                clients.append(client)
                rng = random.Random()
                if settings.runtime == "hollow" and shared_services is None:
                    shared_services = Informer(client, services.RESOURCE, clock=clock, rng=rng)
                    group.create_task(shared_services.run(), name="services informer")
                kubelet = build(settings, name, index, client, clock, rng, shared_services)
                told = configuration_of(settings, settings.port + index)
                shown = dataclasses.replace(
                    kubelet.served(), configuration=told, runtime_endpoint=settings.runtime_endpoint
                )
                server = Server(shown)
                serving = Identity(
                    Path(_of(settings.serving_cert, name)), Path(_of(settings.serving_key, name)), settings.client_ca
                )
                await server.start(settings.bind_address, settings.port + index, serving)
                if settings.runtime != "hollow":
                    group.create_task(server.follow_certificates(), name="certificates of the server")
                if settings.rotate_certificates:
                    rotation = build_rotation(settings, client, clock, rng)
                    SHARED.extend(rotation.families())
                    group.create_task(rotation.run(), name="certificates")
                servers.append(server)
                kubelets.append(kubelet)
            if settings.health:
                host, _, port = settings.health.rpartition(":")
                checks = {f"{k.identity.name} {what}": c for k in kubelets for what, c in k.checks().items()}
                runners.append(await health.serve(host, int(port), checks))
            for kubelet in kubelets:
                group.create_task(kubelet.run(), name=f"kubelet {kubelet.identity.name}")
            log.info("kubelet started", extra={"nodes": ",".join(node_names(settings)), "runtime": settings.runtime})
    finally:
        for server in servers:
            await server.close()
        for runner in runners:
            await runner.cleanup()
        for client in clients:
            await client.close()


def build_rotation(settings: Settings, client: Client, clock: RealClock, rng: random.Random) -> Rotation:
    """Return what keeps the node's two certificates fresh."""
    from client.certificates import CLIENT_SIGNER, SERVING_SIGNER, Wanted
    from kubelet.rotation import Rotated, Rotation

    name = settings.node_name
    serving = Wanted(SERVING_SIGNER, name, (name, *settings.node_ip))
    rotated = [
        Rotated(Wanted(CLIENT_SIGNER, name), Path(settings.cert)),
        Rotated(serving, Path(settings.serving_cert)),
    ]
    return Rotation(client, rotated, clock=clock, rng=rng)


def build(
    settings: Settings,
    name: str,
    index: int,
    client: Client,
    clock: RealClock,
    rng: random.Random,
    shared_services: Informer[services.Service] | None,
) -> Kubelet:
    """Return one node's kubelet."""
    is_hollow = settings.runtime == "hollow"
    identity = NodeIdentity(
        name=name,
        ips=settings.node_ip or (HOLLOW_IP,),
        port=settings.port + index,
        cluster_dns=settings.cluster_dns,
        cluster_domain=settings.cluster_domain,
    )
    if is_hollow:
        return Kubelet(
            identity,
            client=client,
            cri=HollowCri(clock, f"10.{200 + index // 250 % 50}.{index % 250}.0/24"),
            clock=clock,
            rng=rng,
            machine=machine.hollow(name),
            service_informer=shared_services,
            status_period_s=settings.node_status_update_s,
            lease_duration_s=settings.node_lease_duration_s,
        )
    root = Path(_of(settings.root_dir, name))
    pods = Paths(root).pods
    pods.mkdir(parents=True, exist_ok=True)
    pods.chmod(0o750)  # Volumes in it may be open to all: whoever is not in the pod shall not get that far.
    return Kubelet(
        identity,
        client=client,
        cri=GrpcCri(settings.runtime_endpoint),
        clock=clock,
        rng=rng,
        machine=machine.read(root),
        root=root,
        pod_logs_dir=Path(settings.pod_logs_dir),
        manifests=Path(settings.pod_manifest_path) if settings.pod_manifest_path else None,
        unsafe_sysctls=settings.allowed_unsafe_sysctls,
        volume_dir=Path(settings.volume_dir) if settings.volume_dir else None,
        cgroup_root=settings.cgroup_root,
        status_period_s=settings.node_status_update_s,
        lease_duration_s=settings.node_lease_duration_s,
    )


def main() -> None:
    """Parse the command line and run."""
    settings = parse(Settings, prog="steer-kubelet")
    logs.configure(settings.log_level, settings.log_format)
    tracing.start(settings.tracing_endpoint, "steer-kubelet")
    problem = check(settings)
    if problem is not None:
        print(f"steer-kubelet: {problem}", file=sys.stderr)
        raise SystemExit(2)
    raise SystemExit(signals.run(run(settings)))


if __name__ == "__main__":
    main()
