"""Stock kubectl, verb by verb, as a user types them: one version here, every other in `test_walk`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import RunningCluster, eventually, kubectl_binaries, run, web_manifest
from tests.ports import free_port

BINARIES = kubectl_binaries()
VERSIONS = [pytest.param(each, marks=[pytest.mark.soak] if n else []) for n, each in enumerate(BINARIES)]


@pytest.fixture(params=VERSIONS)
def k(request: pytest.FixtureRequest, cluster: RunningCluster, namespace: str):
    """Run one version's kubectl in a namespace of its own and return its output."""

    def call(*arguments: str, check: bool = True, stdin: str | None = None, timeout: float = 90) -> str:
        done = cluster.kubectl(
            "-n", namespace, *arguments, check=check, stdin=stdin, timeout=timeout, binary=BINARIES[request.param]
        )
        return done.stdout + done.stderr

    call.binary = BINARIES[request.param]  # type: ignore[attr-defined]
    call.version = request.param  # type: ignore[attr-defined]
    call.namespace = namespace  # type: ignore[attr-defined]
    call.environment = cluster.environment  # type: ignore[attr-defined]
    return call


def deploy(k, replicas: int = 2) -> None:
    k("apply", "-f", "-", stdin=web_manifest(replicas=replicas))
    k("rollout", "status", "deployment/web", "--timeout=60s")


def test_version_and_api_resources_are_what_a_1_32_server_says(k) -> None:
    assert "v1.32" in k("version")
    listed = k("api-resources")
    for kind in ("Pod", "Deployment", "ReplicaSet", "Service", "EndpointSlice", "Lease", "ClusterRoleBinding"):
        assert kind in listed
    assert "apps/v1" in k("api-versions")
    assert "is running at" in k("cluster-info")


def test_explain_shows_the_fields_of_a_type(k) -> None:
    shown = k("explain", "deployment.spec.strategy")
    assert "rollingUpdate" in shown
    assert "maxSurge" in k("explain", "deployment.spec.strategy.rollingUpdate")


def test_get_in_every_format(k) -> None:
    deploy(k)
    assert "2/2" in k("get", "deployments")
    assert "node-" in k("get", "pods", "-o", "wide")
    assert json.loads(k("get", "pods", "-o", "json"))["kind"] == "List"
    assert "kind: Pod" in k("get", "pods", "-o", "yaml")
    assert k("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "2"
    assert len(k("get", "pods", "-l", "app=web", "-o", "name").split()) == 2
    assert "No resources found" in k("get", "pods", "-l", "app!=web")
    assert len(k("get", "pods", "--field-selector", "status.phase=Running", "-o", "name").split()) == 2
    assert "web" in k("get", "pods", "--sort-by", ".metadata.name")
    assert "web" in k("get", "all")


def test_get_watch_shows_changes_as_they_happen(k) -> None:
    watch = subprocess.Popen(
        [k.binary, "-n", k.namespace, "get", "configmaps", "-w", "-o", "name"],
        stdout=subprocess.PIPE,
        text=True,
        env=k.environment,
    )
    try:
        time.sleep(1)
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seen"}}
        k("apply", "-f", "-", stdin=json.dumps(manifest))
        assert watch.stdout is not None
        os.set_blocking(watch.stdout.fileno(), False)
        seen = ""

        def shown() -> bool:
            nonlocal seen
            seen += watch.stdout.read() or ""
            return "configmap/seen" in seen

        eventually(shown, 10, "the watch shows the new ConfigMap")
    finally:
        watch.terminate()
        watch.wait(10)


def test_describe_of_every_kind(k) -> None:
    deploy(k)
    pod = k("get", "pods", "-o", "name").split()[0]
    described = k("describe", pod)
    assert "Scheduled" in described and "Started" in described
    assert "NewReplicaSetAvailable" in k("describe", "deployment", "web")
    assert "SuccessfulCreate" in k("describe", "replicaset")
    for kind, wanted in {
        "service/web": "Endpoints",
        "node/node-1": "kubelet",
        "namespace/default": "Active",
        "configmap/kube-root-ca.crt": "BEGIN CERTIFICATE",
        "serviceaccount/default": "default",
        "clusterrole/view": "pods",
        "clusterrolebinding/cluster-admin": "system:masters",
        "endpointslice": "web",
    }.items():
        assert wanted in k("describe", *kind.split("/")), kind


def test_apply_diff_edit_patch_and_replace(k, tmp_path: Path) -> None:
    deploy(k)
    changed = web_manifest(replicas=3)
    assert "replicas: 3" in k("diff", "-f", "-", stdin=changed, check=False)
    assert "deployment.apps/web configured" in k("apply", "-f", "-", stdin=changed)
    assert "unchanged" in k("apply", "-f", "-", stdin=changed)
    k("patch", "deployment", "web", "-p", '{"spec":{"replicas":2}}')
    k("patch", "deployment", "web", "--type=merge", "-p", '{"metadata":{"labels":{"patched":"merge"}}}')
    operations = '[{"op":"add","path":"/metadata/labels/json","value":"yes"}]'
    k("patch", "deployment", "web", "--type=json", "-p", operations)
    labels = json.loads(k("get", "deployment", "web", "-o", "json"))["metadata"]["labels"]
    assert (labels["patched"], labels["json"]) == ("merge", "yes")
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/patched: merge/patched: edited/' \"$1\"\n")
    editor.chmod(0o755)
    environment = {**k.environment, "KUBE_EDITOR": str(editor)}
    run([k.binary, "-n", k.namespace, "edit", "deployment", "web"], env=environment)
    assert k("get", "deployment", "web", "-o", "jsonpath={.metadata.labels.patched}") == "edited"
    whole = json.loads(k("get", "deployment", "web", "-o", "json"))
    whole["metadata"]["labels"]["patched"] = "replaced"
    assert "replaced" in k("replace", "-f", "-", stdin=json.dumps(whole))


def test_label_annotate_scale_and_set_image(k) -> None:
    deploy(k)
    k("label", "deployment", "web", "tier=front")
    k("annotate", "deployment", "web", "note=hello")
    found = json.loads(k("get", "deployment", "web", "-o", "json"))["metadata"]
    assert (found["labels"]["tier"], found["annotations"]["note"]) == ("front", "hello")
    k("label", "deployment", "web", "tier-")
    k("scale", "deployment", "web", "--replicas=1")
    eventually(lambda: len(k("get", "pods", "-o", "name").split()) == 1, 20, "one pod left")
    k("set", "image", "deployment/web", "web=steersman.local/web:1", "--record=false", check=False)
    k("set", "env", "deployment/web", "COLOR=blue")
    k("rollout", "status", "deployment/web", "--timeout=60s")
    assert "COLOR=blue" in k("exec", "deploy/web", "--", "env")


def test_rollout_status_history_undo_restart_pause(k) -> None:
    deploy(k)
    k("set", "env", "deployment/web", "V=2")
    k("rollout", "status", "deployment/web", "--timeout=60s")
    history = k("rollout", "history", "deployment/web")
    assert "1 " in history and "2 " in history
    k("rollout", "undo", "deployment/web")
    k("rollout", "status", "deployment/web", "--timeout=60s")
    template = json.loads(k("get", "deployment", "web", "-o", "json"))["spec"]["template"]
    assert "env" not in template["spec"]["containers"][0]
    before = set(k("get", "pods", "-o", "name").split())
    k("rollout", "restart", "deployment/web")
    k("rollout", "status", "deployment/web", "--timeout=60s")
    eventually(lambda: not before & set(k("get", "pods", "-o", "name").split()), 30, "every pod is a new one")
    k("rollout", "pause", "deployment/web")
    k("set", "env", "deployment/web", "V=3")
    time.sleep(1)
    assert json.loads(k("get", "deployment", "web", "-o", "json"))["status"].get("updatedReplicas", 0) == 0
    k("rollout", "resume", "deployment/web")
    k("rollout", "status", "deployment/web", "--timeout=60s")


def test_logs_follow_and_previous(k) -> None:
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  containers:
    - name: c
      image: steersman.local/web:1
      command: [sh, -c, "i=0; while [ $i -lt 5 ]; do echo line-$i; i=$((i+1)); sleep 0.2; done; exit 3"]
"""
    k("apply", "-f", "-", stdin=manifest)
    eventually(lambda: "line-4" in k("logs", "-f", "talker", check=False), 30, "the log is followed to its end")
    eventually(lambda: "line-4" in k("logs", "--previous", "talker", check=False), 30, "the run before has a log")
    stamped = k("logs", "talker", "--previous", "--timestamps", "--since=1h")
    assert re.search(r"^20\d\d-\d\d-\d\dT\S+Z line-0$", stamped, re.MULTILINE), stamped
    assert k("logs", "talker", "--previous", "--tail=1").strip() == "line-4"


def test_exec_and_cp_both_ways(k, tmp_path: Path) -> None:
    deploy(k, replicas=1)
    pod = k("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    assert k("exec", pod, "--", "echo", "hello").strip() == "hello"
    assert k("exec", "-i", pod, "--", "cat", stdin="over the wire\n").strip() == "over the wire"
    failed = subprocess.run(
        [k.binary, "-n", k.namespace, "exec", pod, "--", "sh", "-c", "exit 7"], env=k.environment, capture_output=True
    )
    assert failed.returncode == 7
    there = tmp_path / "there"
    there.write_bytes(os.urandom(300_000))
    k("cp", str(there), f"{pod}:/tmp/there")
    k("cp", f"{pod}:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == there.read_bytes()


def test_exec_with_a_terminal_is_interactive(k) -> None:
    deploy(k, replicas=1)
    pod = k("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    command = f"{k.binary} -n {k.namespace} exec -it {pod} -- sh"
    typed = "echo is-$((40+2)); tty; exit\n"
    done = run(["script", "-qec", command, "/dev/null"], stdin=typed, env=k.environment, timeout=30, check=False)
    assert "is-42" in done.stdout and "/dev/pts/" in done.stdout


def test_port_forward_reaches_the_pod(k) -> None:
    deploy(k, replicas=1)
    pod = k("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    port = free_port()
    forward = subprocess.Popen(
        [k.binary, "-n", k.namespace, "port-forward", pod, f"{port}:8080"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=k.environment,
    )
    try:
        eventually(
            lambda: pod in run(["curl", "-s", "--max-time", "3", f"http://127.0.0.1:{port}/"], check=False).stdout,
            15,
            "the pod answers through the forwarded port",
        )
    finally:
        forward.terminate()
        forward.wait(10)


def test_wait_delete_cascade_and_grace(k) -> None:
    deploy(k)
    k("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    k("delete", "deployment", "web", "--cascade=orphan")
    assert k("get", "replicasets", "-o", "name").strip()
    k("delete", "replicaset", "--all", "--cascade=foreground", "--timeout=60s")
    eventually(lambda: "No resources" in k("get", "pods"), 30, "the pods went with their owner")
    k("apply", "-f", "-", stdin=web_manifest(replicas=1))
    k("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
    pod = k("get", "pods", "-o", "name").strip()
    k("delete", pod, "--grace-period=0", "--force")
    k("delete", "deployment,service", "--all", "--timeout=60s")


def test_events_cordon_and_taint(k) -> None:
    deploy(k, replicas=1)
    assert "Scheduled" in k("events") or "Scheduled" in k("get", "events")
    k("cordon", "node-3")
    try:
        assert "SchedulingDisabled" in k("get", "node", "node-3")
        k("taint", "node", "node-3", "dedicated=test:NoSchedule")
        assert "dedicated=test:NoSchedule" in k("describe", "node", "node-3")
        k("taint", "node", "node-3", "dedicated-")
    finally:
        k("uncordon", "node-3")


def test_create_and_run_whether_bodies_are_json_or_protobuf(k) -> None:
    k("create", "configmap", "made", "--from-literal=a=b")
    assert k("get", "configmap", "made", "-o", "jsonpath={.data.a}") == "b"
    k("create", "deployment", "made", "--image=steersman.local/web:1")
    k("run", "once", "--image=steersman.local/web:1", "--restart=Never", "--", "echo", "done")
    eventually(
        lambda: k("get", "pod", "once", "-o", "jsonpath={.status.phase}") == "Succeeded", 30, "the pod ran to its end"
    )


def test_top_and_autoscaling_follow_what_pods_use(k) -> None:
    k("create", "deployment", "busy", "--image=steersman.local/web:1", "--", "sh", "-c", "while :; do :; done")
    k("set", "resources", "deployment", "busy", "--requests=cpu=20m", "--limits=cpu=60m")
    k("rollout", "status", "deployment/busy", "--timeout=60s")
    k("autoscale", "deployment", "busy", "--cpu-percent=50", "--min=1", "--max=2")
    eventually(lambda: re.search(r"busy\S+ +[1-9]\d*m +", k("top", "pods", check=False)), 60, "the pod was measured")
    assert "node-1" in k("top", "nodes")
    replicas = ("get", "deployment", "busy", "-o", "jsonpath={.spec.replicas}")
    eventually(lambda: k(*replicas) == "2", 60, "the busy pod got company")


def test_a_service_account_reads_kubelets_if_its_role_says_so_as_other_metrics_servers_do(k, cluster) -> None:
    if k.version in ("1.20", "1.21", "1.22", "1.23"):
        pytest.skip("this kubectl creates no tokens")
    k("create", "serviceaccount", "reader")
    token = k("create", "token", "reader").strip()
    url = f"https://{cluster.node_address('node-1')}:10250/metrics/resource"

    def ask(*more: str) -> str:
        return run(["curl", "-sk", "-w", " %{http_code}", *more, url]).stdout

    assert ask().endswith(" 401")
    assert ask("-H", f"Authorization: Bearer {token}x").endswith(" 401")
    assert (
        f"Forbidden (user=system:serviceaccount:{k.namespace}:reader, verb=get, resource=nodes, subresource=metrics)"
        in (ask("-H", f"Authorization: Bearer {token}"))
    )
    name = f"reader-{k.namespace}"
    k("create", "clusterrole", name, "--verb=get", "--resource=nodes/metrics")
    k("create", "clusterrolebinding", name, f"--clusterrole={name}", f"--serviceaccount={k.namespace}:reader")
    try:
        # A refusal is remembered for half a minute.
        eventually(lambda: ask("-H", f"Authorization: Bearer {token}").endswith(" 200"), 40, "the role counts")
        assert "node_cpu_usage_seconds_total" in ask("-H", f"Authorization: Bearer {token}")
    finally:
        k("delete", "clusterrolebinding,clusterrole", name)
