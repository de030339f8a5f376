"""`steer up` and `down` themselves: repeatable, side by side, and gone without a trace."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, STEER, RunningCluster, eventually, kubectl_binaries, run

MARKS = ("steersman", "steer-", "stm", "KUBE-")


def traces(data_dir: str) -> dict[str, list[str]]:
    """Return what a cluster in `data_dir` has in the kernel: nothing, once it is down."""
    from deploy.cluster_network import cluster_id

    identifier = cluster_id(Path(data_dir))
    links = [link.name for link in Path("/sys/class/net").iterdir() if identifier[:6] in link.name]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if data_dir in line]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/steersman-{identifier}")]
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{data_dir}/" in line and "pytest" not in line:
            processes.append(line)
    rules = [line for line in run(["iptables-save"], check=False).stdout.splitlines() if identifier in line]
    found = {"links": links, "mounts": mounts, "cgroups": groups, "processes": processes, "rules": rules}
    return {kind: what for kind, what in found.items() if what}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[RunningCluster]:
    """A second cluster, in another data dir on other ports."""
    data_dir = tempfile.mkdtemp(prefix="steersman-small-", dir="/var/lib")
    os.rmdir(data_dir)
    made = RunningCluster(data_dir, 17443, next(iter(kubectl_binaries().values())), tmp_path)
    try:
        yield made
    finally:
        made.steer("down", "--purge", check=False)
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.mark.timeout(240)
def test_a_second_cluster_lives_beside_the_first_and_goes_without_a_trace(
    cluster: RunningCluster, small: RunningCluster
) -> None:
    small.steer("up", "--nodes", "1", "--port", str(small.port))
    started = time.monotonic()
    again = small.steer("up")
    assert time.monotonic() - started < 10, "a second up takes seconds"
    assert "ready" in again.stdout
    assert len(small.get("nodes")["items"]) == 1
    assert len(cluster.get("nodes")["items"]) == 3, "the first is not disturbed"
    assert traces(small.data_dir), "a running cluster has traces, or this test sees nothing"
    small.steer("down")
    assert traces(small.data_dir) == {}
    assert "nothing" not in small.steer("down").stdout
    small.steer("down", "--purge")
    assert not Path(small.data_dir).exists()
    assert "nothing to stop" in small.steer("down").stdout


@pytest.mark.timeout(240)
def test_a_hollow_cluster_of_an_ordinary_user_runs_three_hundred_pods() -> None:
    with tempfile.TemporaryDirectory(prefix="steersman-hollow-", dir="/var/tmp") as directory:
        home = Path(directory)
        # A user namespace in which we are user 1000: no capability, no root, wherever this checkout lies.
        as_user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
        environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"} | {"HOME": str(home)}
        options = ["--data-dir", f"{home}/data"]
        try:
            run([*as_user, STEER, "up", "--runtime", "hollow", "--nodes", "20", "--port", "18443", *options],
                env=environment, timeout=120)  # fmt: skip
            kubectl = [
                *as_user,
                next(iter(kubectl_binaries().values())),
                "--kubeconfig",
                f"{home}/data/admin.kubeconfig",
            ]
            manifest = {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "many"},
                "spec": {
                    "replicas": 300,
                    "selector": {"matchLabels": {"app": "many"}},
                    "template": {
                        "metadata": {"labels": {"app": "many"}},
                        "spec": {"containers": [{"name": "c", "image": "any"}]},
                    },
                },
            }
            started = time.monotonic()
            run([*kubectl, "apply", "-f", "-"], stdin=json.dumps(manifest), env=environment)

            def all_running() -> bool:
                done = run([*kubectl, "get", "deployment", "many", "-o", "jsonpath={.status.readyReplicas}"],
                           env=environment)  # fmt: skip
                return done.stdout == "300"

            eventually(all_running, 120, "300 pods run on 20 hollow nodes")
            print(f"300 pods Running on 20 hollow nodes in {time.monotonic() - started:.1f} s")
            pods = json.loads(run([*kubectl, "get", "pods", "-o", "json"], env=environment).stdout)["items"]
            assert len({pod["spec"]["nodeName"] for pod in pods}) == 20
        finally:
            run([*as_user, STEER, "down", "--purge", *options], env=environment, check=False)


def test_status_shows_every_process_and_its_log(cluster: RunningCluster) -> None:
    shown = cluster.steer("status", check=False).stdout
    for name in (
        *cluster.store_processes(),
        "apiserver",
        "scheduler",
        "controllers",
        "kubelet-node-1",
        "kubeproxy-node-3",
    ):
        assert name in shown
    for process in cluster.status()["processes"]:
        assert Path(process["log"]).exists(), process["name"]
    assert re.search(r"revision \d+", shown)
    assert (ROOT / "README.md").exists()


def test_steer_up_in_a_used_data_dir_with_another_port_is_refused(cluster: RunningCluster) -> None:
    done = cluster.steer("up", "--port", "19443", check=False)
    assert done.returncode == 1 and f"--port {cluster.port}" in done.stderr


def test_a_taken_port_is_named(cluster: RunningCluster, tmp_path: Path) -> None:
    done = run(
        [STEER, "up", "--runtime", "hollow", "--port", str(cluster.port), "--data-dir", str(tmp_path / "other")],
        check=False,
        env=cluster.environment,
    )
    assert done.returncode == 1 and f"port {cluster.port} is taken" in done.stderr
    assert not (tmp_path / "other").exists(), "nothing half made"


def test_missing_programs_and_missing_root_are_said_in_one_line(tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    done = run([STEER, "up", "--data-dir", str(tmp_path / "data"), "--port", "19443"], check=False,
               env={"PATH": str(bare), "HOME": str(tmp_path)})  # fmt: skip
    assert done.returncode == 1
    assert "apt-get install" in done.stderr and "containerd" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_bad_flags_are_one_line_and_exit_2() -> None:
    for arguments in (
        ["up", "--nodes", "zero"],
        ["up", "--nodes", "0"],
        ["up", "--colour"],
        ["dance"],
        ["status", "-o", "xml"],
    ):
        done = run([STEER, *arguments], check=False)
        assert done.returncode == 2, arguments
        assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("steer: "), done.stderr
