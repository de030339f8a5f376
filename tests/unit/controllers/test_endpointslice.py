from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.node import Node
from api.core.pod import Pod
from api.core.service import Service
from api.discovery.endpointslice import EndpointSlice
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import Create, Delete, Emit, Patch
from controllers.endpointslice import ENDPOINTS_MAX, Observed, compute_endpoint, controller, ports_of, reconcile
from controllers.slice_names import slice_name, slice_prefix
from tests.unit.controllers.carry_out import Objects, carry_out, of, steps_of


def service(**spec: Any) -> Service:
    body = {
        "metadata": {"name": "web", "namespace": "default", "uid": "u-web", "labels": {"team": "a"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}], **spec},
    }
    return msgspec.convert(body, Service)


def pod(number: int, *, ready: bool = True, deleted: bool = False, port: int = 8080, **spec: Any) -> Pod:
    metadata = {"name": f"p{number}", "namespace": "default", "uid": f"u-{number}", "labels": {"app": "web"}}
    if deleted:
        metadata["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    container = {"name": "c", "ports": [{"name": "web", "containerPort": port}]}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "podIP": f"10.244.{number // 250}.{number % 250}", "conditions": conditions}
    body = {"metadata": metadata, "spec": {"nodeName": "n1", "containers": [container], **spec}, "status": status}
    return msgspec.convert(body, Pod)


def observe(objects: Objects, made: Service, pods: list[Pod]) -> Observed:
    found: list[EndpointSlice] = of(objects, "endpointslices")
    return Observed(made, pods, found, frozenset(each.metadata.name for each in found), {"n1": "east"})


def test_an_endpoint_says_where_its_pod_is_and_how_it_fares():
    leaving = compute_endpoint(service(), pod(1, deleted=True), "east")
    assert leaving.addresses == ["10.244.0.1"]
    conditions = leaving.conditions
    assert (conditions.ready, conditions.serving, conditions.terminating) == (False, True, True)
    assert (leaving.node_name, leaving.zone, leaving.target_ref.name) == ("n1", "east", "p1")
    unready = compute_endpoint(service(publishNotReadyAddresses=True), pod(1, ready=False), None)
    assert (unready.conditions.ready, unready.conditions.serving) == (True, False)
    named = compute_endpoint(service(), pod(1, hostname="db-0", subdomain="web"), None)
    assert named.hostname == "db-0"


def test_a_slice_says_what_its_name_was_made_of() -> None:
    plan = reconcile(observe({}, service(), [pod(1)]), 0.0)
    [made] = [each.object for each in steps_of(plan) if isinstance(each, Create)]
    metadata = made.metadata
    assert (metadata.generate_name, metadata.name[:4], len(metadata.name)) == ("web-", "web-", 9)
    assert len(slice_name("w" * 253, "")) == 63, "as the API server shortens it"
    assert (slice_prefix("w" * 252)[-1], slice_prefix("w" * 253)[-1]) == ("-", "w"), "a name must stay valid"


def test_a_named_port_is_looked_up_in_each_pod():
    assert ports_of(service(), pod(1, port=8081)) == (("http", "TCP", 8081, None),)
    objects: Objects = {}
    carry_out(reconcile(observe(objects, service(), [pod(1), pod(2, port=9090)]), 0.0), objects)
    assert sorted(each.ports[0].port for each in of(objects, "endpointslices")) == [8080, 9090]


def test_a_service_without_endpoints_has_one_empty_slice():
    objects: Objects = {}
    carry_out(reconcile(observe(objects, service(clusterIP="None"), []), 0.0), objects)
    (only,) = of(objects, "endpointslices")
    assert only.endpoints == []
    assert only.metadata.labels == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "service.kubernetes.io/headless": "",
    }
    assert only.metadata.owner_references[0].uid == "u-web"


def test_one_changed_pod_among_many_rewrites_one_slice():
    objects: Objects = {}
    pods = [pod(number) for number in range(250)]
    carry_out(reconcile(observe(objects, service(), pods), 0.0), objects)
    assert sorted(len(each.endpoints) for each in of(objects, "endpointslices")) == [50, 100, 100]
    pods[120] = pod(120, ready=False)
    steps = list(steps_of(reconcile(observe(objects, service(), pods), 0.0)))
    assert [type(step) for step in steps] == [Patch]


def test_endpoints_appear_before_others_disappear():
    objects: Objects = {}
    carry_out(reconcile(observe(objects, service(), [pod(1)]), 0.0), objects)
    steps = list(steps_of(reconcile(observe(objects, service(), [pod(2, port=9090)]), 0.0)))
    assert [type(step) for step in steps] == [Create, Delete]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sets(st.integers(0, 40), max_size=30), min_size=1, max_size=4), st.integers(1, 3))
def test_slices_always_hold_exactly_the_pods_and_then_stay(rounds, kinds):
    objects: Objects = {}
    for wanted in rounds:
        pods = [pod(number, port=8000 + number % kinds) for number in sorted(wanted)]
        carry_out(reconcile(observe(objects, service(), pods), 0.0), objects)
        found = [(e.target_ref.name, s.ports[0].port) for s in of(objects, "endpointslices") for e in s.endpoints]
        assert sorted(found) == sorted((f"p{number}", 8000 + number % kinds) for number in wanted)
        assert all(len(each.endpoints) <= ENDPOINTS_MAX for each in of(objects, "endpointslices"))
        assert list(steps_of(reconcile(observe(objects, service(), pods), 0.0))) == []


def test_a_wish_for_nearness_comes_and_goes_with_the_service():
    objects: Objects = {}
    for wish, hints in (("PreferClose", ["east"]), (None, [])):
        made = service(trafficDistribution=wish)
        carry_out(reconcile(observe(objects, made, [pod(1), pod(2, ready=False)]), 0.0), objects)
        (only,) = of(objects, "endpointslices")
        first, second = only.endpoints
        assert [zone.name for zone in first.hints.for_zones] == hints if hints else first.hints is None
        assert second.hints is None


AUTO = {"service.kubernetes.io/topology-mode": "Auto"}


def told(made: Service, count: int, *, was: bool) -> list[tuple[str, str, str]]:
    zones = {"n1": "east", "n2": "west"}
    pods = [pod(number, nodeName=f"n{number % 2 + 1}") for number in range(count)]
    observed = Observed(made, pods, [], frozenset(), zones, {"east": 0.5, "west": 0.5}, was)
    plan = reconcile(observed, 0.0)
    return [(step.type, step.reason, step.message) for step in plan.actions if isinstance(step, Emit)]


def test_a_service_is_told_when_its_endpoints_are_shared_out_among_the_zones_and_why_they_are_not():
    plain, auto = service(), service()
    auto.metadata.annotations = AUTO
    enabled = ("Normal", "TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled, addressType: IPv4")
    few = "Insufficient number of endpoints (1 endpoints, 2 zones), addressType: IPv4"
    stopped = "Topology Aware Hints has been disabled, addressType: IPv4"
    assert told(auto, 4, was=False) == [enabled]
    assert told(auto, 4, was=True) == []
    assert told(auto, 1, was=True) == [("Warning", "TopologyAwareHintsDisabled", few)]
    assert told(plain, 4, was=True) == [("Warning", "TopologyAwareHintsDisabled", stopped)]
    assert told(plain, 4, was=False) == []


def test_the_controller_remembers_whose_endpoints_are_shared_out():
    auto = service()
    auto.metadata.annotations = AUTO
    look = controller().observe
    key = ObjectKey("default", "web")
    made = [pod(number, nodeName=f"n{number % 2 + 1}") for number in range(4)]
    nodes = [a_node("n1", "east"), a_node("n2", "west")]
    for svc, was in ((auto, False), (auto, True), (service(), True), (service(), False)):
        caches: Any = Caches({"services": [svc], "pods": made, "nodes": nodes, "endpointslices": []})
        observed = look(key, caches)
        assert observed is not None
        assert observed.was_shared_out is was


def a_node(name: str, zone: str) -> Node:
    status = {"allocatable": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}]}
    body = {"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}, "status": status}
    return msgspec.convert(body, Node)


class Caches:
    """Listers over lists, of which each index holds everything."""

    def __init__(self, objects: dict[str, list[Any]]) -> None:
        self._objects = objects

    def __getitem__(self, resource: Any) -> Any:
        return Cache(self._objects[resource.plural])


class Cache:
    def __init__(self, objects: list[Any]) -> None:
        self._objects = objects

    def get(self, key: ObjectKey) -> Any:
        return next((each for each in self._objects if key_of(each) == key), None)

    def list(self, namespace: str = "") -> list[Any]:
        return self._objects

    def by_index(self, name: str, value: str) -> list[Any]:
        return self._objects
