from __future__ import annotations

import msgspec

from api.core.pod import Pod
from kubelet.cgroups import Cgroups, DeviceUsage, PodLimits, pod_limits
from kubelet.qos import oom_score_adj, qos_class
from kubelet.runtime.containers import cpu_quota_us, cpu_shares
from tests.unit.kubelet.builders import UID, pod


def with_resources(*resources: dict[str, dict[str, str]], **spec: object) -> Pod:
    p = pod(**spec)
    listed = [{"name": f"c{n}", "image": "i:1", "resources": r} for n, r in enumerate(resources)]
    body = msgspec.to_builtins(p)
    body["spec"]["containers"] = listed
    return msgspec.convert(body, Pod)


FULL = {"limits": {"cpu": "500m", "memory": "64Mi"}}


def test_the_class_follows_from_requests_and_limits():
    assert qos_class(with_resources({})) == "BestEffort"
    assert qos_class(with_resources(FULL)) == "Guaranteed"
    assert qos_class(with_resources(FULL, {})) == "Burstable"
    assert qos_class(with_resources({"requests": {"cpu": "1m"}})) == "Burstable"
    assert qos_class(with_resources(FULL | {"requests": {"cpu": "0.5", "memory": "64Mi"}})) == "Guaranteed"
    assert qos_class(with_resources(FULL | {"requests": {"cpu": "100m"}})) == "Burstable"


def test_who_asks_for_more_memory_is_killed_later():
    total = 1 << 30
    scores = []
    for p in (
        with_resources({}),
        with_resources({"requests": {"memory": "1Mi"}}),
        with_resources({"requests": {"memory": "512Mi"}}),
        with_resources({"requests": {"memory": "2Gi"}}),
        with_resources(FULL),
    ):
        scores.append(oom_score_adj(p, p.spec.containers[0], total))
    assert scores == [1000, 999, 500, 3, -997]


def test_cpu_becomes_shares_and_quota():
    assert [cpu_shares(m) for m in (0, 1, 500, 1000)] == [2, 2, 512, 1024]
    assert [cpu_quota_us(m) for m in (0, 1, 200, 1500)] == [0, 1000, 20_000, 150_000]


def test_a_pods_limits_are_sums_unless_a_container_has_none():
    assert pod_limits(with_resources(FULL, FULL)) == PodLimits(0, 1000, 128 << 20)
    assert pod_limits(with_resources(FULL, {"requests": {"cpu": "1"}})) == PodLimits(1000, None, None)


def test_a_runtimes_overhead_comes_on_top_of_requests_and_of_limits_there_are():
    overhead = {"cpu": "250m", "memory": "8Mi"}
    limited = with_resources(FULL)
    limited.spec.overhead = overhead
    assert pod_limits(limited) == PodLimits(250, 750, 72 << 20)
    unlimited = with_resources({"requests": {"cpu": "1"}})
    unlimited.spec.overhead = overhead
    assert pod_limits(unlimited) == PodLimits(1250, None, None)


def test_groups_are_made_limited_and_removed_in_every_hierarchy(tmp_path):
    for name in ("cpu", "memory", "pids"):
        (tmp_path / name).mkdir()
    cgroups = Cgroups("/n1/kubepods", tmp_path)
    p = with_resources({"requests": {"cpu": "1"}})
    assert cgroups.parent(p) == f"/n1/kubepods/burstable/pod{UID}"
    cgroups.make(p)
    group = tmp_path / "cpu" / "n1" / "kubepods" / "burstable" / f"pod{UID}"
    assert (group / "cpu.shares").read_text() == "1024"
    assert cgroups.uids() == {UID}
    (group / "cpu.shares").unlink()  # in a real hierarchy files vanish with their group
    cgroups.remove(UID)
    assert cgroups.uids() == set()


def test_pods_that_ask_for_nothing_weigh_the_least_together(tmp_path):
    for is_v2, name, expected in ((False, "cpu/kubepods", ("1536", "2")), (True, "kubepods", ("58", "1"))):
        mount = tmp_path / str(is_v2)
        (mount / "cpu").mkdir(parents=True)
        if is_v2:
            (mount / "cgroup.controllers").write_text("cpu")
        cgroups = Cgroups("kubepods", mount)
        for uid, resources in (("a", {"requests": {"cpu": "1"}}), ("b", {"requests": {"cpu": "500m"}}), ("c", {})):
            p = with_resources(resources)
            p.metadata.uid = uid
            cgroups.make(p)
        file = "cpu.weight" if is_v2 else "cpu.shares"
        assert tuple((mount / name / each / file).read_text() for each in ("burstable", "besteffort")) == expected


def test_version_two_has_one_hierarchy_and_weights(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    cgroups = Cgroups("kubepods", tmp_path)
    p = with_resources(FULL)
    cgroups.make(p)
    group = tmp_path / "kubepods" / f"pod{UID}"
    assert (group / "cpu.max").read_text() == "50000 100000"
    assert (group / "memory.max").read_text() == str(64 << 20)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids +io"


def test_all_pods_together_may_have_what_the_node_has(tmp_path):
    for is_v2 in (False, True):
        mount = tmp_path / str(is_v2)
        mount.mkdir()
        if is_v2:
            (mount / "cgroup.controllers").write_text("cpu memory pids")
        else:
            for name in ("cpu", "memory", "pids"):
                (mount / name).mkdir()
        Cgroups("kubepods", mount).make_root(4, 8 << 30)
        memory = mount / ("kubepods/memory.max" if is_v2 else "memory/kubepods/memory.limit_in_bytes")
        assert memory.read_text() == str(8 << 30)
        cpu = mount / ("kubepods/cpu.weight" if is_v2 else "cpu/kubepods/cpu.shares")
        assert cpu.read_text() == ("157" if is_v2 else "4096")
        groups = mount / ("kubepods" if is_v2 else "pids/kubepods")
        assert {each.name for each in groups.iterdir() if each.is_dir()} == {"burstable", "besteffort"}


def test_what_went_to_and_from_disks_is_told_by_each(tmp_path):
    told = {
        "blkio/g/blkio.throttle.io_service_bytes_recursive": "0:9999 Read 4096\n0:9999 Write 512\n0:9999 Sync 9\n",
        "blkio/g/blkio.throttle.io_serviced_recursive": "0:9999 Read 2\n0:9999 Write 1\n0:9998 Read 0\nTotal 3\n",
        "g/io.stat": "0:9999 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n0:9998 rbytes=0\n",
    }
    for file, text in told.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    expected = {"0:9999": DeviceUsage(4096, 512, 2, 1)}
    assert Cgroups("kubepods", tmp_path).disks("/g") == expected
    (tmp_path / "cgroup.controllers").write_text("io")
    assert Cgroups("kubepods", tmp_path).disks("/g") == expected
    assert Cgroups("kubepods", tmp_path).disks("/none") == {}
