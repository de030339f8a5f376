"""API aggregation: a server with a group of its own, behind a Service, that believes the front proxy's certificate."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp import web

from api.errors import Conflict, Expired, Forbidden, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey, Resource
from api.schema import Struct
from api.schema import field as declared
from controllers.autoscaler.metrics import MetricValueList
from deploy.pki import Authority, Leaf, Pki
from tests.integration.test_apiserver import Running, pki, server, status_of, tls
from tests.integration.test_proxied import NAMESPACE, own_address, post

__all__ = ["pki", "server"]
pytestmark = pytest.mark.integration

GROUP = "wardle.example.com"
NAME = f"v1alpha1.{GROUP}"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
RESOURCES = [
    {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": ["get", "list"]},
    {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
]

WATCHED = [
    {"type": "ADDED", "object": {"metadata": {"name": "a", "resourceVersion": "7"}, "user": "u" * 100_000}},
    {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8"}}},
    {"type": "DELETED", "object": {"metadata": {"name": "a", "resourceVersion": "9"}}},
    {"type": "ERROR", "object": {"kind": "Status", "reason": "Expired", "code": 410, "message": "too old"}},
]


@dataclass
class Extension:
    """An aggregated server."""

    host: str
    port: int
    ca: bytes
    runner: web.AppRunner
    asked: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


def peer(request: web.Request) -> str:
    assert request.transport is not None
    certificate = request.transport.get_extra_info("peercert") or {}
    return str(dict(pair for names in certificate.get("subject", ()) for pair in names).get("commonName"))


@contextlib.asynccontextmanager
async def serving(
    pki: Pki, tmp_path: Path, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> AsyncIterator[Extension]:
    """Run an aggregated server, which takes the front proxy's word and nobody else's."""
    authority = Authority(tmp_path / "ca", "extension-ca")
    authority.ensure(Leaf("serving", "extension", hosts=("extension.default.svc",)))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki.front_proxy.cert_path))
    context.load_cert_chain(tmp_path / "ca/serving.crt", tmp_path / "ca/serving.key")
    context.verify_mode = ssl.CERT_REQUIRED

    async def handle(request: web.Request) -> web.StreamResponse:
        return await answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    host = own_address()
    await web.TCPSite(runner, host, 0, ssl_context=context).start()
    yield Extension(host, runner.addresses[0][1], authority.cert_path.read_bytes(), runner)
    await runner.cleanup()


@pytest.fixture
async def extension(pki: Pki, tmp_path: Path) -> AsyncIterator[Extension]:
    async def answer(request: web.Request) -> web.StreamResponse:
        made.asked.append(request)
        match request.path:
            case "/apis/wardle.example.com/v1alpha1":
                listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1alpha1"}
                return web.json_response({**listed, "resources": RESOURCES})
            case "/openapi/v3":
                path = f"apis/{GROUP}/v1alpha1"
                return web.json_response({"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash=AB"}}})
            case "/openapi/v2":
                paths = {f"/apis/{GROUP}/v1alpha1/flunders": {"get": {}}, "/other": {}}
                return web.json_response({"paths": paths, "definitions": {"io.example.Flunder": {"type": "object"}}})
            case path if path.startswith("/openapi/v3/"):
                return web.json_response({"openapi": "3.0.0", "asked": request.query_string})
            case path if path.endswith("/namespaces/watched/flunders"):
                stream = web.StreamResponse()
                await stream.prepare(request)
                for line in WATCHED:
                    await stream.write(json.dumps(line).encode() + b"\n")
                return stream
            case path if path.endswith("/flunders") and "watch" in request.query:
                stream = web.StreamResponse()
                await stream.prepare(request)
                for number in range(2):
                    await stream.write(json.dumps({"type": "ADDED", "object": {"n": number}}).encode() + b"\n")
                await asyncio.sleep(30)
            case path if path.endswith("/flunders/one"):
                item = {"metadata": {"name": "one", "resourceVersion": "7"}, "user": request.headers["X-Remote-User"]}
                return web.json_response(item)
            case path if path.endswith("/flunders/full"):
                made.bodies.append(await request.read())
                said = {"kind": "Status", "reason": "Conflict", "message": "full up", "code": 409}
                return web.json_response(said, status=409)
            case path if path.endswith("/pods/*/queued"):
                return web.json_response({"items": [{"value": "3", "describedObject": {"name": request.query_string}}]})
            case path if path.endswith("/flunders") and request.headers["X-Remote-User"] == "system:kube-scheduler":
                return web.json_response({"items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]})
            case path if path.endswith("/flunders"):
                told = [
                    [name, value] for name, value in request.headers.items() if name.lower().startswith("x-remote-")
                ]
                return web.json_response({"told": told, "peer": peer(request), "headers": dict(request.headers)})
        return web.Response(status=404)

    async with serving(pki, tmp_path, answer) as made:
        yield made


async def eventually(found: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> Any:
    async with asyncio.timeout(seconds):
        while True:
            if got := await found():
                return got
            await asyncio.sleep(0.05)


async def condition(server: Running, name: str = NAME) -> dict[str, str]:
    async with server.http.get(f"{SERVICES}/{name}") as answer:
        body = await answer.json()
    conditions = body.get("status", {}).get("conditions") or [{}]
    return conditions[0]


async def wait_for(server: Running, reason: str) -> dict[str, str]:
    async def found() -> dict[str, str] | None:
        current = await condition(server)
        return current if current.get("reason") == reason else None

    return await eventually(found)


async def register(server: Running, extension: Extension, **spec: Any) -> None:
    await post(server, f"{NAMESPACE}/services", {"metadata": {"name": "extension"}, "spec": {"ports": [{"port": 443}]}})
    await post(
        server,
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        {
            "metadata": {"name": "extension", "labels": {"kubernetes.io/service-name": "extension"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [extension.host], "conditions": {"ready": True}}],
            "ports": [{"name": "", "port": extension.port, "protocol": "TCP"}],
        },
    )
    await declare(server, caBundle=base64.b64encode(extension.ca).decode(), **spec)


async def declare(server: Running, **spec: Any) -> None:
    whole = {
        "group": GROUP,
        "version": "v1alpha1",
        "groupPriorityMinimum": 2000,
        "versionPriority": 10,
        "service": {"name": "extension", "namespace": "default"},
        **spec,
    }
    await post(server, SERVICES, {"metadata": {"name": NAME}, "spec": whole})


async def test_groups_served_here_have_an_apiservice(server: Running):
    async def listed() -> dict[str, Any] | None:
        async with server.http.get(SERVICES) as answer:
            items = {item["metadata"]["name"]: item for item in (await answer.json())["items"]}
        return items if "v1.apps" in items else None

    items = await eventually(listed)
    assert items["v1.apps"]["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    assert items["v1.apps"]["spec"] == {
        "group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15
    }  # fmt: skip
    assert (await condition(server, "v1.apps"))["reason"] == "Local"
    assert "v1." in items and "v1.apiregistration.k8s.io" not in items
    names = {"plural": "pandas", "singular": "panda", "kind": "Panda", "listKind": "PandaList"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    spec = {"group": "bears.example.com", "scope": "Namespaced", "names": names, "versions": versions}
    await post(server, crds, {"metadata": {"name": "pandas.bears.example.com"}, "spec": spec})

    async def has(wanted: bool) -> bool:
        async with server.http.get(f"{SERVICES}/v1.bears.example.com") as answer:
            return (answer.status == 200) is wanted

    await eventually(lambda: has(True))
    async with server.http.delete(f"{crds}/pandas.bears.example.com") as answer:
        assert answer.status == 200
    await eventually(lambda: has(False))


async def test_requests_reach_the_other_server_with_the_user(server: Running, extension: Extension):
    await register(server, extension)
    assert (await wait_for(server, "Passed"))["status"] == "True"
    path = f"/apis/{GROUP}/v1alpha1/namespaces/default/flunders"
    headers = {"Impersonate-User": "mary", "Impersonate-Group": "system:masters", "Impersonate-Extra-a%2Fb": "c"}
    async with server.http.get(path, headers={**headers, "X-Remote-Group": "forged"}) as answer:
        said = await answer.json()
    assert ["X-Remote-User", "mary"] in said["told"] and said["peer"] == "front-proxy-client"
    groups = [value for name, value in said["told"] if name == "X-Remote-Group"]
    assert groups == ["system:masters", "system:authenticated"]
    assert ["X-Remote-Extra-a%2Fb", "c"] in said["told"]
    assert not any(name.lower().startswith("impersonate") for name in said["headers"])
    async with server.http.get(path, headers={"Impersonate-User": "mary"}) as answer:
        _, reason, message = await status_of(answer)
    assert reason == "Forbidden" and 'cannot list resource "flunders" in API group "wardle.example.com"' in message


class Flunder(Struct):
    metadata: ObjectMeta = declared(default_factory=ObjectMeta)
    user: str = ""


async def test_our_own_processes_reach_the_other_server_through_the_component_api(
    server: Running, extension: Extension
):
    await register(server, extension)
    await wait_for(server, "Passed")
    flunders = Resource(
        type=Flunder, group=GROUP, version="v1alpha1", kind="Flunder", plural="flunders", namespaced=True
    )
    admin, scheduler = server.client(), server.client("scheduler")
    try:
        with pytest.raises(Forbidden, match="cannot list resource"):
            await scheduler.list(flunders, "default")
        role = {"metadata": {"name": "flunders"}, "rules": [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["*"]}]}
        await post(server, "/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
        binding = {
            "metadata": {"name": "flunders"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flunders"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:kube-scheduler"}],
        }
        await post(server, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)

        async def listed() -> Any:
            try:
                return await scheduler.list(flunders, "default")
            except Forbidden:
                return None

        found = await eventually(listed)
        assert [item.metadata.name for item in found.items] == ["a", "b"]
        one = await scheduler.get(flunders, ObjectKey("default", "one"))
        assert (one.metadata.resource_version, one.user) == ("7", "system:kube-scheduler")
        with pytest.raises(Conflict, match="full up"):
            await admin.delete(flunders, ObjectKey("default", "full"))
        assert json.loads(extension.bodies[0])["kind"] == "DeleteOptions"
        with pytest.raises(NotFound):
            await admin.get(flunders, ObjectKey("default", "none"))
        queued = Resource(
            type=MetricValueList, group=GROUP, version="v1alpha1", kind="X", plural="pods", namespaced=True
        )
        options = {"labelSelector": "app in (a,b)"}
        told = await admin.get(queued, ObjectKey("default", "*"), subresource="queued", options=options)
        assert told.items[0].value == "3"
        assert parse_qs(told.items[0].described_object.name) == {"labelSelector": ["app in (a,b)"]}
    finally:
        await admin.close()
        await scheduler.close()


async def test_what_it_serves_is_in_discovery_and_openapi(server: Running, extension: Extension):
    await register(server, extension)
    await wait_for(server, "Passed")

    async def shown() -> Any:
        async with server.http.get("/apis", headers={"Accept": AGGREGATED}) as answer:
            items = (await answer.json())["items"]
        return next((item for item in items if item["metadata"]["name"] == GROUP), None)

    group = await eventually(shown)
    (version,) = group["versions"]
    assert (version["version"], version["freshness"]) == ("v1alpha1", "Current")
    assert [resource["resource"] for resource in version["resources"]] == ["flunders"]
    assert version["resources"][0]["subresources"][0]["subresource"] == "status"
    async with server.http.get("/apis") as answer:
        legacy = {group["name"]: group for group in (await answer.json())["groups"]}
    assert legacy[GROUP]["preferredVersion"]["groupVersion"] == f"{GROUP}/v1alpha1"
    async with server.http.get(f"/apis/{GROUP}") as answer:
        assert (await answer.json())["versions"] == legacy[GROUP]["versions"]
    async with server.http.get(f"/apis/{GROUP}/v1alpha1") as answer:
        assert (await answer.json())["resources"] == RESOURCES
    async with server.http.get("/openapi/v3") as answer:
        where = (await answer.json())["paths"][f"apis/{GROUP}/v1alpha1"]["serverRelativeURL"]
    async with server.http.get(where) as answer:
        assert await answer.json() == {"openapi": "3.0.0", "asked": "hash=AB"}
    async with server.http.get("/openapi/v2") as answer:
        document = await answer.json()
    assert f"/apis/{GROUP}/v1alpha1/flunders" in document["paths"] and "/other" not in document["paths"]
    assert "io.example.Flunder" in document["definitions"] and "io.k8s.api.core.v1.Pod" in document["definitions"]
    protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    for accepted in (protobuf, protobuf.replace("v2.v1.0", "v2@v1.0")):
        async with server.http.get("/openapi/v2", headers={"Accept": accepted}) as answer:
            assert answer.content_type == protobuf
            assert b"io.example.Flunder" in await answer.read()


async def test_a_watch_streams_through(server: Running, extension: Extension):
    await register(server, extension)
    await wait_for(server, "Passed")
    async with server.http.get(f"/apis/{GROUP}/v1alpha1/flunders?watch=1") as answer, asyncio.timeout(5):
        lines = [json.loads(await answer.content.readline())["object"]["n"] for _ in range(2)]
    assert lines == [0, 1]


async def test_our_own_processes_watch_through_the_component_api(server: Running, extension: Extension):
    await register(server, extension)
    await wait_for(server, "Passed")
    flunders = Resource(
        type=Flunder, group=GROUP, version="v1alpha1", kind="Flunder", plural="flunders", namespaced=True
    )
    admin = server.client()
    try:
        heard = []
        with pytest.raises(Expired, match="too old"):
            async for batch in admin.watch(flunders, "watched", resource_version="5", label_selector="a=b"):
                heard += [(event.type.value, event.resource_version) for event in batch]
        assert heard == [("ADDED", "7"), ("BOOKMARK", "8"), ("DELETED", "9")]
        asked = parse_qs(extension.asked[-1].query_string)
        assert asked == {
            "watch": ["true"],
            "resourceVersion": ["5"],
            "labelSelector": ["a=b"],
            "allowWatchBookmarks": ["true"],
        }
        watch = admin.watch(flunders, "default", resource_version="1")  # goes on, and is ended from here
        assert len([event async for event in first_events(watch, 2)]) == 2
        with pytest.raises(NotFound):
            missing = dataclasses.replace(flunders, plural="nothing")
            async for _ in admin.watch(missing, "default", resource_version="1"):
                pass
    finally:
        await admin.close()


async def first_events(watch: Any, count: int) -> AsyncIterator[Any]:
    async with asyncio.timeout(5), contextlib.aclosing(watch):
        async for batch in watch:
            for event in batch:
                count -= 1
                yield event
            if not count:
                return


async def test_one_that_is_away_is_said_to_be_and_comes_back(server: Running, extension: Extension):
    await declare(server, caBundle=base64.b64encode(extension.ca).decode())
    found = await wait_for(server, "ServiceNotFound")
    assert (found["status"], found["message"]) == ("False", 'service/extension in "default" is not present')
    async with server.http.get(f"/apis/{GROUP}/v1alpha1") as answer:
        assert (answer.status, await answer.text()) == (503, "service unavailable\n")
    ports = [{"port": 443}]
    await post(server, f"{NAMESPACE}/services", {"metadata": {"name": "extension"}, "spec": {"ports": ports}})
    found = await wait_for(server, "EndpointsNotFound")
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    body = {
        "metadata": {"name": "extension", "labels": {"kubernetes.io/service-name": "extension"}},
        "addressType": "IPv4",
        "endpoints": [],
        "ports": [{"name": "", "port": extension.port, "protocol": "TCP"}],
    }
    await post(server, slices, body)
    found = await wait_for(server, "MissingEndpoints")
    assert found["message"] == 'endpoints for service/extension in "default" have no addresses with port name ""'
    body["endpoints"] = [{"addresses": [extension.host]}]
    async with server.http.put(f"{slices}/extension", json=body) as answer:
        assert answer.status == 200, await answer.text()
    await wait_for(server, "Passed")
    await extension.runner.cleanup()
    async with server.http.patch(
        f"{slices}/extension",
        data=json.dumps({"metadata": {"labels": {"a": "b"}}}),
        headers={"Content-Type": "application/merge-patch+json"},
    ) as answer:
        assert answer.status == 200
    found = await wait_for(server, "FailedDiscoveryCheck")
    assert "connection refused" in found["message"].lower() or "connect" in found["message"].lower()

    async def is_stale() -> bool:
        async with server.http.get("/apis", headers={"Accept": AGGREGATED}) as answer:
            items = (await answer.json())["items"]
        group = next(item for item in items if item["metadata"]["name"] == GROUP)
        return bool(group["versions"][0]["freshness"] == "Stale" and group["versions"][0]["resources"])

    await eventually(is_stale)
    async with server.http.delete(f"{SERVICES}/{NAME}") as answer:
        assert answer.status == 200

    async def is_gone() -> bool:
        async with server.http.get(f"/apis/{GROUP}/v1alpha1") as answer:
            return answer.status == 404

    await eventually(is_gone)


async def test_a_server_that_proves_to_be_another_is_not_believed(server: Running, extension: Extension, pki: Pki):
    await register(server, extension)
    await wait_for(server, "Passed")
    wrong = base64.b64encode(pki.cluster.cert_path.read_bytes()).decode()
    merge = {"Content-Type": "application/merge-patch+json"}
    for spec in ({"caBundle": wrong}, {"caBundle": None, "insecureSkipTLSVerify": True}):
        async with server.http.patch(f"{SERVICES}/{NAME}", data=json.dumps({"spec": spec}), headers=merge) as answer:
            assert answer.status == 200, await answer.text()
        await wait_for(server, "Passed" if "insecureSkipTLSVerify" in spec else "FailedDiscoveryCheck")


async def test_how_users_are_known_is_published(server: Running, pki: Pki):
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"

    async def found() -> Any:
        async with server.http.get(path) as answer:
            return (await answer.json()).get("data")

    data = await eventually(found)
    assert data["client-ca-file"] == pki.cluster.cert_path.read_text()
    assert data["requestheader-client-ca-file"] == pki.front_proxy.cert_path.read_text()
    assert data["requestheader-allowed-names"] == '["front-proxy-client"]'
    assert data["requestheader-username-headers"] == '["X-Remote-User"]'


async def whoami(server: Running, context: ssl.SSLContext, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    url = f"{server.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http,
        http.post(url, json={}, headers=headers) as answer,
    ):
        return answer.status, (await answer.json()).get("status", {})


async def test_a_front_proxy_is_believed_and_nobody_else_is(server: Running, pki: Pki, tmp_path: Path):
    context = ssl.create_default_context(cafile=pki.cluster.cert_path)
    at = pki.directory / "front-proxy"
    context.load_cert_chain(at / "client.crt", at / "client.key")
    told = {"X-Remote-User": "ann", "X-Remote-Group": "builders", "X-Remote-Uid": "7", "X-Remote-Extra-Scopes%2fa": "x"}
    status, found = await whoami(server, context, told)
    user = found["userInfo"]
    assert (status, user["username"], user["uid"]) == (201, "ann", "7")
    assert user["groups"] == ["builders", "system:authenticated"] and user["extra"] == {"scopes/a": ["x"]}
    assert (await whoami(server, context, {}))[0] == 401
    status, found = await whoami(server, tls(server.certificates, "admin"), told)
    assert found["userInfo"]["username"] == "kubernetes-admin"
    status, _ = await whoami(server, tls(server.certificates, None), told)
    assert status == 403  # nobody in particular, who may not even ask who they are
    pki.front_proxy.ensure(Leaf("other", "kubernetes-admin", ("system:masters",)))
    context = ssl.create_default_context(cafile=pki.cluster.cert_path)
    context.load_cert_chain(at / "other.crt", at / "other.key")
    for headers in ({}, told):
        assert (await whoami(server, context, headers))[0] == 401
