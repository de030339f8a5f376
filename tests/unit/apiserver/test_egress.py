"""Connections through a kubelet's tunnel, over TLS on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import aiohttp
import pytest
from aiohttp import web

from api.core import node as nodes
from api.core.node import Node
from api.errors import NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.egress import Egress
from apiserver.subresources.node_proxy import Kubelets
from component import relay
from component.serve import server_context
from kubelet import tunnel
from tests import builders
from tests.certificates import Authority


class Objects:
    """A lister of what it was given."""

    def __init__(self, *objects) -> None:
        self.objects = {ObjectKey(each.metadata.namespace, each.metadata.name): each for each in objects}

    def get(self, key):
        return self.objects.get(key)

    def list(self, namespace=None):
        return list(self.objects.values())


def a_node(name: str, port: int, *, ready: bool = True) -> Node:
    found = Node(metadata=ObjectMeta(name=name))
    found.status.addresses = [nodes.NodeAddress(type="InternalIP", address="127.0.0.1")]
    found.status.daemon_endpoints.kubelet_endpoint.port = port
    found.status.conditions = [nodes.NodeCondition(type="Ready", status="True" if ready else "False")]
    return found


@pytest.fixture
async def kubelet(tmp_path: Path, monkeypatch) -> AsyncIterator[tuple[Kubelets, int, list[str]]]:
    """A kubelet that is nothing but its tunnel; and what it was asked for."""
    authority = Authority(tmp_path)
    asked: list[str] = []
    # What pods are reached at is loopback here, which a real tunnel refuses.
    monkeypatch.setattr(tunnel, "destination", lambda target: ("127.0.0.1", int(target.rpartition("/")[2])))

    async def carry(upgrade: relay.Upgrade) -> None:
        asked.append(upgrade.target)
        await tunnel.carry(upgrade)

    board = relay.Switchboard(asyncio.Protocol, lambda method, target: True, carry, protocols=(tunnel.PROTOCOL,))
    context = server_context(authority.issue("node-1", file="kubelet"), client_certificates=ssl.CERT_REQUIRED)
    listener = await asyncio.get_running_loop().create_server(board, "127.0.0.1", 0, ssl=context)

    async def read(resource, key):
        raise NotFound("unused")

    yield Kubelets(authority.issue("apiserver"), read), listener.sockets[0].getsockname()[1], asked
    listener.close()
    await board.close()


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """A pod's program, which speaks TLS."""
    identity = Authority(tmp_path / "program").issue("program")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.cert, identity.key)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield runner.addresses[0][1], ssl.create_default_context(cafile=str(identity.ca))
    await runner.cleanup()


async def ask(egress: Egress, port: int, tls: ssl.SSLContext, body: bytes = b"hello") -> bytes:
    async with (
        aiohttp.ClientSession(connector=egress.connector()) as http,
        http.post(f"https://10.244.0.7:{port}/", data=body, ssl=tls, server_hostname="program") as answer,
    ):
        return await answer.read()


async def test_pods_are_reached_through_their_own_node(kubelet, program) -> None:
    kubelets, kubelet_port, asked = kubelet
    port, tls = program
    pod = builders.pod("web", node="node-1")
    pod.status.pod_ip = "10.244.0.7"
    known = Objects(a_node("node-1", kubelet_port, ready=False), a_node("node-2", 1))
    egress = Egress(kubelets, ["10.244.0.0/16"], known, Objects(pod), Random(1))
    assert await ask(egress, port, tls, b"x" * (1 << 22)) == b"x" * (1 << 22)
    assert asked == [f"/tunnel/10.244.0.7/{port}"]
    connection = await egress.dial("10.244.0.7", port, tls=tls, server_name="program")
    connection.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    assert (await connection.reader.readuntil(b"hi")).endswith(b"hi")
    connection.abort()
    await egress.close()


async def test_anything_else_there_is_reached_through_a_node_that_is_ready(kubelet, program) -> None:
    kubelets, kubelet_port, asked = kubelet
    port, tls = program
    known = Objects(a_node("node-1", kubelet_port), a_node("node-2", 1, ready=False))
    egress = Egress(kubelets, ["10.244.0.0/16"], known, Objects(), Random(1))
    assert await ask(egress, port, tls) == b"hello" and len(asked) == 1
    await egress.close()
    none_ready = Egress(kubelets, ["10.244.0.0/16"], Objects(), Objects(), Random(1))
    with pytest.raises(OSError, match="no node is ready to reach 10.244.0.7 through"):
        await none_ready.open("10.244.0.7", port)


async def test_what_does_not_answer_there_is_said_as_here(kubelet) -> None:
    kubelets, kubelet_port, _ = kubelet
    egress = Egress(kubelets, ["10.244.0.0/16"], Objects(a_node("node-1", kubelet_port)), Objects(), Random(1))
    with pytest.raises(ConnectionRefusedError, match="connect"):
        await egress.open("10.244.0.7", 1)


async def test_other_addresses_are_reached_directly(program) -> None:
    port, _ = program
    egress = Egress(None, [], Objects(), Objects(), Random(1))
    sock = await egress.open("127.0.0.1", port)
    assert sock.getpeername() == ("127.0.0.1", port)
    sock.close()


@pytest.mark.parametrize(
    "target",
    ["/tunnel/127.0.0.1/80", "/tunnel/169.254.169.254/80", "/tunnel/0.0.0.0/80", "/tunnel/::1/80", "/tunnel/web/80"]
    + ["/tunnel/10.0.0.1/0", "/tunnel/10.0.0.1/65536", "/tunnel/10.0.0.1", "/tunnel/10.0.0.1/80/x"],
)
def test_a_tunnel_leads_to_pods_and_services_alone(target: str) -> None:
    with pytest.raises(ValueError):
        tunnel.destination(target)
    assert tunnel.destination("/tunnel/10.244.0.7/8080") == ("10.244.0.7", 8080)
