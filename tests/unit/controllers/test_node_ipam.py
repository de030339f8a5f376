from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.node import Node
from controllers.actions import Emit, Patch
from controllers.node_ipam import Observed, controller, reconcile


def node(name: str, cidr: str = "") -> Node:
    spec = {"podCIDR": cidr, "podCIDRs": [cidr]} if cidr else {}
    return msgspec.convert({"metadata": {"name": name, "uid": f"u-{name}"}, "spec": spec}, Node)


def given_out(nodes: list[Node], cluster: str = "10.244.0.0/16", length: int = 24) -> dict[str, str]:
    plan = reconcile(Observed(nodes, ipaddress.IPv4Network(cluster), length), 0.0)
    return {step.key.name: step.patch["spec"]["podCIDR"] for step in plan.actions if isinstance(step, Patch)}


def test_nodes_get_the_lowest_free_ranges():
    nodes = [node("a"), node("b", "10.244.0.0/24"), node("c"), node("d", "10.244.2.0/24")]
    assert given_out(nodes) == {"a": "10.244.1.0/24", "c": "10.244.3.0/24"}


def test_a_range_of_another_size_is_not_given_out_again():
    assert given_out([node("a"), node("b", "10.244.0.0/22")]) == {"a": "10.244.4.0/24"}


def test_a_full_cluster_is_told_and_tried_again():
    plan = reconcile(Observed([node("a"), node("b"), node("c")], ipaddress.IPv4Network("10.0.0.0/23"), 24), 0.0)
    (told,) = [action for action in plan.actions if isinstance(action, Emit)]
    assert (told.type, told.reason) == ("Normal", "CIDRNotAvailable")
    assert told.message == "Node c status is now: CIDRNotAvailable"
    assert plan.requeue_after_s == 30


@given(st.lists(st.sampled_from(["", *(f"10.244.{number}.0/24" for number in range(9))]), max_size=12))
def test_no_two_nodes_are_ever_given_the_same_range(present):
    nodes = [node(f"n{number}", cidr) for number, cidr in enumerate(present)]
    made = given_out(nodes)
    assert len(set(made.values())) == len(made) == present.count("")
    assert not set(made.values()) & set(present)


def test_a_range_too_small_is_refused_with_what_would_be_right():
    with pytest.raises(ValueError, match="take 16 to 30"):
        controller("10.244.0.0/16", 12)
