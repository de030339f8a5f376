"""A whole cluster of containers, made once for all end-to-end tests, and stock kubectl to speak to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy import local
from tests.e2e.etcd_cluster import etcd_cluster

ROOT = Path(__file__).parent.parent.parent
STEER = str(Path(sys.executable).parent / "steer")
KUBECTL_VERSIONS = ("1.30", "1.32")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.e2e)
        if os.geteuid() != 0 and "hollow" not in item.name:
            item.add_marker(pytest.mark.skip(reason="needs root: containers, namespaces, iptables"))


def kubectl_binaries() -> dict[str, str]:
    """Return the kubectls to test with by version: those beside the one on PATH, else that one itself."""
    found = shutil.which("kubectl")
    if found is None:
        return {}
    beside = Path(found).resolve().parent
    named = {v: str(beside / f"kubectl.{v}") for v in KUBECTL_VERSIONS if (beside / f"kubectl.{v}").exists()}
    return named or {"path": found}


@dataclass
class RunningCluster:
    data_dir: str
    port: int
    kubectl_path: str
    tmp: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": f"{self.data_dir}/admin.kubeconfig", "HOME": str(self.tmp)}

    def steer(self, *arguments: str, check: bool = True, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        return run([STEER, *arguments, "--data-dir", self.data_dir], env=self.environment, check=check, timeout=timeout)

    def kubectl(
        self,
        *arguments: str,
        check: bool = True,
        stdin: str | None = None,
        timeout: float = 90,
        binary: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        command = [binary or self.kubectl_path, *arguments]
        return run(command, env=self.environment, check=check, stdin=stdin, timeout=timeout)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def status(self) -> dict[str, Any]:
        return json.loads(self.steer("status", "-o", "json", check=False).stdout)

    def store_processes(self) -> list[str]:
        """Its own store's; none where etcd stands in its place (`STEERSMAN_E2E_STORE=etcd`)."""
        return [each["name"] for each in self.processes() if each["name"].startswith("store-")]

    def processes(self) -> list[dict[str, Any]]:
        """What `steer status` says of processes, found out here: it is asked often, and to start it takes a second."""
        return list(local.to_json(local.status(local.read_cluster(Path(self.data_dir)))))

    def process(self, name: str) -> dict[str, Any]:
        return next(process for process in self.processes() if process["name"] == name)

    def node_address(self, name: str) -> str:
        addresses = self.get("node", name)["status"]["addresses"]
        return next(a["address"] for a in addresses if a["type"] == "InternalIP")


def run(
    command: list[str], *, check: bool = True, stdin: str | None = None, timeout: float = 90, env: Any = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout,
        env=env,
        errors="replace",
    )
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=True)
    return done


def eventually(claim: Callable[[], Any], within_s: float, what: str) -> Any:
    """Return `claim()` once it is true; fail after `within_s` with what it said last.

    To ask takes CPU from what is waited for: the longer it takes, the longer the pauses.
    """
    began = time.monotonic()
    deadline = began + within_s
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = claim()
        except (AssertionError, KeyError, StopIteration, json.JSONDecodeError, pytest.fail.Exception) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(min(0.3, 0.1 + (time.monotonic() - began) / 10))
    pytest.fail(f"not within {within_s} s: {what}; last seen: {last!r}")


def first_port() -> int:
    """Return the first of some 2000 ports for the clusters of this process, which may be one of several workers."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return int(os.environ.get("STEERSMAN_E2E_PORT", "21443")) + 2200 * int(worker)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    binaries = kubectl_binaries()
    if not binaries:
        pytest.fail("no kubectl on PATH: deploy/setup.sh installs one")
    made = RunningCluster(
        data_dir=os.environ.get("STEERSMAN_E2E_DATA_DIR", "/var/lib/steersman-e2e")
        + os.environ.get("PYTEST_XDIST_WORKER", ""),
        port=first_port(),
        kubectl_path=next(iter(binaries.values())),
        tmp=tmp_path_factory.mktemp("home"),
    )
    if Path(made.data_dir).exists():
        made.steer("down", "--purge", check=False)
    with contextlib.ExitStack() as held:
        store: list[str] = []
        if os.environ.get("STEERSMAN_E2E_STORE") == "etcd":
            store = held.enter_context(etcd_cluster(tmp_path_factory.mktemp("etcd")))
        held.callback(made.steer, "down", "--purge", check=False)
        made.steer("up", "--nodes", "3", "--failover", "fast", "--port", str(made.port), *store)
        yield made
        keep_logs = os.environ.get("STEERSMAN_KEEP_LOGS")
        if keep_logs:
            shutil.copytree(f"{made.data_dir}/logs", keep_logs, dirs_exist_ok=True)


@contextlib.contextmanager
def new_namespace(cluster: RunningCluster) -> Iterator[str]:
    """Make a namespace, and delete it in the background afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)


@pytest.fixture
def namespace(cluster: RunningCluster) -> Iterator[str]:
    with new_namespace(cluster) as name:
        yield name


@pytest.fixture
def k(cluster: RunningCluster, namespace: str) -> Any:
    """Run kubectl in a namespace of its own, which is `k.namespace`; what it said comes back, errors last."""

    def call(*arguments: str, check: bool = True, stdin: Any = None) -> str:
        text = stdin if isinstance(stdin, str | None) else json.dumps(stdin)
        done = cluster.kubectl("-n", namespace, *arguments, check=check, stdin=text)
        return done.stdout + done.stderr

    call.namespace = namespace  # type: ignore[attr-defined]
    return call


def web_manifest(name: str = "web", replicas: int = 3, node_port: int | None = None, extra: str = "") -> str:
    port = f"\n      nodePort: {node_port}" if node_port else ""
    kind = "NodePort" if node_port else "ClusterIP"
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app: {name}}}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: web
          image: steersman.local/web:1
          ports: [{{containerPort: 8080, name: http}}]
          readinessProbe:
            httpGet: {{path: /, port: http}}
            periodSeconds: 1
          resources:
            requests: {{cpu: 10m, memory: 16Mi}}
{extra}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  type: {kind}
  selector: {{app: {name}}}
  ports:
    - port: 80
      targetPort: http{port}
"""
