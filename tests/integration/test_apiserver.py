"""The API server's two doors, over TLS on loopback, with a store in memory; and stock kubectl where there is one."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

from api.coordination import lease as leases
from api.core import configmap as configmaps
from api.errors import ApiError, Conflict, Expired, Forbidden, NotFound, ServiceUnavailable
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.registry import watch_cache
from apiserver.server import Settings, serve
from client.transport import GrpcTransport
from client.verbs import Client, EventType
from component.clock import RealClock
from component.serve import Identity
from deploy import kubeconfig
from deploy.pki import Pki
from store.local import LocalStore
from tests import builders
from tests.first_start import started_store
from tests.ports import free_port

pytestmark = pytest.mark.integration

CORE = "/api/v1/namespaces/default"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
JSON_HEADERS = {"Content-Type": "application/json"}


@dataclass
class Running:
    settings: Settings
    certificates: Path
    http: aiohttp.ClientSession
    """Shows the administrator's certificate."""
    store: LocalStore
    task: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.settings.secure_port}"

    def identity(self, stem: str = "admin") -> Identity:
        at = self.certificates
        return Identity(at / f"{stem}.crt", at / f"{stem}.key", at / "ca.crt")

    def client(self, stem: str = "admin") -> Client:
        return Client(GrpcTransport([f"127.0.0.1:{self.settings.grpc_port}"], self.identity(stem)))

    def start(self) -> None:
        self.task = asyncio.create_task(serve(self.settings, self.store, RealClock(), random.Random(1)))

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def wait_ready(self) -> None:
        async with asyncio.timeout(10):
            while True:
                try:
                    async with self.http.get("/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def pki(tmp_path_factory) -> Pki:
    pki = Pki(tmp_path_factory.mktemp("pki"))
    pki.ensure_control_plane([], ["m1"])
    return pki


def tls(certificates: Path, stem: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates / "ca.crt")
    if stem:
        context.load_cert_chain(certificates / f"{stem}.crt", certificates / f"{stem}.key")
    return context


@pytest.fixture
async def server(pki: Pki) -> AsyncIterator[Running]:
    at = pki.directory / "cluster"
    nowhere = Path("/nonexistent")
    settings = Settings(
        store_endpoints=(),
        store_cert=nowhere,
        store_key=nowhere,
        store_ca=nowhere,
        tls_cert=at / "apiserver.crt",
        tls_key=at / "apiserver.key",
        client_ca=at / "ca.crt",
        service_account_key=pki.service_account_key,
        requestheader_client_ca=pki.front_proxy.cert_path,
        requestheader_allowed_names=("front-proxy-client",),
        proxy_client_cert=pki.directory / "front-proxy" / "client.crt",
        proxy_client_key=pki.directory / "front-proxy" / "client.key",
        bind_address="127.0.0.1",
        secure_port=free_port(),
        grpc_port=free_port(),
    )
    connector = aiohttp.TCPConnector(ssl=tls(at, "admin"))
    async with aiohttp.ClientSession(f"https://localhost:{settings.secure_port}", connector=connector) as http:
        running = Running(settings, at, http, started_store(), None)  # type: ignore[arg-type]
        running.start()
        await running.wait_ready()
        yield running
        await running.stop()


async def status_of(answer: aiohttp.ClientResponse) -> tuple[int, str, str]:
    body = await answer.json()
    assert body["kind"] == "Status" and body["code"] == answer.status
    return answer.status, body["reason"], body["message"]


async def create(server: Running, name: str, **data: str) -> dict:
    body = {"metadata": {"name": name}, "data": data}
    async with server.http.post(f"{CORE}/configmaps", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json()


# --- documents


async def test_the_version_is_a_real_one(server: Running):
    for path in ("/version", "/version/"):
        async with server.http.get(path) as answer:
            version = await answer.json()
            assert (version["major"], version["minor"]) == ("1", "32")
            assert version["gitVersion"].startswith("v1.32.")
            assert "Server" not in answer.headers, "which HTTP library answers is nobody's business"


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
async def test_aggregated_discovery_is_the_version_asked_for(server: Running, version: str):
    media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    async with server.http.get("/apis", headers={"Accept": f"{media},application/json"}) as answer:
        assert answer.headers["Content-Type"] == media
        assert (await answer.json())["apiVersion"] == f"apidiscovery.k8s.io/{version}"


async def test_legacy_discovery_answers_with_and_without_the_slash(server: Running):
    for path, kind in (("/api", "APIVersions"), ("/apis/", "APIGroupList"), ("/apis/apps/v1", "APIResourceList")):
        async with server.http.get(path) as answer:
            assert (await answer.json())["kind"] == kind


async def test_openapi_can_be_cached_by_its_hash(server: Running):
    async with server.http.get("/openapi/v3") as answer:
        relative = (await answer.json())["paths"]["apis/apps/v1"]["serverRelativeURL"]
    async with server.http.get(relative) as answer:
        assert answer.headers["Cache-Control"] == "public, immutable" and "Expires" in answer.headers
        etag = answer.headers["ETag"]
        assert "io.k8s.api.apps.v1.Deployment" in (await answer.json(content_type=None))["components"]["schemas"]
    async with server.http.get(relative, headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304
    outdated = relative.partition("?")[0] + "?hash=ABCD"
    async with server.http.get(outdated, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, relative)
        assert "immutable" not in answer.headers["Cache-Control"]


# --- who may


async def test_without_a_certificate_only_health_and_version_answer(server: Running):
    connector = aiohttp.TCPConnector(ssl=tls(server.certificates, None))
    async with aiohttp.ClientSession(server.url, connector=connector) as anonymous:
        async with anonymous.get("/healthz", headers={"Audit-Id": "mine"}) as answer:
            assert answer.headers["Audit-Id"] == "mine"
            assert (answer.status, await answer.text()) == (200, "ok")
        async with anonymous.get("/version") as answer:
            assert answer.status == 200
        async with anonymous.get(f"{CORE}/pods") as answer:
            assert (await status_of(answer))[:2] == (403, "Forbidden")
        async with anonymous.get(f"{CORE}/pods", headers={"Authorization": "Bearer nobody"}) as answer:
            assert (await status_of(answer))[:2] == (401, "Unauthorized")


async def test_a_service_account_token_is_believed(server: Running):
    async with server.http.post(f"{CORE}/serviceaccounts", json={"metadata": {"name": "robot"}}) as answer:
        assert answer.status == 201
    async with server.http.post(f"{CORE}/serviceaccounts/robot/token", json={"spec": {}}) as answer:
        token = (await answer.json())["status"]["token"]
    connector = aiohttp.TCPConnector(ssl=tls(server.certificates, None))
    async with aiohttp.ClientSession(server.url, connector=connector) as robot:
        async with robot.get(f"{CORE}/pods", headers={"Authorization": f"Bearer {token}"}) as answer:
            code, _, message = await status_of(answer)
        assert code == 403
        assert 'User "system:serviceaccount:default:robot" cannot list resource "pods"' in message


# --- objects over REST


async def test_a_post_without_content_type_is_json(server: Running):
    body = b'{"metadata":{"name":"a"}}'
    async with server.http.post(f"{CORE}/configmaps", data=body, skip_auto_headers=["Content-Type"]) as answer:
        assert answer.status == 201


async def test_a_yaml_body_is_taken_and_yaml_and_pretty_json_are_given(server: Running):
    body = yaml.safe_dump({"metadata": {"name": "a"}, "data": {"k": "v"}})
    headers = {"Content-Type": "application/yaml", "Accept": "application/yaml"}
    async with server.http.post(f"{CORE}/configmaps", data=body, headers=headers) as answer:
        assert yaml.safe_load(await answer.text())["data"] == {"k": "v"}
    async with server.http.get(f"{CORE}/configmaps/a?pretty=true") as answer:
        assert "\n  " in await answer.text()
    # People who look with curl are shown everything so, refusals too; the version is shown so to all.
    for path in ("/version", "/apis", f"{CORE}/configmaps/none"):
        async with server.http.get(path, headers={"User-Agent": "curl/8.0"}) as answer:
            assert (await answer.text()).startswith('{\n  "')
        async with server.http.get(path) as answer:
            assert (await answer.text()).startswith('{\n  "') == (path == "/version")


async def test_lists_come_as_kinds_of_their_own_as_tables_and_as_metadata(server: Running):
    await create(server, "a", k="v")
    async with server.http.get(f"{CORE}/configmaps") as answer:
        plain = await answer.json()
        assert (plain["kind"], [item["metadata"]["name"] for item in plain["items"]]) == ("ConfigMapList", ["a"])
    async with server.http.get(f"{CORE}/configmaps", headers={"Accept": TABLE}) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        table = await answer.json()
        assert [row["cells"][:2] for row in table["rows"]] == [["a", 1]]
    media = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    async with server.http.get(f"{CORE}/configmaps", headers={"Accept": media}) as answer:
        assert [sorted(item) for item in (await answer.json())["items"]] == [["apiVersion", "kind", "metadata"]]
    async with server.http.get(f"{CORE}/configmaps", headers={"Accept": "image/png"}) as answer:
        assert (await status_of(answer))[0] == 406


async def test_large_lists_are_compressed_for_those_who_take_it(server: Running):
    for index in range(3):
        await create(server, f"c{index}", k="x" * 60_000)
    async with server.http.get(f"{CORE}/configmaps", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert len((await answer.json())["items"]) == 3


async def test_failures_are_statuses_with_the_right_code(server: Running):
    for method, path, body, expected in [
        ("GET", "/api/v1/nothings", None, (404, "NotFound", "the server could not find the requested resource")),
        (
            "GET",
            "/apis/apps/v9/deployments",
            None,
            (404, "NotFound", "the server could not find the requested resource"),
        ),
        ("GET", f"{CORE}/configmaps/a", None, (404, "NotFound", 'configmaps "a" not found')),
        ("POST", f"{CORE}/configmaps/a", b"{}", (405, "MethodNotAllowed", None)),
        ("PUT", f"{CORE}/configmaps", b"{}", (405, "MethodNotAllowed", None)),
        ("PATCH", f"{CORE}/configmaps", b"{}", (405, "MethodNotAllowed", None)),
        ("TRACE", f"{CORE}/configmaps", None, (405, "MethodNotAllowed", None)),
        ("POST", "/version", b"{}", (405, "MethodNotAllowed", None)),
        ("POST", f"{CORE}/configmaps", b"{", (400, "BadRequest", None)),
        ("POST", f"{CORE}/configmaps", b"x" * (3 * 1024 * 1024 + 1), (413, "RequestEntityTooLarge", None)),
        ("POST", f"{CORE}/configmaps", b'{"metadata":{"name":"BAD"}}', (422, "Invalid", None)),
        ("PUT", f"{CORE}/configmaps/a", b'{"metadata":{"name":"b"}}', (400, "BadRequest", None)),
    ]:
        async with server.http.request(method, path, data=body, headers=JSON_HEADERS) as answer:
            found = await status_of(answer)
            assert found[:2] == expected[:2], (method, path, found)
            assert expected[2] is None or found[2] == expected[2]
    for path in (f"{CORE}/configmaps", f"{CORE}/configmaps/a"):
        async with server.http.head(path) as answer:
            assert answer.status == 405
    async with server.http.post(f"{CORE}/configmaps", data=b"{}", headers={
        "Content-Type": "application/x-unknown"
    }) as answer:  # fmt: skip
        assert (await status_of(answer))[:2] == (415, "UnsupportedMediaType")


async def test_a_path_that_is_nobodys_is_answered_in_plain_text(server: Running):
    for path in ("/nowhere", "/apis/nowhere", "/apis/nowhere/v1", "/apis/nowhere/v1/things"):
        async with server.http.get(path) as answer:
            assert (answer.status, await answer.text()) == (404, "404 page not found\n")
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_warnings_travel_as_headers(server: Running):
    body = {"metadata": {"name": "a"}, "dat": {}}
    async with server.http.post(f"{CORE}/configmaps?fieldValidation=Warn", json=body) as answer:
        assert answer.headers.getall("Warning") == ['299 - "unknown field \\"dat\\""']


# --- watching over REST


async def test_a_watch_streams_events_and_ends_with_a_bookmark_when_its_time_is_up(server: Running):
    made = await create(server, "a", k="1")
    query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={made['metadata']['resourceVersion']}"
    async with server.http.get(f"{CORE}/configmaps?{query}") as answer:
        await create(server, "b")
        async with server.http.delete(f"{CORE}/configmaps/a"):
            pass
        events = [json.loads(line) async for line in answer.content]
    assert [(e["type"], e["object"]["metadata"].get("name")) for e in events] == [
        ("ADDED", "b"),
        ("DELETED", "a"),
        ("BOOKMARK", None),
    ]
    assert events[-1]["object"]["metadata"]["resourceVersion"] == events[-2]["object"]["metadata"]["resourceVersion"]


async def test_the_old_way_to_watch_is_still_one(server: Running):
    await create(server, "a", k="1")
    await create(server, "b")
    path = f"{CORE.replace('/v1/', '/v1/watch/')}/configmaps"
    for asked, names in ((path, {"a", "b"}), (f"{path}/b", {"b"})):
        async with server.http.get(f"{asked}?timeoutSeconds=1") as answer:
            events = [json.loads(line) async for line in answer.content]
        assert {event["object"]["metadata"]["name"] for event in events} >= names
        if len(names) == 1:
            assert len(events) == 1
    async with server.http.delete(path) as answer:
        assert answer.status in (404, 405)


async def test_a_watch_of_tables_tells_the_columns_once(server: Running):
    await create(server, "a", k="1")
    asked = f"{CORE}/configmaps?watch=1&timeoutSeconds=5"
    async with server.http.get(asked, headers={"Accept": TABLE}) as answer:
        await create(server, "b", k="1")
        events = [json.loads(await answer.content.readline())["object"] for _ in range(2)]
        await create(server, "c", k="1")
        events.append(json.loads(await answer.content.readline())["object"])
    assert [event["rows"][0]["cells"][0] for event in events] == ["a", "b", "c"]
    assert len(events[0]["columnDefinitions"]) == 3
    assert [event["columnDefinitions"] for event in events[1:]] == [None, None]
    async with server.http.ws_connect(asked, headers={"Accept": TABLE}) as watching:
        tables = [(await watching.receive(10)).json()["object"] for _ in range(3)]
    assert [bool(each["columnDefinitions"]) for each in tables] == [True, False, False]


async def test_a_watch_in_yaml_is_refused_and_so_is_a_time_that_is_no_number(server: Running):
    async with server.http.get(f"{CORE}/configmaps?watch=1", headers={"Accept": "application/yaml"}) as answer:
        assert answer.status == 406
    async with server.http.get(f"{CORE}/configmaps?watch=1&timeoutSeconds=x") as answer:
        code, _, message = await status_of(answer)
    assert (code, message) == (400, 'strconv.ParseInt: parsing "x": invalid syntax')


async def test_a_watch_from_too_long_ago_is_told_so(server: Running, monkeypatch):
    monkeypatch.setattr(watch_cache, "RING_CHANGES_MAX", 1)
    await create(server, "a")
    await create(server, "b")
    await server.store.compact((await server.store.range(b"/registry/", count_only=True)).revision)
    async with server.http.get(f"{CORE}/configmaps?watch=1&resourceVersion=1") as answer:
        events = [json.loads(line) async for line in answer.content]
    assert answer.status == 200, "it was let in; what is wrong comes as an event"
    async with server.http.ws_connect(f"{CORE}/configmaps?watch=1&resourceVersion=1") as watching:
        event = (await watching.receive(10)).json()
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
        assert (await watching.receive(10)).type is aiohttp.WSMsgType.CLOSE
    assert [(event["type"], event["object"]["reason"]) for event in events] == [("ERROR", "Expired")]


async def test_what_cannot_be_answered_as_asked_is_not_done(server: Running):
    question = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}  # fmt: skip
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    async with server.http.post(reviews, json=question, headers={"Accept": TABLE.partition(",")[0]}) as answer:
        assert answer.status == 406
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "unwanted"}}
    async with server.http.post(f"{CORE}/configmaps", json=made, headers={"Accept": "text/html"}) as answer:
        assert answer.status == 406
    async with server.http.get(f"{CORE}/configmaps/unwanted") as answer:
        assert answer.status == 404


async def test_signing_keys_come_under_their_media_type(server: Running):
    async with server.http.get("/openid/v1/jwks") as answer:
        assert (answer.status, answer.content_type) == (200, "application/jwk-set+json")


async def test_a_watcher_that_reads_nothing_is_cut_off_and_the_others_are_not(server: Running, monkeypatch):
    from apiserver.registry import fanout

    monkeypatch.setattr(fanout, "PENDING_BYTES_MAX", 500_000)
    made = await create(server, "a", k="")
    version = made["metadata"]["resourceVersion"]
    context = tls(server.certificates, "admin")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.settings.secure_port, ssl=context, limit=1024,
                                                   server_hostname="localhost")  # fmt: skip
    request = f"GET {CORE}/configmaps?watch=1&resourceVersion={version} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    writer.write(request.encode())
    await reader.readuntil(b"\r\n\r\n")
    async with server.http.get(f"{CORE}/configmaps?watch=1&resourceVersion={version}") as healthy:
        seen = 0
        evicted = fanout.EVICTED.values.get((), 0)
        for turn in range(80):
            patch = json.dumps({"data": {"k": str(turn) + "x" * 100_000}})
            headers = {"Content-Type": "application/merge-patch+json"}
            async with server.http.patch(f"{CORE}/configmaps/a", data=patch, headers=headers) as answer:
                assert answer.status == 200
            while seen <= turn:
                line = b""
                while not line.endswith(b"\n"):
                    line += await healthy.content.readany()
                seen += line.count(b'{"type":')
    assert fanout.EVICTED.values.get((), 0) == evicted + 1
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)):
        async with asyncio.timeout(10):
            await reader.readexactly(100_000_000)
    writer.close()


# --- the component API


async def test_the_component_api_reads_writes_and_tells_errors_apart(server: Running):
    client = server.client()
    try:
        made = await client.create(configmaps.RESOURCE, builders.configmap("a", k="1"))
        assert (await client.get(configmaps.RESOURCE, ObjectKey("default", "a"))).data == {"k": "1"}
        patched = await client.patch(configmaps.RESOURCE, ObjectKey("default", "a"), {"data": {"k": "2"}})
        assert patched.data == {"k": "2"}
        with pytest.raises(Conflict):
            await client.update(configmaps.RESOURCE, made)
        listed = await client.list(configmaps.RESOURCE, "default")
        assert [one.metadata.name for one in listed.items] == ["a"]
        await client.delete(configmaps.RESOURCE, ObjectKey("default", "a"))
        with pytest.raises(NotFound, match='configmaps "a" not found') as missing:
            await client.get(configmaps.RESOURCE, ObjectKey("default", "a"))
        assert (missing.value.kind, missing.value.name) == ("configmaps", "a")
    finally:
        await client.close()


async def test_a_component_may_do_only_what_its_role_says(server: Running):
    client = server.client("dns")
    try:
        with pytest.raises(Forbidden, match='User "system:cluster-dns" cannot create resource "configmaps"'):
            await client.create(configmaps.RESOURCE, builders.configmap("a"))
    finally:
        await client.close()


async def test_large_lists_come_in_chunks(server: Running):
    client = server.client()
    try:
        for index in range(5):
            await client.create(configmaps.RESOURCE, builders.configmap(f"c{index}", k=f"{index}" * 900_000))
        listed = await client.list(configmaps.RESOURCE, "default")
        assert [one.data["k"][0] for one in listed.items] == list("01234")
    finally:
        await client.close()


async def test_many_watches_share_a_stream_and_end_apart(server: Running, monkeypatch):
    monkeypatch.setattr(watch_cache, "RING_CHANGES_MAX", 1)
    await create(server, "x")
    await create(server, "y")
    await server.store.compact((await server.store.range(b"/registry/", count_only=True)).revision)
    client = server.client()
    seen: dict[str, list[tuple[EventType, str]]] = {"a": [], "b": []}

    async def watch(name: str) -> None:
        batches = client.watch(
            configmaps.RESOURCE, "default", resource_version="0", field_selector=f"metadata.name={name}"
        )
        async for batch in batches:
            seen[name] += [(event.type, event.object.metadata.name) for event in batch if event.object]
            if len(seen[name]) == 2:
                return

    try:
        watching = [asyncio.create_task(watch(name)) for name in seen]
        with pytest.raises(Expired):
            async for _ in client.watch(configmaps.RESOURCE, resource_version="1"):
                pass
        monkeypatch.undo()
        for name in seen:
            await client.create(configmaps.RESOURCE, builders.configmap(name))
            await client.delete(configmaps.RESOURCE, ObjectKey("default", name))
        await asyncio.wait_for(asyncio.gather(*watching), 5)
        for name, events in seen.items():
            assert events == [(EventType.ADDED, name), (EventType.DELETED, name)]
    finally:
        await client.close()


async def test_small_writes_in_one_batch_fail_and_succeed_apart(server: Running):
    client = server.client()
    try:
        made = [
            client.create(
                leases.RESOURCE, leases.Lease(metadata=ObjectMeta(name=f"l{index % 40}", namespace="default"))
            )
            for index in range(50)
        ]
        results = await asyncio.gather(*made, return_exceptions=True)
        assert sum(isinstance(result, leases.Lease) for result in results) == 40
        assert all(isinstance(result, (leases.Lease, ApiError)) for result in results)
    finally:
        await client.close()


async def test_a_server_that_comes_back_is_found_again(server: Running):
    client = server.client()
    try:
        await client.create(configmaps.RESOURCE, builders.configmap("a"))
        listed = await client.list(configmaps.RESOURCE, "default")

        async def watch() -> None:
            async for _ in client.watch(configmaps.RESOURCE, "default", resource_version=listed.resource_version):
                pass

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.1)
        await server.stop()
        with pytest.raises(ServiceUnavailable):
            await asyncio.wait_for(watching, 5)
        with pytest.raises(ServiceUnavailable):
            await client.get(configmaps.RESOURCE, ObjectKey("default", "a"))
        server.start()
        await server.wait_ready()
        async with asyncio.timeout(10):
            while True:
                try:
                    found = await client.get(configmaps.RESOURCE, ObjectKey("default", "a"))
                    break
                except ServiceUnavailable:
                    await asyncio.sleep(0.05)
        assert found.metadata.name == "a"
    finally:
        await client.close()


# --- kubectl


def kubectls() -> list[str]:
    stock = shutil.which("kubectl")
    if stock is None:
        return []
    beside = Path(os.path.realpath(stock)).parent
    return [str(path) for minor in (30, 32) if (path := beside / f"kubectl.1.{minor}").exists()] or [stock]


@pytest.mark.parametrize("kubectl", kubectls(), ids=lambda path: Path(path).name)
async def test_kubectl_applies_reads_and_deletes(server: Running, tmp_path: Path, kubectl: str):
    at = server.certificates
    config = tmp_path / "kubeconfig"
    kubeconfig.write(config, kubeconfig.build(server.url, at / "ca.crt", at / "admin.crt", at / "admin.key"))
    manifest = tmp_path / "web.yaml"
    manifest.write_text(yaml.safe_dump_all([
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
         "spec": {"selector": {"matchLabels": {"app": "web"}}, "replicas": 2, "template": {
             "metadata": {"labels": {"app": "web"}},
             "spec": {"containers": [{"name": "c", "image": "example.org/web:1"}]}}}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
         "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}},
    ]))  # fmt: skip

    async def run(*arguments: str, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            kubectl, *arguments, env={**os.environ, "KUBECONFIG": str(config), "HOME": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output = (await asyncio.wait_for(process.communicate(), 30))[0].decode()
        assert process.returncode == code, output
        return output

    assert await run("apply", "-f", str(manifest)) == "deployment.apps/web created\nservice/web created\n"
    assert await run("apply", "-f", str(manifest)) == "deployment.apps/web unchanged\nservice/web unchanged\n"
    await run("scale", "deployment/web", "--replicas=3")
    assert await run("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}/{.metadata.generation}") == "3/2"
    assert "web" in await run("get", "deployments", "-o", "wide")
    assert "Selector:" in await run("describe", "deployment", "web")
    assert "replicas <integer>" in await run("explain", "deployment.spec.replicas")
    assert "configmaps" in await run("api-resources")
    assert "+  replicas: 2" in await run("diff", "-f", str(manifest), code=1)
    assert 'pods "nope" not found' in await run("get", "pod", "nope", code=1)
    assert "deleted" in await run("delete", "-f", str(manifest))


async def test_a_watch_goes_over_a_websocket_too(server: Running):
    await server.http.post(f"{server.url}{CORE}/configmaps", json={"metadata": {"name": "w"}})
    watch = f"{server.url}{CORE}/configmaps?watch=1&resourceVersion=0&timeoutSeconds=1&allowWatchBookmarks=true"
    async with server.http.ws_connect(watch + "&fieldSelector=metadata.name%3Dw") as watching:
        assert [json.loads((await watching.receive()).data)["type"] for _ in range(2)] == ["ADDED", "BOOKMARK"]
        assert (await watching.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_who_asks_for_a_websocket_in_a_wrong_way_is_told_so(server: Running):
    watch = f"{server.url}{CORE}/configmaps?watch=1&resourceVersion=0&timeoutSeconds=1"
    half = {"Upgrade": "websocket", "Connection": "Upgrade"}
    async with server.http.get(watch, headers=half) as response:
        told = await response.json()
        assert (response.status, told["kind"], told["reason"]) == (400, "Status", "BadRequest")
        assert told["message"].startswith("unable to upgrade: ")
    async with server.http.get(watch, headers={"Upgrade": "websocket", "Connection": "close"}) as response:
        assert response.status == 200, "nothing to upgrade: Connection does not name it"
