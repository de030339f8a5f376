"""The metrics server: the real process's parts between a real API server and a kubelet that says what it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from deploy import addons
from deploy.pki import Leaf, Pki
from metricsserver.__main__ import Settings, run
from tests.integration.test_aggregation import eventually
from tests.integration.test_apiserver import Running, free_port, pki, server, status_of
from tests.integration.test_proxied import own_address, post

__all__ = ["pki", "server"]
pytestmark = pytest.mark.integration

APISERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
METRICS = "/apis/metrics.k8s.io/v1beta1"
MERGE = {"Content-Type": "application/merge-patch+json"}


@dataclass
class Metrics:
    """A metrics server that is asked through the API server."""

    address: str
    port: int
    health_port: int
    pki: Pki


@pytest.fixture
async def metrics(server: Running, pki: Pki) -> AsyncIterator[Metrics]:
    at = pki.directory / "cluster"
    pki.cluster.ensure(Leaf("fake-kubelet", "system:node:n1", ("system:nodes",), hosts=("127.0.0.1",)))
    kubelet_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=at / "ca.crt")
    kubelet_tls.load_cert_chain(at / "fake-kubelet.crt", at / "fake-kubelet.key")
    kubelet_tls.verify_mode = ssl.CERT_REQUIRED
    began, seconds = time.time(), 0.0

    async def say(request: web.Request) -> web.Response:
        """Use half a processor, whenever it is asked."""
        nonlocal seconds
        seconds += 1
        told = {"node": "", "container": '{container="c",namespace="default",pod="web"}'}
        at = f"{(began + seconds) * 1000:.0f}"
        lines = [f"{of}_cpu_usage_seconds_total{labels} {seconds / 2} {at}" for of, labels in told.items()]
        lines += [f"{of}_memory_working_set_bytes{labels} 4096" for of, labels in told.items()]
        lines.append('container_memory_working_set_bytes{container="x",namespace="default",pod="gone"} 1')
        lines.append('container_cpu_usage_seconds_total{container="x",namespace="default",pod="gone"} 1')
        return web.Response(text="\n".join(lines) + "\n")

    app = web.Application()
    app.router.add_get("/metrics/resource", say)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=kubelet_tls).start()
    await post(server, "/api/v1/nodes", {"metadata": {"name": "n1", "labels": {"a": "b"}}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": runner.addresses[0][1]}},
    }
    body = json.dumps({"status": status})
    async with server.http.patch("/api/v1/nodes/n1/status", data=body, headers=MERGE) as answer:
        assert answer.status == 200, await answer.text()
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n1", "automountServiceAccountToken": False}
    await post(server, "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await post(
        server, "/api/v1/namespaces/default/pods", {"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": spec}
    )
    made = Metrics(own_address(), free_port(), free_port(), pki)
    settings = Settings(
        apiserver=("127.0.0.1:1", f"127.0.0.1:{server.settings.secure_port}"),
        cert=at / "metrics.crt",
        key=at / "metrics.key",
        ca=at / "ca.crt",
        requestheader_client_ca=pki.front_proxy.cert_path,
        requestheader_allowed_names=("front-proxy-client",),
        listen=f"{made.address}:{made.port}",
        health=f"127.0.0.1:{made.health_port}",
        resolution_s=1.0,
    )
    client = server.client()
    await addons.apply_metrics(client, made.address, made.port, pki.cluster.cert_path)
    await client.close()
    task = asyncio.create_task(run(settings))

    async def listens() -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", made.health_port)
            writer.close()
            return True
        return False

    await eventually(listens)
    yield made
    task.cancel()
    await asyncio.wait([task])
    await runner.cleanup()


async def asked(server: Running, path: str, **headers: str) -> Any:
    async with server.http.get(path, headers=headers) as answer:
        return await answer.json() if answer.status == 200 else None


async def test_what_kubelets_say_is_what_the_metrics_api_tells(server: Running, metrics: Metrics):
    async def nodes() -> Any:
        found = await asked(server, f"{METRICS}/nodes")
        return found if found and found["items"] else None

    (node,) = (await eventually(nodes, 20))["items"]
    assert (node["metadata"]["name"], node["metadata"]["labels"]) == ("n1", {"a": "b"})
    assert node["usage"] == {"cpu": "500000000n", "memory": "4Ki"}

    pods = await asked(server, f"{METRICS}/pods")
    assert [pod["metadata"]["name"] for pod in pods["items"]] == ["web"], "what is gone is not told of"
    (pod,) = (await asked(server, f"{METRICS}/namespaces/default/pods?labelSelector=app%3Dweb"))["items"]
    assert pod["containers"] == [{"name": "c", "usage": {"cpu": "500000000n", "memory": "4Ki"}}]
    assert (await asked(server, f"{METRICS}/namespaces/default/pods?labelSelector=app%3Dother"))["items"] == []
    assert (await asked(server, f"{METRICS}/namespaces/default/pods/web"))["kind"] == "PodMetrics"
    shown = await asked(server, f"{METRICS}/nodes", Accept="application/json;as=Table;g=meta.k8s.io;v=v1")
    assert shown["kind"] == "Table" and shown["rows"][0]["cells"][:2] == ["n1", "500000000n"]
    async with server.http.get(f"{METRICS}/namespaces/default/pods/none") as answer:
        assert await status_of(answer) == (404, "NotFound", 'podmetrics.metrics.k8s.io "default/none" not found')
    async with server.http.get(f"{METRICS}/nodes?labelSelector=%3D%3D") as answer:
        assert (await status_of(answer))[:2] == (400, "BadRequest")
    async with server.http.delete(f"{METRICS}/nodes/n1") as answer:
        assert (await status_of(answer))[1] == "MethodNotAllowed"
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{metrics.health_port}/metrics") as answer:
        assert 'metrics_server_storage_points{type="node"} 1' in await answer.text()


async def test_nobody_but_the_front_proxy_gets_in(server: Running, metrics: Metrics, tmp_path: Path):
    url = f"https://{metrics.address}:{metrics.port}{METRICS}/nodes"
    trusted = metrics.pki.directory / "cluster" / "ca.crt"

    async def get(stem: Path | None) -> int:
        context = ssl.create_default_context(cafile=trusted)
        context.check_hostname = False
        if stem is not None:
            context.load_cert_chain(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        async with aiohttp.ClientSession() as http, http.get(url, ssl=context) as answer:
            return answer.status

    metrics.pki.front_proxy.ensure(Leaf("another", "somebody-else"))
    assert await get(metrics.pki.directory / "front-proxy" / "client") == 200
    assert await get(metrics.pki.directory / "front-proxy" / "another") == 401
    for stem in (None, metrics.pki.directory / "cluster" / "admin"):
        with pytest.raises(aiohttp.ClientError):
            await get(stem)


async def test_another_metrics_server_takes_over_and_is_left_alone(server: Running, metrics: Metrics):
    found = await asked(server, APISERVICE)
    applied = json.loads(found["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert applied["spec"] == found["spec"]
    spec = {"service": {"name": "metrics-server", "namespace": "kube-system"}, "insecureSkipTLSVerify": True}
    # As `kubectl apply` of a stock metrics server's manifest does: what we applied, and it does not name, goes.
    change = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}, "spec": {**spec, "caBundle": None}}
    async with server.http.patch(APISERVICE, data=json.dumps(change), headers=MERGE) as answer:
        assert answer.status == 200, await answer.text()
    client = server.client()
    await addons.apply_metrics(client, metrics.address, metrics.port, metrics.pki.cluster.cert_path)
    await client.close()
    spec = (await asked(server, APISERVICE))["spec"]
    assert (spec["service"]["name"], spec["insecureSkipTLSVerify"], spec.get("caBundle")) == (
        "metrics-server",
        True,
        None,
    )
