"""Endpoints of Services with a selector, and slices of hand-made Endpoints, over the real API server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.core import endpoints as endpoints_kind
from api.core import pod as pods
from api.core import service as services
from api.core.pod import Pod
from api.core.service import Service
from api.discovery import endpointslice as slices
from api.errors import NotFound
from api.resource import ObjectKey
from controllers.endpoints import ADDRESSES_MAX, compute_subsets
from tests import builders
from tests.unit.controllers.world import World, world

WEB = ObjectKey("default", "web")


def service(**spec: Any) -> Service:
    ports = [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]
    body = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"a": "b"}, "ports": ports, **spec},
    }
    return msgspec.convert(body, Service)


def pod(number: int, *, ready: bool = True, port: int = 8080, going: bool = False, **more: Any) -> Pod:
    container = {"name": "c", "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}]}
    status = {"podIP": f"10.0.{number // 250}.{number % 250}", **more}
    status["conditions"] = [{"type": "Ready", "status": "True" if ready else "False"}]
    metadata = {
        "name": f"p{number}",
        "uid": f"u{number:04}",
        "deletionTimestamp": "2024-01-01T00:00:00Z" if going else "",
    }
    return msgspec.convert({"metadata": metadata, "spec": {"containers": [container]}, "status": status}, Pod)


def shown(subsets: Any) -> list[tuple[list[str], list[str], list[int]]]:
    return [
        (
            [address.ip for address in each.addresses],
            [address.ip for address in each.not_ready_addresses],
            [port.port for port in each.ports],
        )
        for each in subsets
    ]


def test_addresses_are_grouped_by_their_ports_and_readiness() -> None:
    found = [pod(1), pod(2, ready=False), pod(3, port=9090), pod(4, going=True), pod(5, phase="Failed")]
    subsets, is_cut = compute_subsets(service(), found)
    assert shown(subsets) == [(["10.0.0.1"], ["10.0.0.2"], [8080]), (["10.0.0.3"], [], [9090])]
    assert not is_cut
    subsets, _ = compute_subsets(service(publishNotReadyAddresses=True), found[:2] + found[3:4])
    assert shown(subsets) == [(["10.0.0.1", "10.0.0.4", "10.0.0.2"], [], [8080])]


def test_beyond_a_thousand_the_ready_ones_are_kept() -> None:
    found = [pod(number, ready=number >= 10) for number in range(ADDRESSES_MAX + 10)]
    (subset,), is_cut = compute_subsets(service(), found)
    assert (len(subset.addresses), len(subset.not_ready_addresses), is_cut) == (ADDRESSES_MAX, 0, True)


def test_a_headless_service_without_ports_has_addresses_all_the_same() -> None:
    subsets, _ = compute_subsets(service(ports=[], clusterIP="None"), [pod(1)])
    assert shown(subsets) == [(["10.0.0.1"], [], [])]


async def mirrored(at: World) -> list[slices.EndpointSlice]:
    found = (await at.client.list(slices.RESOURCE, "default", label_selector="kubernetes.io/service-name=web")).items
    return [each for each in found if "mirroring" in each.metadata.labels["endpointslice.kubernetes.io/managed-by"]]


@pytest.mark.looptime
async def test_endpoints_follow_the_pods_and_go_with_their_service():
    async with world() as at:
        await at.client.create(services.RESOURCE, service(ports=[{"port": 80}], clusterIP="10.96.0.9"))
        await at.client.create(pods.RESOURCE, builders.pod("p", a="b"))

        async def has_address() -> bool:
            found = await at.client.get(endpoints_kind.RESOURCE, WEB)
            return [address.target_ref.name for each in found.subsets for address in each.addresses] == ["p"]

        await at.until(has_address)
        await at.client.delete(endpoints_kind.RESOURCE, WEB)
        await at.until(has_address)
        assert await mirrored(at) == []
        await at.client.delete(services.RESOURCE, WEB)

        async def is_gone() -> bool:
            try:
                await at.client.get(endpoints_kind.RESOURCE, WEB)
            except NotFound:
                return True
            return False

        await at.until(is_gone)


@pytest.mark.looptime
async def test_hand_made_endpoints_are_mirrored_changed_and_forgotten():
    async with world() as at:
        bare = service(ports=[{"port": 80}], clusterIP="10.96.0.9", selector={})
        await at.client.create(services.RESOURCE, bare)
        subset = {
            "addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
            "notReadyAddresses": [{"ip": "192.0.2.2"}],
            "ports": [{"port": 8080}],
        }
        body = {"metadata": {"name": "web", "namespace": "default", "labels": {"x": "y"}}, "subsets": [subset]}
        await at.client.create(endpoints_kind.RESOURCE, msgspec.convert(body, endpoints_kind.Endpoints))

        async def is_mirrored() -> bool:
            found = {each.address_type: each for each in await mirrored(at)}
            if found.keys() != {"IPv4", "IPv6"}:
                return False
            told = [(one.addresses, one.conditions.ready) for one in found["IPv4"].endpoints]
            assert told == [(["192.0.2.1"], True), (["192.0.2.2"], False)]
            assert found["IPv4"].metadata.labels["x"] == "y"
            assert [port.port for port in found["IPv4"].ports] == [8080]
            return True

        await at.until(is_mirrored)
        change = {"subsets": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 8080}]}]}
        await at.client.patch(endpoints_kind.RESOURCE, WEB, change)

        async def is_changed() -> bool:
            return [one.addresses for each in await mirrored(at) for one in each.endpoints] == [["192.0.2.7"]]

        await at.until(is_changed)
        skip = {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}
        await at.client.patch(endpoints_kind.RESOURCE, WEB, skip)

        async def is_forgotten() -> bool:
            return not await mirrored(at)

        await at.until(is_forgotten)
