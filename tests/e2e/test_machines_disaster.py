"""Verbs that are killed half way, and the procedures of docs/disaster.md, on machines as they run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lab.machines.lab import Lab as Machines
from tests.e2e.machine_cluster import KUBECTL, Cluster, lab_of

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]

KILL = """
steer "$@" < /root/invitation > /root/said 2>&1 & pid=$!
while kill -0 $pid 2>/dev/null; do
  if grep -q "$STEP" /root/said; then kill -9 $pid; break; fi
  sleep 0.01
done
wait $pid; code=$?
cat /root/said; exit $code
"""
"""Runs a verb and kills it as soon as it says that it is at $STEP."""
KILLED = 137
STEPS_OF_INIT = (
    "make users", "issue certificates", "install systemd units", "start steersman-store", "wait for the API server",
    "start steersman-controllers", "tell the cluster", "wait for node",
)  # fmt: skip
STEPS_OF_JOIN = (
    "ask the cluster", "issue certificates", "write the processes", "take this machine's store", "adding m2",
    "start steersman-apiserver", "start steersman-kubelet", "tell the cluster", "wait for node",
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab_of(tmp_path_factory.mktemp("disaster") / "lab", 3) as made:
        yield made


def kill_at(cluster: Cluster, machine: str, step: str, *verb: str) -> subprocess.CompletedProcess[str]:
    return cluster.try_on(machine, "env", f"STEP={step}", "sh", "-c", KILL, "sh", *verb)


def hand(cluster: Cluster, machine: str, name: str, content: bytes) -> None:
    """Put a file into /root of a machine."""
    root = Path(f"/proc/{Machines(cluster.lab.directory).machine(machine).pid()}/root/root")
    (root / name).write_bytes(content)


def taken(cluster: Cluster, machine: str, path: str) -> bytes:
    root = Path(f"/proc/{Machines(cluster.lab.directory).machine(machine).pid()}/root")
    return (root / path.lstrip("/")).read_bytes()


def await_ready(cluster: Cluster, machine: str, names: Sequence[str]) -> None:
    cluster.await_(lambda: cluster.nodes(machine) == dict.fromkeys(names, "True"), f"{names} are Ready", within_s=120)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(cluster: Cluster) -> None:
    said = cluster.on("m1", "steer", "init", "--dry-run")
    assert "would  start steersman-store.service" in said and "would  issue certificates" in said
    assert cluster.try_on("m1", "ls", "/etc/steersman").returncode != 0


def test_an_init_killed_at_any_step_goes_on_when_it_is_run_again(cluster: Cluster) -> None:
    hand(cluster, "m1", "invitation", b"")
    for step in STEPS_OF_INIT:
        done = kill_at(cluster, "m1", step, "init")
        assert done.returncode == KILLED, f"{step}: {done.stdout}"
    cluster.invitation = json.dumps(json.loads(cluster.on("m1", "steer", "init", "-o", "json"))["join"])
    await_ready(cluster, "m1", ["m1"])
    assert cluster.try_on("m1", "steer", "status").returncode == 0


def test_a_join_killed_at_any_step_goes_on_when_it_is_run_again(cluster: Cluster) -> None:
    hand(cluster, "m2", "invitation", cluster.invitation.encode())
    for step in STEPS_OF_JOIN:
        done = kill_at(cluster, "m2", step, "join", "--control-plane", "--file", "-")
        assert done.returncode in (0, KILLED), f"{step}: {done.stdout}"
    cluster.join("m2", "control-plane")
    cluster.join("m3", "control-plane")
    await_ready(cluster, "m1", ["m1", "m2", "m3"])
    for machine in ("m1", "m2", "m3"):
        assert cluster.try_on(machine, "steer", "status").returncode == 0
    shown = json.loads(cluster.on("m1", "steer", "status", "-o", "json"))
    assert shown["store"]["members"] == 3


def test_the_majority_is_lost_and_the_survivor_goes_on_alone(cluster: Cluster) -> None:
    cluster.run_example()
    cluster.kubectl("create", "secret", "generic", "kept", "--from-literal=word=hidden")
    cluster.lab("power-off", "m2", "m3")
    cluster.on("m1", "steer", "snapshot", "save", "/root/now.snapshot")
    cluster.on("m1", "steer", "snapshot", "restore", "/root/now.snapshot")
    cluster.on("m1", "steer", "init")
    for lost in ("m2", "m3"):
        cluster.on("m1", "steer", "leave", lost)
    await_ready(cluster, "m1", ["m1"])
    assert secret(cluster, "m1") == "hidden"
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    cluster.lab("power-on", "m2", "m3")
    cluster.invite()
    for back in ("m2", "m3"):
        cluster.on(back, "steer", "reset", "--yes")
        cluster.join(back, "control-plane")
    await_ready(cluster, "m1", ["m1", "m2", "m3"])


def test_everything_is_lost_and_a_new_machine_begins_with_backup_and_keys(cluster: Cluster) -> None:
    cluster.on("m1", "steer", "certs", "export", "/root/keys.tar")
    cluster.on("m1", "systemctl", "start", "steersman-snapshot")
    newest = cluster.on("m1", "ls", "/var/lib/steersman/snapshots").split()[-1]
    keys = taken(cluster, "m1", "/root/keys.tar")
    backup = taken(cluster, "m1", f"/var/lib/steersman/snapshots/{newest}")
    cluster.lab("power-off", "m1", "m3")
    cluster.on("m2", "steer", "reset", "--yes")
    hand(cluster, "m2", "keys.tar", keys)
    hand(cluster, "m2", newest, backup)
    cluster.on("m2", "steer", "snapshot", "status", f"/root/{newest}")
    cluster.on("m2", "steer", "init", "--certs", "/root/keys.tar", "--restore", f"/root/{newest}")
    for lost in ("m1", "m3"):
        cluster.on("m2", "steer", "leave", lost)
    await_ready(cluster, "m2", ["m2"])
    assert secret(cluster, "m2") == "hidden"
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s", machine="m2")


def secret(cluster: Cluster, machine: str) -> str:
    template = "go-template={{.data.word|base64decode}}"
    return cluster.on(machine, *KUBECTL, "get", "secret", "kept", "-o", template)
