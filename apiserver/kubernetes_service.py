"""The Service `default/kubernetes`: how pods reach the API, whichever apiservers are alive.

Each apiserver renews a Lease of its own (KEP-1965) and looks at the others': one that has not changed for its
duration, by the watcher's own clock, is taken for dead and deleted. Those that remain are the endpoints. Every
apiserver writes the same answer, so it does not matter who does.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from api import timestamps
from api.coordination import lease
from api.coordination.lease import Lease, LeaseSpec
from api.core import endpoints as endpoints_kind
from api.core import service
from api.core.endpoints import EndpointAddress, Endpoints, EndpointSubset
from api.core.service import Service, ServicePort, ServiceSpec
from api.discovery import endpointslice
from api.discovery.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from api.errors import ApiError, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.bootstrap import create_if_missing
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Keep, Put, Remove, Write
from apiserver.registry.registries import Registries
from component.clock import Clock

log = logging.getLogger(__name__)

NAME: Final = "kubernetes"
NAMESPACE: Final = "default"
LEASE_NAMESPACE: Final = "kube-system"
RENEW_S: Final = 5.0
LEASE_S: Final = 15.0
LEAVE_S: Final = 2.0
"""How long an orderly stop waits for the store; the others find out by the Lease anyway."""
IDENTITY: Final = "apiserver.kubernetes.io/identity"
_COMPONENT: Final = "kube-apiserver"
"""What upstream's Leases say, and what whoever looks for API servers selects by."""
_OLDER_COMPONENT: Final = "steer-apiserver"
"""What API servers of before said; known while a cluster is updated."""
_ADDRESS: Final = "apiserver.kubernetes.io/address"


def name_of_server(address: str, port: int) -> str:
    """Return what one API server of several is called."""
    return f"apiserver-{address.replace('.', '-').replace(':', '-')}-{port}"


class KubernetesService:
    """Keeps the Service, its endpoints and this apiserver's Lease.

    Args:
        registries: where they are.
        clock: for renewing and for judging the others.
        address: where this apiserver is reached from pods.
        port: likewise.
        cluster_ip: the Service's: the first of the network of Services.
        hostname: of the machine, as the Lease tells it.
    """

    def __init__(
        self, registries: Registries, clock: Clock, *, address: str, port: int, cluster_ip: str, hostname: str
    ) -> None:
        self._registries = registries
        self._clock = clock
        self._address = address
        self._port = port
        self._cluster_ip = cluster_ip
        self._labels = {IDENTITY: _COMPONENT, "kubernetes.io/hostname": hostname}
        self._lease = ObjectKey(LEASE_NAMESPACE, name_of_server(address, port))
        self._seen: dict[str, tuple[str, float]] = {}
        """Of each Lease, its renewTime and when we first saw that."""

    async def run(self) -> None:
        """Keep them until cancelled; then take ourselves out."""
        try:
            while True:
                try:
                    await self.reconcile()
                except ApiError as error:
                    log.warning("kubernetes Service not kept", extra={"why": error.message})
                await self._clock.sleep(RENEW_S)
        finally:
            await self._leave()

    async def reconcile(self) -> None:
        """Renew our Lease, forget dead apiservers, and write the Service and its endpoints where they differ."""
        await self._renew()
        endpoints = await self._alive()
        await create_if_missing(self._registries, service.RESOURCE, self._wanted_service())
        await self._write_endpoints(endpoints)

    async def _renew(self) -> None:
        now = timestamps.render_micro(self._clock.now())
        metadata = ObjectMeta(
            name=self._lease.name,
            namespace=LEASE_NAMESPACE,
            labels=dict(self._labels),
            annotations={_ADDRESS: f"{self._address} {self._port}"},
        )
        spec = LeaseSpec(holder_identity=self._lease.name, lease_duration_seconds=int(LEASE_S), renew_time=now)
        if await create_if_missing(self._registries, lease.RESOURCE, Lease(metadata=metadata, spec=spec)):
            return

        async def decide(current: Stored) -> Write:
            obj = current.codec.decode(current.json)
            obj.spec, obj.metadata.labels, obj.metadata.annotations = spec, metadata.labels, metadata.annotations
            return Put(obj)

        await self._registries.of(lease.RESOURCE).write(LEASE_NAMESPACE, self._lease.name, decide)

    async def _alive(self) -> list[tuple[str, int]]:
        found: set[tuple[str, int]] = {(self._address, self._port)}
        now = self._clock.monotonic()
        for other in self._registries.lister(lease.RESOURCE).list(LEASE_NAMESPACE):
            name = other.metadata.name
            if not _is_apiserver(other) or name == self._lease.name:
                continue
            renewed, since = self._seen.get(name, ("", now))
            if other.spec.renew_time != renewed:
                since = now
            self._seen[name] = (other.spec.renew_time, since)
            if now - since > LEASE_S:
                await self._forget(name, other.spec.renew_time)
                continue
            address, _, port = other.metadata.annotations.get(_ADDRESS, "").partition(" ")
            if address and port.isdigit():
                found.add((address, int(port)))
        return sorted(found)

    async def _forget(self, name: str, renew_time: str) -> None:
        async def decide(current: Stored) -> Write:
            obj = current.codec.decode(current.json)
            return Remove(obj) if obj.spec.renew_time == renew_time else Keep()

        try:
            await self._registries.of(lease.RESOURCE).write(LEASE_NAMESPACE, name, decide)
        except NotFound:
            pass
        else:
            log.info("apiserver taken for dead", extra={"lease": name})
        self._seen.pop(name, None)

    async def _leave(self) -> None:
        async def decide(current: Stored) -> Write:
            return Remove(current.codec.decode(current.json))

        try:
            async with asyncio.timeout(LEAVE_S):
                await self._registries.of(lease.RESOURCE).write(LEASE_NAMESPACE, self._lease.name, decide)
                others = [one for one in await self._alive() if one != (self._address, self._port)]
                if others:
                    await self._write_endpoints(others)
        except (ApiError, TimeoutError) as error:
            log.info("left without taking our endpoint out", extra={"why": str(error) or "the store is silent"})

    def _wanted_service(self) -> Service:
        port = ServicePort(name="https", protocol="TCP", port=443, target_port=self._port)
        return Service(
            metadata=ObjectMeta(
                name=NAME, namespace=NAMESPACE, labels={"component": "apiserver", "provider": "kubernetes"}
            ),
            spec=ServiceSpec(
                type="ClusterIP",
                cluster_ip=self._cluster_ip,
                cluster_ips=[self._cluster_ip],
                ip_families=["IPv4"],
                ip_family_policy="SingleStack",
                session_affinity="None",
                internal_traffic_policy="Cluster",
                ports=[port],
            ),
        )

    async def _write_endpoints(self, alive: list[tuple[str, int]]) -> None:
        """Write one slice for each port that apiservers listen on: a slice has its ports once for all endpoints."""
        by_port: dict[int, list[str]] = {}
        for address, port in alive:
            by_port.setdefault(port, []).append(address)
        names = [NAME if index == 0 else f"{NAME}-{port}" for index, port in enumerate(sorted(by_port))]
        wanted = {name: _slice(name, port, by_port[port]) for name, port in zip(names, sorted(by_port), strict=True)}
        registry = self._registries.of(endpointslice.RESOURCE)
        for name, made in wanted.items():
            if await create_if_missing(self._registries, endpointslice.RESOURCE, made):
                continue

            async def decide(current: Stored, made: EndpointSlice = made) -> Write:
                obj: Any = current.codec.decode(current.json)
                if (obj.endpoints, obj.ports) == (made.endpoints, made.ports):
                    return Keep()
                obj.endpoints, obj.ports = made.endpoints, made.ports
                return Put(obj)

            await registry.write(NAMESPACE, name, decide)
        for other in self._registries.lister(endpointslice.RESOURCE).list(NAMESPACE):
            name = other.metadata.name
            if name not in wanted and other.metadata.labels.get(_MANAGED_BY) == _MANAGER:
                await self._remove_slice(name)
        await self._write_endpoints_object(by_port)

    async def _write_endpoints_object(self, by_port: dict[int, list[str]]) -> None:
        """Write the same into Endpoints, the older form, for clients that still read it."""
        made = _endpoints(by_port)
        if await create_if_missing(self._registries, endpoints_kind.RESOURCE, made):
            return

        async def decide(current: Stored) -> Write:
            obj: Any = current.codec.decode(current.json)
            if obj.subsets == made.subsets and obj.metadata.labels.get(_SKIP_MIRROR) == "true":
                return Keep()
            obj.subsets, obj.metadata.labels = made.subsets, {**obj.metadata.labels, _SKIP_MIRROR: "true"}
            return Put(obj)

        await self._registries.of(endpoints_kind.RESOURCE).write(NAMESPACE, NAME, decide)

    async def _remove_slice(self, name: str) -> None:
        async def decide(current: Stored) -> Write:
            return Remove(current.codec.decode(current.json))

        try:
            await self._registries.of(endpointslice.RESOURCE).write(NAMESPACE, name, decide)
        except NotFound:
            return


_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
_MANAGER: Final = "apiserver.steersman"
"""Not the EndpointSlice controller's, which leaves alone what others manage."""


def _slice(name: str, port: int, addresses: list[str]) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(
            name=name, namespace=NAMESPACE, labels={"kubernetes.io/service-name": NAME, _MANAGED_BY: _MANAGER}
        ),
        address_type="IPv4",
        endpoints=[
            Endpoint(addresses=[address], conditions=EndpointConditions(ready=True)) for address in sorted(addresses)
        ],
        ports=[EndpointPort(name="https", protocol="TCP", port=port)],
    )


_SKIP_MIRROR: Final = "endpointslice.kubernetes.io/skip-mirror"
"""The slices are written here already."""


def _endpoints(by_port: dict[int, list[str]]) -> Endpoints:
    subsets = [
        EndpointSubset(
            addresses=[EndpointAddress(ip=address) for address in sorted(by_port[port])],
            ports=[endpoints_kind.EndpointPort(name="https", protocol="TCP", port=port)],
        )
        for port in sorted(by_port)
    ]
    return Endpoints(
        metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels={_SKIP_MIRROR: "true"}), subsets=subsets
    )


def _is_apiserver(found: Lease) -> bool:
    return found.metadata.labels.get(IDENTITY) in (_COMPONENT, _OLDER_COMPONENT)
