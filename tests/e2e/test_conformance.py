"""Behaviours that conformance suites look for and no other test of ours shows on real containers."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

import aiohttp
import yaml

from tests.e2e.conftest import RunningCluster, eventually, run

SLEEPER: dict[str, Any] = {
    "name": "c",
    "image": "steersman.local/web:1",
    "command": ["sh", "-c", "echo I am alive; exec sleep 1000"],
}


def make(cluster: RunningCluster, namespace: str, name: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
    spec = {"terminationGracePeriodSeconds": 0, "containers": [SLEEPER]} | spec
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}
    cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(pod))


def status(cluster: RunningCluster, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("-n", namespace, "pod", name)["status"]
    return found


def test_a_node_refuses_pods_that_it_cannot_run(cluster: RunningCluster, namespace: str) -> None:
    make(cluster, namespace, "elsewhere", nodeName="node-1", nodeSelector={"no": "such"})
    hungry = {**SLEEPER, "resources": {"requests": {"cpu": "1000"}}}
    make(cluster, namespace, "hungry", nodeName="node-1", containers=[hungry])
    make(cluster, namespace, "unsafe", securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]})
    for name, reason in (("elsewhere", "NodeAffinity"), ("hungry", "OutOfcpu"), ("unsafe", "SysctlForbidden")):
        failed = eventually(
            lambda name=name: (s := status(cluster, namespace, name)).get("phase") == "Failed" and s, 15, name
        )
        assert failed["reason"] == reason and failed["message"].startswith("Pod was rejected: "), failed
        assert "containerStatuses" not in failed


def test_a_token_belongs_to_the_one_user_of_its_pod(cluster: RunningCluster, namespace: str) -> None:
    make(cluster, namespace, "one", securityContext={"runAsUser": 1000})
    make(cluster, namespace, "group", securityContext={"fsGroup": 10000})
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    for name, owned in (("one", "600 1000 0"), ("group", "640 0 10000")):
        cluster.kubectl("-n", namespace, "wait", f"pod/{name}", "--for=condition=Ready", "--timeout=30s")
        said = cluster.kubectl("-n", namespace, "exec", name, "--", "stat", "-L", "-c", "%a %u %g", token).stdout
        assert said.strip() == owned


def test_a_log_is_read_over_a_websocket(cluster: RunningCluster, namespace: str) -> None:
    make(cluster, namespace, "talker")
    cluster.kubectl("-n", namespace, "wait", "pod/talker", "--for=condition=Ready", "--timeout=30s")
    token = cluster.kubectl("-n", namespace, "create", "token", "default").stdout.strip()
    cluster.kubectl(
        "-n", namespace, "create", "rolebinding", "view", "--clusterrole=view", f"--serviceaccount={namespace}:default"
    )
    with open(f"{cluster.data_dir}/admin.kubeconfig") as stream:
        server = yaml.safe_load(stream)["clusters"][0]["cluster"]["server"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def read() -> bytes:
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{server}/api/v1/namespaces/{namespace}/pods/talker/log"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.ws_connect(url, ssl=context, protocols=["binary.k8s.io"]) as socket,
        ):
            return b"".join([message.data async for message in socket])

    assert asyncio.run(read()) == b"I am alive\n"


def test_a_load_balancer_learns_which_nodes_have_endpoints(cluster: RunningCluster, namespace: str) -> None:
    make(cluster, namespace, "web", labels={"app": "web"}, nodeName="node-1")
    spec = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "selector": {"app": "web"},
        "ports": [{"port": 80}],
    }
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
    cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(service))
    port = cluster.get("-n", namespace, "service", "web")["spec"]["healthCheckNodePort"]

    def code(node: str) -> str:
        url = f"http://{cluster.node_address(node)}:{port}/healthz"
        return run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "3", url], check=False).stdout

    eventually(lambda: (code("node-1"), code("node-2")) == ("200", "503"), 20, "only the node with the pod is well")


def test_objects_that_own_each_other_in_a_circle_go_together(cluster: RunningCluster, namespace: str) -> None:
    uids = {}
    for name in "abc":
        cluster.kubectl("-n", namespace, "create", "configmap", name)
        uids[name] = cluster.get("-n", namespace, "configmap", name)["metadata"]["uid"]
    for name, owner in zip("abc", "cab", strict=True):
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uids[owner]}
        change = {"metadata": {"ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}]}}
        cluster.kubectl("-n", namespace, "patch", "configmap", name, "-p", json.dumps(change))
    cluster.kubectl("-n", namespace, "delete", "configmap", "a", "--cascade=foreground", "--timeout=30s")

    def left() -> set[str]:
        found = cluster.get("-n", namespace, "configmaps")["items"]
        return {each["metadata"]["name"] for each in found} & set("abc")

    eventually(lambda: not left(), 20, "all three to be gone")
