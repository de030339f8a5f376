"""One trace from a client's request through the API server to the store, and from our own processes likewise."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from api.core import configmap as configmaps
from api.resource import ObjectKey
from component import tracing
from tests.integration.store_process import StoreProcess
from tests.integration.test_apiserver_process import ApiserverProcess
from tests.unit.component.test_tracing import PARENT, Collector

pytestmark = pytest.mark.integration


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()


@pytest.fixture
def apiserver(tmp_path: Path, collector: Collector) -> Iterator[ApiserverProcess]:
    store = StoreProcess(tmp_path)
    store.start()
    apiserver = ApiserverProcess(tmp_path, store.endpoint, store.client)
    apiserver.command.append(f"--tracing-endpoint=http://127.0.0.1:{collector.server.server_port}")
    apiserver.start()
    yield apiserver
    apiserver.end(signal.SIGKILL)
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
