"""EndpointSlice: some of the addresses behind a Service (KEP-752)."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE, joined
from api.core.ip_addresses import check_usable_ip, parse_ip
from api.core.references import ObjectReference
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Struct, always, field, shown_empty, wire


class EndpointPort(Struct):
    """A port that every endpoint of the slice has.

    Attributes:
        name: The Service port's name; empty only where there is just one.
        protocol: TCP (the default), UDP or SCTP.
        port: The number; unset means all ports, for clients that know what to do with it.
        app_protocol: What is spoken there, as the Service's port says.
    """

    name: Annotated[str | None, wire(1)] = None
    protocol: Annotated[str | None, wire(2)] = None
    port: Annotated[Int32 | None, wire(3)] = None
    app_protocol: Annotated[str | None, wire(4)] = None


class ForZone(Struct):
    """A zone that an endpoint is meant for.

    Attributes:
        name: The zone, as in the label topology.kubernetes.io/zone.
    """

    name: Annotated[str, wire(1, required=True)] = always("")


class EndpointHints(Struct):
    """From where an endpoint should be used.

    Attributes:
        for_zones: Zones whose clients should use it, at most 8.
    """

    for_zones: Annotated[list[ForZone], wire(1, list_type="atomic")] = []


class EndpointConditions(Struct):
    """Whether an endpoint takes traffic.

    Attributes:
        ready: Whether it takes new connections; false while it ends. Unset counts as true.
        serving: Whether it answers, even while it ends. Unset counts as ready.
        terminating: Whether it is being ended; unset counts as false.
    """

    ready: Annotated[bool | None, wire(1)] = None
    serving: Annotated[bool | None, wire(2)] = None
    terminating: Annotated[bool | None, wire(3)] = None


class Endpoint(Struct):
    """One pod, or whatever else answers, behind a Service.

    Attributes:
        addresses: Its addresses, of the slice's addressType; at least one, and only the first is used.
        conditions: Whether it takes traffic; unset counts as yes.
        hostname: The name that it has below the Service's in DNS; unset, none of its own.
        target_ref: The object it belongs to, mostly a Pod.
        deprecated_topology: Labels of the older form v1beta1; only read.
        node_name: The node it is on, if known.
        zone: The zone it is in, if known.
        hints: From where it should be used; unset, from anywhere.
    """

    addresses: Annotated[list[str], wire(1, required=True, list_type="set")] = []
    conditions: Annotated[EndpointConditions, wire(2)] = field(default_factory=EndpointConditions)
    hostname: Annotated[str | None, wire(3)] = None
    target_ref: Annotated[ObjectReference | None, wire(4)] = None
    deprecated_topology: Annotated[dict[str, str], wire(5)] = {}
    node_name: Annotated[str | None, wire(6)] = None
    zone: Annotated[str | None, wire(7)] = None
    hints: Annotated[EndpointHints | None, wire(8)] = None


class EndpointSlice(Struct):
    """Some of the addresses behind a Service, at most 1000; together its slices hold them all.

    Attributes:
        address_type: IPv4, IPv6 or FQDN (deprecated): what the addresses are. Never changes.
        endpoints: What answers.
        ports: The ports that every endpoint has, at most 100; empty means none.
    """

    api_version: str = always("discovery.k8s.io/v1")
    kind: str = always("EndpointSlice")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    address_type: Annotated[str, wire(4, required=True)] = always("")
    endpoints: Annotated[list[Endpoint], wire(2, required=True, list_type="atomic")] = shown_empty()
    ports: Annotated[list[EndpointPort], wire(3, list_type="atomic")] = shown_empty()


_ENDPOINTS_MAX = 1000
_ADDRESSES_MAX = 100
_PORTS_MAX = 20000
_TOPOLOGY_MAX = 16
_ZONES_MAX = 8


def default(endpoint_slice: EndpointSlice) -> None:
    """Name the ports, if only with nothing, and take them to be TCP."""
    for port in endpoint_slice.ports:
        if port.name is None:
            port.name = ""
        if port.protocol is None:
            port.protocol = "TCP"


def validate(new: EndpointSlice, old: EndpointSlice | None) -> v.Errors:
    """Check addresses and ports; the address type never changes."""
    if not new.address_type:
        yield v.required("addressType")
    else:
        yield from v.check_supported("addressType", new.address_type, ("FQDN", "IPv4", "IPv6"))
    if old is not None:
        yield from v.check_immutable("addressType", new.address_type, old.address_type)
    if len(new.endpoints) > _ENDPOINTS_MAX:
        yield v.too_many("endpoints", len(new.endpoints), _ENDPOINTS_MAX)
    else:
        for i, endpoint in enumerate(new.endpoints):
            yield from _check_endpoint(f"endpoints[{i}]", endpoint, new.address_type)
    if len(new.ports) > _PORTS_MAX:
        yield v.too_many("ports", len(new.ports), _PORTS_MAX)
    else:
        yield from _check_ports(new.ports)


def _check_endpoint(path: str, endpoint: Endpoint, address_type: str) -> v.Errors:
    where = f"{path}.addresses"
    if not endpoint.addresses:
        yield v.required(where, "must contain at least 1 address")
    elif len(endpoint.addresses) > _ADDRESSES_MAX:
        yield v.too_many(where, len(endpoint.addresses), _ADDRESSES_MAX)
    for i, address in enumerate(endpoint.addresses):
        yield from _check_address(f"{where}[{i}]", address, address_type)
    if endpoint.node_name is not None:
        for message in names.check_subdomain(endpoint.node_name):
            yield v.invalid(f"{path}.nodeName", endpoint.node_name, message)
    where = f"{path}.deprecatedTopology"
    if len(endpoint.deprecated_topology) > _TOPOLOGY_MAX:
        yield v.too_many(where, len(endpoint.deprecated_topology), _TOPOLOGY_MAX)
    yield from v.check_labels(where, endpoint.deprecated_topology)
    if endpoint.hostname is not None:
        for message in names.check_label(endpoint.hostname):
            yield v.invalid(f"{path}.hostname", endpoint.hostname, message)
    zones = [zone.name for zone in endpoint.hints.for_zones] if endpoint.hints is not None else []
    where = f"{path}.hints.forZones"
    if len(zones) > _ZONES_MAX:
        yield v.too_many(where, len(zones), _ZONES_MAX)
        return
    for i, zone in enumerate(zones):
        if zone in zones[:i]:
            yield v.duplicate(f"{where}[{i}].name", zone)
        for message in names.check_label_value(zone):
            yield v.invalid(f"{where}[{i}].name", zone, message)


def _check_ports(ports: list[EndpointPort]) -> v.Errors:
    seen: set[str] = set()
    for i, port in enumerate(ports):
        name = port.name or ""
        if name:
            for message in names.check_label(name):
                yield v.invalid(f"ports[{i}].name", name, message)
        if name in seen:
            yield v.duplicate(f"ports[{i}].name", name)
        seen.add(name)
        yield from v.check_given(f"ports[{i}].protocol", port.protocol, ("SCTP", "TCP", "UDP"))
        if port.app_protocol is not None:
            for message in names.check_qualified_name(port.app_protocol):
                yield v.invalid(f"ports[{i}].appProtocol", port.app_protocol, message)


def _check_address(path: str, address: str, address_type: str) -> v.Errors:
    if address_type == "FQDN":
        yield from _check_full_name(path, address)
        return
    if address_type not in ("IPv4", "IPv6"):
        return
    parsed = parse_ip(address)
    if parsed is None or f"IPv{parsed.version}" != address_type:
        yield v.invalid(path, address, f"must be a valid {address_type} address")
    yield from check_usable_ip(path, address)


def _check_full_name(path: str, name: str) -> v.Errors:
    """Require a name that is complete, with a dot at its end or without."""
    if not name:
        yield v.required(path)
        return
    bare = name.removesuffix(".")
    wrong = names.check_subdomain(bare)
    for message in wrong:
        yield v.invalid(path, bare, message)
    if not wrong and "." not in bare:
        yield v.invalid(path, bare, "should be a domain with at least two segments separated by dots")


def _ports(endpoint_slice: EndpointSlice, now: float) -> str:
    if not endpoint_slice.ports:
        return "<unset>"
    return joined(("*" if port.port is None else str(port.port) for port in endpoint_slice.ports), limit=3)


def _endpoints(endpoint_slice: EndpointSlice, now: float) -> str:
    addresses = [address for endpoint in endpoint_slice.endpoints for address in endpoint.addresses]
    return joined(addresses, limit=3) if addresses else "<unset>"


RESOURCE: Final[Resource[EndpointSlice]] = Resource(
    type=EndpointSlice,
    group="discovery.k8s.io",
    version="v1",
    kind="EndpointSlice",
    plural="endpointslices",
    namespaced=True,
    default=default,
    validate=validate,
    generation=True,
    columns=(
        Column("AddressType", "string", lambda slice_, now: slice_.address_type, "IPv4, IPv6 or FQDN."),
        Column("Ports", "string", _ports, "The ports that every address has."),
        Column("Endpoints", "string", _endpoints, "The first addresses."),
        AGE,
    ),
)
