"""From which zones endpoints are to be used."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.node import Node, NodeCondition, NodeStatus
from api.core.service import Service, ServiceSpec
from api.discovery.endpointslice import Endpoint, EndpointConditions
from api.meta import ObjectMeta
from controllers.zone_hints import OVERLOAD, ZONE, choose_zones, has_wish, shares_of, why_none

MODE, OLDER = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"


def service(distribution: str | None = None, **annotations: str) -> Service:
    named = {{"mode": MODE, "older": OLDER}[name]: value for name, value in annotations.items()}
    return Service(metadata=ObjectMeta(annotations=named), spec=ServiceSpec(traffic_distribution=distribution))


CLOSE, AUTO = service("PreferClose"), service(mode="Auto")


def endpoints(zones: str, ready: bool = True) -> dict[str, Endpoint]:
    return {
        f"{number:03}{zone}": Endpoint(zone=zone if zone != "-" else None, conditions=EndpointConditions(ready=ready))
        for number, zone in enumerate(zones)
    }


def node(zone: str, cpu: str = "4", *, ready: bool = True, **labels: str) -> Node:
    conditions = [NodeCondition(type="Ready", status="True" if ready else "Unknown")]
    return Node(
        metadata=ObjectMeta(labels=({ZONE: zone} if zone else {}) | labels),
        status=NodeStatus(allocatable={"cpu": cpu}, conditions=conditions),
    )


def test_close_is_an_endpoints_own_zone_and_only_who_is_ready_has_one():
    assert choose_zones(CLOSE, endpoints("ab-"), {}) == {"000a": "a", "001b": "b"}
    assert choose_zones(CLOSE, endpoints("ab", ready=False), {}) == {}
    assert choose_zones(service(), endpoints("ab"), {"a": 0.5, "b": 0.5}) == {}


@pytest.mark.parametrize(
    "svc, wishes",
    [
        (service(), False),
        (CLOSE, True),
        (AUTO, True),
        (service(older="auto"), True),
        (service(mode="Disabled"), False),
        (service(mode="Auto", older="Disabled"), False),
    ],
)
def test_who_wishes_for_traffic_to_stay_near(svc, wishes):
    assert has_wish(svc) == wishes


def test_a_zones_share_is_that_of_its_ready_workers():
    nodes = [node("a"), node("b", "8"), node("b", "500m", ready=False)]
    control = node("c")
    control.metadata.labels["node-role.kubernetes.io/control-plane"] = ""
    assert shares_of([*nodes, control]) == {"a": 4 / 12, "b": 8 / 12}
    assert shares_of([node("a"), node("")]) == {}
    assert shares_of([node("a"), node("b", "0")]) == {}
    assert shares_of([node("a"), node("a")]) == {}


def test_endpoints_stay_in_their_zone_where_each_has_enough():
    half = {"a": 0.5, "b": 0.5}
    assert choose_zones(AUTO, endpoints("aabb"), half) == {"000a": "a", "001a": "a", "002b": "b", "003b": "b"}


def test_a_zone_without_enough_is_given_some_of_anothers():
    chosen = choose_zones(AUTO, endpoints("aaaaaa"), {"a": 0.5, "b": 0.5})
    assert Counter(chosen.values()) == {"a": 3, "b": 3}


def test_there_are_no_hints_where_too_little_is_known_or_the_load_would_be_uneven():
    half = {"a": 0.5, "b": 0.5}
    for zones, shares in (("aabb", {}), ("a", half), ("aabbcc", half), ("aab-", half), ("aba", half)):
        assert choose_zones(AUTO, endpoints(zones), shares) == {}, (zones, shares)


@given(st.text("abc", max_size=40), st.tuples(*[st.integers(1, 64)] * 3))
def test_no_zone_has_more_load_than_a_fifth_over_its_share(zones, cpus):
    shares = {zone: cpu / sum(cpus) for zone, cpu in zip("abc", cpus, strict=True)}
    chosen = choose_zones(AUTO, endpoints(zones), shares)
    if chosen:
        assert len(chosen) == len(zones)
        has = Counter(chosen.values())
        for zone, share in shares.items():
            assert share * len(zones) / has[zone] <= 1 + OVERLOAD + 1e-9
    assert choose_zones(AUTO, endpoints(zones), shares) == chosen


@pytest.mark.parametrize(
    ("zones", "shares", "why"),
    [
        ("ab", {}, "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"),
        ("a", {"a": 0.5, "b": 0.5}, "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        (
            "aab",
            {"a": 0.5, "b": 0.5},
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
            " (3 endpoints, 2 zones)",
        ),
        ("aab-", {"a": 0.5, "b": 0.5}, "One or more endpoints do not have a zone specified"),
        ("aacc", {"a": 0.5, "b": 0.5}, "No hints allocated for zones"),
    ],
)
def test_why_there_are_no_hints(zones: str, shares: dict[str, float], why: str):
    assert choose_zones(AUTO, endpoints(zones), shares) == {}
    assert why_none(endpoints(zones).values(), shares) == why
