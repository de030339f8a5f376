from __future__ import annotations

import random
from typing import Any

import pytest

from api.core.service import Service, ServicePort, ServiceSpec
from api.discovery.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.webhooks.services import ServiceLocator, Unreachable


class _Items:
    def __init__(self, *items: Any) -> None:
        self._items = {ObjectKey(item.metadata.namespace, item.metadata.name): item for item in items}

    def get(self, key: ObjectKey) -> Any:
        return self._items.get(key)

    def list(self, namespace: str | None = None) -> list[Any]:
        return [item for key, item in self._items.items() if namespace in (None, key.namespace)]


def service(**spec: Any) -> Service:
    ports = [ServicePort(name="https", port=443)]
    made = ServiceSpec(**{"cluster_ip": "10.96.0.9", "ports": ports, "selector": {"app": "x"}, **spec})
    return Service(metadata=ObjectMeta(name="w", namespace="a"), spec=made)


def slice_of(*addresses: str, ready: bool | None = True, port: str = "https") -> EndpointSlice:
    conditions = EndpointConditions(ready=ready)
    return EndpointSlice(
        metadata=ObjectMeta(name="w-1", namespace="a", labels={"kubernetes.io/service-name": "w"}),
        address_type="IPv4",
        endpoints=[Endpoint(addresses=[address], conditions=conditions) for address in addresses],
        ports=[EndpointPort(name=port, protocol="TCP", port=8443)],
    )


def locate(found: Service | None, *slices: EndpointSlice, port: int = 443) -> tuple[str, int]:
    services = _Items(*([found] if found is not None else []))
    return ServiceLocator(services, _Items(*slices), random.Random(1))("a", "w", port)


def test_a_ready_endpoint_is_reached_at_the_port_it_listens_on():
    assert locate(service(), slice_of("10.244.0.5")) == ("10.244.0.5", 8443)
    assert locate(service(), slice_of("10.244.0.5", ready=None)) == ("10.244.0.5", 8443)
    assert locate(service(cluster_ip="None"), slice_of("10.244.0.5")) == ("10.244.0.5", 8443)


def test_without_a_keeper_of_endpoints_the_cluster_ip_is_reached():
    assert locate(service(selector={})) == ("10.96.0.9", 443)


def test_another_name_is_reached_under_that():
    assert locate(service(type="ExternalName", external_name="example.com", ports=[])) == ("example.com", 443)


@pytest.mark.parametrize(
    ("found", "slices", "port", "why"),
    [
        (None, [], 443, 'service "w" not found'),
        (service(), [], 8080, 'no service port 8080 found for service "w"'),
        (service(), [slice_of("10.244.0.5", ready=False)], 443, 'no endpoints available for service "w"'),
        (service(), [slice_of("10.244.0.5", port="other")], 443, 'no endpoints available for service "w"'),
        (service(cluster_ip="None", selector={}), [], 443, 'cannot route to service with ClusterIP "None"'),
    ],
)
def test_what_cannot_be_reached_says_why(found: Any, slices: list[Any], port: int, why: str):
    with pytest.raises(Unreachable, match=why):
        locate(found, *slices, port=port)
