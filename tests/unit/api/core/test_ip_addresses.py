"""Addresses with zeros before their numbers, which Kubernetes has always taken."""

from __future__ import annotations

import pytest

from api.core.ip_addresses import parse_cidr, parse_ip, plain
from tests.unit.api.builders import made, wrong


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("010.0.0.1", "10.0.0.1"),
        ("10.00.000.001", "10.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("00001::00a", "1::a"),
        ("::", "::"),
        ("256.0.0.1", None),
        ("10.0.0", None),
        ("1::1%eth0", None),
    ],
)
def test_zeros_before_a_number_say_nothing(text: str, means: str | None) -> None:
    found = parse_ip(text)
    assert (str(found) if found is not None else None) == means
    if means is not None:
        assert plain(text) == means


def test_a_range_may_have_them_too() -> None:
    assert str(parse_cidr("010.1.0.0/016")) == "10.1.0.0/16"
    assert parse_cidr("10.0.0.0/33") is None and parse_cidr("10.0.0.0") is None


@pytest.mark.parametrize(
    "text",
    [
        "{apiVersion: v1, kind: Service, spec: {ports: [{port: 80}], externalIPs: [010.1.1.1]}}",
        "{apiVersion: v1, kind: Service, spec: {ports: [{port: 80}], type: LoadBalancer,"
        " loadBalancerSourceRanges: [010.0.0.0/8]}}",
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,"
        " endpoints: [{addresses: [010.0.0.1]}]}",
        "{apiVersion: v1, kind: Endpoints, subsets: [{addresses: [{ip: 010.0.0.1}], ports: [{port: 1}]}]}",
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {},"
        " ingress: [{from: [{ipBlock: {cidr: 010.0.0.0/8, except: [010.01.0.0/16]}}]}]}}",
        "{apiVersion: v1, kind: Node, spec: {podCIDR: 010.244.0.0/24, podCIDRs: [010.244.0.0/24]}}",
    ],
)  # fmt: skip
def test_they_are_taken_wherever_an_address_is_asked_for(text: str) -> None:
    assert wrong(made(text)) == []


def test_an_ingress_is_for_a_name_not_an_address_in_any_spelling() -> None:
    text = (
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {rules: [{host: 010.0.0.1, http: {paths: [{path: /,"
        " pathType: Prefix, backend: {service: {name: a, port: {number: 1}}}}]}}]}}"
    )
    assert [found for found in wrong(made(text)) if found.endswith("must be a DNS name, not an IP address")]
