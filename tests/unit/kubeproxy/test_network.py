"""Routes and CNI configuration."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from api.core.node import Node, NodeAddress, NodeSpec, NodeStatus
from api.meta import ObjectMeta
from kubeproxy.network import PeerRoute, cni_configuration, peer_routes, plan_routes

NETWORK = [IPv4Network("172.31.0.0/24")]


def node(name: str, cidr: str, address: str) -> Node:
    return Node(
        metadata=ObjectMeta(name=name),
        spec=NodeSpec(pod_cidr=cidr),
        status=NodeStatus(addresses=[NodeAddress(type="InternalIP", address=address)] if address else []),
    )


def test_every_peer_in_our_network_gets_a_route_and_we_do_not():
    nodes = [
        node("n1", "10.244.1.0/24", "172.31.0.11"),
        node("n2", "10.244.2.0/24", "172.31.0.12"),
        node("far", "10.244.3.0/24", "192.0.2.1"),
        node("new", "", "172.31.0.13"),
        node("silent", "10.244.4.0/24", ""),
    ]
    assert peer_routes(nodes, "n1", NETWORK) == [PeerRoute("10.244.2.0/24", "172.31.0.12")]


def test_only_routes_that_differ_are_touched():
    wanted = [PeerRoute("10.244.2.0/24", "172.31.0.12"), PeerRoute("10.244.3.0/24", "172.31.0.13")]
    present = {"10.244.2.0/24": "172.31.0.12", "10.244.3.0/24": "172.31.0.99", "10.244.9.0/24": "172.31.0.19"}
    assert plan_routes(wanted, present) == [
        "route delete 10.244.9.0/24 proto 77",
        "route replace 10.244.3.0/24 via 172.31.0.13 proto 77",
    ]
    assert plan_routes(wanted, {route.pod_cidr: route.via for route in wanted}) == []


def test_pods_get_their_addresses_from_the_nodes_own_range():
    configuration = cni_configuration("10.244.1.0/24", "cni0", Path("/x/ipam"), 1400)
    bridge, portmap = configuration["plugins"]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    assert (bridge["hairpinMode"], bridge["mtu"], bridge["bridge"]) == (True, 1400, "cni0")
    assert portmap["capabilities"] == {"portMappings": True}
