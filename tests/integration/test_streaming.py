"""Logs and streams through a real REST listener to a kubelet that is a stub, asked for by stock kubectl and others."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api.core import node, pod
from api.core.containers import Container
from api.core.node import DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeStatus
from api.core.pod import Pod, PodSpec
from api.core.pod_status import PodStatus
from api.errors import NotFound
from api.meta import ObjectMeta
from apiserver.server import Server, Settings, _rest_listener
from component import relay
from component.clock import RealClock
from component.serve import Identity, client_context, server_context
from store.local import LocalStore
from tests.certificates import Authority
from tests.ports import free_port

pytestmark = pytest.mark.integration

KUBECTLS = sorted(Path("/usr/lib/google-cloud-sdk/bin").glob("kubectl.1.*")) or [
    Path(found) for found in [shutil.which("kubectl")] if found
]


@dataclass
class StubKubelet:
    """Answers logs, and upgrades of paths that it knows; remembers what it was asked."""

    port: int = 0
    logs: list[str] = field(default_factory=list)
    upgrades: list[relay.Upgrade] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)

    async def ordinary(self, request: web.BaseRequest) -> web.StreamResponse:
        self.logs.append(request.path_qs)
        if "waiting" in request.path:
            return web.Response(status=400, text='container "waiting" in pod "web" is waiting to start')
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        if "follow=true" in request.path_qs:
            for _ in range(3):
                await asyncio.sleep(0.05)
                await response.write(b"more\n")
        await response.write_eof()
        return response

    async def upgraded(self, upgrade: relay.Upgrade) -> None:
        self.upgrades.append(upgrade)
        self.clients.append(str(upgrade.peer_cert))
        if "refuse" in upgrade.target:
            await upgrade.refuse(404, b"no such thing here", "text/plain")
            return
        if upgrade.protocol == "websocket":
            offered = relay.tokens(upgrade.headers, "Sec-WebSocket-Protocol")
            if offered[0] in ("v5.channel.k8s.io", "SPDY/3.1+portforward.k8s.io"):
                await upgrade.refuse(400, b"an older kubelet does not know this", "text/plain")
            else:
                await self._websocket(upgrade)
            return
        if "echo" not in upgrade.target:
            await upgrade.refuse(500, b"the stub does not speak SPDY", "text/plain")
            return
        await relay.send_switch(upgrade.connection, [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")])
        while data := await upgrade.connection.reader.read(65536):
            upgrade.connection.writer.write(data.upper())
            await upgrade.connection.writer.drain()

    async def _websocket(self, upgrade: relay.Upgrade) -> None:
        import base64
        import hashlib

        key = upgrade.header("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", accept)]
        protocol = upgrade.header("Sec-WebSocket-Protocol").split(",")[0].strip()
        await relay.send_switch(upgrade.connection, [*headers, ("Sec-WebSocket-Protocol", protocol)])
        upgrade.connection.writer.write(b"\x82\x06\x01hello" + b"\x88\x02\x03\xe8")
        await upgrade.connection.reader.read(100)


@dataclass
class World:
    settings: Settings
    server: Server
    kubelet: StubKubelet
    authority: Authority
    directory: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.settings.secure_port}"

    def identity(self, name: str = "admin", *groups: str) -> Identity:
        return self.authority.issue(name, *(groups or ("system:masters",)))

    def kubeconfig(self, identity: Identity) -> Path:
        path = self.directory / "kubeconfig"
        path.write_text(
            f"""{{"kind": "Config", "apiVersion": "v1", "current-context": "c",
            "clusters": [{{"name": "c", "cluster": {{"server": "{self.url}",
              "certificate-authority": "{identity.ca}"}}}}],
            "users": [{{"name": "u", "user": {{"client-certificate": "{identity.cert}",
              "client-key": "{identity.key}"}}}}],
            "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "u"}}}}]}}"""
        )
        return path

    async def kubectl(self, binary: Path, *arguments: str, identity: Identity | None = None) -> tuple[int, str, str]:
        config = self.kubeconfig(identity or self.identity())
        process = await asyncio.create_subprocess_exec(
            str(binary), "--kubeconfig", str(config), f"--cache-dir={self.directory}/cache", *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), 20)
        except BaseException:
            process.kill()
            raise
        return process.returncode or 0, out.decode(), err.decode()

    async def dial(self, identity: Identity | None) -> relay.Connection:
        tls = client_context(identity) if identity else ssl.create_default_context(cafile=str(self.authority.path))
        return await relay.dial("127.0.0.1", self.settings.secure_port, tls=tls)

    async def upgrade(
        self, target: str, *, identity: Identity | None = None, method: str = "POST", protocol: str = "SPDY/3.1", **more
    ) -> tuple[relay.Connection, relay.Answer]:
        connection = await self.dial(identity or self.identity())
        fields = [("Host", "x"), ("Connection", "Upgrade"), ("Upgrade", protocol)]
        fields += [(name.replace("_", "-"), value) for name, value in more.items()]
        return connection, await relay.request_upgrade(connection, method, target, fields)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    authority = Authority(tmp_path / "pki")
    serving, ours = authority.issue("kubernetes"), authority.issue("steer-apiserver-kubelet-client", "kubelet-admins")
    key = ec.generate_private_key(ec.SECP256R1())
    key_file = tmp_path / "sa.key"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    unused = tmp_path / "unused"
    settings = Settings(
        store_endpoints=(), store_cert=unused, store_key=unused, store_ca=unused,
        tls_cert=serving.cert, tls_key=serving.key, client_ca=serving.ca, service_account_key=key_file,
        kubelet_client_cert=ours.cert, kubelet_client_key=ours.key, kubelet_ca=ours.ca,
        bind_address="127.0.0.1", secure_port=free_port(),
    )  # fmt: skip
    server = Server(settings, LocalStore(), RealClock(), Random(1))
    kubelet = StubKubelet()
    tls = server_context(authority.issue("system:node:n1"), client_certificates=ssl.CERT_REQUIRED)
    http = web.Server(kubelet.ordinary)
    board = relay.Switchboard(http, lambda method, target: True, kubelet.upgraded)
    listener = await asyncio.get_running_loop().create_server(board, "127.0.0.1", 0, ssl=tls)
    kubelet.port = listener.sockets[0].getsockname()[1]
    running = asyncio.ensure_future(server.run())
    made = World(settings, server, kubelet, authority, tmp_path)
    async with _rest_listener(settings, server):
        await fill(server, kubelet.port)
        yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
        await running
    listener.close()
    await board.close()
    await http.shutdown(1)
    await server.close()


async def fill(server: Server, port: int) -> None:
    async with asyncio.timeout(10):
        while server._lacks_own_objects() is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    registries = server.api.registries
    for name in ("n1", "n2"):
        status = NodeStatus(
            addresses=[NodeAddress(type="InternalIP", address="127.0.0.1")],
            daemon_endpoints=NodeDaemonEndpoints(kubelet_endpoint=DaemonEndpoint(port=port)),
        )
        await registries.of(node.RESOURCE).create(Node(metadata=ObjectMeta(name=name), status=status))
    for name, containers, where in (
        ("web", ["c"], "n1"),
        ("two", ["a", "b"], "n1"),
        ("new", ["c"], ""),
        ("elsewhere", ["c"], "n2"),
        ("lost", ["c"], "n3"),
    ):
        spec = PodSpec(containers=[Container(name=c) for c in containers], node_name=where)
        status = PodStatus(phase="Running")
        await registries.of(pod.RESOURCE).create(
            Pod(metadata=ObjectMeta(name=name, namespace="default"), spec=spec, status=status)
        )
    with contextlib.suppress(NotFound):
        await registries.of(pod.RESOURCE).cache.catch_up()


EXEC = "/api/v1/namespaces/default/pods/{}/exec?stdin=true&stdout=true&stderr=true&command={}"


async def test_a_spdy_stream_reaches_the_pods_kubelet_and_every_byte_passes_both_ways(world: World) -> None:
    connection, answer = await world.upgrade(EXEC.format("web", "echo"), X_Stream_Protocol_Version="v4.channel.k8s.io")
    assert answer.switched and relay.header(answer.headers, "Upgrade") == "SPDY/3.1"
    connection.writer.write(b"hello" * 100_000)
    assert await connection.reader.readexactly(500_000) == b"HELLO" * 100_000
    await connection.close()
    (seen,) = world.kubelet.upgrades
    assert seen.target == "/exec/default/web/c?input=1&output=1&error=1&command=echo"
    assert (seen.method, seen.header("X-Stream-Protocol-Version")) == ("POST", "v4.channel.k8s.io")
    assert "steer-apiserver-kubelet-client" in world.kubelet.clients[0]
    assert not seen.header("Authorization")


async def test_what_the_kubelet_refuses_is_a_status_and_the_connection_ends(world: World) -> None:
    connection, answer = await world.upgrade(EXEC.format("web", "refuse"))
    body = await relay.read_body(connection, answer.headers)
    assert answer.status == 404 and b'"message":"no such thing here"' in body and b'"kind":"Status"' in body
    assert await connection.reader.read() == b""


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        (EXEC.format("gone", "x"), 404, 'pods "gone" not found'),
        (EXEC.format("two", "x"), 400, "a container name must be specified for pod two, choose one of: [a b]"),
        (EXEC.format("two", "x") + "&container=c", 400, "container c is not valid for pod two"),
        (EXEC.format("new", "x"), 400, "pod new does not have a host assigned"),
        (EXEC.format("lost", "x"), 404, 'nodes "n3" not found'),
        (EXEC.format("elsewhere", "x"), 500, "error dialing backend: n2 at 127.0.0.1"),
        (EXEC.format("web", "x").replace("stdin=true&stdout=true&stderr=true&", ""), 400, "at least 1 of stdin"),
        ("/api/v1/namespaces/default/pods/web/exec?stdout=1", 400, "at least 1 command"),
    ],
)
async def test_a_stream_that_leads_nowhere_says_why(world: World, target: str, status: int, message: str) -> None:
    connection, answer = await world.upgrade(target)
    body = await relay.read_body(connection, answer.headers)
    connection.abort()
    assert answer.status == status
    assert message in body.decode().replace('\\"', '"')


async def test_streams_are_authorized_by_verb_and_subresource(world: World) -> None:
    jane = world.identity("jane", "dev")
    connection, answer = await world.upgrade(EXEC.format("web", "echo"), identity=jane)
    body = (await relay.read_body(connection, answer.headers)).decode().replace('\\"', '"')
    connection.abort()
    assert answer.status == 403
    assert 'User "jane" cannot create resource "pods/exec" in API group "" in the namespace "default"' in body
    assert world.kubelet.upgrades == []
    connection = await world.dial(None)
    answer = await relay.request_upgrade(
        connection, "POST", EXEC.format("web", "echo"),
        [("Host", "x"), ("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("Authorization", "Bearer nonsense")],
    )  # fmt: skip
    connection.abort()
    assert answer.status == 401


async def test_a_certificate_of_another_ca_never_gets_past_tls(world: World, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other").issue("admin", "system:masters")
    with pytest.raises((OSError, TimeoutError)):
        connection = await world.dial(Identity(stranger.cert, stranger.key, world.authority.path))
        await relay.request_upgrade(connection, "GET", "/version", [("Host", "x")], deadline_s=5)


async def test_websockets_are_passed_on_and_unknown_ones_refused(world: World) -> None:
    tls = client_context(world.identity())
    url = world.url + EXEC.format("web", "x")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        offered = ("v4.channel.k8s.io", "v5.channel.k8s.io", "v9.channel.k8s.io")
        async with session.ws_connect(url, protocols=offered) as socket_:
            assert socket_.protocol == "v4.channel.k8s.io"
            message = await socket_.receive()
            assert message.data == b"\x01hello"
        (seen,) = world.kubelet.upgrades
        assert relay.tokens(seen.headers, "Sec-WebSocket-Protocol") == ["v4.channel.k8s.io", "v5.channel.k8s.io"]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, protocols=("v9.channel.k8s.io",))
        assert refused.value.status == 400 and len(world.kubelet.upgrades) == 1
        async with session.get(url) as plain:
            assert plain.status == 400 and "Upgrade request required" in await plain.text()


async def test_logs_are_passed_on_as_they_come(world: World) -> None:
    tls = client_context(world.identity())
    path = "/api/v1/namespaces/default/pods/{}/log"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), base_url=world.url) as session:
        async with session.get(path.format("web"), params={"tailLines": "5", "follow": "true"}) as response:
            assert response.content_type == "text/plain"
            assert await response.content.readline() == b"one\n"
            assert await response.read() == b"more\n" * 3
        assert world.kubelet.logs == ["/containerLogs/default/web/c?follow=true&tailLines=5"]
        for target, status, why in (
            (path.format("two"), 400, "choose one of: [a b]"),
            (path.format("web") + "?tailLines=-1", 422, "must be greater than or equal to 0"),
            (path.format("web") + "?sinceSeconds=1&sinceTime=2024-01-01T00:00:00Z", 422, "at most one of"),
            (path.format("absent") + "?stream=Stdout", 422, "stream: Forbidden: may not be specified"),
            (path.format("new"), 400, "does not have a host assigned"),
        ):
            async with session.get(target) as response:
                assert (response.status, why in await response.text()) == (status, True)


@pytest.mark.skipif(not KUBECTLS, reason="no kubectl on this machine")
@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: path.name)
async def test_every_kubectl_comes_back_with_spdy_to_an_older_kubelet(world: World, binary: Path) -> None:
    code, _, err = await world.kubectl(binary, "exec", "web", "--", "ls", "-l", "/a b")
    assert code != 0 and "the stub does not speak SPDY" in err
    seen = world.kubelet.upgrades[-1]
    assert (seen.method, seen.protocol) == ("POST", "spdy/3.1")
    assert seen.target == "/exec/default/web/c?output=1&error=1&command=ls&command=-l&command=%2Fa+b"
    assert "v4.channel.k8s.io" in relay.tokens(seen.headers, "X-Stream-Protocol-Version")
    code, _, err = await world.kubectl(binary, "port-forward", "web", f"{free_port()}:80")
    assert code != 0 and "the stub does not speak SPDY" in err
    assert world.kubelet.upgrades[-1].target == "/portForward/default/web"
    code, out, err = await world.kubectl(binary, "logs", "web", "-f")
    assert (code, out) == (0, "one\n" + "more\n" * 3), err
    code, _, err = await world.kubectl(binary, "exec", "web", "--", "ls", identity=world.identity("jane", "dev"))
    assert code != 0 and "forbidden" in err.lower()
