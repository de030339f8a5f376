"""The process: settings to a running API server, in dependency order.

    store client → api (caches, verbs, chain) → documents → REST listener, gRPC listener

Ready means that every cache is filled and the cluster's own objects are there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final, Literal

from aiohttp import web

from api.core import service
from api.errors import ApiError
from api.resource import ObjectKey
from apiserver import app
from apiserver.allocators.repair import AllocationRepair
from apiserver.allocators.reservation import ServiceReservation
from apiserver.allocators.services import ServiceAllocator
from apiserver.auth.tokens import TokenIssuer, load_private_key
from apiserver.bootstrap import bootstrap
from apiserver.dispatch import Address
from apiserver.grpc.listener import GrpcListener
from apiserver.kubernetes_service import KubernetesService
from apiserver.registry.registries import Registries
from apiserver.registry.selection import select
from apiserver.request import Authorizer, SubresourceHandler
from apiserver.rest.documents import Documents
from apiserver.rest.door import Door
from apiserver.rest.upgrade import UpgradeDoor, takes_upgrade
from apiserver.subresources import handlers
from apiserver.subresources.node_proxy import Kubelets
from apiserver.subresources.streaming import Streams
from apiserver.verbs.context import Context
from component import notify, relay
from component.clock import Clock, RealClock
from component.flags import setting
from component.serve import Identity, server_context
from store.client import Store, StoreClient

log = logging.getLogger(__name__)

BOOTSTRAP_RETRY_S: Final = 0.5
STOP_GRACE_S: Final = 0.5
"""How long requests under way may take when the process stops; watches are cut off then, and resume elsewhere."""


@dataclass(frozen=True)
class Settings:
    """Serve the Kubernetes API over the store, by REST and by gRPC."""

    store_endpoints: tuple[str, ...] = setting("the store's members, HOST:PORT, comma-separated")
    store_cert: Path = setting("client certificate for the store (PEM)")
    store_key: Path = setting("its key (PEM)")
    store_ca: Path = setting("CA of the store's certificates (PEM)")
    tls_cert: Path = setting("serving certificate (PEM)")
    tls_key: Path = setting("its key (PEM)")
    client_ca: Path = setting("CA of client certificates (PEM)")
    service_account_key: Path = setting("private key that signs service-account tokens (PEM)")
    kubelet_client_cert: Path | None = setting("client certificate for kubelets: logs, exec (PEM)", None)
    kubelet_client_key: Path | None = setting("its key (PEM)", None)
    kubelet_ca: Path | None = setting("CA of the kubelets' serving certificates (PEM)", None)
    bind_address: str = setting("address to listen on", "0.0.0.0")
    secure_port: int = setting("port of the REST API", 6443)
    grpc_port: int = setting("port of the component API", 6444)
    advertise_address: str = setting("address at which pods and other servers reach this one", "127.0.0.1")
    service_account_issuer: str = setting(
        "issuer of service-account tokens, a URL", "https://kubernetes.default.svc.cluster.local"
    )
    service_cidr: str = setting("network of cluster IPs", "10.96.0.0/16")
    node_port_range: str = setting("range of node ports", "30000-32767")
    cluster_domain: str = setting("DNS domain of the cluster", "cluster.local")
    default_toleration_s: int = setting("how long pods stay on a lost node, when they don't say", 300)
    audit: bool = setting("log one line for each request", False)
    log_level: Literal["debug", "info", "warning", "error"] = setting("least severe records to log", "info")
    log_format: Literal["text", "json"] = setting("form of the log", "text")


class Server:
    """An API server's parts, put together but not listening yet."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, random: Random) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self.issuer = TokenIssuer(
            load_private_key(settings.service_account_key.read_bytes()), settings.service_account_issuer
        )
        self.kubelets: Kubelets | None = None
        self._is_bootstrapped = False
        self._allocator: ServiceAllocator | None = None

        def reservations(registries: Registries) -> Mapping[Any, Any]:
            services = registries.lister(service.RESOURCE)
            self._allocator = ServiceAllocator(store, services, settings.service_cidr, settings.node_port_range, random)

            async def read(key: ObjectKey) -> service.Service:
                stored = await registries.of(service.RESOURCE).get(key.namespace, key.name)
                found: service.Service = stored.codec.decode(stored.json)
                return found

            return {service.RESOURCE: ServiceReservation(self._allocator, read)}

        self.api = app.build(
            store,
            clock,
            random,
            issuer=self.issuer,
            handlers=self._handlers,
            reservations=reservations,
            toleration_s=settings.default_toleration_s,
            has_audit=settings.audit,
        )
        jwks_uri = f"https://{settings.advertise_address}:{settings.secure_port}/openid/v1/jwks"
        self._upgrades: UpgradeDoor | None = None
        if self.kubelets is not None:
            read = self.api.registries.read
            self._upgrades = UpgradeDoor(self.api.handle, Streams(self.kubelets, read), self.kubelets)
        documents = Documents(
            f"{settings.advertise_address}:{settings.secure_port}",
            {
                "/.well-known/openid-configuration": lambda: self.issuer.discovery_document(jwks_uri),
                "/openid/v1/jwks": self.issuer.key_set,
            },
            self.api.registries.kinds,
        )
        self._checks = {
            "etcd": self.api.store_health.check,
            "caches": self._caches_ready,
            "bootstrap": self._bootstrapped,
        }
        self.door = Door(self.api, documents, self._checks)

    def _caches_ready(self) -> str | None:
        unready = self.api.registries.unready()
        return f"not filled yet: {', '.join(unready)}" if unready else None

    def _bootstrapped(self) -> str | None:
        return None if self._is_bootstrapped else "the cluster's own roles and namespaces are not in place yet"

    def _handlers(self, context: Context, authorizer: Authorizer) -> Mapping[Address, SubresourceHandler]:
        settings = self._settings
        cert, key, ca = settings.kubelet_client_cert, settings.kubelet_client_key, settings.kubelet_ca
        if cert and key and ca:
            self.kubelets = Kubelets(Identity(cert, key, ca), context.registries.read)
        return handlers.build(context, authorizer, issuer=self.issuer, kubelets=self.kubelets)

    async def run(self) -> None:
        """Do everything but listen, until cancelled."""
        assert self._allocator is not None
        settings, registries = self._settings, self.api.registries
        repair = AllocationRepair(self._allocator, self._services, self._clock)
        kubernetes = KubernetesService(
            registries,
            self._clock,
            address=settings.advertise_address,
            port=settings.secure_port,
            cluster_ip=str(ipaddress.ip_network(settings.service_cidr)[1]),
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(notify.run(self._checks), name="notify")
            tasks.create_task(self.api.run(), name="api")
            await self.api.wait_ready()
            await self._bootstrap()
            tasks.create_task(kubernetes.run(), name="kubernetes service")
            tasks.create_task(repair.run(), name="allocation repair")

    async def _bootstrap(self) -> None:
        while not self._is_bootstrapped:
            try:
                await bootstrap(self.api.registries)
            except ApiError as error:
                log.warning("the cluster's own objects are not in place", extra={"error": error})
                await self._clock.sleep(BOOTSTRAP_RETRY_S)
            else:
                self._is_bootstrapped = True
                log.info("ready")

    async def _services(self) -> list[service.Service]:
        cache = self.api.registries.of(service.RESOURCE).cache
        await cache.catch_up()
        return [stored.object for stored in cache.select(select(service.RESOURCE))]

    def takes_upgrade(self, method: str, target: str) -> bool:
        """Whether a connection's first request may become an upgraded connection."""
        return self._upgrades is not None and takes_upgrade(method, target)

    async def serve_upgrade(self, upgrade: relay.Upgrade) -> None:
        """Carry an upgraded connection: exec, attach, port-forward."""
        assert self._upgrades is not None
        await self._upgrades(upgrade)

    async def close(self) -> None:
        """Let go of connections to kubelets."""
        if self.kubelets is not None:
            await self.kubelets.close()


async def run(settings: Settings) -> None:
    """Serve until cancelled."""
    identity = Identity(settings.store_cert, settings.store_key, settings.store_ca)
    store = StoreClient(settings.store_endpoints, identity)
    try:
        await serve(settings, store, RealClock(), SystemRandom())
    finally:
        await store.close()


async def serve(settings: Settings, store: Store, clock: Clock, random: Random) -> None:
    """Serve over `store` until cancelled; tests hand in one in memory.

    Raises:
        OSError: a port is taken.
    """
    server = Server(settings, store, clock, random)
    try:
        async with (
            _rest_listener(settings, server),
            GrpcListener(server.api, settings.bind_address, settings.grpc_port, _identity(settings)),
        ):
            log.info(
                "serving",
                extra={"rest": f"{settings.bind_address}:{settings.secure_port}", "grpc": settings.grpc_port},
            )
            await server.run()
    finally:
        await server.close()


def _identity(settings: Settings) -> Identity:
    return Identity(settings.tls_cert, settings.tls_key, settings.client_ca)


@asynccontextmanager
async def _rest_listener(settings: Settings, server: Server) -> AsyncIterator[None]:
    tls = server_context(_identity(settings), client_certificates=ssl.CERT_OPTIONAL)
    http = web.Server(server.door, handler_cancellation=True, access_log=None, keepalive_timeout=90)
    switchboard = relay.Switchboard(http, server.takes_upgrade, server.serve_upgrade)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        switchboard, settings.bind_address, settings.secure_port, ssl=tls, backlog=1024, ssl_handshake_timeout=10
    )
    try:
        yield
    finally:
        listener.close()
        await switchboard.close()
        http.pre_shutdown()
        await http.shutdown(timeout=STOP_GRACE_S)
