"""One trace from a client's request through the API server to the store, and from our own processes likewise."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from api.core import configmap as configmaps
from api.resource import ObjectKey
from component import tracing
from deploy.pki import Pki
from tests.integration.store_process import ROOT, StoreProcess, free_port
from tests.integration.test_apiserver_process import ApiserverProcess
from tests.unit.component.test_tracing import PARENT, Collector

pytestmark = pytest.mark.integration


def collector_url(collector: Collector) -> str:
    return f"http://127.0.0.1:{collector.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()


@pytest.fixture
def apiserver(tmp_path: Path, collector: Collector) -> Iterator[ApiserverProcess]:
    store = StoreProcess(tmp_path, f"--tracing-endpoint={collector_url(collector)}")
    store.start()
    apiserver = ApiserverProcess(tmp_path, store.endpoint, store.client)
    apiserver.command.append(f"--tracing-endpoint={collector_url(collector)}")
    try:
        apiserver.start()
        yield apiserver
        apiserver.end(signal.SIGKILL)
    finally:
        store.kill()


async def test_a_request_and_what_the_store_did_for_it_are_in_the_trace_it_came_with(
    tmp_path: Path, apiserver: ApiserverProcess, collector: Collector
):
    await apiserver.wait_ready()
    at = tmp_path / "cluster-pki/cluster"
    tls = ssl.create_default_context(cafile=str(at / "ca.crt"))
    tls.load_cert_chain(at / "admin.crt", at / "admin.key")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "traced"}}
    url = f"https://localhost:{apiserver.rest_port}/api/v1/namespaces/default/configmaps"
    headers = {"traceparent": PARENT}
    async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers, ssl=tls) as answer:
        assert answer.status == 201
    client = apiserver.client()
    tracing.configure(f"http://127.0.0.1:{collector.server.server_port}", "test")
    try:
        with tracing.span("turn") as turn:
            await client.get(configmaps.RESOURCE, ObjectKey("default", "traced"))
    finally:
        tracing.close()
        await client.close()
    assert turn is not None
    spans = await spans_of(collector, PARENT[3:35], 2)
    created = spans["create configmaps"]
    assert created["parentSpanId"] == PARENT[36:52]
    assert spans["store txn"]["parentSpanId"] == created["spanId"]
    spans = await spans_of(collector, turn.context.trace_id, 2)
    assert spans["get configmaps"]["parentSpanId"] == turn.context.span_id


DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "traced"},
    "spec": {
        "selector": {"matchLabels": {"app": "traced"}},
        "template": {
            "metadata": {"labels": {"app": "traced"}},
            "spec": {"automountServiceAccountToken": False, "containers": [{"name": "a", "image": "a:1"}]},
        },
    },
}


@contextlib.contextmanager
def other_processes(tmp_path: Path, apiserver: ApiserverProcess, collector: Collector) -> Iterator[None]:
    """Run controllers, a scheduler and a node whose containers exist only in memory."""
    pki = Pki(tmp_path / "cluster-pki")
    pki.ensure_node("n1", ["127.0.0.1"])
    at = pki.directory / "cluster"
    node = ["--runtime=hollow", "--hollow-nodes=n1", f"--port={free_port()}", "--bind-address=127.0.0.1"]
    node += [f"--serving-cert={at}/kubelet-n1-serving.crt", f"--serving-key={at}/kubelet-n1-serving.key"]
    health = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    running = []
    try:
        for module, stem, flags in (
            ("controllers", "controllers", ["--no-leader-elect", f"--health={health[0]}"]),
            ("scheduler", "scheduler", ["--no-leader-elect", f"--health={health[1]}"]),
            ("kubelet", "kubelet-n1", [*node, f"--client-ca={at}/ca.crt"]),
        ):
            command = [sys.executable, "-m", module, f"--apiserver={apiserver.grpc_endpoint}", f"--ca={at}/ca.crt"]
            command += [f"--cert={at}/{stem}.crt", f"--key={at}/{stem}.key", *flags]
            command.append(f"--tracing-endpoint={collector_url(collector)}")
            with (tmp_path / f"{module}.log").open("wb") as log:
                running.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
        for address in health:
            await_ready(address)  # what was there before is listed, and nobody knows what led to it
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def await_ready(address: str) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/readyz", timeout=1):
            return
        time.sleep(0.1)
    raise AssertionError(f"{address} does not get ready")


def told(collector: Collector, trace_id: str) -> set[tuple[str, str]]:
    """Return which steps of a trace have arrived, each with the process that took it."""
    found = set()
    for batch in collector.batches:
        (resource,) = batch["resourceSpans"]
        service = resource["resource"]["attributes"][0]["value"]["stringValue"]
        spans = resource["scopeSpans"][0]["spans"]
        found |= {(service, span["name"]) for span in spans if trace_id in ("", span["traceId"])}
    return found


async def await_steps(collector: Collector, trace_id: str, steps: set[tuple[str, str]]) -> None:
    for _ in range(400):
        if steps <= told(collector, trace_id):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{steps - told(collector, trace_id)} lacks in {sorted(told(collector, trace_id))}")


async def test_one_trace_leads_from_a_deployment_being_made_to_its_container_being_started(
    tmp_path: Path, apiserver: ApiserverProcess, collector: Collector
):
    await apiserver.wait_ready()
    at = tmp_path / "cluster-pki/cluster"
    tls = ssl.create_default_context(cafile=str(at / "ca.crt"))
    tls.load_cert_chain(at / "admin.crt", at / "admin.key")
    url = f"https://localhost:{apiserver.rest_port}/apis/apps/v1/namespaces/default/deployments"
    with other_processes(tmp_path, apiserver, collector):
        await await_steps(collector, "", {("steer-apiserver", "create nodes")})
        async with aiohttp.ClientSession() as http:
            async with http.post(url, json=DEPLOYMENT, headers={"traceparent": PARENT}, ssl=tls) as answer:
                assert answer.status == 201
            steps = {
                ("steer-apiserver", "create deployments"),
                ("steer-store", "agree and apply"),
                ("steer-controllers", "reconcile deployment-controller"),
                ("steer-apiserver", "create replicasets"),
                ("steer-controllers", "reconcile replicaset-controller"),
                ("steer-apiserver", "create pods"),
                ("steer-scheduler", "schedule pod"),
                ("steer-apiserver", "create pods/binding"),
                ("steer-kubelet", "sync pod"),
            }
            await await_steps(collector, PARENT[3:35], steps)


async def spans_of(collector: Collector, trace_id: str, count: int) -> dict[str, dict]:
    for _ in range(100):
        spans = {
            span["name"]: span
            for batch in collector.batches
            for span in batch["resourceSpans"][0]["scopeSpans"][0]["spans"]
            if span["traceId"] == trace_id
        }
        if len(spans) >= count:
            return spans
        await asyncio.sleep(0.1)
    raise AssertionError(f"only {sorted(spans)} of trace {trace_id} arrived")
