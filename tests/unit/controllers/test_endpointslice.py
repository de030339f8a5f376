from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from api.core.pod import Pod
from api.core.service import Service
from api.discovery.endpointslice import EndpointSlice
from controllers.actions import Create, Delete, Patch
from controllers.endpointslice import ENDPOINTS_MAX, Observed, compute_endpoint, ports_of, reconcile
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
