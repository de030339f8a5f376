from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from api.apiregistration.apiservice import APIService, APIServiceSpec, ServiceReference
from api.core.endpoints import EndpointAddress, EndpointPort, Endpoints, EndpointSubset
from api.core.service import Service, ServicePort, ServiceSpec
from api.discovery import endpointslice as slices
from api.meta import ObjectMeta
from apiserver.aggregation.availability import LOCAL, Availability, judge
from apiserver.aggregation.servers import identity_headers
from apiserver.discovery import entries_of_legacy
from apiserver.request import User


def an_apiservice() -> APIService:
    ref = ServiceReference(namespace="a", name="s", port=443)
    return APIService(spec=APIServiceSpec(group="g", version="v1", service=ref))


def a_service(type: str = "ClusterIP", port: int = 443) -> Service:
    return Service(
        metadata=ObjectMeta(name="s"), spec=ServiceSpec(type=type, ports=[ServicePort(name="https", port=port)])
    )


def a_slice(port_name: str = "https", *, ready: bool = True) -> slices.EndpointSlice:
    endpoint = slices.Endpoint(addresses=["10.0.0.1"], conditions=slices.EndpointConditions(ready=ready))
    port = slices.EndpointPort(name=port_name, port=8443, protocol="TCP")
    return slices.EndpointSlice(address_type="IPv4", endpoints=[endpoint], ports=[port])


def by_hand() -> Endpoints:
    address, port = EndpointAddress(ip="10.0.0.1"), EndpointPort(name="https", port=8443)
    return Endpoints(subsets=[EndpointSubset(addresses=[address], ports=[port])])


@pytest.mark.parametrize(
    ("service", "listed", "kept", "reason"),
    [
        (None, [], None, "ServiceNotFound"),
        (a_service(port=80), [a_slice()], None, "ServicePortError"),
        (a_service(), [], None, "EndpointsNotFound"),
        (a_service(), [a_slice(ready=False)], None, "MissingEndpoints"),
        (a_service(), [a_slice("other")], None, "MissingEndpoints"),
        (a_service(), [], Endpoints(), "MissingEndpoints"),
        (a_service(), [a_slice()], None, ""),
        (a_service(), [], by_hand(), ""),
        (a_service("ExternalName"), [], None, ""),
    ],
)
def test_what_can_be_said_without_asking(service, listed, kept, reason: str) -> None:
    found = judge(an_apiservice(), service, listed, kept)
    assert (found.reason if found is not None else "") == reason
    assert found is None or found.status == "False"


def test_what_is_served_here_is_available() -> None:
    assert judge(APIService(), None, [], None) is LOCAL


def test_users_are_told_of_in_headers() -> None:
    user = User("ann", "7", ("a", "b"), {"example.org/scopes": ("x", "y"), "50%": ("z",)})
    assert list(identity_headers(user)) == [
        ("X-Remote-User", "ann"),
        ("X-Remote-Uid", "7"),
        ("X-Remote-Group", "a"),
        ("X-Remote-Group", "b"),
        ("X-Remote-Extra-example.org%2Fscopes", "x"),
        ("X-Remote-Extra-example.org%2Fscopes", "y"),
        ("X-Remote-Extra-50%25", "z"),
    ]


def test_legacy_lists_become_aggregated_entries() -> None:
    verbs = ["list", "get"]
    legacy = [
        {"name": "pandas", "kind": "Panda", "namespaced": True, "verbs": verbs, "shortNames": ["pd"]},
        {"name": "pandas/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]},
        {"name": "lost/status", "kind": "Lost", "verbs": ["get"]},
    ]
    assert entries_of_legacy("g", "v1", legacy) == [
        {
            "resource": "pandas",
            "scope": "Namespaced",
            "singularResource": "panda",
            "responseKind": {"group": "g", "version": "v1", "kind": "Panda"},
            "verbs": ["get", "list"],
            "shortNames": ["pd"],
            "subresources": [
                {
                    "subresource": "scale",
                    "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
                    "verbs": ["get"],
                }
            ],
        }
    ]


class Saying:
    """Another server, which answers every path with what it is told to."""

    def __init__(self, said: Any, content_type: str = "application/json") -> None:
        self.said, self.content_type = said, content_type
        self.without_openapi_v3: set[str] = set()

    async def get(self, wanted: APIService, path: str, accept: str, *, timeout_s: float) -> tuple[int, str, bytes]:
        return 200, self.content_type, json.dumps(self.said).encode()


AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def an_aggregated(resources: Any) -> dict[str, Any]:
    return {"items": [{"metadata": {"name": "g"}, "versions": [{"version": "v1", "resources": resources}]}]}


async def gathered_from(saying: Saying) -> Any:
    found = Availability(SimpleNamespace(), saying, SimpleNamespace())  # type: ignore[arg-type]
    await found._gather(an_apiservice(), is_well=True)
    (only,) = found.gathered.values()
    return only


@pytest.mark.parametrize(
    "said",
    [
        Saying([]), Saying("well"), Saying(None), Saying({"resources": 3}), Saying({"resources": ["pandas"]}),
        Saying({"resources": [{"kind": "Panda"}]}), Saying({"resources": [{"name": "pandas", "verbs": [1]}]}),
        Saying([], AGGREGATED), Saying({"items": None}, AGGREGATED), Saying({"items": [3]}, AGGREGATED),
        Saying(an_aggregated({"a": 1}), AGGREGATED), Saying(an_aggregated([3]), AGGREGATED),
        Saying(an_aggregated([{"resource": "pandas", "responseKind": "Panda"}]), AGGREGATED),
        Saying({"resources": [], "definitions": {"a": 3}, "paths": 3}),
    ],
)  # fmt: skip
async def test_what_a_server_says_wrongly_is_its_own_affair(said: Saying) -> None:
    """It is no reason to know nothing of the other servers, nor to say nothing of this one."""
    assert (await gathered_from(said)).version.resources == b"[]"


async def test_what_a_server_says_rightly_is_passed_on_whole() -> None:
    panda = {"resource": "pandas", "responseKind": {"kind": "Panda"}, "verbs": ["get"], "later": 1}
    found = await gathered_from(Saying(an_aggregated([panda]), AGGREGATED))
    assert (json.loads(found.version.resources), found.version.is_fresh) == ([panda], True)
