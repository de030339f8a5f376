"""The way to a node's kubelet: where it listens, and that it is who it should be.

The apiserver shows its kubelet client certificate and demands one from the kubelet that carries the node's *name*, so
that a node which took over another's address is not spoken to in its place.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from api.core import node, pod
from api.errors import BadRequest, InternalError, NotFound
from api.resource import ObjectKey
from apiserver.auth.tokens import Read
from component import relay
from component.certificates import fresh_client
from component.serve import Identity

KUBELET_PORT: Final = 10250
_ADDRESS_PREFERENCE: Final = ("InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS")


@dataclass(frozen=True, slots=True)
class KubeletAddress:
    """Where a kubelet is reached, and the name its certificate must carry."""

    node: str
    host: str
    port: int


class Kubelets:
    """Opens connections and requests to kubelets.

    Args:
        identity: the certificate to show, and the CA of the kubelets' own.
        read: any object as stored; raises NotFound.
    """

    def __init__(self, identity: Identity, read: Read) -> None:
        self._tls = fresh_client(identity)
        self._read = read
        self._session: aiohttp.ClientSession | None = None

    @property
    def tls(self) -> ssl.SSLContext:
        """Shows our certificate, and demands theirs; another one when they are renewed."""
        return self._tls.current()

    async def locate(self, found: pod.Pod) -> KubeletAddress:
        """Return the kubelet that runs a pod.

        Raises:
            BadRequest: the pod is on no node yet.
            NotFound: its node is gone.
        """
        name = found.spec.node_name
        if not name:
            raise BadRequest(f"pod {found.metadata.name} does not have a host assigned")
        return address_of(await self._read(node.RESOURCE, ObjectKey("", name)))

    async def dial(self, address: KubeletAddress) -> relay.Connection:
        """Connect.

        Raises:
            InternalError: nobody answers there, or somebody else.
        """
        try:
            return await relay.dial(address.host, address.port, tls=self.tls, server_name=address.node)
        except (OSError, TimeoutError) as error:
            raise unreachable(address, error) from error

    @asynccontextmanager
    async def get(self, address: KubeletAddress, target: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for a path and query; the answer's body is read while inside, for as long as it flows.

        Raises:
            InternalError: nobody answers there, or somebody else.
        """
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = f"https://{host}:{address.port}{target}"
        try:
            # A redirect would take our certificate wherever a kubelet likes.
            response = await self._session.get(
                URL(url, encoded=True), ssl=self.tls, server_hostname=address.node, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise unreachable(address, error) from error
        try:
            yield response
        finally:
            response.close()

    async def close(self) -> None:
        """Close what is kept open; safe to call twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def unreachable(address: KubeletAddress, error: Exception) -> InternalError:
    """Return the error for a kubelet that could not be asked."""
    why = str(error) or "no answer in time"
    return InternalError(f"error dialing backend: {address.node} at {address.host}:{address.port}: {why}")


def address_of(found: node.Node) -> KubeletAddress:
    """Return where a node says its kubelet is.

    Raises:
        NotFound: it says nothing.
    """
    by_type: dict[str, str] = {}
    for address in found.status.addresses:
        by_type.setdefault(address.type, address.address)
    host = next((by_type[kind] for kind in _ADDRESS_PREFERENCE if by_type.get(kind)), "")
    if not host:
        raise NotFound(f"no preferred addresses found for node {found.metadata.name}; its kubelet has not reported yet")
    port = found.status.daemon_endpoints.kubelet_endpoint.port or KUBELET_PORT
    return KubeletAddress(found.metadata.name, host, port)


def target(parts: list[str], query: Mapping[str, str | list[str]]) -> str:
    """Return a path and query with everything in them escaped."""
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    return f"{path}?{urlencode(query, doseq=True)}" if query else path


def choose_container(found: pod.Pod, asked: str, *, init: bool = True) -> str:
    """Return the container meant: the one asked for, or the only one.

    Raises:
        BadRequest: there are several to choose from, or none of that name.
    """
    spec = found.spec
    names = [container.name for container in spec.containers]
    init_names = [container.name for container in spec.init_containers] if init else []
    ephemeral = [container.name for container in spec.ephemeral_containers]
    name = found.metadata.name
    if not asked:
        if len(names) == 1:
            return names[0]
        message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
        if init_names:
            message += f" or one of the init containers: [{' '.join(init_names)}]"
        if ephemeral:
            message += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
        raise BadRequest(message)
    if asked not in (*names, *init_names, *ephemeral):
        raise BadRequest(f"container {asked} is not valid for pod {name}")
    return asked
