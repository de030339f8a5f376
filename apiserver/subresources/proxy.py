"""nodes/proxy, pods/proxy and services/proxy: where a proxied request goes on to. `apiserver.rest.forward` carries it.

    /api/v1/namespaces/NS/services/[SCHEME:]NAME[:PORT]/proxy/PATH
    /api/v1/namespaces/NS/pods/[SCHEME:]NAME[:PORT]/proxy/PATH
    /api/v1/nodes/[SCHEME:]NAME[:PORT]/proxy/PATH

A Service's port is named as the Service names it, or by its number there, and one of its ready endpoints is chosen. A
pod's port is a number, by default its first container's; a node's is by default its kubelet, to which this server shows
its own certificate. What pods and Services show for themselves under `https:` is not verified: nobody says by whom it
should be signed. Forms and refusals are upstream's ("Access Services Running on Clusters").
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from api.core import node, pod, service
from api.core.endpoints import Endpoints
from api.core.pod import Pod
from api.core.service import Service, ServicePort
from api.discovery.endpointslice import EndpointSlice
from api.errors import BadRequest, MethodNotAllowed, NotFound, ServiceUnavailable
from api.lister import Lister
from api.resource import ObjectKey
from apiserver.auth.tokens import Read
from apiserver.onward import Onward
from apiserver.request import RequestInfo
from apiserver.subresources.node_proxy import Kubelets, address_of
from apiserver.webhooks.services import SERVICE_LABEL, endpoints_of

KINDS: Final = ("nodes", "pods", "services")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Named(NamedTuple):
    """What the name in the path says."""

    scheme: str
    name: str
    port: str


def split_name(text: str, kind: str) -> Named:
    """Take `[scheme:]name[:port]` apart.

    Raises:
        BadRequest: too many parts, an unknown scheme, or no name.
    """
    parts = text.split(":")
    match parts:
        case [name]:
            named = Named("", name, "")
        case [name, port]:
            named = Named("", name, port)
        case ["" | "http" | "https" as scheme, name, port]:
            named = Named(scheme, name, port)
        case _:
            raise BadRequest(f'invalid {kind} request "{text}"')
    if not named.name:
        raise BadRequest(f'invalid {kind} request "{text}"')
    return named


class ProxyLocator:
    """Finds where proxied requests go.

    Args:
        read: any object as stored; raises NotFound.
        slices: endpoints by Service.
        endpoints: the same in its older form, for Services whose endpoints users keep.
        kubelets: what to show to kubelets; None where there is nothing to show.
        random: chooses among endpoints.
    """

    def __init__(
        self,
        read: Read,
        slices: Lister[EndpointSlice],
        endpoints: Lister[Endpoints],
        kubelets: Kubelets | None,
        random: Random,
    ) -> None:
        self._read = read
        self._slices = slices
        self._endpoints = endpoints
        self._kubelets = kubelets
        self._random = random
        self._unverified = _unverified_context()

    async def locate(self, info: RequestInfo, method: str, target: str) -> Onward:
        """Return where a request goes; `target` is path and query as they were sent.

        Raises:
            BadRequest: the name or port cannot be understood, or the address may not be reached this way.
            NotFound: there is no such object. ServiceUnavailable: nobody is there to answer.
        """
        if method not in _METHODS:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        prefix, path = _split_target(target)
        match info.plural:
            case "services":
                onward = await self._service(info)
            case "pods":
                onward = await self._pod(info)
            case _:
                onward = await self._node(info)
        return onward._replace(target=path, prefix=prefix)

    async def _service(self, info: RequestInfo) -> Onward:
        named = split_name(info.name, "service")
        found: Service = await self._read(service.RESOURCE, ObjectKey(info.namespace, named.name))
        port = _service_port(found, named.port)
        slices = [
            each for each in self._slices.list(info.namespace) if each.metadata.labels.get(SERVICE_LABEL) == named.name
        ]
        ready = endpoints_of(port, slices) if slices else self._by_hand(info.namespace, port, named.name)
        if not ready:
            raise ServiceUnavailable(f'no endpoints available for service "{named.name}"')
        host, number = self._random.choice(ready)
        return self._to(named.scheme, host, number)

    def _by_hand(self, namespace: str, port: ServicePort, name: str) -> list[tuple[str, int]]:
        found = self._endpoints.get(ObjectKey(namespace, name))
        return [
            (address.ip, each.port)
            for subset in (found.subsets if found is not None else ())
            for each in subset.ports
            if each.name == port.name
            for address in subset.addresses
        ]

    async def _pod(self, info: RequestInfo) -> Onward:
        named = split_name(info.name, "pod")
        found: Pod = await self._read(pod.RESOURCE, ObjectKey(info.namespace, named.name))
        number = _number(named.port, "pod", info.name) or next(
            (port.container_port for container in found.spec.containers for port in container.ports), 0
        )
        if not found.status.pod_ip:
            raise BadRequest("address not allowed")  # upstream's words for a pod that has none yet, too
        return self._to(named.scheme, found.status.pod_ip, number)

    async def _node(self, info: RequestInfo) -> Onward:
        named = split_name(info.name, "node")
        found: node.Node = await self._read(node.RESOURCE, ObjectKey("", named.name))
        address = address_of(found)
        number = _number(named.port, "node", info.name)
        if number in (0, address.port):
            if self._kubelets is None:
                raise ServiceUnavailable("this server has no certificate to show to kubelets")
            return Onward(address.host, address.port, self._kubelets.tls, address.node)
        return self._to(named.scheme, address.host, number)

    def _to(self, scheme: str, host: str, port: int) -> Onward:
        check_address(host)
        if scheme == "https":
            return Onward(host, port or 443, self._unverified)
        return Onward(host, port or 80, None)


def check_address(host: str) -> None:
    """Refuse addresses that mean this machine, or its neighbours, to whoever connects.

    Raises:
        BadRequest: it is such an address.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise BadRequest("address not allowed")


def _service_port(found: Service, wanted: str) -> ServicePort:
    ports: Sequence[ServicePort] = found.spec.ports
    name = found.metadata.name
    if wanted.isascii() and wanted.isdigit():
        by_number = next((each for each in ports if each.port == int(wanted)), None)
        if by_number is None:
            raise ServiceUnavailable(f'no service port {wanted} found for service "{name}"')
        return by_number
    by_name = next((each for each in ports if each.name == wanted), None)
    if by_name is None:
        raise ServiceUnavailable(f'no endpoints available for service "{name}"')
    return by_name


def _number(text: str, kind: str, whole: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise BadRequest(f'invalid {kind} request "{whole}"')
    return int(text)


def _split_target(target: str) -> tuple[str, str]:
    """Split a target behind its `/proxy`: what stands for the other side here, and what is asked of it."""
    path, mark, query = target.partition("?")
    parts = path.split("/")
    # /api/v1/nodes/NAME/proxy, /api/v1/namespaces/NS/KIND/NAME/proxy: the same place as `request_info` found it.
    at = 5 if len(parts) > 3 and parts[3] == "nodes" else 7
    if len(parts) <= at or parts[at] != "proxy":
        raise NotFound("the server could not find the requested resource")
    return "/".join(parts[: at + 1]), "".join(f"/{part}" for part in parts[at + 1 :]) + mark + query


def _unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the machine's authorities: 40 ms to read, for nobody
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
