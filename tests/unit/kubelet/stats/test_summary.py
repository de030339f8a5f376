from __future__ import annotations

import os
from pathlib import Path

from api.core.pod import Pod, PodSpec
from api.core.volumes import EmptyDirVolumeSource, Volume
from api.meta import ObjectMeta
from kubelet.cgroups import Cgroups, GroupUsage
from kubelet.paths import Paths
from kubelet.runtime.records import ContainerRecord, RuntimePod, State
from kubelet.stats import storage, summary, system

UID = "u1"
VOLUMES = [
    Volume(name="scratch", empty_dir=EmptyDirVolumeSource()),
    Volume(name="fast", empty_dir=EmptyDirVolumeSource(medium="Memory")),
]


def a_pod() -> Pod:
    return Pod(metadata=ObjectMeta(name="p", namespace="shop", uid=UID), spec=PodSpec(volumes=list(VOLUMES)))


def groups(mount: Path, limit: str = "max") -> Cgroups:
    """Of cgroup v2, with one pod that has two groups below its own."""
    (mount / "cgroup.controllers").parent.mkdir(parents=True, exist_ok=True)
    (mount / "cgroup.controllers").write_text("cpu memory pids")
    cgroups = Cgroups("/kubepods", mount)
    of_pod = mount / cgroups.parent(a_pod()).strip("/")
    for group, processes in ((mount / "kubepods", ""), (of_pod, ""), (of_pod / "c1", "7\n8\n"), (of_pod / "s1", "6\n")):
        group.mkdir(parents=True, exist_ok=True)
        (group / "cpu.stat").write_text("usage_usec 2000\n")
        (group / "memory.current").write_text("9000")
        (group / "memory.max").write_text(limit)
        (group / "memory.stat").write_text("anon 3000\nfile 6000\ninactive_file 1000\npgfault 12\npgmajfault 1\n")
        (group / "cgroup.procs").write_text(processes)
    return cgroups


def running(directory: Path) -> RuntimePod:
    log = directory / "logs" / "main" / "0.log"
    log.parent.mkdir(parents=True)
    log.write_text("x" * 5000)
    record = ContainerRecord("c1", "main", 0, "s1", State.RUNNING, 0.0, 1.0, log_path=str(log))
    return RuntimePod(UID, "shop", "p", containers=[record])


def test_a_container_with_a_limit_has_what_is_left_of_it(tmp_path: Path):
    pods = [(a_pod(), running(tmp_path))]
    for limit, available in (("20000", 12000), ("max", None)):
        told = summary.summary("n", pods, groups(tmp_path / limit, limit), 100.0, summary.Rates())
        (pod,) = told["pods"]
        (container,) = pod["containers"]
        assert container["memory"].get("availableBytes") == pod["memory"].get("availableBytes") == available
        assert container["memory"]["workingSetBytes"] == 8000
        assert container["memory"]["rssBytes"] == 3000


def test_version_ones_largest_number_is_no_limit(tmp_path: Path):
    (tmp_path / "memory" / "g").mkdir(parents=True)
    file = tmp_path / "memory" / "g" / "memory.limit_in_bytes"
    for written, limit in (("9223372036854771712", 0), ("1048576", 1 << 20)):
        file.write_text(written)
        assert Cgroups("/kubepods", tmp_path).usage("/g").limit_bytes == limit


def test_the_node_tells_of_its_own_processes_and_of_all_pods_together(tmp_path: Path):
    own = {"kubelet": system.Process(1, 50.0, GroupUsage(1, 2, 0, 2, 3, 0))}
    told = summary.summary("n", [], groups(tmp_path), 100.0, summary.Rates(), 10.0, own)
    kubelet, pods = told["node"]["systemContainers"]
    assert (kubelet["name"], kubelet["memory"]["usageBytes"], kubelet["startTime"]) == (
        "kubelet",
        2,
        "1970-01-01T00:00:50Z",
    )
    assert "availableBytes" not in kubelet["memory"]
    assert pods["name"] == "pods" and pods["memory"]["workingSetBytes"] == 8000
    assert pods["memory"]["availableBytes"] > 8000, "no limit of the group: the machine's"
    assert told["node"]["memory"].keys() >= {
        "usageBytes",
        "rssBytes",
        "pageFaults",
        "majorPageFaults",
        "availableBytes",
    }


def test_more_is_told_of_networks_file_systems_volumes_and_processes(tmp_path: Path):
    cgroups, paths = groups(tmp_path / "groups"), Paths(tmp_path / "kubelet")
    scratch = paths.volume(UID, "empty-dir", "scratch")
    scratch.mkdir(parents=True)
    (scratch / "file").write_text("y" * 10_000)
    paths.volume(UID, "empty-dir", "fast").mkdir(parents=True)
    pods = [(a_pod(), running(tmp_path))]
    stored = storage.measure(*pods[0], {"c1": storage.Held(4096, 2)}, paths)
    told = summary.fill(
        summary.summary("n", pods, cgroups, 100.0, summary.Rates()),
        pods, cgroups, 100.0, tmp_path, lambda uid: {"data": ("claim", tmp_path)}, {UID: stored},
    )  # fmt: skip
    (pod,) = told["pods"]
    (container,) = pod["containers"]
    assert (container["rootfs"]["usedBytes"], container["rootfs"]["inodesUsed"]) == (4096, 2)
    assert container["logs"]["usedBytes"] >= 5000 and container["logs"]["inodesUsed"] == 2
    assert container["rootfs"]["capacityBytes"] == told["node"]["fs"]["capacityBytes"]
    volumes = {each["name"]: each for each in pod["volume"]}
    assert volumes.keys() == {"scratch", "fast", "data"}
    assert volumes["scratch"]["usedBytes"] >= 10_000 and volumes["scratch"]["inodesUsed"] == 2
    assert volumes["data"]["pvcRef"] == {"name": "claim", "namespace": "shop"}
    on_disk = container["rootfs"]["usedBytes"] + container["logs"]["usedBytes"] + volumes["scratch"]["usedBytes"]
    assert pod["ephemeral-storage"]["usedBytes"] == on_disk
    assert pod["process_stats"] == {"process_count": 3}
    assert told["node"]["network"]["interfaces"] is not None


def test_a_file_of_two_names_counts_once(tmp_path: Path):
    (tmp_path / "a").write_text("z" * 8192)
    alone = storage.tree(tmp_path)
    os.link(tmp_path / "a", tmp_path / "b")
    assert storage.tree(tmp_path) == alone


def test_this_process_is_read_and_one_that_is_gone_is_not(tmp_path: Path):
    cgroups = groups(tmp_path)
    found = system.process(os.getpid(), cgroups)
    assert found is not None and found.usage.cpu_ns > 0 and found.usage.rss_bytes > 1 << 20
    assert found.usage.used_bytes >= found.usage.rss_bytes
    assert system.process(1 << 30, cgroups) is None


def test_nobody_listens_where_nothing_is(tmp_path: Path):
    assert system.listener(f"unix://{tmp_path}/none.sock") == 0
