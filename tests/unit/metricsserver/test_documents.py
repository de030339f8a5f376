from __future__ import annotations

import pytest

from metricsserver import documents
from metricsserver.asking import Kubelet, kubelet_of
from metricsserver.samples import Usage
from metricsserver.server import is_front_proxy

POD = {"name": "p", "namespace": "shop", "labels": {"a": "b"}, "uid": "u"}


def test_a_pod_is_told_as_metrics_servers_tell_it():
    usages = {"b": Usage(0.25, 4096, 61.5, 15.0044), "a": Usage(1e-9, 1024, 60, 75)}
    assert documents.of_pod(POD, usages, 90) == {
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {
            "name": "p", "namespace": "shop", "labels": {"a": "b"}, "creationTimestamp": "1970-01-01T00:01:30Z"
        },
        "timestamp": "1970-01-01T00:01:00Z",
        "window": "1m15s",
        "containers": [
            {"name": "a", "usage": {"cpu": "1n", "memory": "1Ki"}},
            {"name": "b", "usage": {"cpu": "250000000n", "memory": "4Ki"}},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"), [(15, "15s"), (15.0044, "15.004s"), (0.5, "0.5s"), (60, "1m0s"), (3725.25, "1h2m5.25s")]
)
def test_windows_are_durations_as_go_writes_them(seconds: float, text: str):
    assert documents.of_node({"name": "n"}, Usage(1, 0, 0, seconds), 0)["window"] == text


def test_a_table_sums_up_a_pods_containers():
    item = documents.of_pod(POD, {"a": Usage(0.1, 1024, 1, 15), "b": Usage(0.2, 2048, 1, 15)}, 2)
    shown = documents.table([item], documents.usages_in)
    assert [column["name"] for column in shown["columnDefinitions"]] == ["Name", "cpu", "memory", "window"]
    assert shown["rows"][0]["cells"] == ["p", "300000000n", "3Ki", "15s"]
    assert shown["rows"][0]["object"]["metadata"]["namespace"] == "shop"


def test_a_kubelet_is_at_the_nodes_internal_address_and_the_port_it_says():
    addresses = [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}]
    node = {"metadata": {"name": "n"}, "status": {"addresses": addresses}}
    assert kubelet_of(node) == Kubelet("n", "10.0.0.1", 10250)
    node["status"]["daemonEndpoints"] = {"kubeletEndpoint": {"Port": 7}}
    assert kubelet_of(node) == Kubelet("n", "10.0.0.1", 7)
    assert kubelet_of({"metadata": {"name": "n"}}) is None


def test_only_the_front_proxys_names_are_let_in():
    certificate = {"subject": ((("commonName", "front-proxy-client"),),)}
    assert is_front_proxy(certificate, ["front-proxy-client"]) and is_front_proxy(certificate, [])
    assert not is_front_proxy(certificate, ["another"])
    assert not is_front_proxy(None, []) and not is_front_proxy({}, [])
