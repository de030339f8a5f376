"""Which endpoints one node sends a Service's traffic to. Pure.

A Service and its EndpointSlices go in; one `ServedPort` comes out for each port that this node serves, its endpoints
chosen by readiness, locality and zone: KEP-1669 (terminating endpoints), KEP-2086 (internalTrafficPolicy), KEP-2433
(topology hints). Only IPv4 is served.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from api.core.ip_addresses import parse_cidr, parse_ip, plain
from api.core.service import Service, ServicePort, is_external
from api.discovery.endpointslice import Endpoint, EndpointPort, EndpointSlice

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
"""A Service that carries it is served by somebody else."""
HEADLESS_LABEL = "service.kubernetes.io/headless"
"""A Service that carries it is served by nobody, whatever address it has."""
AFFINITY_DEFAULT_S = 10_800
NONE = "None"


@dataclass(frozen=True, slots=True)
class NodeView:
    """What the rules need to know of the node they are for."""

    name: str
    cluster_cidr: str
    """Where pods' addresses come from; traffic from elsewhere to a ClusterIP is masqueraded."""
    zone: str = ""
    """By the label of its Node."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One endpoint of one port."""

    address: str
    port: int
    is_local: bool = False

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServedPort:
    """One port of one Service, as this node serves it."""

    name: str
    """namespace/name:port, as upstream writes it; without the colon where the port has no name."""
    protocol: str
    """tcp, udp or sctp."""
    cluster_ip: str
    port: int
    node_port: int
    external_ips: tuple[str, ...]
    ingress_ips: tuple[str, ...]
    """Addresses of a load balancer that keeps the destination; one that translates (ipMode Proxy) is not ours."""
    source_ranges: tuple[str, ...]
    """Empty where none is of our family: then they say nothing about our packets, as upstream has it."""
    affinity_s: int
    """How long a client stays with its endpoint; 0: not at all."""
    is_internal_local: bool
    is_external_local: bool
    cluster_targets: tuple[Target, ...]
    """Sorted; those that any node may send to."""
    local_targets: tuple[Target, ...]
    """Sorted; those on this node. Filled only where a policy asks for them."""
    serving: frozenset[str]
    """Of UDP, every endpoint (address:port) that may go on answering those it answered before, wherever it is."""
    has_targets_elsewhere: bool
    """Whether any node has an endpoint; tells `none here` (drop) from `none at all` (reject)."""

    @property
    def internal_targets(self) -> tuple[Target, ...]:
        """Where traffic from inside the cluster goes."""
        return self.local_targets if self.is_internal_local else self.cluster_targets

    @property
    def external_targets(self) -> tuple[Target, ...]:
        """Where traffic from outside the cluster goes."""
        return self.local_targets if self.is_external_local else self.cluster_targets

    @property
    def has_external_address(self) -> bool:
        """Whether traffic can come in from outside at all."""
        return bool(self.node_port or self.external_ips or self.ingress_ips)


def is_served(service: Service) -> bool:
    """Whether a Service has an address for us to serve: not headless, not a name only, not another proxy's."""
    spec = service.spec
    has_address = spec.cluster_ip not in ("", NONE) and _is_ipv4(spec.cluster_ip)
    labels = service.metadata.labels
    is_ours = PROXY_NAME_LABEL not in labels and HEADLESS_LABEL not in labels
    return has_address and spec.type != "ExternalName" and is_ours


def service_of(slice: EndpointSlice) -> str:
    """Return the name of the Service a slice belongs to; empty when it says none."""
    return slice.metadata.labels.get(SERVICE_NAME_LABEL, "")


def served_ports(service: Service, slices: Sequence[EndpointSlice], node: NodeView) -> tuple[ServedPort, ...]:
    """Return what `node` serves of `service`; `slices` are the Service's own. Empty when it serves nothing."""
    if not is_served(service):
        return ()
    return tuple(_served(service, port, slices, node) for port in service.spec.ports)


def _served(service: Service, port: ServicePort, slices: Sequence[EndpointSlice], node: NodeView) -> ServedPort:
    spec, metadata = service.spec, service.metadata
    protocol = port.protocol or "TCP"
    is_internal_local = spec.internal_traffic_policy == "Local"
    is_external_local = spec.external_traffic_policy == "Local" and is_external(service)
    endpoints = list(_endpoints(slices, port.name, protocol))
    local = [(endpoint, number) for endpoint, number in endpoints if endpoint.node_name == node.name]
    cluster = _select(endpoints, node.zone)
    wants_local = is_internal_local or is_external_local
    affinity_s = 0
    if spec.session_affinity == "ClientIP":
        config = spec.session_affinity_config
        client_ip = config.client_ip if config else None
        affinity_s = (client_ip.timeout_seconds if client_ip else None) or AFFINITY_DEFAULT_S
    ingress = [entry.ip for entry in service.status.load_balancer.ingress if entry.ip_mode in (None, "", "VIP")]
    name = f"{metadata.namespace}/{metadata.name}"
    return ServedPort(
        name=f"{name}:{port.name}" if port.name else name,
        protocol=protocol.lower(),
        cluster_ip=plain(spec.cluster_ip),
        port=port.port,
        node_port=port.node_port if spec.type in ("NodePort", "LoadBalancer") else 0,
        external_ips=_ipv4(spec.external_ips),
        ingress_ips=_ipv4(ingress) if spec.type == "LoadBalancer" else (),
        source_ranges=_ipv4_ranges(spec.load_balancer_source_ranges),
        affinity_s=affinity_s,
        is_internal_local=is_internal_local,
        is_external_local=is_external_local,
        cluster_targets=_targets(cluster, node),
        local_targets=_targets(_select(local), node) if wants_local else (),
        serving=_serving(endpoints) if protocol == "UDP" else frozenset(),
        has_targets_elsewhere=bool(cluster),
    )


def _endpoints(slices: Sequence[EndpointSlice], port_name: str, protocol: str) -> Iterable[tuple[Endpoint, int]]:
    """Yield each endpoint with its number for one of the Service's ports; several slices may repeat one."""
    seen: set[tuple[str, int]] = set()
    for slice in sorted(slices, key=lambda one: one.metadata.name):
        if slice.address_type != "IPv4":
            continue
        for port in slice.ports:
            if not _is_port(port, port_name, protocol):
                continue
            for endpoint in slice.endpoints:
                # Only the first address counts: the API allows no meaning for others.
                identity = (plain(endpoint.addresses[0]), port.port or 0) if endpoint.addresses else None
                if identity is not None and identity not in seen:
                    seen.add(identity)
                    yield endpoint, port.port or 0


def _is_port(port: EndpointPort, name: str, protocol: str) -> bool:
    return (port.name or "") == name and (port.protocol or "TCP") == protocol and port.port is not None


def _select(endpoints: Sequence[tuple[Endpoint, int]], zone: str = "") -> Sequence[tuple[Endpoint, int]]:
    """Return the ready endpoints for `zone` or, where nobody is ready, those that still serve while they terminate."""
    ready = [entry for entry in endpoints if entry[0].conditions.ready is not False]
    if ready:
        return _by_zone(ready, zone)
    return [entry for entry in endpoints if entry[0].conditions.terminating and _is_serving(entry[0])]


def _is_serving(endpoint: Endpoint) -> bool:
    return endpoint.conditions.serving is not False


def _serving(endpoints: Iterable[tuple[Endpoint, int]]) -> frozenset[str]:
    # An endpoint that is published before it is ready does not serve yet, and is sent to all the same.
    return frozenset(
        f"{plain(endpoint.addresses[0])}:{number}"
        for endpoint, number in endpoints
        if endpoint.conditions.ready is not False or _is_serving(endpoint)
    )


def _by_zone(endpoints: Sequence[tuple[Endpoint, int]], zone: str) -> Sequence[tuple[Endpoint, int]]:
    """Keep those hinted for `zone`, if every endpoint carries hints and some name it; else all."""
    if not zone or not all(endpoint.hints and endpoint.hints.for_zones for endpoint, _ in endpoints):
        return endpoints
    hinted = [
        (endpoint, number)
        for endpoint, number in endpoints
        if endpoint.hints and any(hint.name == zone for hint in endpoint.hints.for_zones)
    ]
    return hinted or endpoints


def _targets(endpoints: Iterable[tuple[Endpoint, int]], node: NodeView) -> tuple[Target, ...]:
    return tuple(
        sorted(
            Target(plain(endpoint.addresses[0]), number, endpoint.node_name == node.name)
            for endpoint, number in endpoints
        )
    )


def _ipv4(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({plain(address) for address in addresses if _is_ipv4(address)}))


def _ipv4_ranges(ranges: Iterable[str]) -> tuple[str, ...]:
    parsed = (parse_cidr(text.strip()) for text in ranges)
    return tuple(sorted({str(each) for each in parsed if each is not None and each.version == 4}))


def _is_ipv4(text: str) -> bool:
    address = parse_ip(text)
    return address is not None and address.version == 4
