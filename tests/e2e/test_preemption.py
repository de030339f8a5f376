"""Pods that drive out others, on real nodes: who leaves, what is told of it, and that the node's new owner runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import RunningCluster, eventually

RESOURCE = "example.com/seats"
SEATS = 5


@pytest.fixture
def node(cluster: RunningCluster) -> Iterator[str]:
    """Give one node five seats, as a device's vendor would: by patching its capacity."""
    name: str = cluster.get("nodes")["items"][0]["metadata"]["name"]

    def put(amount: str | None) -> None:
        patch = json.dumps({"status": {"capacity": {RESOURCE: amount}}})
        cluster.kubectl("patch", "node", name, "--subresource=status", "-p", patch)
        eventually(
            lambda: cluster.get("node", name)["status"]["allocatable"].get(RESOURCE) == amount, 30, "allocatable seats"
        )

    put(str(SEATS))
    for level, value in (("e2e-low", 1), ("e2e-high", 1000)):
        cluster.kubectl("create", "priorityclass", level, f"--value={value}")
    yield name
    cluster.kubectl("delete", "priorityclass", "e2e-low", "e2e-high")
    put(None)


def seated(name: str, priority: str, seats: int, finalizers: tuple[str, ...] = ()) -> dict[str, Any]:
    amounts = {RESOURCE: str(seats)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "finalizers": list(finalizers)},
        "spec": {
            "priorityClassName": priority,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "c",
                    "image": "steersman.local/web:1",
                    "resources": {"requests": amounts, "limits": amounts},
                }
            ],
        },
    }


def test_a_pod_of_higher_priority_takes_the_seats_of_the_lowest_and_all_is_told(
    cluster: RunningCluster, namespace: str, node: str
) -> None:
    def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return cluster.kubectl(*arguments, "-n", namespace, stdin=stdin, check=check).stdout

    def get(name: str) -> dict[str, Any]:
        return cluster.get("pod", name, "-n", namespace)

    def condition(name: str, type: str) -> dict[str, Any]:
        return next(each for each in get(name)["status"]["conditions"] if each["type"] == type)

    def events(name: str) -> list[tuple[str, str]]:
        found = cluster.get("events", "-n", namespace, f"--field-selector=involvedObject.name={name}")["items"]
        return [(each["reason"], each["message"]) for each in found]

    crowd = [seated("low", "e2e-low", 2, ("example.com/hold",)), seated("high", "e2e-high", 3)]
    kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": crowd}))
    kubectl("wait", "--for=condition=Ready", "pod/low", "pod/high", "--timeout=60s")

    # Nobody is lower than this one.
    kubectl("create", "-f", "-", stdin=json.dumps(seated("late", "e2e-low", 1)))
    told = (
        "FailedScheduling",
        f"0/3 nodes are available: 3 Insufficient {RESOURCE}. preemption: 0/3 nodes are available: "
        "1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.",
    )
    eventually(lambda: told in events("late"), 20, "why the late one waits")

    kubectl("create", "-f", "-", stdin=json.dumps(seated("vip", "e2e-high", 1)))
    eventually(lambda: get("low")["metadata"].get("deletionTimestamp"), 20, "the low one leaves")
    said = condition("low", "DisruptionTarget")
    assert (said["status"], said["reason"]) == ("True", "PreemptionByScheduler")
    assert said["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
    vip = get("vip")
    eventually(lambda: get("vip")["status"].get("nominatedNodeName") == node, 10, "the nomination")
    preempted = ("Preempted", f"Preempted by pod {vip['metadata']['uid']} on node {node}")
    eventually(lambda: preempted in events("low"), 10, "the event on the victim")
    assert not get("high")["metadata"].get("deletionTimestamp")

    kubectl("patch", "pod", "low", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl("wait", "--for=condition=Ready", "pod/vip", "--timeout=60s")
    assert get("vip")["spec"]["nodeName"] == node
    # One of the two seats is left, for the one that waited.
    kubectl("wait", "--for=condition=Ready", "pod/late", "--timeout=60s")

    # A critical one drives out the high one too.
    critical = seated("critical", "system-node-critical", 3)
    cluster.kubectl("create", "-n", "kube-system", "-f", "-", stdin=json.dumps(critical))
    try:
        cluster.kubectl("wait", "-n", "kube-system", "--for=condition=Ready", "pod/critical", "--timeout=60s")
    finally:
        cluster.kubectl("delete", "-n", "kube-system", "pod/critical")
    left = {each["metadata"]["name"] for each in cluster.get("pods", "-n", namespace)["items"]}
    assert left == {"vip", "late"} or left == {"high"}, left
