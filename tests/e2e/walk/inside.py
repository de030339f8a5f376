"""What reaches into containers and nodes: logs, exec, attach, cp, port-forward, proxy, debug, top, drain."""

from __future__ import annotations

import json
import os
import re
import tempfile
import urllib.request
from pathlib import Path

from tests.e2e.conftest import eventually
from tests.e2e.kubectl import IMAGE, Kubectl
from tests.ports import free_port


def a_pod(k: Kubectl) -> None:
    k("run", "web", f"--image={IMAGE}", "--port=8080", "--expose")
    k("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")


def logs_exec_attach_and_cp(k: Kubectl) -> None:
    a_pod(k)
    k(
        "run",
        "talk",
        f"--image={IMAGE}",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        "echo one; echo two; echo three",
    )
    eventually(lambda: k.path("pod/talk", ".status.phase") == "Succeeded", 40, "it said all")
    assert k("logs", "talk").split() == ["one", "two", "three"]
    assert k("logs", "-f", "pod/talk", "--tail=1").strip() == "three"
    assert re.search(r"^\S+Z one$", k("logs", "talk", "--timestamps", "--since=1h"), re.MULTILINE)
    assert "[pod/talk/talk] two" in k("logs", "-l", "run=talk", "--prefix", "--all-containers")
    assert k("logs", "talk", "--limit-bytes=3").strip() == "one"
    assert "previous terminated container" in k.fails("logs", "talk", "--previous")
    assert "container nope is not valid" in k.fails("logs", "talk", "-c", "nope")
    assert k("exec", "web", "--", "echo", "hello").strip() == "hello"
    assert k("exec", "-i", "pod/web", "-c", "web", "--", "cat", stdin="in\n").strip() == "in"
    done = k.raw("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"out\n") and b"err\n" in done.stderr
    assert "not found" in k.fails("exec", "absent", "--", "true")
    done = k.raw("run", "-i", "--rm", "--restart=Never", "ask", f"--image={IMAGE}", "--command", "--", "sh", "-c",
                 "read word; echo heard $word; exit 6", stdin=b"hello\n")  # fmt: skip
    assert done.returncode == 6 and b"heard hello" in done.stdout
    k("run", "ticks", f"--image={IMAGE}", "--command", "--", "sh", "-c", "while sleep 0.2; do echo tick; done")
    k("wait", "--for=condition=Ready", "pod/ticks", "--timeout=60s")
    with k.running("attach", "ticks") as seen:
        eventually(lambda: any("tick" in line for line in seen), 20, "attach shows what it says")
    with tempfile.TemporaryDirectory() as there:
        (Path(there) / "up").write_bytes(os.urandom(100_000))
        k("cp", f"{there}/up", "web:/tmp/up")
        k("cp", "web:/tmp/up", f"{there}/down")
        assert (Path(there) / "down").read_bytes() == (Path(there) / "up").read_bytes()


def forward_and_proxy(k: Kubectl) -> None:
    a_pod(k)

    def fetched(port: int, path: str = "/") -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    for what, target in (("pod/web", 8080), ("service/web", 8080)):
        port = free_port()
        with k.running("port-forward", what, f"{port}:{target}", "--address=127.0.0.1") as seen:
            eventually(lambda seen=seen: any("Forwarding from" in line for line in seen), 30, f"{what} is forwarded")
            assert "web" in fetched(port)
    with k.running("proxy", "--port=0") as seen:
        eventually(lambda: seen, 20, "it says where it serves")
        port = int(seen[0].rsplit(":", 1)[1])
        assert json.loads(fetched(port, "/version"))["major"] == "1"
        assert "web" in fetched(port, f"/api/v1/namespaces/{k.namespace}/pods/web:8080/proxy/")
        assert "web" in fetched(port, f"/api/v1/namespaces/{k.namespace}/services/web:8080/proxy/")


def debug_pods_and_nodes(k: Kubectl) -> None:
    a_pod(k)
    k("debug", "web", f"--image={IMAGE}", "-c", "look", "--target=web", "--", "sleep", "60")

    def is_running() -> bool:
        shown = k.json("pod", "web")["status"].get("ephemeralContainerStatuses", [])
        return any("running" in each["state"] for each in shown)

    eventually(is_running, 40, "the ephemeral container runs")
    assert k("exec", "web", "-c", "look", "--", "echo", "hello").strip() == "hello"
    k("debug", "web", f"--image={IMAGE}", "--copy-to=copy", "-c", "extra", "--share-processes", "--", "sleep", "60")
    k("wait", "--for=condition=Ready", "pod/copy", "--timeout=60s")
    assert k.path("pod/copy", ".spec.shareProcessNamespace") == "true"
    said = k("debug", "node/node-1", f"--image={IMAGE}", "--", "sleep", "60")
    found = re.search(r"node-debugger-\S+", said)
    assert found, said
    name = found[0].rstrip(".")
    k("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    assert k.path(f"pod/{name}", ".spec.nodeName") == "node-1"
    k("delete", "pod", name, "copy", "--grace-period=0", "--force")


def top(k: Kubectl) -> None:
    a_pod(k)
    eventually(lambda: "node-1" in k("top", "nodes", check=False), 40, "the nodes were measured")
    assert re.search(r"node-1 +\d+m +\d+% +\d+Mi +\d+%", k("top", "nodes"))
    eventually(lambda: re.search(r"web +\d+m +\d+Mi", k("top", "pods", check=False)), 60, "the pod was measured")
    assert re.search(r"web +web +\d+m", k("top", "pod", "web", "--containers"))


def taint_cordon_and_drain(k: Kubectl) -> None:
    node = "node-2"
    k("create", "deployment", "d", f"--image={IMAGE}", "--replicas=2")
    k("rollout", "status", "deployment/d", "--timeout=60s")

    def on_it() -> list[str]:
        pods = k.json("pods", "-l", "app=d")["items"]
        return [pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName") == node]

    try:
        k("taint", "node", node, f"{k.namespace}=x:PreferNoSchedule")
        assert f"{k.namespace}=x:PreferNoSchedule" in k("describe", "node", node)
        k("taint", "node", node, f"{k.namespace}-")
        assert "cordoned" in k("cordon", node)
        assert "SchedulingDisabled" in k("get", "node", node)
        assert "dry run" in k(
            "drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--dry-run=server"
        )
        drain = ["drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=80s"]
        assert "drained" in k(*drain, "--pod-selector=app=d")
        eventually(lambda: not on_it(), 20, "no pod of ours on the drained node")
    finally:
        k("uncordon", node)
    assert "SchedulingDisabled" not in k("get", "node", node)
