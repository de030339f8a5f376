"""Which endpoints serve this node."""

from __future__ import annotations

from dataclasses import replace

from kubeproxy.topology import NodeView, served_ports
from tests.unit.kubeproxy.builders import NODE, endpoint, endpoint_slice, service


def addresses(*endpoints, node: NodeView = NODE, **spec) -> list[str]:
    (port,) = served_ports(service(**spec), [endpoint_slice(*endpoints)], node)
    return [target.address for target in port.cluster_targets]


def test_endpoints_that_are_not_ready_get_nothing():
    assert addresses(endpoint("10.244.1.1"), endpoint("10.244.1.2", ready=False)) == ["10.244.1.1"]


def test_an_endpoint_that_does_not_say_is_ready():
    assert addresses(endpoint("10.244.1.1", ready=None)) == ["10.244.1.1"]


def test_terminating_endpoints_serve_only_when_nobody_is_ready():
    leaving = endpoint("10.244.1.2", ready=False, serving=True, terminating=True)
    assert addresses(endpoint("10.244.1.1"), leaving) == ["10.244.1.1"]
    assert addresses(endpoint("10.244.1.1", ready=False), leaving) == ["10.244.1.2"]
    silent = endpoint("10.244.1.2", ready=False, serving=None, terminating=True)
    assert addresses(silent) == ["10.244.1.2"]


def test_hints_say_nothing_of_endpoints_that_serve_while_they_terminate():
    leaving = [
        endpoint(f"10.244.1.{number}", ready=False, serving=True, terminating=True, zones=(zone,))
        for number, zone in enumerate("ab")
    ]
    assert len(addresses(*leaving, node=replace(NODE, zone="a"))) == 2
    asleep = endpoint("10.244.1.9", ready=False)
    assert addresses(endpoint("10.244.1.1", zones=("a",)), asleep, node=replace(NODE, zone="a")) == ["10.244.1.1"]


def test_an_endpoint_in_two_slices_counts_once():
    slices = [endpoint_slice(endpoint("10.244.1.1"), name=name) for name in ("one", "two")]
    (port,) = served_ports(service(), slices, NODE)
    assert len(port.cluster_targets) == 1


def test_hints_keep_traffic_in_the_zone_only_if_everybody_has_them():
    node = replace(NODE, zone="a")
    near, far = endpoint("10.244.1.1", zones=("a",)), endpoint("10.244.1.2", zones=("b",))
    assert addresses(near, far, node=node) == ["10.244.1.1"]
    assert addresses(near, far) == ["10.244.1.1", "10.244.1.2"]
    assert len(addresses(near, far, endpoint("10.244.1.3"), node=node)) == 3
    assert addresses(far, node=node) == ["10.244.1.2"]


def test_ipv6_slices_are_left_to_another_proxy():
    six = endpoint_slice(endpoint("fd00::1"))
    six.address_type = "IPv6"
    (port,) = served_ports(service(), [six], NODE)
    assert port.cluster_targets == ()


def test_a_service_of_another_proxy_or_of_none_is_left_alone():
    for label in ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"):
        svc = service()
        svc.metadata.labels[label] = "other"
        assert served_ports(svc, [], NODE) == ()


def test_addresses_are_taken_however_they_are_spelled():
    assert addresses(endpoint("010.244.1.01"), endpoint("10.244.1.1")) == ["10.244.1.1"]
    ranges = {"type": "LoadBalancer", "load_balancer_source_ranges": ["010.0.0.1/8", "nonsense"]}
    (port,) = served_ports(service(ip="010.96.0.09", external_ips=["192.0.2.01"], **ranges), [], NODE)
    assert (port.cluster_ip, port.external_ips, port.source_ranges) == ("10.96.0.9", ("192.0.2.1",), ("10.0.0.0/8",))
