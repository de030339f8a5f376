from __future__ import annotations

import msgspec

from api.apiregistration.apiservice import APIService, APIServiceSpec
from api.meta import ObjectMeta
from apiserver.aggregation.availability import Gathered
from apiserver.discovery import RemoteVersion
from apiserver.grpc.discover import discovered
from proto.steersman.v1 import resources_pb2 as pb


def service(version: str, priority: int) -> APIService:
    spec = APIServiceSpec(group="g.example.com", version=version, group_priority_minimum=1, version_priority=priority)
    return APIService(metadata=ObjectMeta(name=f"{version}.g.example.com"), spec=spec)


def test_versions_come_by_preference_and_those_never_heard_of_are_stale() -> None:
    entries = [
        {"resource": "things", "responseKind": {"kind": "Thing"}, "scope": "Namespaced", "verbs": ["get", "list"]},
        {"resource": 3, "verbs": "nonsense"},
    ]
    known = Gathered(RemoteVersion("g.example.com", "v1", 1, 10, msgspec.json.encode(entries), True))
    found = discovered([service("v1beta1", 5), service("v1", 10)], {"v1.g.example.com": known})
    things = pb.ServedKind(plural="things", kind="Thing", namespaced=True, verbs=["get", "list"])
    assert list(found.versions) == [
        pb.ServedVersion(group="g.example.com", version="v1", kinds=[things]),
        pb.ServedVersion(group="g.example.com", version="v1beta1", is_stale=True),
    ]
