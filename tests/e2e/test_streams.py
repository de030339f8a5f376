"""exec, attach, cp, port-forward, drain and typed commands, with every kubectl that is at hand.

1.27 to 1.29 stream over SPDY, 1.30 over WebSocket v5, 1.31 on forward ports through SPDY in a WebSocket; from 1.32 on
typed commands send protobuf. One version of each way goes through the whole file in `make test`, the others through
typed commands (and `test_walk`'s core); `-m soak` sends those through the rest too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import RunningCluster, eventually, new_namespace
from tests.e2e.kubectl import IMAGE, Kubectl, binaries
from tests.ports import free_port

MIB = 1 << 20
BINARIES = binaries()
PINNED = '{"apiVersion": "v1", "spec": {"nodeName": "node-1"}}'
DRAINED = "node-2"
ONE_OF_EACH_KIND = ("1.27", "1.30", "1.33")
"""The versions of which one streams in each way."""
WHOLE = [version for version in BINARIES if version in ONE_OF_EACH_KIND] or list(BINARIES)
VERSIONS = [pytest.param(each, marks=[] if each in WHOLE else [pytest.mark.soak]) for each in BINARIES]


@pytest.fixture(scope="module", params=VERSIONS)
def binary(request: pytest.FixtureRequest) -> str:
    """Each version in turn goes through the whole file."""
    return BINARIES[request.param]


@pytest.fixture
def k(binary: str, cluster: RunningCluster, namespace: str) -> Kubectl:
    return Kubectl(cluster, binary, namespace)


@pytest.fixture(scope="module")
def web(binary: str, cluster: RunningCluster) -> Iterator[Kubectl]:
    """A pod and its Service, on a node that nobody drains here."""
    with new_namespace(cluster) as namespace:
        k = Kubectl(cluster, binary, namespace)
        eventually(lambda: "default" in k("get", "serviceaccounts"), 15, "the namespace's service account")
        k("run", "web", f"--image={IMAGE}", "--port=8080", "--expose", f"--overrides={PINNED}")
        k("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
        yield k


def test_exec_keeps_streams_apart_and_tells_the_exit_code(web: Kubectl) -> None:
    done = web.raw("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"out\n")
    assert b"err\n" in done.stderr


def test_stdin_ends_when_it_ends(web: Kubectl) -> None:
    data = os.urandom(8 * MIB)
    done = web.raw("exec", "-i", "web", "--", "md5sum", stdin=data)
    assert done.stdout.split()[0].decode() == hashlib.md5(data, usedforsecurity=False).hexdigest()
    echoed = web.raw("exec", "-i", "web", "--", "cat", stdin=data)
    assert echoed.stdout == data


def test_much_passes_and_memory_stays(web: Kubectl) -> None:
    def resident_kib() -> dict[str, int]:
        shown = {}
        for process in web.cluster.processes():
            if process["name"].startswith(("apiserver", "kubelet")) and process.get("pid"):
                found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process['pid']}/status").read_text())
                shown[process["name"]] = int(found[1]) if found else 0
        return shown

    web.raw("exec", "web", "--", "head", "-c", str(MIB), "/dev/zero")
    before = resident_kib()
    size = (200 if web.version in ONE_OF_EACH_KIND else 64) * MIB
    assert len(web.raw("exec", "web", "--", "head", "-c", str(size), "/dev/zero").stdout) == size
    grown = {name: kib - before[name] for name, kib in resident_kib().items() if name in before}
    assert all(kib < 32 * 1024 for kib in grown.values()), grown


def test_a_file_is_copied_there_and_back(web: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(os.urandom(3 * MIB))
    web("cp", str(tmp_path / "there"), "web:/tmp/file")
    web("cp", "web:/tmp/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()


def test_attach_follows_a_container_to_its_end(web: Kubectl) -> None:
    done = web.raw("run", "-i", "--rm", "--restart=Never", "ask", f"--image={IMAGE}", "--command", "--", "sh", "-c",
                   "read word; echo heard $word; exit 6", stdin=b"hello\n")  # fmt: skip
    assert done.returncode == 6
    assert b"heard hello" in done.stdout


def test_a_command_that_ends_at_once_ends_kubectl_run_too(cluster: RunningCluster, namespace: str) -> None:
    """The attach meets the container at its end, when a runtime may close some streams and forget others."""

    def one(version: str, command: str) -> subprocess.CompletedProcess[bytes]:
        name = f"brief-{command}-{version}".replace(".", "-")
        return Kubectl(cluster, BINARIES[version], namespace).raw(
            "run", "-i", "--rm", "--restart=Never", name, f"--image={IMAGE}", "--command", "--", command
        )

    any_version = Kubectl(cluster, next(iter(BINARIES.values())), namespace)
    eventually(lambda: "default" in any_version("get", "serviceaccounts"), 15, "the namespace's service account")
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(one, [*BINARIES, *BINARIES], ["true"] * len(BINARIES) + ["pwd"] * len(BINARIES)))
    assert [done.stderr for done in ended if done.returncode != 0] == []


def test_thirty_at_once(web: Kubectl) -> None:
    def one(number: int) -> tuple[int, bytes]:
        done = web.raw("exec", "-i", "web", "--", "sh", "-c", "cat; exit 3", stdin=str(number).encode())
        return done.returncode, done.stdout

    with ThreadPoolExecutor(30) as pool:
        assert list(pool.map(one, range(30))) == [(3, str(number).encode()) for number in range(30)]


@contextlib.contextmanager
def forwarded(k: Kubectl, what: str, port: int) -> Iterator[int]:
    local = free_port()
    command = [*k.command, "port-forward", what, f"{local}:{port}", "--address=127.0.0.1"]
    process = subprocess.Popen(command, env=k.cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert b"Forwarding from" in line, line
        yield local
    finally:
        process.terminate()
        process.wait(10)


def fetch(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")
        chunks = []
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)


@pytest.mark.parametrize(("what", "port"), [("pod/web", 8080), ("service/web", 8080)])
def test_ports_are_forwarded_again_and_again(web: Kubectl, what: str, port: int) -> None:
    with forwarded(web, what, port) as local, ThreadPoolExecutor(5) as pool:
        for answer in pool.map(fetch, [local] * 10):
            assert answer.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))
            assert b"Hello from pod web" in answer


TYPED: tuple[tuple[str, ...], ...] = (
    ("configmap", "c", "--from-literal=a=b"),
    ("secret", "generic", "s", "--from-literal=p=q"),
    ("serviceaccount", "sa"),
    ("role", "r", "--verb=get", "--resource=pods"),
    ("rolebinding", "rb", "--role=r", "--serviceaccount=x:sa"),
    ("deployment", "d", f"--image={IMAGE}", "--replicas=0"),
    ("service", "clusterip", "svc", "--tcp=80:8080"),
    ("job", "j", f"--image={IMAGE}", "--", "true"),
    ("cronjob", "cj", f"--image={IMAGE}", "--schedule=* * * * *", "--", "true"),
    ("ingress", "ing", "--rule=a.b/*=svc:80"),
    ("pdb", "b", "--selector=app=d", "--min-available=1"),
    ("quota", "q", "--hard=pods=10"),
)


@pytest.mark.parametrize("binary", list(BINARIES), indirect=True)
def test_typed_commands_of_every_version_are_understood(k: Kubectl) -> None:
    for command in TYPED:
        assert "created" in k("create", *command)
    assert json.loads(k("get", "deployment", "d", "-o", "json"))["spec"]["replicas"] == 0, "an explicit zero is kept"
    k("expose", "deployment", "d", "--port=80", "--target-port=8080", "--name=dx")
    k("autoscale", "deployment", "d", "--min=1", "--max=3")
    assert k("create", "token", "sa").count(".") == 2
    assert k("auth", "can-i", "create", "pods").strip() == "yes"
    assert k("auth", "can-i", "create", "pods", "--as=nobody", check=False).strip().startswith("no")
    assert "Resources" in k("auth", "can-i", "--list")


def test_drain_evicts(k: Kubectl, cluster: RunningCluster) -> None:
    k("create", "deployment", "d", f"--image={IMAGE}", "--replicas=3")
    k("rollout", "status", "deployment/d", "--timeout=60s")

    def on(node: str) -> list[str]:
        pods = json.loads(k("get", "pods", "-l", "app=d", "-o", "json"))["items"]
        return [pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName") == node]

    try:
        k("drain", DRAINED, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
        eventually(lambda: not on(DRAINED), 20, "no pod of ours on the drained node")
    finally:
        k("uncordon", DRAINED)


def test_debug_adds_a_container(web: Kubectl) -> None:
    web("debug", "web", f"--image={IMAGE}", "--image-pull-policy=IfNotPresent", "-c", "look", "--", "sleep", "60")

    def is_running() -> bool:
        status = json.loads(web("get", "pod", "web", "-o", "json"))["status"]
        return any("running" in shown["state"] for shown in status.get("ephemeralContainerStatuses", []))

    eventually(is_running, 30, "the ephemeral container runs")
