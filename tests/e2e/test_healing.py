"""What breaks is mended: containers, pods, nodes, and our own processes."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunningCluster, eventually, run, web_manifest


def restarts(pod: dict[str, Any]) -> int:
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses", []))


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not pod["metadata"].get("deletionTimestamp")


def deploy(cluster: RunningCluster, namespace: str, **options: Any) -> None:
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=web_manifest(**options))
    name = options.get("name", "web")
    cluster.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=90s")


def test_a_killed_container_is_back_in_two_seconds_with_its_restart_counted(
    cluster: RunningCluster, namespace: str
) -> None:
    deploy(cluster, namespace, replicas=1)
    killed = time.monotonic()
    cluster.kubectl("-n", namespace, "exec", "deploy/web", "--", "sh", "-c", "kill -9 -1; kill 1", check=False)

    def back() -> bool:
        pod = cluster.get("-n", namespace, "pods")["items"][0]
        status = pod["status"]["containerStatuses"][0]
        return status["restartCount"] == 1 and "running" in status["state"]

    eventually(back, 10, "the container runs again")
    # kubectl's own start and the poll are in this figure; the kubelet's share is measured by `steer bench pods`.
    assert time.monotonic() - killed < 4


def test_a_deleted_pod_is_replaced(cluster: RunningCluster, namespace: str) -> None:
    deploy(cluster, namespace, replicas=2)
    victim = cluster.get("-n", namespace, "pods")["items"][0]["metadata"]["name"]
    cluster.kubectl("-n", namespace, "delete", "pod", victim)

    def whole() -> bool:
        pods = cluster.get("-n", namespace, "pods")["items"]
        return len([p for p in pods if is_ready(p) and p["metadata"]["name"] != victim]) == 2

    eventually(whole, 20, "two ready pods, none of them the deleted one")


@pytest.mark.timeout(240)
def test_pods_of_a_node_that_lost_power_run_elsewhere_within_a_minute(cluster: RunningCluster, namespace: str) -> None:
    deploy(cluster, namespace, replicas=3)
    pods = cluster.get("-n", namespace, "pods")["items"]
    victim = next(pod["spec"]["nodeName"] for pod in pods if pod["spec"]["nodeName"] != "node-1")
    cluster.steer("node", "power-off", victim)
    try:

        def moved() -> bool:
            found = cluster.get("-n", namespace, "pods")["items"]
            return len([p for p in found if is_ready(p) and p["spec"]["nodeName"] != victim]) == 3

        eventually(moved, 60, f"three ready pods, none on {victim}")
        assert "NotReady" in cluster.kubectl("get", "node", victim).stdout
    finally:
        cluster.steer("node", "power-on", victim)
    eventually(lambda: " Ready" in cluster.kubectl("get", "node", victim).stdout, 60, f"{victim} is back")


def test_a_node_that_crashes_boots_again_and_its_pods_with_it(cluster: RunningCluster, namespace: str) -> None:
    deploy(cluster, namespace, replicas=1)
    pod = cluster.get("-n", namespace, "pods")["items"][0]
    node = pod["spec"]["nodeName"]
    before = json.loads(Path(f"{cluster.data_dir}/nodes/{node}/boot.json").read_text())["pid"]
    os.kill(before, signal.SIGKILL)

    def back() -> bool:
        found = cluster.get("-n", namespace, "pods")["items"]
        return any(is_ready(p) and (p["metadata"]["uid"] != pod["metadata"]["uid"] or restarts(p) > 0) for p in found)

    eventually(back, 45, "the pod runs again")
    assert json.loads(Path(f"{cluster.data_dir}/nodes/{node}/boot.json").read_text())["pid"] != before


@pytest.mark.timeout(300)
def test_every_process_killed_in_turn_leaves_workloads_alone_and_the_loop_whole(
    cluster: RunningCluster, namespace: str
) -> None:
    deploy(cluster, namespace, replicas=3)
    before = {
        pod["metadata"]["uid"]: restarts(pod) for pod in cluster.get("-n", namespace, "pods")["items"] if is_ready(pod)
    }
    for process in [p["name"] for p in cluster.processes()]:
        victim = cluster.process(process)
        os.kill(victim["pid"], signal.SIGKILL)
        # Without an API server for longer than they bear, leaders end themselves, and their leases have to run out.
        holds_leases = process.startswith(("scheduler", "controllers", "apiserver", "store"))
        limit_s = 25 if holds_leases else 10
        killed = time.monotonic()
        number = 0

        def works(victim: dict[str, Any] = victim, process: str = process, limit_s: int = limit_s) -> bool:
            """A whole loop: a new pod, through every process, to Running."""
            nonlocal number
            if cluster.process(process)["pid"] in (0, victim["pid"]):
                return False
            number += 1
            name = f"probe-{process.lower()}-{number}"
            pod = f"""
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: {name}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{probe: {name}}}}}
  template:
    metadata: {{labels: {{probe: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: c, image: "steersman.local/web:1"}}]
"""
            cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=pod)
            eventually(
                lambda: "Running" in cluster.kubectl("-n", namespace, "get", "pods", "-l", f"probe={name}").stdout,
                limit_s,
                f"a new pod runs after {process} was killed",
            )
            return True

        eventually(works, limit_s + 5, f"{process} is back and the loop is whole")
        took = time.monotonic() - killed
        assert took < limit_s, f"{process}: whole again after {took:.1f} s"
        cluster.kubectl("-n", namespace, "delete", "replicaset", "--all", "-l", "probe", "--wait=false", check=False)
    after = {pod["metadata"]["uid"]: restarts(pod) for pod in cluster.get("-n", namespace, "pods")["items"]}
    for uid, count in before.items():
        assert after.get(uid) == count, "a workload was touched"


@pytest.mark.timeout(240)
def test_nothing_that_said_configured_is_lost_when_store_and_apiserver_die(
    cluster: RunningCluster, namespace: str
) -> None:
    acknowledged: dict[str, int] = {}
    stop = threading.Event()
    errors: list[str] = []

    def writer(number: int) -> None:
        value = 0
        # Some write is always under way; kubectls that end at once, since nobody answers, leave the servers their turn.
        while not stop.wait(0.25):
            value += 1
            name = f"stream-{number}"
            manifest = (
                f'{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"value":"{value}"}}}}'
            )
            done = subprocess.run(
                [cluster.kubectl_path, "-n", namespace, "apply", "-f", "-"],
                input=manifest,
                capture_output=True,
                text=True,
                env=cluster.environment,
                timeout=60,
            )
            if "configured" in done.stdout or "created" in done.stdout:
                acknowledged[name] = value
            elif done.returncode != 0:
                errors.append(done.stderr)

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    victims, kills = (*cluster.store_processes(), "apiserver"), 0
    try:
        for _ in range(3):
            for process in victims:
                time.sleep(2)
                os.kill(cluster.process(process)["pid"], signal.SIGKILL)
                kills += 1
        time.sleep(5)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert kills == 3 * len(victims) and errors, "the kills must have been felt"
    eventually(lambda: cluster.kubectl("get", "namespaces").returncode == 0, 20, "the API server answers")
    for name, value in acknowledged.items():
        assert int(cluster.get("-n", namespace, "configmap", name)["data"]["value"]) >= value


def leaders_renew(cluster: RunningCluster) -> None:
    """Wait until both leaders have renewed their leases: one that was cut off too long ends itself rather than that."""
    begun = datetime.datetime.now(datetime.UTC)

    def renewed(name: str) -> bool:
        lease = cluster.get("-n", "kube-system", "lease", name)
        return datetime.datetime.fromisoformat(lease["spec"]["renewTime"]) > begun

    for name in ("steer-scheduler", "steer-controllers"):
        eventually(lambda name=name: renewed(name), 40, f"{name} renews its lease")


def test_the_supervisor_comes_back_and_finds_its_children(cluster: RunningCluster) -> None:
    leaders_renew(cluster)  # the test before may have left them without an API server for longer than they bear
    before = {p["name"]: p["pid"] for p in cluster.processes()}
    os.kill(before["supervisor"], signal.SIGKILL)
    eventually(
        lambda: cluster.process("supervisor")["pid"] not in (0, before["supervisor"]), 10, "a new supervisor runs"
    )
    time.sleep(1)
    after = {p["name"]: p["pid"] for p in cluster.processes()}
    assert {n: p for n, p in after.items() if n != "supervisor"} == {
        n: p for n, p in before.items() if n != "supervisor"
    }
    assert Path(f"/proc/{after['supervisor']}").exists()
    run(["true"])
