from __future__ import annotations

from pathlib import Path

from api.core.pod import Pod
from api.meta import ObjectMeta
from component.metrics import render
from kubelet import metrics, metrics_pages
from kubelet.cgroups import DeviceUsage, GroupUsage
from kubelet.metrics_pages import Machine
from kubelet.runtime.records import ContainerRecord, RuntimePod, State
from kubelet.stats import summary


def usage(cpu_s: float, memory: int) -> dict[str, dict[str, object]]:
    return {
        "cpu": {"usageCoreNanoSeconds": int(cpu_s * 1e9)},
        "memory": {"workingSetBytes": memory},
        "swap": {"swapUsageBytes": memory // 10},
    }


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
        'container_swap_usage_bytes{container="c",namespace="shop",pod="p"} 10 60000',
        "node_cpu_usage_seconds_total 9 60000",
        "node_memory_working_set_bytes 1000 60000",
        "node_swap_usage_bytes 100 60000",
        'pod_cpu_usage_seconds_total{namespace="shop",pod="p"} 2 60000',
        'pod_memory_working_set_bytes{namespace="shop",pod="p"} 120 60000',
        'pod_swap_usage_bytes{namespace="shop",pod="p"} 12 60000',
        "resource_scrape_error 0",
    ]


def test_container_metrics_carry_the_runtimes_names() -> None:
    carried = dict.fromkeys(["rxBytes", "rxPackets", "rxErrors", "rxDropped", "txPackets", "txErrors", "txDropped"], 3)
    networks = {"u": [{"name": "eth0", "txBytes": 9, **carried}]}

    def used(group: str) -> GroupUsage:
        limited = {"periods": 10, "throttled_periods": 2, "throttled_ns": 500_000_000} if group.endswith("id1") else {}
        return GroupUsage(1_500_000_000, 150, 50, 40, 7, 1, cached_bytes=60, limit_bytes=1024, **limited)

    def disks(group: str) -> dict[str, DeviceUsage]:
        return {"/dev/vda": DeviceUsage(4096, 8192, 1, 2)} if group.endswith("id1") else {}

    pods = [(POD, RUNTIME)]
    page = lines(metrics_pages.cadvisor(networks, Machine(2, 4096), pods, lambda pod: "/kubepods/u", used, disks, 60.5))
    labels = 'container="c",id="/kubepods/u/id1",image="busybox",name="id1",namespace="shop",pod="p"'
    assert f'container_cpu_usage_seconds_total{{{labels},cpu="total"}} 1.5' in page
    assert f"container_memory_working_set_bytes{{{labels}}} 100" in page
    assert f"container_memory_usage_bytes{{{labels}}} 150" in page
    assert f"container_memory_cache{{{labels}}} 60" in page
    assert f"container_spec_memory_limit_bytes{{{labels}}} 1024" in page
    assert f"container_last_seen{{{labels}}} 60" in page
    with_disk = labels.replace(',id="', ',device="/dev/vda",id="')
    assert f"container_fs_writes_bytes_total{{{with_disk}}} 8192" in page
    assert [line for line in page if line.startswith("container_fs_reads_total")] == [
        f"container_fs_reads_total{{{with_disk}}} 1"
    ]
    fault = labels.replace(',id="', ',failure_type="pgmajfault",id="') + ',scope="hierarchy"'
    assert f"container_memory_failures_total{{{fault}}} 1" in page
    throttled = [line for line in page if line.startswith("container_cpu_cfs_throttled_seconds_total")]
    assert throttled == [f"container_cpu_cfs_throttled_seconds_total{{{labels}}} 0.5"]  # the others have no limit
    pod = 'container="",id="/kubepods/u",image="",interface="eth0",name="",namespace="shop",pod="p"'
    assert f"container_network_transmit_bytes_total{{{pod}}} 9" in page
    assert f"container_network_receive_packets_dropped_total{{{pod}}} 3" in page
    assert any(line.startswith('container_cpu_usage_seconds_total{container="",id="/",') for line in page)
    assert "machine_cpu_cores 2" in page


def test_volumes_of_claims_are_told_by_their_claims() -> None:
    file_system = {"capacityBytes": 100, "availableBytes": 60, "usedBytes": 40, "inodes": 9, "inodesFree": 8}
    volume = {"name": "data", "pvcRef": {"name": "c", "namespace": "shop"}, "inodesUsed": 1, **file_system}
    page = lines(render(metrics_pages.kubelet("n", [], [volume])))
    assert 'kubelet_volume_stats_used_bytes{namespace="shop",persistentvolumeclaim="c"} 40' in page


def test_interfaces_are_read_but_loopback() -> None:
    text = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    2000      20    1    2    0     0          0         0     3000      30    3    4    0     0       0          0
"""  # noqa: E501
    (found,) = summary.interfaces(text)
    assert found == {
        "name": "eth0", "rxBytes": 2000, "rxPackets": 20, "rxErrors": 1, "rxDropped": 2,
        "txBytes": 3000, "txPackets": 30, "txErrors": 3, "txDropped": 4,
    }  # fmt: skip


def test_calls_of_the_runtime_have_upstreams_names() -> None:
    named = [metrics.operation(f"{name}Request") for name in ("RunPodSandbox", "CreateContainer", "PullImage", "Exec")]
    assert named == ["run_podsandbox", "create_container", "pull_image", "exec"]


def test_a_node_without_pods_has_its_pages_too() -> None:
    empty = {"node": SUMMARY["node"], "pods": []}
    assert "resource_scrape_error 0" in lines(metrics_pages.resource(empty, 0.0))
    assert lines(
        metrics_pages.cadvisor(
            {}, Machine(1, 1), [], lambda pod: "", lambda group: GroupUsage(0, 0, 0, 0, 0, 0), lambda group: {}, 0
        )
    )


def test_volumes_are_told_without_reading_anything_else(tmp_path: Path) -> None:
    other = (Pod(metadata=ObjectMeta(name="q", namespace="shop", uid="v")), RuntimePod("v", "shop", "q"))
    claims = {"u": {"data": ("c", tmp_path), "gone": ("d", tmp_path / "gone")}, "v": {}}
    (found,) = summary.volumes([(POD, RUNTIME), other], lambda uid: claims[uid], 0.0)
    assert (found["name"], found["pvcRef"]) == ("data", {"name": "c", "namespace": "shop"})
    assert found["capacityBytes"] > 0


def test_requests_for_anything_have_one_series_where_there_is_no_page() -> None:
    for path in ("/nothing/here", "/else?a=b", "/metrics/cadvisor", "/exec/a/b/c?command=x"):
        with metrics.serving("GET", path, is_long=False):
            pass
    with metrics.serving("BREW", "/pods", is_long=False):
        pass
    page = lines(render([metrics.REQUESTS]))
    counted = {line.partition("{")[2].partition("}")[0] for line in page}
    told = {(part[1], part[2]) for part in (labels.split(",") for labels in counted)}
    wanted = [("GET", "other"), ("GET", "metrics"), ("GET", "exec"), ("other", "pods")]
    assert told >= {(f'method="{method}"', f'path="{path}"') for method, path in wanted}
    assert not any("nothing" in path or "else" in path or "?" in path for _, path in told)
