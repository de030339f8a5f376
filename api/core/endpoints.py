"""Endpoints: the addresses behind a Service, all in one object; EndpointSlices took its place (KEP-752)."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE, joined
from api.core.ip_addresses import check_ip, check_usable_ip
from api.core.references import ObjectReference
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Struct, always, field, wire


class EndpointPort(Struct):
    """One port of every address of a subset.

    Attributes:
        name: The Service port's name; empty only where there is just one.
        port: The port's number at the addresses, 1 to 65535.
        protocol: TCP (the default), UDP or SCTP.
        app_protocol: What is spoken there, as the Service's port says.
    """

    name: Annotated[str, wire(1)] = ""
    port: Annotated[Int32, wire(2, required=True)] = always(0)
    protocol: Annotated[str, wire(3)] = ""
    app_protocol: Annotated[str | None, wire(4)] = None


class EndpointAddress(Struct):
    """One address, and what is there.

    Attributes:
        ip: The address; not a loopback, link-local or multicast one.
        hostname: The name that it has below the Service's in DNS; unset, none of its own.
        node_name: The node it is on, if known.
        target_ref: The object it belongs to, mostly a Pod.
    """

    ip: Annotated[str, wire(1, required=True)] = always("")
    hostname: Annotated[str, wire(3)] = ""
    node_name: Annotated[str | None, wire(4)] = None
    target_ref: Annotated[ObjectReference | None, wire(2)] = None


class EndpointSubset(Struct):
    """Addresses that have the same ports: each address with each port.

    Attributes:
        addresses: Those that are ready and get traffic.
        not_ready_addresses: Those that are not ready yet, or not any more.
        ports: The ports that they have.
    """

    addresses: Annotated[list[EndpointAddress], wire(1, list_type="atomic")] = []
    not_ready_addresses: Annotated[list[EndpointAddress], wire(2, list_type="atomic")] = []
    ports: Annotated[list[EndpointPort], wire(3, list_type="atomic")] = []


class Endpoints(Struct):
    """The addresses behind a Service, all in one object. EndpointSlices took their place.

    Attributes:
        subsets: The addresses, grouped by the ports they have.
    """

    api_version: str = always("v1")
    kind: str = always("Endpoints")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    subsets: Annotated[list[EndpointSubset], wire(2, list_type="atomic")] = []


def default(endpoints: Endpoints) -> None:
    """Ports are TCP unless they say otherwise."""
    for subset in endpoints.subsets:
        for port in subset.ports:
            port.protocol = port.protocol or "TCP"


def validate(new: Endpoints, old: Endpoints | None) -> v.Errors:
    """Check addresses and ports."""
    for i, subset in enumerate(new.subsets):
        where = f"subsets[{i}]"
        if not subset.addresses and not subset.not_ready_addresses:
            yield v.required(where, "must specify `addresses` or `notReadyAddresses`")
        for j, address in enumerate(subset.addresses):
            yield from _check_address(f"{where}.addresses[{j}]", address)
        for j, address in enumerate(subset.not_ready_addresses):
            yield from _check_address(f"{where}.notReadyAddresses[{j}]", address)
        for j, port in enumerate(subset.ports):
            yield from _check_port(f"{where}.ports[{j}]", port, needs_name=len(subset.ports) > 1)


def _check_address(path: str, address: EndpointAddress) -> v.Errors:
    yield from check_ip(f"{path}.ip", address.ip)
    if address.hostname:
        yield from v.check_name(f"{path}.hostname", address.hostname, names.check_label)
    if address.node_name is not None:
        for message in names.check_subdomain(address.node_name):
            yield v.invalid(f"{path}.nodeName", address.node_name, message)
    yield from check_usable_ip(f"{path}.ip", address.ip)


def _check_port(path: str, port: EndpointPort, *, needs_name: bool) -> v.Errors:
    if port.name:
        yield from v.check_name(f"{path}.name", port.name, names.check_label)
    elif needs_name:
        yield v.required(f"{path}.name")
    yield from v.check_port(f"{path}.port", port.port)
    yield from v.check_supported(f"{path}.protocol", port.protocol, ("TCP", "UDP", "SCTP"))
    if port.app_protocol is not None:
        for message in names.check_qualified_name(port.app_protocol):
            yield v.invalid(f"{path}.appProtocol", port.app_protocol, message)


def _addresses(endpoints: Endpoints, now: float) -> str:
    shown: list[str] = []
    for subset in endpoints.subsets:
        hosts = [f"[{address.ip}]" if ":" in address.ip else address.ip for address in subset.addresses]
        shown += [f"{host}:{port.port}" for port in subset.ports for host in hosts]
        if not subset.ports:
            shown += [address.ip for address in subset.addresses]
    return joined(shown, limit=3)


RESOURCE: Final[Resource[Endpoints]] = Resource(
    type=Endpoints,
    group="",
    version="v1",
    kind="Endpoints",
    plural="endpoints",
    namespaced=True,
    short_names=("ep",),
    default=default,
    validate=validate,
    columns=(Column("Endpoints", "string", _addresses, "The first few addresses that are ready."), AGE),
)
