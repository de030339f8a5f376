"""What a Service is given: its cluster IP, and a node port for each port it shows on nodes.

The verbs call `begin_create` or `begin_update` between validation and the write, with an object of their own, which
gets the numbers filled in. They then `commit` or `revert` the `Allocation`; a write that is decided anew reverts
the allocation of the attempt before. After a delete they call `released`.
Rules: which types need what, upstream's API reference for ServiceSpec; wording of refusals as clients know them.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from api.core.ip_addresses import parse_ip
from api.core.service import RESOURCE, Service, ServicePort, agree, check_addresses
from api.errors import Cause, Invalid, ServiceUnavailable
from api.lister import Lister
from api.resource import ObjectKey
from api.validation import refuse
from apiserver.allocators.claims import Claims, Taken
from apiserver.allocators.ranges import Range, address_range, port_range
from store.client import Refused, Store, Unavailable

log = logging.getLogger(__name__)

HEADLESS = "None"
KUBERNETES = ObjectKey("default", "kubernetes")
"""The Service that has the first address of the network."""


def needs_cluster_ip(service: Service) -> bool:
    """Whether a Service has an address of its own: not headless, not a mere name for something outside."""
    return service.spec.type != "ExternalName" and service.spec.cluster_ip != HEADLESS


def needs_node_ports(service: Service) -> bool:
    """Whether the ports of a Service are open on every node."""
    if service.spec.type == "NodePort":
        return True
    return service.spec.type == "LoadBalancer" and service.spec.allocate_load_balancer_node_ports is not False


def ports_of(service: Service) -> set[int]:
    """Return the node ports a Service holds, its health check's included."""
    held = {port.node_port for port in service.spec.ports if port.node_port}
    if service.spec.health_check_node_port:
        held.add(service.spec.health_check_node_port)
    return held if service.spec.type in ("NodePort", "LoadBalancer") else set()


def address_of(service: Service) -> str:
    """Return the cluster IP a Service holds, or empty."""
    return service.spec.cluster_ip if needs_cluster_ip(service) else ""


@dataclass(slots=True)
class Allocation:
    """What one write takes and gives up. Exactly one of `commit` and `revert` follows the write."""

    owner: ObjectKey
    taken: list[tuple[Claims, int]] = field(default_factory=list)
    given_up: list[tuple[Claims, int]] = field(default_factory=list)
    is_update: bool = False
    """The Service exists, so a claim in its name is its own, left by an attempt that did not come to an end."""

    async def commit(self) -> None:
        """The write happened: what it gave up is free."""
        for claims, number in self.given_up:
            await claims.release(number, self.owner)

    async def revert(self) -> None:
        """The write was refused: what it took is free again. Not for writes whose outcome is unknown."""
        for claims, number in self.taken:
            await claims.release(number, self.owner)
        self.taken.clear()


class ServiceAllocator:
    """Hands out cluster IPs of one network and node ports of one range.

    Args:
        store: where claims are recorded.
        services: a cache, only to avoid numbers that are taken already; being behind costs a retry.
        cidr: the network of cluster IPs, such as 10.96.0.0/16.
        node_ports: the range of node ports, such as 30000-32767.
        random: chooses among what is free.
    """

    def __init__(self, store: Store, services: Lister[Service], cidr: str, node_ports: str, random: Random) -> None:
        self.addresses = Claims(store, "serviceips")
        self.ports = Claims(store, "servicenodeports")
        self.cidr = cidr
        self.address_range = address_range(cidr)
        self.port_range = port_range(node_ports)
        self._services = services
        self._random = random

    async def begin_create(self, service: Service, *, dry_run: bool = False) -> Allocation:
        """Fill in what a new Service is given.

        Raises:
            Invalid: it asks for what is taken or out of range.
            ServiceUnavailable: nothing is left, or the store does not answer.
        """
        allocation = Allocation(_key(service))
        _require_agreement(service)
        try:
            if needs_cluster_ip(service):
                await self._take_address(service, allocation, dry_run)
            _complete_addresses(service)
            if needs_node_ports(service):
                await self._take_ports(service, allocation, set(), dry_run)
        except BaseException:
            await allocation.revert()
            raise
        return allocation

    async def begin_update(self, new: Service, old: Service, *, dry_run: bool = False) -> Allocation:
        """Fill in what a changed Service keeps or is newly given, and note what it gives up.

        Raises:
            Invalid, ServiceUnavailable: as for `begin_create`.
        """
        allocation = Allocation(_key(old), is_update=True)
        keep_allocated(new, old)
        _require_agreement(new)
        try:
            held = address_of(old)
            if needs_cluster_ip(new) and (not held or new.spec.cluster_ip != held):
                await self._take_address(new, allocation, dry_run)
            _complete_addresses(new)
            if held and address_of(new) != held and not dry_run:
                allocation.given_up += self._address_claim(held)
            before = ports_of(old)
            if needs_node_ports(new):
                await self._take_ports(new, allocation, before, dry_run)
            if not dry_run:
                allocation.given_up += [(self.ports, port) for port in sorted(before - ports_of(new))]
        except BaseException:
            await allocation.revert()
            raise
        return allocation

    async def released(self, service: Service) -> None:
        """Free what a deleted Service held."""
        key = _key(service)
        for claims, number in self.claims_of(service):
            await claims.release(number, key)

    def claims_of(self, service: Service) -> list[tuple[Claims, int]]:
        """Return what a Service holds."""
        address = address_of(service)
        held = self._address_claim(address) if address else []
        return held + [(self.ports, port) for port in sorted(ports_of(service))]

    def _address_claim(self, address: str) -> list[tuple[Claims, int]]:
        parsed = parse_ip(address)
        number = int(parsed) if parsed is not None and parsed.version == 4 else -1
        return [(self.addresses, number)] if number in self.address_range else []

    async def _take_address(self, service: Service, allocation: Allocation, dry_run: bool) -> None:
        asked = service.spec.cluster_ip or next((ip for ip in service.spec.cluster_ips if ip), "")
        if not asked:
            taken = {n for other in self._services.list() for _, n in self._address_claim(address_of(other))}
            number = await self._take_any(self.addresses, self.address_range, taken, allocation, dry_run)
            if number is None:
                raise ServiceUnavailable(
                    f"failed to allocate a serviceIP: range {self.cidr} is full; delete Services or widen it"
                )
            service.spec.cluster_ip = str(ipaddress.IPv4Address(number))
            return
        address = parse_ip(asked)
        if address is None:
            return  # Nothing to take: validation says what is wrong with it.
        why, number = "", int(address)
        if address.version != 4 or number not in self.address_range:
            why = f"the provided IP ({asked}) is not in the valid range. The range of valid IPs is {self.cidr}"
        if not why and not await self._take(self.addresses, number, allocation, dry_run):
            why = "provided IP is already allocated"
        if why:
            shown = f'[]string{{"{asked}"}}'
            raise _invalid(service, "spec.clusterIPs", f"Invalid value: {shown}: failed to allocate IP {asked}: {why}")
        service.spec.cluster_ip = asked

    async def _take_ports(self, service: Service, allocation: Allocation, held: set[int], dry_run: bool) -> None:
        """Take every port asked for, then one for each that asks for any; `held` are this Service's already."""
        mine = set(held)
        for index, port in enumerate(service.spec.ports):
            if port.node_port and port.node_port not in mine:
                await self._take_port(service, port.node_port, f"spec.ports[{index}].nodePort", allocation, dry_run)
                mine.add(port.node_port)
        wants_health_check = service.spec.type == "LoadBalancer" and service.spec.external_traffic_policy == "Local"
        health = service.spec.health_check_node_port
        if health and health not in mine:
            await self._take_port(service, health, "spec.healthCheckNodePort", allocation, dry_run)
            mine.add(health)
        given: dict[int, ServicePort] = {}
        for port in service.spec.ports:
            if not port.node_port:
                # The same port number over TCP and UDP (DNS) is one node port where that is possible.
                twin = given.get(port.port)
                if twin is not None and twin.protocol != port.protocol:
                    port.node_port = twin.node_port
                    continue
                port.node_port = await self._take_any_port(allocation, mine, dry_run)
                mine.add(port.node_port)
            given.setdefault(port.port, port)
        if wants_health_check and not health:
            service.spec.health_check_node_port = await self._take_any_port(allocation, mine, dry_run)

    async def _take_port(self, service: Service, number: int, path: str, allocation: Allocation, dry_run: bool) -> None:
        valid = self.port_range
        if number not in valid:
            why = (
                f"Invalid value: {number}: provided port is not in the valid range. "
                f"The range of valid ports is {valid.first}-{valid.last}"
            )
            raise _invalid(service, path, why)
        if not await self._take(self.ports, number, allocation, dry_run):
            raise _invalid(service, path, f"Invalid value: {number}: provided port is already allocated")

    async def _take_any_port(self, allocation: Allocation, mine: Iterable[int], dry_run: bool) -> int:
        taken = {port for other in self._services.list() for port in ports_of(other)} | set(mine)
        number = await self._take_any(self.ports, self.port_range, taken, allocation, dry_run)
        if number is None:
            valid = self.port_range
            raise ServiceUnavailable(
                f"failed to allocate a nodePort: range {valid.first}-{valid.last} is full; delete Services or widen it"
            )
        return number

    async def _take_any(
        self, claims: Claims, numbers: Range, taken: set[int], allocation: Allocation, dry_run: bool
    ) -> int | None:
        collisions = 0
        for number in numbers.candidates(taken, self._random):
            if number in taken:
                continue
            if await self._take(claims, number, allocation, dry_run):
                return number
            taken.add(number)
            collisions += 1
            if collisions == _COLLISIONS_MAX:
                taken |= await self._claimed(claims)
        return None

    async def _claimed(self, claims: Claims) -> set[int]:
        try:
            return set(await claims.list())
        except (Unavailable, Refused) as error:
            raise ServiceUnavailable(f"the store does not answer for {claims.kind}: {error}") from error

    async def _take(self, claims: Claims, number: int, allocation: Allocation, dry_run: bool) -> bool:
        if claims is self.addresses and number == self.address_range.first and allocation.owner != KUBERNETES:
            return False  # pods find the API there, even while its Service is yet to be made
        if dry_run:
            return number not in await self._claimed(claims)
        try:
            await claims.take(number, allocation.owner)
        except Taken as taken:
            if allocation.is_update and taken.owner == allocation.owner:
                return True
            log.debug("number is taken", extra={"kind": claims.kind, "number": number, "owner": taken.owner})
            return False
        allocation.taken.append((claims, number))
        return True


_COLLISIONS_MAX = 8
"""After so many numbers that the cache did not know to be taken, the claims themselves are read."""


def keep_allocated(new: Service, old: Service) -> None:
    """Carry over what an update leaves out but the Service has: replacing it should not change its address.

    Given (new, old) before validation and allocation; calling it twice changes nothing.
    """
    if new.spec.type != "ExternalName" and old.spec.type != "ExternalName":
        new.spec.cluster_ip = new.spec.cluster_ip or old.spec.cluster_ip
        if not any(new.spec.cluster_ips) and new.spec.cluster_ip == old.spec.cluster_ip:
            new.spec.cluster_ips = list(old.spec.cluster_ips)
    if needs_node_ports(new) and needs_node_ports(old):
        used = {port.node_port for port in new.spec.ports if port.node_port}
        by_place = {(port.protocol, port.port): port.node_port for port in old.spec.ports}
        for port in new.spec.ports:
            kept = by_place.get((port.protocol, port.port), 0)
            if not port.node_port and kept and kept not in used:
                port.node_port = kept
    has_check = new.spec.type == "LoadBalancer" and new.spec.external_traffic_policy == "Local"
    if has_check and not new.spec.health_check_node_port:
        new.spec.health_check_node_port = old.spec.health_check_node_port
    elif not has_check and new.spec.health_check_node_port == old.spec.health_check_node_port:
        new.spec.health_check_node_port = 0
    if not needs_node_ports(new) and new.spec.type in ("ClusterIP", "ExternalName"):
        # Changing the type gives the ports up, if they are the old ones (kubectl sends back what it read).
        before = ports_of(old)
        for port in new.spec.ports:
            if port.node_port in before:
                port.node_port = 0
    if new.spec.type == "ExternalName" and new.spec.cluster_ip == old.spec.cluster_ip:
        new.spec.cluster_ip, new.spec.cluster_ips = "", []
        new.spec.ip_families, new.spec.ip_family_policy = [], None


def _require_agreement(service: Service) -> None:
    """Refuse addresses and families that contradict each other, before any is given."""
    agree(service)
    if service.spec.type != "ExternalName" and (errors := list(check_addresses(service.spec))):
        raise refuse(RESOURCE, service, errors)


def _complete_addresses(service: Service) -> None:
    """Make clusterIPs, ipFamilies and ipFamilyPolicy agree with clusterIP. This cluster has IPv4 only."""
    spec = service.spec
    if spec.type == "ExternalName":
        spec.cluster_ip, spec.cluster_ips = "", []
        return
    if spec.cluster_ip == HEADLESS and not spec.selector:
        # Whoever makes its endpoints may have addresses of both families, whatever this cluster has.
        spec.ip_family_policy = spec.ip_family_policy or "RequireDualStack"
        first = spec.ip_families[0] if spec.ip_families else "IPv4"
        both = [first, "IPv6" if first == "IPv4" else "IPv4"]
        spec.ip_families = both if spec.ip_family_policy != "SingleStack" else spec.ip_families or [first]
        spec.cluster_ips = [spec.cluster_ip]
        return
    if spec.ip_family_policy == "RequireDualStack":
        raise _invalid(
            service,
            "spec.ipFamilyPolicy",
            'Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services',
        )
    spec.cluster_ips = [spec.cluster_ip]
    spec.ip_families = spec.ip_families[:1] or ["IPv4"]
    if spec.ip_families != ["IPv4"]:
        why = f'Invalid value: "{spec.ip_families[0]}": not configured on this cluster'
        raise _invalid(service, "spec.ipFamilies[0]", why)
    spec.ip_family_policy = spec.ip_family_policy or "SingleStack"


def _key(service: Service) -> ObjectKey:
    return ObjectKey(service.metadata.namespace, service.metadata.name)


def _invalid(service: Service, path: str, message: str) -> Invalid:
    name = service.metadata.name
    return Invalid(
        f'{RESOURCE.kind} "{name}" is invalid: {path}: {message}',
        kind=RESOURCE.kind,
        name=name,
        causes=[Cause("FieldValueInvalid", message, path)],
    )
