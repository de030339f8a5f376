"""What a name means: Services and EndpointSlices to DNS records. Pure.

Follows the Kubernetes DNS-Based Service Discovery specification 1.1.0. For the domain `cluster.local`:

    SERVICE.NAMESPACE.svc.cluster.local                  A, AAAA: its ClusterIP, or every ready endpoint if headless
    _PORT._PROTOCOL.SERVICE.NAMESPACE.svc.cluster.local  SRV: the port, and the name it is at
    HOST.SERVICE.NAMESPACE.svc.cluster.local             one endpoint of a Service, by its hostname or by its address
                                                         with dashes
    10-244-1-5.NAMESPACE.pod.cluster.local               A: the pod's address
    5.1.244.10.in-addr.arpa                              PTR: the Service or endpoint that has the address

A name that exists but has no record of the type asked for is answered with none (NODATA); one that does not exist is
NXDOMAIN; both carry the zone's SOA, so that resolvers know for how long (RFC 2308).

The specification gives names of their own to endpoints of headless Services only. CoreDNS gives them to all, and so
tells in whose name any pod behind a Service speaks; so do we.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Protocol

from api.core.ip_addresses import plain
from api.core.service import Service
from api.discovery.endpointslice import Endpoint, EndpointSlice

TTL_S = 5
"""Short: endpoints come and go, and whoever asks is near."""
SCHEMA_VERSION = "1.1.0"
CNAME_STEPS_MAX = 8


class Rcode(IntEnum):
    """How an answer went (RFC 1035 section 4.1.1)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


@dataclass(frozen=True, slots=True)
class Srv:
    """What an SRV record says."""

    port: int
    target: str
    weight: int = 100
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One record; names end in a dot."""

    name: str
    type: str
    value: str | Srv
    ttl_s: int = TTL_S


@dataclass(frozen=True, slots=True)
class Answer:
    """What we know about a name of ours."""

    rcode: Rcode = Rcode.NOERROR
    records: tuple[Record, ...] = ()
    extra: tuple[Record, ...] = ()
    """Addresses of SRV targets, to save a question."""
    has_soa: bool = False
    chase: str = ""
    """A name outside our zone that the last CNAME points at: its records belong into the answer too."""


class Directory(Protocol):
    """What the cluster holds, looked up."""

    def service(self, namespace: str, name: str) -> Service | None: ...
    def slices(self, namespace: str, name: str) -> Sequence[EndpointSlice]: ...
    def has_namespace(self, namespace: str) -> bool: ...
    def services_at(self, address: str) -> Sequence[Service]: ...
    def slices_at(self, address: str) -> Sequence[EndpointSlice]: ...


@dataclass(frozen=True, slots=True)
class _Host:
    """One endpoint of a Service."""

    name: str
    """Its first label."""
    address: str


NONE = Answer(has_soa=True)
NXDOMAIN = Answer(rcode=Rcode.NXDOMAIN, has_soa=True)


class Zone:
    """The cluster's domain, and the reverse names of its addresses."""

    def __init__(self, domain: str, directory: Directory, server_address: str = "") -> None:
        """`server_address` is what the zone's own name server is said to have: the DNS Service's ClusterIP."""
        self.domain = domain.strip(".").lower() + "."
        self._directory = directory
        self._server_address = server_address
        self._depth = self.domain.count(".")

    def claims(self, name: str) -> bool:
        """Whether `name` (lower case, ending in a dot) lies in the cluster's domain."""
        return name == self.domain or name.endswith(f".{self.domain}")

    def resolve(self, name: str, kind: str) -> Answer | None:
        """Return what `name` means, asked for records of type `kind` (A, SRV, PTR, ANY, ...).

        None says that the name is not ours to answer: ask upstream.
        """
        name = name.lower()
        if name.endswith((".in-addr.arpa.", ".ip6.arpa.")):
            return self._reverse(name, kind)
        if not self.claims(name):
            return None
        answer = self._lookup(name, kind)
        if answer is NXDOMAIN or answer.records or answer.rcode:
            return answer
        return NONE

    def soa(self) -> tuple[str, str, str, tuple[int, int, int, int, int]]:
        """Return the SOA's owner, name server, mailbox and (serial, refresh, retry, expire, minimum)."""
        # The serial has no meaning: nobody transfers this zone.
        return self.domain, f"ns.dns.{self.domain}", f"hostmaster.{self.domain}", (1, 7200, 1800, 86400, TTL_S)

    def _lookup(self, name: str, kind: str) -> Answer:
        labels = name.split(".")[: -1 - self._depth]
        match labels:
            case []:
                return self._apex(name, kind)
            case ["dns-version"]:
                return _of(kind, [Record(name, "TXT", SCHEMA_VERSION)])
            case ["dns"] | ["svc"] | ["pod"]:
                return NONE
            case ["ns", "dns"]:
                return _of(kind, _addresses(name, [self._server_address] if self._server_address else []))
            case [*_, _, "svc"]:
                return self._in_services(name, labels[:-1], kind)
            case [*_, _, "pod"]:
                return self._pod(name, labels[:-1], kind)
        return NXDOMAIN

    def _apex(self, name: str, kind: str) -> Answer:
        return _of(kind, [Record(name, "NS", f"ns.dns.{self.domain}")])

    def _in_services(self, name: str, labels: Sequence[str], kind: str) -> Answer:
        *before, namespace = labels
        if not before:
            return NONE if self._directory.has_namespace(namespace) else NXDOMAIN
        service = self._directory.service(namespace, before[-1])
        if service is None:
            return NXDOMAIN
        if service.spec.type == "ExternalName":
            return self._external_name(name, service, kind) if len(before) == 1 else NXDOMAIN
        base = f"{before[-1]}.{namespace}.svc.{self.domain}"
        match before:
            case [_]:
                records = _addresses(name, self._service_addresses(service))
                # The plain name's SRV lists every port; the specification leaves it open, CoreDNS users rely on it.
                return _of(kind, records) if kind != "SRV" else self._srv(name, base, service, "", "")
            case [port, protocol, _] if port.startswith("_") and protocol in ("_tcp", "_udp", "_sctp"):
                answer = self._srv(name, base, service, port[1:], protocol[1:])
                if not answer.records:
                    return NXDOMAIN
                return answer if kind in ("SRV", "ANY") else NONE
            case [protocol, _] if protocol in ("_tcp", "_udp", "_sctp"):
                return NONE
            case [host, _]:
                found = [one.address for one in self._hosts(service) if one.name == host]
                return _of(kind, _addresses(name, found)) if found else NXDOMAIN
        return NXDOMAIN

    def _external_name(self, name: str, service: Service, kind: str) -> Answer:
        target = service.spec.external_name.strip(".").lower() + "."
        records = [Record(name, "CNAME", target)]
        if kind == "CNAME":
            return Answer(records=tuple(records))
        for _ in range(CNAME_STEPS_MAX):
            if not self.claims(target):
                return Answer(records=tuple(records), chase=target)
            # One ExternalName may name another Service, which may be one again.
            further = self._step(target, kind)
            records += further.records
            if not further.records or further.records[-1].type != "CNAME":
                return Answer(records=tuple(records), rcode=further.rcode, has_soa=further.has_soa)
            target = str(further.records[-1].value)
        return Answer(rcode=Rcode.SERVFAIL)

    def _step(self, name: str, kind: str) -> Answer:
        """Look up a CNAME's target; another ExternalName is followed no further here."""
        labels = name.split(".")[: -1 - self._depth]
        if len(labels) == 3 and labels[2] == "svc":
            service = self._directory.service(labels[1], labels[0])
            if service is not None and service.spec.type == "ExternalName":
                return Answer(records=(Record(name, "CNAME", service.spec.external_name.strip(".").lower() + "."),))
        return self._lookup(name, kind)

    def _service_addresses(self, service: Service) -> list[str]:
        if _is_headless(service):
            return [host.address for host in self._hosts(service)]
        return [plain(each) for each in service.spec.cluster_ips or [service.spec.cluster_ip] if each]

    def _srv(self, name: str, base: str, service: Service, port_name: str, protocol: str) -> Answer:
        records: dict[Record, None] = {}
        extra: dict[Record, None] = {}

        def wanted(port: str | None, of_protocol: str | None) -> bool:
            if not protocol:
                return True
            return (port or "") == port_name and (of_protocol or "TCP").lower() == protocol

        if not _is_headless(service):
            for entry in service.spec.ports:
                if wanted(entry.name, entry.protocol):
                    records[Record(name, "SRV", Srv(entry.port, base))] = None
            if records:
                extra |= dict.fromkeys(_addresses(base, self._service_addresses(service)))
            return Answer(records=_share_weight(records), extra=tuple(extra))
        for slice in self._slices(service):
            numbers = [port.port for port in slice.ports if wanted(port.name, port.protocol) and port.port is not None]
            for endpoint in slice.endpoints if numbers else ():
                if not _is_ready(endpoint):
                    continue
                for host in _hosts_of(endpoint):
                    target = f"{host.name}.{base}"
                    records |= dict.fromkeys(Record(name, "SRV", Srv(number, target)) for number in numbers)
                    extra |= dict.fromkeys(_addresses(target, [host.address]))
        return Answer(records=_share_weight(records), extra=tuple(extra))

    def _slices(self, service: Service) -> Sequence[EndpointSlice]:
        return sorted(
            self._directory.slices(service.metadata.namespace, service.metadata.name),
            key=lambda slice: slice.metadata.name,
        )

    def _hosts(self, service: Service) -> list[_Host]:
        """Return a Service's ready endpoints, each once."""
        hosts = (
            host
            for slice in self._slices(service)
            if slice.address_type in ("IPv4", "IPv6")
            for endpoint in slice.endpoints
            if _is_ready(endpoint)
            for host in _hosts_of(endpoint)
        )
        return list(dict.fromkeys(hosts))

    def _pod(self, name: str, labels: Sequence[str], kind: str) -> Answer:
        *before, namespace = labels
        if not before:
            return NONE if self._directory.has_namespace(namespace) else NXDOMAIN
        if len(before) > 1:
            return NXDOMAIN
        # The name spells the address, so no pod is looked up for it (CoreDNS calls this mode insecure).
        for separator in (".", ":"):
            try:
                address = str(ipaddress.ip_address(before[0].replace("-", separator)))
            except ValueError:
                continue
            return _of(kind, _addresses(name, [address]))
        return NXDOMAIN

    def _reverse(self, name: str, kind: str) -> Answer | None:
        address = _address_of_reverse(name)
        if address is None:
            return None
        names = [
            f"{service.metadata.name}.{service.metadata.namespace}.svc.{self.domain}"
            for service in self._directory.services_at(address)
        ]
        for slice in self._directory.slices_at(address):
            namespace, owner = slice.metadata.namespace, slice.metadata.labels.get("kubernetes.io/service-name", "")
            service = self._directory.service(namespace, owner)
            if service is None or service.spec.type == "ExternalName":
                continue
            names += [
                f"{host.name}.{owner}.{namespace}.svc.{self.domain}"
                for endpoint in slice.endpoints
                for host in _hosts_of(endpoint)
                if host.address == address and _is_ready(endpoint)
            ]
        if not names:
            return None
        return _of(kind, [Record(name, "PTR", target) for target in sorted(set(names))])


def _of(kind: str, records: Iterable[Record]) -> Answer:
    """Keep the records that were asked for."""
    found = tuple(record for record in records if kind in (record.type, "ANY"))
    return Answer(records=found) if found else NONE


def _share_weight(records: Iterable[Record]) -> tuple[Record, ...]:
    """Return SRV records that share a weight of a hundred, as CoreDNS has it."""
    found = list(records)
    weight = max(1, 100 // max(1, len(found)))
    return tuple(
        replace(record, value=replace(record.value, weight=weight)) for record in found if isinstance(record.value, Srv)
    )


def _addresses(name: str, addresses: Iterable[str]) -> Iterator[Record]:
    for address in dict.fromkeys(addresses):
        yield Record(name, "AAAA" if ":" in address else "A", address)


def _is_headless(service: Service) -> bool:
    return service.spec.cluster_ip == "None"


def _is_ready(endpoint: Endpoint) -> bool:
    return endpoint.conditions.ready is not False


def _hosts_of(endpoint: Endpoint) -> Iterator[_Host]:
    for given in endpoint.addresses:
        address = plain(given)
        dashed = address.replace(".", "-").replace(":", "-")
        yield _Host((endpoint.hostname or dashed).lower(), address)


def _address_of_reverse(name: str) -> str | None:
    """Return the address a reverse name spells, or None when it spells none."""
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa."):
            return str(ipaddress.IPv4Address(".".join(reversed(labels[:-3])))) if len(labels) == 7 else None
        digits = "".join(reversed(labels[:-3]))
        return str(ipaddress.IPv6Address(int(digits, 16))) if len(digits) == 32 else None
    except ValueError:
        return None


def with_name(answer: Answer, asked: str) -> Answer:
    """Return the answer in the letters the question had (RFC 1035 section 2.3.3; some resolvers compare them)."""
    lower = asked.lower()
    if asked == lower:
        return answer
    records = tuple(replace(record, name=asked) if record.name == lower else record for record in answer.records)
    return replace(answer, records=records)
