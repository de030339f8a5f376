"""What guards the API server, over its real doors: fairness, limits, the audit log, health checks and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.coordination import lease as leases
from api.coordination.lease import Lease, LeaseSpec
from api.meta import ObjectMeta
from apiserver.server import serve
from component.clock import RealClock
from tests.integration.test_apiserver import CORE, Running, create, pki, server, tls  # noqa: F401
from tests.ports import free_port

pytestmark = pytest.mark.integration

FLOWCONTROL = "/apis/flowcontrol.apiserver.k8s.io/v1"
POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/readyz*"]
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
- level: RequestResponse
  resources: [{group: "", resources: [configmaps]}]
  omitManagedFields: true
"""


async def restart(server: Running, **changes: object) -> None:  # noqa: F811
    await server.stop()
    server.settings = dataclasses.replace(server.settings, **changes)
    server.start()
    await server.wait_ready()


async def scrape(server: Running) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:  # noqa: F811
    async with server.http.get("/metrics") as answer:
        assert answer.status == 200
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(await answer.text()):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return found


async def test_health_checks_are_worded_as_upstreams(server: Running):  # noqa: F811
    async with server.http.get("/livez?verbose") as answer:
        lines = (await answer.text()).splitlines()
        assert lines[:3] == ["[+]ping ok", "[+]log ok", "[+]etcd ok"]
        assert "[+]poststarthook/rbac/bootstrap-roles ok" in lines and "[+]autoregister-completion ok" in lines
        assert lines[-1] == "livez check passed"
    async with server.http.get("/readyz?verbose&exclude=etcd&exclude=nonsense") as answer:
        text = await answer.text()
        assert "[+]etcd excluded: ok" in text and "[+]informer-sync ok" in text and "[+]shutdown ok" in text
        assert 'warn: some health checks cannot be excluded: no matches for "nonsense"' in text
    for path, status in (("/livez/ping", 200), ("/readyz/etcd", 200), ("/readyz/nonsense", 404), ("/configz", 404)):
        async with server.http.get(path) as answer:
            assert answer.status == status, path


async def test_anybody_may_ask_for_health_but_not_for_single_checks_or_metrics(server: Running):  # noqa: F811
    connector = aiohttp.TCPConnector(ssl=tls(server.certificates, None))
    async with aiohttp.ClientSession(server.url, connector=connector) as anybody:
        for path, status in (("/healthz", 200), ("/readyz", 200), ("/livez/ping", 403), ("/metrics", 403)):
            async with anybody.get(path) as answer:
                assert answer.status == status, path


async def test_responses_name_their_flow_schema_and_audit_id(server: Running):  # noqa: F811
    async with server.http.get(f"{FLOWCONTROL}/flowschemas/exempt") as answer:
        schema = await answer.json()
        assert schema["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] == "true"
        assert answer.headers["X-Kubernetes-PF-FlowSchema-UID"] == schema["metadata"]["uid"]
        assert answer.headers["X-Kubernetes-PF-PriorityLevel-UID"]
        assert len(answer.headers["Audit-Id"]) == 36
    async with server.http.get("/version", headers={"Audit-ID": "mine"}) as answer:
        assert answer.headers["Audit-Id"] == "mine"


async def test_a_mandatory_object_that_is_deleted_comes_back(server: Running):  # noqa: F811
    async with server.http.delete(f"{FLOWCONTROL}/flowschemas/catch-all") as answer:
        assert answer.status == 200
    async with asyncio.timeout(10):
        while True:
            async with server.http.get(f"{FLOWCONTROL}/flowschemas/catch-all") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


async def test_a_schema_without_a_level_is_said_to_dangle(server: Running):  # noqa: F811
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
    rule = {"subjects": [{"kind": "User", "user": {"name": "x"}}], "resourceRules": [everything]}
    body = {"metadata": {"name": "mine"},
            "spec": {"priorityLevelConfiguration": {"name": "nowhere"}, "rules": [rule]}}  # fmt: skip
    async with server.http.post(f"{FLOWCONTROL}/flowschemas", json=body) as answer:
        assert answer.status == 201
    async with asyncio.timeout(10):
        while True:
            async with server.http.get(f"{FLOWCONTROL}/flowschemas/mine") as answer:
                conditions = (await answer.json()).get("status", {}).get("conditions", [])
            if conditions:
                assert (conditions[0]["type"], conditions[0]["status"]) == ("Dangling", "True")
                return
            await asyncio.sleep(0.05)


async def test_a_noisy_client_is_refused_and_does_not_starve_heartbeats(server: Running):  # noqa: F811
    # Few seats, so that what a test's client can send is already too much.
    await restart(server, max_requests_inflight=14, max_mutating_requests_inflight=10)
    kubelet = server.client("kubelet-node-1") if (server.certificates / "kubelet-node-1.crt").exists() else None
    if kubelet is None:
        from deploy.pki import Pki

        Pki(server.certificates.parent).ensure_node("node-1", ["127.0.0.1"])
        kubelet = server.client("kubelet-node-1")
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
    async with server.http.post("/api/v1/nodes", json=node) as answer:
        assert answer.status == 201
    metadata = ObjectMeta(name="node-1", namespace="kube-node-lease")
    beat = await kubelet.create(leases.RESOURCE, Lease(metadata=metadata, spec=LeaseSpec(holder_identity="node-1")))
    for number in range(300):
        await create(server, f"filler-{number}", text="x" * 200)
    headers = {"Impersonate-User": "noisy", "Impersonate-Group": "system:authenticated"}
    grant = {"metadata": {"name": "noisy"}, "subjects": [{"kind": "User", "name": "noisy"}],
             "roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"}}  # fmt: skip
    async with server.http.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", json=grant) as answer:
        assert answer.status == 201
    statuses: dict[int, int] = {}
    is_over = asyncio.Event()

    async def make_noise() -> None:
        while not is_over.is_set():
            async with server.http.get(f"{CORE}/configmaps", headers=headers) as answer:
                statuses[answer.status] = statuses.get(answer.status, 0) + 1
                if answer.status == 429:
                    assert answer.headers["Retry-After"] == "1"
                    await asyncio.sleep(0.01)

    noise = [asyncio.create_task(make_noise()) for _ in range(90)]
    try:
        async with asyncio.timeout(20):
            while statuses.get(200, 0) < 50:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        took: list[float] = []
        for _ in range(20):
            began = time.monotonic()
            beat = await kubelet.update(leases.RESOURCE, beat)
            took.append(time.monotonic() - began)
        assert sorted(took)[10] < 2.0, took
        metrics = await scrape(server)
        level = ("priority_level", "global-default")
        waiting = metrics["apiserver_flowcontrol_current_inqueue_requests"]
        assert any(level in labels and count > 0 for labels, count in waiting.items()), waiting
        node_high = metrics["apiserver_flowcontrol_dispatched_requests_total"]
        assert any(("priority_level", "node-high") in labels and count >= 20 for labels, count in node_high.items())
        async with server.http.get("/debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1") as answer:
            assert "noisy" in await answer.text()
    finally:
        is_over.set()
        await asyncio.gather(*noise, return_exceptions=True)
        await kubelet.close()


async def test_metrics_have_upstreams_names_and_labels(server: Running):  # noqa: F811
    await create(server, "counted")
    async with server.http.get(f"{CORE}/configmaps/missing") as answer:
        assert answer.status == 404
    metrics = await scrape(server)
    shared = {"group": "", "version": "v1", "resource": "configmaps", "subresource": "", "scope": "resource",
              "component": "apiserver", "dry_run": ""}  # fmt: skip
    requests = metrics["apiserver_request_total"]
    assert requests[tuple(sorted({**shared, "verb": "POST", "code": "201"}.items()))] == 1
    assert requests[tuple(sorted({**shared, "verb": "GET", "code": "404"}.items()))] == 1
    for name in (
        "apiserver_request_duration_seconds_bucket", "apiserver_current_inflight_requests",
        "apiserver_storage_objects", "apiserver_watch_cache_capacity", "apiserver_flowcontrol_nominal_limit_seats",
        "etcd_request_duration_seconds_count", "authentication_attempts_total", "process_resident_memory_bytes",
    ):  # fmt: skip
        assert name in metrics or name.removesuffix("_total") in metrics, name


async def test_the_audit_log_tells_by_policy_and_never_a_secret(server: Running, tmp_path: Path):  # noqa: F811
    policy, log = tmp_path / "policy.yaml", tmp_path / "audit.log"
    policy.write_text(POLICY)
    await restart(server, audit_policy_file=policy, audit_log_path=str(log))
    await create(server, "told", colour="blue")
    secret = {"metadata": {"name": "quiet"}, "stringData": {"password": "hunter2"}}
    async with server.http.post(f"{CORE}/secrets", json=secret, headers={"Audit-ID": "chosen"}) as answer:
        assert answer.status == 201
    async with server.http.get(f"{CORE}/configmaps?watch=1&timeoutSeconds=1") as answer:
        await answer.read()
    async with server.http.get(f"{CORE}/pods") as answer:
        assert answer.status == 200
    await server.stop()
    text = log.read_text()
    assert "hunter2" not in text and "aHVudGVyMg" not in text
    events = [event for event in map(json.loads, text.splitlines()) if event["user"]["username"] != ""]
    told = next(event for event in events if event.get("objectRef", {}).get("name") == "told")
    assert told["level"] == "RequestResponse" and told["stage"] == "ResponseComplete"
    assert told["requestObject"]["data"] == {"colour": "blue"}
    assert told["responseObject"]["metadata"]["uid"] and "managedFields" not in told["responseObject"]["metadata"]
    assert told["annotations"]["authorization.k8s.io/decision"] == "allow"
    quiet = next(event for event in events if event["auditID"] == "chosen")
    assert quiet["level"] == "Metadata" and "requestObject" not in quiet
    watched = [event["stage"] for event in events if event["verb"] == "watch" and "configmaps" in event["requestURI"]]
    assert watched == ["ResponseStarted", "ResponseComplete"]
    assert not any("/pods" in event["requestURI"] for event in events)


async def test_large_long_and_slow_requests_are_refused_and_the_server_goes_on(server: Running):  # noqa: F811
    headers = {"Content-Type": "application/json"}
    async with server.http.post(f"{CORE}/configmaps", data=b"x" * (3 * 2**20 + 1), headers=headers) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (413, "RequestEntityTooLarge")
    async with server.http.post(f"{CORE}/configmaps", data=b"[" * 1_000_000, headers=headers) as answer:
        assert answer.status == 400
    async with server.http.get(f"{CORE}/configmaps?labelSelector=" + "a" * 10_000) as answer:
        assert answer.status == 400 and (await answer.json())["kind"] == "Status"
    async with server.http.get(f"{CORE}/configmaps?labelSelector=" + "a" * 100_000) as answer:
        assert answer.status in (400, 414, 431)
    async with server.http.get(f"{CORE}/configmaps?timeout=nonsense") as answer:
        assert answer.status == 400
    async with server.http.get(f"{CORE}/configmaps", headers={"Content-Encoding": "gzip"}, data=b"junk") as answer:
        assert answer.status == 400
    async with server.http.get("/livez") as answer:
        assert answer.status == 200


async def test_a_body_is_read_only_from_those_who_may_send_it(server: Running):  # noqa: F811
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(2000):
            read += 1024
            yield b"x" * 1024
            await asyncio.sleep(0.005)

    connector = aiohttp.TCPConnector(ssl=tls(server.certificates, None))
    session = aiohttp.ClientSession(server.url, connector=connector)
    async with session as anybody, anybody.post(f"{CORE}/configmaps", data=endless()) as answer:
        assert answer.status == 403
    assert read < 1024 * 1024, "the server took the whole body in before it said no"


async def test_a_server_that_stops_fails_readiness_first_and_answers_meanwhile(server: Running):  # noqa: F811
    await restart(server, shutdown_delay_s=1.0)
    server.task.cancel()
    await asyncio.sleep(0.1)
    async with server.http.get("/readyz?verbose") as answer:
        assert answer.status == 500
        assert "[-]shutdown failed: process is shutting down" in await answer.text()
    async with server.http.get("/livez") as answer:
        assert answer.status == 200
    await create(server, "late")
    await asyncio.wait([server.task])


async def test_several_servers_share_a_port_while_they_are_ready(server: Running):  # noqa: F811
    shared = free_port()
    await restart(server, shared_port=shared)
    settings = dataclasses.replace(server.settings, secure_port=free_port(), grpc_port=free_port())
    second = asyncio.create_task(serve(settings, server.store, RealClock(), random.Random(2)))

    async def ask() -> int:
        connector = aiohttp.TCPConnector(ssl=tls(server.certificates, "admin"), force_close=True)
        session = aiohttp.ClientSession(connector=connector)
        async with session as once, once.get(f"https://localhost:{shared}/version") as answer:
            return answer.status

    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with server.http.get(f"https://localhost:{settings.secure_port}/readyz") as answer:
                    if answer.status == 200:
                        break
            await asyncio.sleep(0.02)
    assert [await ask() for _ in range(10)] == [200] * 10
    await server.stop()
    assert [await ask() for _ in range(10)] == [200] * 10
    second.cancel()
    await asyncio.wait([second])


async def test_who_may_be_anonymous_is_said_by_a_file_that_is_followed(server: Running, tmp_path: Path):  # noqa: F811
    path = tmp_path / "authentication.yaml"
    head = "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\n"
    path.write_text(head + "anonymous: {enabled: true, conditions: [{path: /livez}, {path: /version}]}\n")
    await restart(server, authentication_config=path)
    context = ssl.create_default_context(cafile=server.identity().ca)
    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=context)) as nobody:

        async def status(path: str) -> int:
            async with nobody.get(path) as answer:
                return answer.status

        asked = ("/livez", "/readyz", "/version", "/api", CORE)
        assert [await status(each) for each in asked] == [200, 401, 200, 401, 401]
        path.write_text(head + "anonymous: {enabled: false}\n")
        async with asyncio.timeout(10):
            while await status("/livez") != 401:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def test_where_everything_is_allowed_nobody_is_anonymous(server: Running):  # noqa: F811
    await restart(server, authorization_mode=("AlwaysAllow",))
    context = ssl.create_default_context(cafile=server.identity().ca)
    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=context)) as nobody:
        for path in ("/livez", "/api", CORE):
            async with nobody.get(path) as answer:
                assert answer.status == 401
