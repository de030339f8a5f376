"""What the API server passes on to others, over its real door: proxy subresources of nodes, pods and Services."""

from __future__ import annotations

import gzip
import json
import resource
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.integration.test_apiserver import Running, pki, server, status_of, tls

__all__ = ["pki", "server"]
pytestmark = pytest.mark.integration

NAMESPACE = "/api/v1/namespaces/default"
MEGABYTE = 1 << 20


def own_address() -> str:
    """Return an address of this machine that is not loopback: pods' never are, and loopback is refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("this machine has no network but loopback")
        return str(probe.getsockname()[0])


@dataclass
class Backend:
    """A pod's program: says what it was asked."""

    host: str
    port: int


async def echo(request: web.Request) -> web.StreamResponse:
    match request.path:
        case "/page":
            page = b'<html><a href="/x">x</a> <a href="http://other/y">y</a><script>"<a href=\'/z\'>"</script></html>'
            if "gzip" in request.query_string:
                return web.Response(
                    body=gzip.compress(page), headers={"Content-Type": "text/html", "Content-Encoding": "gzip"}
                )
            return web.Response(body=page, content_type="text/html")
        case "/redirect":
            return web.Response(status=302, headers={"Location": "/elsewhere/?a=b"})
        case "/cors":
            return web.Response(headers={"Access-Control-Allow-Origin": "*", "X-Kept": "yes"})
        case "/teapot":
            return web.Response(status=418, text="short and stout")
        case "/big":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(64):
                await response.write(b"x" * MEGABYTE)
            return response
        case "/count":
            count = 0
            async for piece in request.content.iter_any():
                count += len(piece)
            return web.json_response(count)
        case "/broken":
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"half")
            assert request.transport is not None
            request.transport.close()
            return response
        case "/ws":
            ws = web.WebSocketResponse(protocols=("chat",))
            await ws.prepare(request)
            async for message in ws:
                await ws.send_str(f"{ws.ws_protocol}:{message.data}")
            return ws
    body = (await request.read()).decode()
    said = {"method": request.method, "path": request.raw_path, "headers": dict(request.headers), "body": body}
    return web.json_response(said)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    host = own_address()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    yield Backend(host, runner.addresses[0][1])
    await runner.cleanup()


async def post(server: Running, path: str, body: dict) -> dict:
    async with server.http.post(path, json=body) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json()


@pytest.fixture
async def behind(server: Running, backend: Backend) -> Backend:
    """A pod `web` and a Service `web` with a named and a numbered port, in front of the backend."""
    await post(server, f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})
    containers = [{"name": "c", "image": "i", "ports": [{"containerPort": backend.port}]}]
    await post(server, f"{NAMESPACE}/pods", {"metadata": {"name": "web"}, "spec": {"containers": containers}})
    status = {"status": {"podIP": backend.host, "podIPs": [{"ip": backend.host}]}}
    patch = {"Content-Type": "application/merge-patch+json"}
    async with server.http.patch(f"{NAMESPACE}/pods/web/status", data=json.dumps(status), headers=patch) as answer:
        assert answer.status == 200, await answer.text()
    ports = [{"name": "http", "port": 80, "targetPort": backend.port}]
    await post(server, f"{NAMESPACE}/services", {"metadata": {"name": "web"}, "spec": {"ports": ports}})
    await post(server, f"{NAMESPACE}/services", {"metadata": {"name": "plain"}, "spec": {"ports": [{"port": 80}]}})
    for name, port_name in (("web", "http"), ("plain", "")):
        await post(
            server,
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [backend.host], "conditions": {"ready": True}}],
                "ports": [{"name": port_name, "port": backend.port, "protocol": "TCP"}],
            },
        )
    return backend


@pytest.mark.parametrize(
    "at",
    ["pods/web", "pods/http:web:", "services/web:http", "services/web:80", "services/http:web:http", "services/plain"],
)
async def test_every_form_of_a_name_leads_there(server: Running, behind: Backend, at: str):
    async with server.http.get(URL(f"{NAMESPACE}/{at}/proxy/a%20b/c?x=1&y=%2F", encoded=True)) as answer:
        said = await answer.json()
    assert (answer.status, said["method"], said["path"]) == (200, "GET", "/a%20b/c?x=1&y=%2F")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_passes_with_its_body(server: Running, behind: Backend, method: str):
    headers = {"X-Mine": "1", "X-Remote-User": "root"}
    async with server.http.request(method, f"{NAMESPACE}/pods/web/proxy/p", data=b"hello", headers=headers) as answer:
        said = await answer.json()
    assert (said["method"], said["body"]) == (method, "hello")
    assert said["headers"]["X-Mine"] == "1" and said["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert "X-Remote-User" not in said["headers"]
    assert said["headers"]["X-Forwarded-Uri"] == f"{NAMESPACE}/pods/web/proxy/p"


async def test_credentials_stay_here(server: Running, behind: Backend):
    request = {"spec": {}}
    async with server.http.post(f"{NAMESPACE}/serviceaccounts/default/token", json=request) as answer:
        token = (await answer.json())["status"]["token"]
    bind = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "p", "namespace": "default"}}
    await post(
        server,
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
        {
            **bind,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
        },
    )
    connector = aiohttp.TCPConnector(ssl=tls(server.certificates, None))
    async with (
        aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {token}"}) as http,
        http.get(f"{server.url}{NAMESPACE}/pods/web/proxy/") as answer,
    ):
        said = await answer.json()
    assert answer.status == 200 and "Authorization" not in said["headers"]


async def test_answers_come_back_as_they_are(server: Running, behind: Backend):
    async with server.http.get(f"{NAMESPACE}/pods/web/proxy/teapot") as answer:
        assert (answer.status, await answer.text()) == (418, "short and stout")
    async with server.http.get(f"{NAMESPACE}/pods/web/proxy/cors") as answer:
        assert answer.headers.get("X-Kept") == "yes" and "Access-Control-Allow-Origin" not in answer.headers
    with pytest.raises(aiohttp.ClientPayloadError):
        async with server.http.get(f"{NAMESPACE}/pods/web/proxy/broken") as answer:
            await answer.read()


async def test_links_lead_back_through_the_proxy(server: Running, behind: Backend):
    prefix = f"{NAMESPACE}/services/web:http/proxy"
    async with server.http.get(f"{prefix}/redirect", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, f"{prefix}/elsewhere/?a=b")
    for query in ("", "?gzip"):
        async with server.http.get(f"{prefix}/page{query}") as answer:
            page = await answer.text()
        assert page == (
            f'<html><a href="{prefix}/x">x</a> <a href="http://other/y">y</a><script>"<a href=\'/z\'>"</script></html>'
        )
    async with server.http.get(f"{prefix}?a=b", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, f"{prefix}/?a=b")


async def test_gigabytes_would_pass_without_being_held(server: Running, behind: Backend):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = 0
    async with server.http.get(f"{NAMESPACE}/pods/web/proxy/big") as answer:
        async for piece in answer.content.iter_any():
            size += len(piece)

    async def sent() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"y" * MEGABYTE

    async with server.http.post(f"{NAMESPACE}/pods/web/proxy/count", data=sent()) as answer:
        assert await answer.json() == size == 64 * MEGABYTE
    # Client, server and backend are all in this process, and hold a few chunks each.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 * 1024


async def test_a_websocket_passes(server: Running, behind: Backend):
    connector = aiohttp.TCPConnector(ssl=tls(server.certificates, "admin"), force_close=True)
    async with aiohttp.ClientSession(server.url, connector=connector) as http:
        async with http.ws_connect(f"{NAMESPACE}/pods/web/proxy/ws", protocols=("chat",)) as ws:
            await ws.send_str("hello")
            assert await ws.receive_str() == "chat:hello"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{NAMESPACE}/pods/web/proxy/teapot")
        assert refused.value.status == 418


@pytest.mark.parametrize(
    ("at", "code", "said"),
    [
        ("services/nothing", 404, 'services "nothing" not found'),
        ("services/web:81", 503, 'no service port 81 found for service "web"'),
        ("services/web:other", 503, 'no endpoints available for service "web"'),
        ("services/ftp:web:http", 400, 'invalid service request "ftp:web:http"'),
        ("services/empty", 503, 'no endpoints available for service "empty"'),
        ("pods/nothing", 404, 'pods "nothing" not found'),
        ("pods/web:x", 400, 'invalid pod request "web:x"'),
        ("pods/web:1", 503, "error trying to reach service: dial tcp"),
        ("pods/sly", 400, "address not allowed"),
    ],
)
async def test_what_cannot_be_reached_is_a_status(server: Running, behind: Backend, at: str, code: int, said: str):
    await post(server, f"{NAMESPACE}/services", {"metadata": {"name": "empty"}, "spec": {"ports": [{"port": 1}]}})
    if at == "pods/sly":
        containers = [{"name": "c", "image": "i"}]
        await post(server, f"{NAMESPACE}/pods", {"metadata": {"name": "sly"}, "spec": {"containers": containers}})
        patch = {"Content-Type": "application/merge-patch+json"}
        body = json.dumps({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}})
        async with server.http.patch(f"{NAMESPACE}/pods/sly/status", data=body, headers=patch) as answer:
            assert answer.status in (200, 422)
    async with server.http.get(f"{NAMESPACE}/{at}/proxy/") as answer:
        got = await status_of(answer)
    assert got[0] == code and said in got[2]


async def test_resize_is_not_there(server: Running, behind: Backend):
    async with server.http.get(f"{NAMESPACE}/pods/web/resize") as answer:
        assert (await status_of(answer))[:2] == (404, "NotFound")


async def test_a_proxy_needs_its_right(server: Running, behind: Backend):
    for verb, method in (("get", "GET"), ("create", "POST"), ("delete", "DELETE")):
        headers = {"Impersonate-User": "nobody"}
        async with server.http.request(method, f"{NAMESPACE}/pods/web/proxy/", headers=headers) as answer:
            _, reason, message = await status_of(answer)
        assert reason == "Forbidden" and f'cannot {verb} resource "pods/proxy"' in message
