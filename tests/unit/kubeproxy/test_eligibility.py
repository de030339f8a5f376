"""What load balancers are told of a node."""

from __future__ import annotations

import json

import pytest

from api.core.node import Node, NodeSpec, Taint
from api.meta import ObjectMeta
from kubeproxy.eligibility import is_eligible, page

LEAVING = Taint(key="ToBeDeletedByClusterAutoscaler", effect="NoSchedule")


def test_a_node_that_is_on_its_way_out_is_not_eligible():
    assert is_eligible(Node(metadata=ObjectMeta(name="n1")))
    assert not is_eligible(Node(metadata=ObjectMeta(name="n1", deletion_timestamp="2024-01-01T00:00:00Z")))
    assert not is_eligible(Node(metadata=ObjectMeta(name="n1"), spec=NodeSpec(taints=[LEAVING])))


@pytest.mark.parametrize(
    "is_healthy, eligible, healthz, livez",
    [(True, True, 200, 200), (True, False, 503, 200), (False, True, 503, 503), (False, False, 503, 503)],
)
def test_new_connections_ask_for_more_than_whoever_restarts_processes(is_healthy, eligible, healthz, livez):
    state = {"is_healthy": is_healthy, "is_eligible": eligible, "updated": 1.5, "now": 60.0}
    asked = page("/healthz", **state)
    assert (asked.status, page("/livez", **state).status) == (healthz, livez)
    assert json.loads(asked.body) == {
        "lastUpdated": "1970-01-01 00:01:00.000000 +0000 UTC" if is_healthy else "1970-01-01 00:00:01.500000 +0000 UTC",
        "currentTime": "1970-01-01 00:01:00.000000 +0000 UTC",
        "nodeEligible": eligible,
    }
    assert "nodeEligible" not in json.loads(page("/livez", **state).body)
    assert page("/metrics", **state).status == 404
