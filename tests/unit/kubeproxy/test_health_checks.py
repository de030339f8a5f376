"""What load balancers are told of Services whose traffic stays on the node."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from asyncio import to_thread

from api.resource import ObjectKey
from kubeproxy.health_checks import HealthChecks, LocalCheck, local_check, page_of
from tests.unit.kubeproxy.builders import NODE, endpoint, endpoint_slice, service

KEY = ObjectKey("default", "web")


def local(**spec):
    policy = {"type": "LoadBalancer", "external_traffic_policy": "Local", "health_check_node_port": 30555}
    return service(**(policy | spec))


def test_ready_endpoints_of_this_node_are_counted_once_each():
    one = endpoint_slice(endpoint("10.244.1.1", "n1"), endpoint("10.244.1.2", "n1", ready=False), name="one")
    two = endpoint_slice(endpoint("10.244.1.1", "n1"), endpoint("10.244.2.1", "n2"), name="two")
    assert local_check(local(), [one, two], NODE) == LocalCheck(30555, KEY, 1)


def test_only_services_that_keep_traffic_local_have_a_port_to_ask():
    assert local_check(local(external_traffic_policy="Cluster"), [], NODE) is None
    assert local_check(local(health_check_node_port=0), [], NODE) is None


def test_a_node_without_endpoints_or_without_right_rules_wants_no_traffic():
    page = page_of(LocalCheck(30555, KEY, 2), is_healthy=True)
    assert page.status == 200 and "X-Load-Balancing-Endpoint-Weight: 2" in page.headers
    assert json.loads(page.body) == {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": 2,
        "serviceProxyHealthy": True,
    }
    assert page_of(LocalCheck(30555, KEY, 0), is_healthy=True).status == 503
    assert page_of(LocalCheck(30555, KEY, 2), is_healthy=False).status == 503


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_ports_open_change_their_answer_and_close():
    port = _free_port()
    checks = HealthChecks(lambda: True, host="127.0.0.1")

    def ask() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    await checks.update([LocalCheck(port, KEY, 1)])
    assert await to_thread(ask) == 200
    await checks.update([LocalCheck(port, KEY, 0)])
    assert await to_thread(ask) == 503
    await checks.update([])
    assert await to_thread(ask) == 0
    checks.close()


async def test_a_port_that_somebody_else_had_is_opened_once_it_is_free():
    checks = HealthChecks(lambda: True, host="127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        await checks.update([LocalCheck(port, KEY, 1)])
    await checks.open()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    checks.close()
