"""What nodes made of namespaces are told: configuration, names, addresses, cgroups. Nothing here needs root."""

from __future__ import annotations

import gzip
import json
import tarfile
import tomllib
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from deploy import cgroups, containerd
from deploy.cluster_network import SPACE, ClusterNetwork, NetworkError, cluster_id, subnet_for
from deploy.images import pause
from deploy.images.archive import File, Image, NotAnArchive, fingerprint, read_references, write

SETTINGS = containerd.Settings(
    version=(1, 6),
    root=Path("/d/containerd"),
    state=Path("/run/containerd"),
    socket=Path("/d/containerd.sock"),
    cni_conf_dir=Path("/d/cni"),
    cni_bin_dir=Path("/usr/lib/cni"),
    runc=Path("/usr/sbin/runc"),
    sandbox_image="steersman.local/pause:1",
    restrict_oom_score_adj=True,
)


@pytest.mark.parametrize(
    "text, version",
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", (1, 6)),
        ("containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da", (1, 7)),
        ("containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7193e4e490e9fbdc236c0e811ccaba3376", (2, 1)),
    ],
)
def test_every_containerds_version_is_understood(text, version):
    assert containerd.parse_version(text) == version


def test_a_version_that_is_none_is_said_to_be_none():
    with pytest.raises(containerd.ContainerdMissing):
        containerd.parse_version("not found")


def test_containerd_1_gets_configuration_version_2():
    parsed = tomllib.loads(containerd.render(SETTINGS))
    cri = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    assert parsed["version"] == 2
    assert cri["sandbox_image"] == "steersman.local/pause:1"
    assert cri["cni"] == {"bin_dir": "/usr/lib/cni", "conf_dir": "/d/cni", "max_conf_num": 1}
    assert cri["restrict_oom_score_adj"] is True
    options = cri["containerd"]["runtimes"]["runc"]["options"]
    assert options == {"SystemdCgroup": False, "BinaryName": "/usr/sbin/runc", "Root": "/run/containerd/runc"}


def test_containerd_2_gets_configuration_version_3():
    parsed = tomllib.loads(containerd.render(replace(SETTINGS, version=(2, 1))))
    plugins = parsed["plugins"]
    assert parsed["version"] == 3
    assert plugins["io.containerd.cri.v1.images"]["pinned_images"] == {"sandbox": "steersman.local/pause:1"}
    assert plugins["io.containerd.cri.v1.runtime"]["cni"]["bin_dirs"] == ["/usr/lib/cni"]
    assert plugins["io.containerd.grpc.v1.cri"]["stream_server_address"] == "127.0.0.1"


MOUNTINFO_V1 = """\
30 29 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
34 30 0:27 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct
"""


def test_hierarchies_are_read_from_mountinfo_each_once():
    assert cgroups.parse_mountinfo(MOUNTINFO_V1) == [
        cgroups.Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), 1, "cpu,cpuacct"),
        cgroups.Hierarchy(Path("/sys/fs/cgroup/systemd"), 1, "name=systemd"),
        cgroups.Hierarchy(Path("/sys/fs/cgroup/unified"), 2),
    ]


def test_a_group_weighs_as_many_processes_as_it_is_told(tmp_path: Path):
    first, second = tmp_path / "cpu", tmp_path / "unified"
    for each in (first, second, tmp_path / "pids"):
        (each / "lab").mkdir(parents=True)
    (second / "lab/cpu.weight").write_text("100")
    mounted = [
        cgroups.Hierarchy(first, 1, "cpu"), cgroups.Hierarchy(second, 2),
        cgroups.Hierarchy(tmp_path / "pids", 1, "pids"),
    ]  # fmt: skip
    cgroups.weigh(mounted, "lab", 30)
    assert (first / "lab/cpu.shares").read_text() == "30720"
    assert (second / "lab/cpu.weight").read_text() == "3000"
    assert not list((tmp_path / "pids/lab").iterdir())


def test_version_2_alone_is_read_too():
    line = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
    assert cgroups.parse_mountinfo(line) == [cgroups.Hierarchy(Path("/sys/fs/cgroup"), 2)]


def test_a_cluster_takes_a_subnet_that_nobody_uses():
    first = subnet_for("00000000", [])
    assert first.subnet_of(SPACE)
    second = subnet_for("00000000", [first])
    assert not second.overlaps(first)
    assert subnet_for("00000000", [IPv4Network("10.0.0.0/8")]) == first


def test_a_machine_without_a_free_subnet_is_told_so():
    with pytest.raises(NetworkError, match="in use"):
        subnet_for("00000000", [IPv4Network("172.16.0.0/12")])


def test_names_fit_an_interface_and_addresses_do_not_collide(tmp_path):
    network = ClusterNetwork(cluster_id(tmp_path), IPv4Network("172.31.7.0/24"), tmp_path / "network.json")
    names = [network.bridge, *(network.veth(index) for index in range(1, 241))]
    assert max(map(len, names)) <= 15
    assert len({network.mac(index) for index in range(241)}) == 241
    assert (str(network.gateway), str(network.node_address(1))) == ("172.31.7.1", "172.31.7.11")
    with pytest.raises(NetworkError):
        network.node_address(241)


def test_two_data_directories_are_two_clusters(tmp_path):
    assert cluster_id(tmp_path / "a") != cluster_id(tmp_path / "b")
    assert cluster_id(tmp_path / "a") == cluster_id(tmp_path / "x" / ".." / "a")


IMAGE = Image("steersman.local/x:1", files=[File("bin/x", b"x", 0o755)], directories=["tmp"], links=[("y", "bin/x")])


def test_an_archive_is_the_same_bytes_every_time_and_says_what_it_holds(tmp_path):
    digest = write(IMAGE, tmp_path / "one.tar")
    assert digest == write(IMAGE, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert read_references(tmp_path / "one.tar") == {"steersman.local/x:1": digest}
    with tarfile.open(tmp_path / "one.tar") as archive:
        manifest = json.load(archive.extractfile(f"blobs/sha256/{digest.partition(':')[2]}"))
        layer = archive.extractfile(f"blobs/sha256/{manifest['layers'][0]['digest'].partition(':')[2]}").read()
    (tmp_path / "layer.tar").write_bytes(gzip.decompress(layer))
    with tarfile.open(tmp_path / "layer.tar") as content:
        assert {member.name: oct(member.mode) for member in content} == {
            "tmp": "0o1777",
            "bin/x": "0o755",
            "y": "0o777",
        }


def test_what_is_no_archive_is_refused_by_name(tmp_path):
    (tmp_path / "nonsense.tar").write_text("nonsense")
    for path in (tmp_path / "nonsense.tar", tmp_path / "missing.tar"):
        with pytest.raises(NotAnArchive, match=path.name):
            read_references(path)


def test_an_image_is_rebuilt_when_its_content_changes():
    assert fingerprint(IMAGE) == fingerprint(replace(IMAGE))
    assert fingerprint(IMAGE) != fingerprint(replace(IMAGE, command=["/bin/x"]))


def test_the_pause_program_is_a_small_executable():
    program = pause.program()
    assert program[:4] == b"\x7fELF"
    assert len(program) < 512
