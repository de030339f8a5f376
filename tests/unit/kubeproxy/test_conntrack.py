"""Which flows are forgotten when endpoints change."""

from __future__ import annotations

from api.core.service import ServicePort
from kubeproxy.conntrack import UNANSWERED_MAX, Flow, fronts_of, parse_flows, stale_flows, unanswered_flows
from kubeproxy.topology import served_ports
from tests.unit.kubeproxy.builders import NODE, endpoint, endpoint_slice, service

LISTING = """\
udp      17 22 src=10.244.1.9 dst=10.96.0.20 sport=4000 dport=80 [UNREPLIED] src=10.244.1.1 dst=10.244.1.9 \
sport=8080 dport=4000 mark=0 use=1
udp      17 118 src=172.31.0.1 dst=172.31.0.11 sport=4001 dport=30053 src=10.244.1.2 dst=172.31.0.11 sport=8080 \
dport=61234 [ASSURED] mark=0 use=1
udp      17 18 src=10.244.1.9 dst=9.9.9.9 sport=4000 dport=53 src=9.9.9.9 dst=10.244.1.9 sport=53 dport=4000 use=1
"""
BY_ADDRESS = Flow("10.96.0.20", 80, "10.244.1.1", 8080)
BY_NODE_PORT = Flow("172.31.0.11", 30053, "10.244.1.2", 8080)
ELSEWHERE = Flow("9.9.9.9", 53, "9.9.9.9", 53)


def fronts(*endpoints, port: int = 8080, **spec):
    slice = endpoint_slice(*endpoints, protocol="UDP", port=port)
    return fronts_of(served_ports(service(protocol="UDP", node_port=30053, **spec), [slice], NODE))


BOTH = fronts(endpoint("10.244.1.1"), endpoint("10.244.1.2"))
FLOWS = parse_flows(LISTING)


def test_the_kernels_listing_is_read():
    assert {BY_ADDRESS, BY_NODE_PORT, ELSEWHERE} == FLOWS
    assert parse_flows("") == set()


def test_flows_to_endpoints_that_serve_are_left_alone_whatever_became_known_of_them_only_now():
    assert stale_flows(FLOWS, {}, BOTH) == []


def test_flows_to_an_endpoint_that_went_are_forgotten_also_if_nobody_saw_it_go():
    for before in (BOTH, {}):
        assert stale_flows(FLOWS, before, fronts(endpoint("10.244.1.2"))) == [BY_ADDRESS]
        assert stale_flows(FLOWS, before, fronts(endpoint("10.244.1.1"))) == [BY_NODE_PORT]


def test_flows_to_an_endpoints_former_port_are_forgotten():
    moved = fronts(endpoint("10.244.1.1"), endpoint("10.244.1.2"), port=9090)
    assert stale_flows(FLOWS, BOTH, moved) == [BY_ADDRESS, BY_NODE_PORT]


def test_flows_from_before_the_first_endpoint_are_forgotten():
    untranslated = Flow("10.96.0.20", 80, "10.96.0.20", 80)
    assert stale_flows({untranslated}, fronts(), BOTH) == [untranslated]


def test_flows_to_what_is_served_no_longer_are_forgotten_and_strangers_are_not():
    assert stale_flows(FLOWS, BOTH, {}) == [BY_ADDRESS, BY_NODE_PORT]
    assert stale_flows(FLOWS, {}, {}) == []
    other = fronts_of(
        served_ports(
            service(ports=[ServicePort(name="http", protocol="UDP", port=81)]),
            [endpoint_slice(endpoint("10.244.1.1"), protocol="UDP")],
            NODE,
        )
    )
    assert stale_flows(FLOWS, BOTH, other) == [BY_ADDRESS, BY_NODE_PORT]


def test_an_endpoint_that_only_gets_no_new_clients_keeps_its_old_ones():
    leaving = endpoint("10.244.1.1", ready=False, serving=True, terminating=True)
    assert stale_flows(FLOWS, BOTH, fronts(leaving, endpoint("10.244.1.2"))) == []
    elsewhere = fronts(endpoint("10.244.1.1"), endpoint("10.244.1.2"), internal_traffic_policy="Local")
    assert stale_flows(FLOWS, BOTH, elsewhere) == []
    asleep = endpoint("10.244.1.1", ready=False, serving=False)
    assert stale_flows(FLOWS, BOTH, fronts(asleep, endpoint("10.244.1.2"))) == [BY_ADDRESS]


def test_a_flow_is_named_to_the_last_port():
    assert " ".join(BY_ADDRESS.arguments()) == (
        "--proto udp --orig-dst 10.96.0.20 --orig-port-dst 80 --reply-src 10.244.1.1 --reply-port-src 8080"
    )


def tcp_ports(*hosts: str):
    return served_ports(service(), [endpoint_slice(*(endpoint(host) for host in hosts))], NODE)


def test_tcp_connections_that_an_endpoint_never_answered_are_forgotten_when_it_goes():
    two, one = tcp_ports("10.244.1.1", "10.244.1.2"), tcp_ports("10.244.1.2")
    (flow,) = unanswered_flows(two, one)
    assert flow == Flow(endpoint="10.244.1.1", protocol="tcp")
    assert flow.arguments() == ["--proto", "tcp", "--state", "SYN_SENT", "--dst-nat", "10.244.1.1"]
    assert unanswered_flows(one, two) == []
    assert unanswered_flows((), one) == []


def test_tcp_connections_are_left_to_find_out_by_themselves_where_very_many_endpoints_go_at_once():
    many = tcp_ports(*(f"10.244.1.{number}" for number in range(1, UNANSWERED_MAX + 2)))
    assert unanswered_flows(many, ()) == []
