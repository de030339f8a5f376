from __future__ import annotations

from api.core.pod import Pod
from api.meta import ObjectMeta
from kubelet import metrics_pages
from kubelet.metrics_pages import Machine
from kubelet.runtime.records import ContainerRecord, RuntimePod, State


def usage(cpu_s: float, memory: int) -> dict[str, dict[str, object]]:
    return {"cpu": {"usageCoreNanoSeconds": int(cpu_s * 1e9)}, "memory": {"workingSetBytes": memory}}


CONTAINER = {"name": "c", "startTime": "1970-01-01T00:00:10Z", **usage(1.5, 100)}
SUMMARY = {
    "node": {"nodeName": "n", **usage(9, 1000)},
    "pods": [
        {"podRef": {"name": "p", "namespace": "shop", "uid": "u"}, "containers": [CONTAINER], **usage(2, 120)},
    ],
}
POD = Pod(metadata=ObjectMeta(name="p", namespace="shop", uid="u"))
RECORD = ContainerRecord("id1", "c", 0, "s", State.RUNNING, 10.0, 10.0, image="busybox")
RUNTIME = RuntimePod("u", "shop", "p", containers=(RECORD,))


def lines(page: bytes) -> list[str]:
    return [line for line in page.decode().splitlines() if not line.startswith("#")]


def test_resource_metrics_are_those_of_containers_pods_and_the_node() -> None:
    assert lines(metrics_pages.resource(SUMMARY, 60.0)) == [
        'container_cpu_usage_seconds_total{container="c",namespace="shop",pod="p"} 1.5 60000',
        'container_memory_working_set_bytes{container="c",namespace="shop",pod="p"} 100 60000',
        'container_start_time_seconds{container="c",namespace="shop",pod="p"} 10 60000',
        "node_cpu_usage_seconds_total 9 60000",
        "node_memory_working_set_bytes 1000 60000",
        'pod_cpu_usage_seconds_total{namespace="shop",pod="p"} 2 60000',
        'pod_memory_working_set_bytes{namespace="shop",pod="p"} 120 60000',
        "resource_scrape_error 0",
    ]


def test_container_metrics_carry_the_runtimes_names() -> None:
    page = lines(metrics_pages.cadvisor(SUMMARY, Machine(2, 4096), [(POD, RUNTIME)], lambda pod: "/kubepods/u"))
    labels = 'container="c",id="/kubepods/u/id1",image="busybox",name="id1",namespace="shop",pod="p"'
    assert f'container_cpu_usage_seconds_total{{{labels},cpu="total"}} 1.5' in page
    assert f"container_memory_working_set_bytes{{{labels}}} 100" in page
    assert "machine_cpu_cores 2" in page


def test_a_node_without_pods_has_its_pages_too() -> None:
    empty = {"node": SUMMARY["node"], "pods": []}
    assert "resource_scrape_error 0" in lines(metrics_pages.resource(empty, 0.0))
    assert lines(metrics_pages.cadvisor(empty, Machine(1, 1), [], lambda pod: ""))
