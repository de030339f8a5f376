"""The way out of this server to pods and Services: straight, or through a node.

A control plane beside the cluster (several clusters on one machine, or a network that routes to nodes alone) has no
route to pods' addresses. Every node has, and every node's kubelet is reached and trusted already. So connections to
the networks named in the settings go through a kubelet, which opens them in its place; all others are opened here.
Whoever connects gets a socket and need not know which it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from api.core import node
from api.core.node import Node
from api.core.pod import Pod
from api.errors import ApiError
from api.lister import Lister
from api.resource import ObjectKey
from apiserver.subresources.node_proxy import Kubelets, address_of
from component import relay

DEADLINE_S: Final = 10.0
_NODES_TRIED: Final = 3


class Egress:
    """Opens connections.

    Args:
        kubelets: reaches nodes; None where there is no way through them.
        networks: addresses that are reached through nodes.
        nodes: the nodes to choose from.
        pods: which pod has an address, since its own node is the best way to it.
        random: chooses a node for everything else.
    """

    def __init__(
        self,
        kubelets: Kubelets | None,
        networks: Sequence[str],
        nodes: Lister[Node],
        pods: Lister[Pod],
        random: Random,
    ) -> None:
        self._kubelets = kubelets
        self._networks = tuple(ipaddress.ip_network(each) for each in networks)
        self._nodes = nodes
        self._pods = pods
        self._random = random
        self._tunnels: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> socket.socket:
        """Return a socket that is connected to host:port, one way or the other.

        Raises:
            OSError: nobody answers there, or no node can be asked.
            TimeoutError: not in time.
        """
        async with asyncio.timeout(DEADLINE_S):
            if self._kubelets is None or not self._is_beyond(host):
                return await _connect(host, port)
            problem: Exception = OSError(f"no node is ready to reach {host} through")
            for name in self._ways_to(host):
                try:
                    return self._joined(await self._tunnel(self._kubelets, name, host, port))
                except (ApiError, relay.BadHead) as error:
                    problem = OSError(str(error))
            raise problem

    async def dial(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None, server_name: str = ""
    ) -> relay.Connection:
        """Return a connection to host:port; with `tls`, one whose peer proved to be `server_name` (or the host).

        Raises:
            OSError, TimeoutError: as `open`, and when the peer is not who it should be.
        """
        sock = await self.open(host, port)
        try:
            async with asyncio.timeout(DEADLINE_S):
                reader, writer = await asyncio.open_connection(
                    sock=sock,
                    limit=relay.HEAD_BYTES_MAX,
                    ssl=tls,
                    server_hostname=(server_name or host) if tls is not None else None,
                )
        except BaseException:
            sock.close()
            raise
        return relay.Connection(reader, writer)

    def connector(self, **options: Any) -> aiohttp.TCPConnector:
        """Return a connector for an HTTP client whose connections go this way; options are TCPConnector's."""
        return _Connector(self, **options)

    async def close(self) -> None:
        """End every connection that goes through a node."""
        for task in list(self._tunnels):
            task.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)

    def _is_beyond(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def _ways_to(self, host: str) -> Iterator[str]:
        own = next((pod.spec.node_name for pod in self._pods.list() if pod.status.pod_ip == host), "")
        if own:
            yield own
            return
        ready = [each.metadata.name for each in self._nodes.list() if _is_ready(each)]
        yield from self._random.sample(ready, min(len(ready), _NODES_TRIED))

    async def _tunnel(self, kubelets: Kubelets, name: str, host: str, port: int) -> relay.Connection:
        found = self._nodes.get(ObjectKey("", name))
        if found is None:
            raise OSError(f'{node.RESOURCE} "{name}" is gone')
        address = address_of(found)
        connection = await kubelets.dial(address)
        try:
            headers = [("Host", address.node), ("Connection", "Upgrade"), ("Upgrade", "tcp")]
            answer = await relay.request_upgrade(connection, "GET", f"/tunnel/{host}/{port}", headers)
            if not answer.switched:
                said = (await relay.read_body(connection, answer.headers)).decode(errors="replace").strip()
                raise ConnectionRefusedError(said or f"node {name}: {answer.status} {answer.reason}")
        except BaseException:
            connection.abort()
            raise
        return connection

    def _joined(self, tunnel: relay.Connection) -> socket.socket:
        """Return a socket whose other end is joined to the tunnel."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)

        async def carry() -> None:
            reader, writer = await asyncio.open_connection(sock=theirs, limit=relay.CHUNK_BYTES)
            await relay.relay(relay.Connection(reader, writer), tunnel)

        task = asyncio.get_running_loop().create_task(carry(), name="tunnel")
        self._tunnels.add(task)
        task.add_done_callback(self._tunnels.discard)
        return ours


class _Connector(aiohttp.TCPConnector):
    """A connector that leaves opening sockets to an Egress; names are resolved, and TLS is spoken, as ever."""

    def __init__(self, egress: Egress, **options: Any) -> None:
        super().__init__(**options)
        self._egress = egress

    async def _wrap_create_connection(  # type: ignore[override]
        self, *args: Any, addr_infos: list[Any], req: Any, timeout: Any, client_error: Any = None, **options: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        failed = client_error or aiohttp.ClientConnectorError
        sock: socket.socket | None = None
        try:
            host, port = addr_infos[0][4][:2]
            sock = await self._egress.open(host, port)
            async with asyncio.timeout(DEADLINE_S):
                made: tuple[Any, Any] = await asyncio.get_running_loop().create_connection(*args, **options, sock=sock)
            return made
        except ssl.SSLCertVerificationError as error:
            _close(sock)
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
        except ssl.SSLError as error:
            _close(sock)
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
        except TimeoutError:
            _close(sock)
            raise
        except OSError as error:
            _close(sock)
            raise failed(req.connection_key, error) from error


def _close(sock: socket.socket | None) -> None:
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.close()


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise problem


def _is_ready(found: Node) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in found.status.conditions)
