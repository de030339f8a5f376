"""Nodes made of namespaces, on the real kernel with a real containerd."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.cluster_network import ClusterNetwork
from deploy.node_host import NodeError, NodeHost
from tests.integration.node_lab import Pods, can_run, nodes

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not can_run, reason="needs root, containerd, runc, iptables and iproute2"),
]


@pytest.fixture(scope="module")
def host():
    with nodes(1) as (one,):
        yield one


def again(host: NodeHost) -> NodeHost:
    """The same node, as a process that knows nothing but its directory finds it."""
    return NodeHost(host.name, host.index, host.directory, ClusterNetwork.of(host.network.record.parent))


def test_a_node_looks_like_a_machine_of_its_own(host):
    assert host.run(["hostname"]).strip() == "n1"
    assert host.run(["cat", "/etc/hostname"]).strip() == "n1"
    assert sorted(host.run(["ls", "/sys/class/net"]).split()) == ["eth0", "lo"]
    assert host.run(["cat", "/proc/1/comm"]).strip().startswith("python")
    assert {line.rpartition(":")[2] for line in host.run(["cat", "/proc/self/cgroup"]).split()} <= {"/", "/system"}
    assert host.run(["cat", "/etc/machine-id"]) != Path("/etc/machine-id").read_text()
    assert "unreachable 10.96.0.0/16" in host.run(["ip", "route"])


def test_powering_on_what_is_on_changes_nothing(host):
    pid = host.pid()
    again(host).power_on()
    assert host.pid() == pid


def test_another_process_finds_the_node_and_can_use_it(host):
    found = again(host)
    assert found.is_on()
    assert found.run(["hostname"]).strip() == "n1"
    assert found.load_images(sorted(Path("/tmp/steersman-test-images").glob("*.tar"))) == []


def test_a_started_process_is_a_child_of_the_program_and_a_member_of_the_node(host):
    process = subprocess.Popen(host.argv(["sleep", "60"]))
    try:
        listing = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 30
        while not listing.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child = int(listing.read_text().split()[0])
        for name in ("pid", "mnt", "net", "uts", "ipc", "cgroup"):
            assert os.readlink(f"/proc/{child}/ns/{name}") == os.readlink(f"/proc/{host.pid()}/ns/{name}")
        os.kill(child, signal.SIGTERM)
        assert process.wait(5) == 128 + signal.SIGTERM or process.returncode == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()


def test_containerd_killed_comes_back(host):
    pids = subprocess.run(host.argv(["pidof", "containerd"]), capture_output=True, text=True, check=True).stdout.split()
    host.run(["kill", "-9", *pids])
    time.sleep(0.3)
    host.power_on()
    assert host.run(["pidof", "containerd"]).split() != pids


def test_a_power_cut_ends_everything_and_disk_survives_it(host):
    written = host.directory / "written"
    host.run(["sh", "-c", f"echo kept > {written}"])
    sleeper = subprocess.Popen(host.argv(["sleep", "600"]))
    boot_id = host.run(["cat", "/proc/sys/kernel/random/boot_id"])
    time.sleep(0.2)
    started = time.monotonic()
    host.power_off()
    assert time.monotonic() - started < 3
    assert not host.is_on()
    assert sleeper.wait(5) != 0
    assert not Path("/sys/class/net", host.network.veth(1)).exists()
    with pytest.raises(NodeError, match="is off"):
        host.run(["true"])
    host.power_off()
    host.power_on()
    assert written.read_text() == "kept\n"
    assert host.run(["cat", "/proc/sys/kernel/random/boot_id"]) != boot_id


def test_a_power_cut_leaves_pods_to_be_found_dead(host):
    (host.directory / "cni").mkdir(exist_ok=True)
    (host.directory / "cni" / "10-test.conflist").write_text(
        '{"cniVersion": "0.4.0", "name": "t", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,'
        f' "ipam": {{"type": "host-local", "dataDir": "{host.directory}/ipam", "subnet": "10.244.1.0/24"}}}}]}}'
    )
    pods = Pods(host)
    deadline = time.monotonic() + 30
    while not pods.network_ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    container, address = pods.run("one")
    assert "Hello from pod one" in pods.get(container, f"http://{address}:8080/")
    assert pods.stop(container) < 2, "the web server should heed SIGTERM at once"
    pods.run("two")
    assert 0 in pods.sandbox_states()
    pods.close()
    host.power_off()
    host.power_on()
    pods = Pods(host)
    assert set(pods.sandbox_states()) == {1}, "sandboxes should be there, and not ready"
    pods.close()


def test_a_data_directory_too_deep_for_a_socket_is_refused(host):
    deep = NodeHost("n9", 9, Path("/tmp") / ("x" * 100), host.network)
    with pytest.raises(NodeError, match="shorter --data-dir"):
        deep.power_on()


def test_the_network_can_be_made_twice_and_taken_away_twice(tmp_path):
    network = ClusterNetwork.of(tmp_path)
    network.create()
    network.create()
    rules = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout
    assert rules.count(f"steersman {network.identifier}") == 1
    assert ClusterNetwork.of(tmp_path) == replace(network)
    network.destroy()
    network.destroy()
    rules = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout
    assert network.identifier not in rules
    assert not Path("/sys/class/net", network.bridge).exists()
