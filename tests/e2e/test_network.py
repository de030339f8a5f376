"""Services, from pods and from the host."""

from __future__ import annotations

from collections import Counter

from tests.e2e.conftest import RunningCluster, eventually, run, web_manifest


def test_a_service_answers_by_name_by_cluster_ip_and_to_itself(cluster: RunningCluster, namespace: str) -> None:
    def k(*arguments: str, **options: object) -> str:
        return cluster.kubectl("-n", namespace, *arguments, **options).stdout  # type: ignore[arg-type]

    k("apply", "-f", "-", stdin=web_manifest(replicas=3))
    k("rollout", "status", "deployment/web", "--timeout=60s")
    pods = cluster.get("-n", namespace, "pods")["items"]
    client = pods[0]["metadata"]["name"]
    address = cluster.get("-n", namespace, "service", "web")["spec"]["clusterIP"]

    def asked(url: str, from_pod: str = client) -> str:
        command = ["-n", namespace, "exec", from_pod, "--", "timeout", "5", "wget", "-qO-", url]
        return cluster.kubectl(*command, check=False).stdout

    eventually(lambda: "web-" in asked("http://web/"), 20, "by its short name")
    assert "web-" in asked(f"http://web.{namespace}.svc.cluster.local/")
    assert "web-" in asked(f"http://{address}/")
    # Itself through its own Service: with one replica, the only endpoint is the one that asks.
    k("scale", "deployment/web", "--replicas=1")
    eventually(lambda: len(cluster.get("-n", namespace, "pods")["items"]) == 1, 30, "one pod is left")
    last = cluster.get("-n", namespace, "pods")["items"][0]["metadata"]["name"]
    eventually(lambda: last in asked(f"http://{address}/", last), 20, "a pod reaches itself through its Service")


def test_a_node_port_spreads_requests_over_all_pods(cluster: RunningCluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=web_manifest(name="spread", node_port=30123))
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/spread", "--timeout=60s")
    names = {pod["metadata"]["name"] for pod in cluster.get("-n", namespace, "pods")["items"]}
    for node in ("node-1", "node-2", "node-3"):
        url = f"http://{cluster.node_address(node)}:30123/"
        eventually(lambda url=url: run(["curl", "-sf", "--max-time", "3", url], check=False).stdout, 20, url)
    answered: Counter[str] = Counter()
    for _ in range(60):
        text = run(["curl", "-s", "--max-time", "5", url]).stdout
        answered.update(name for name in names if name in text)
    assert set(answered) == names


def test_a_pod_reaches_the_api_with_its_own_token(cluster: RunningCluster, namespace: str) -> None:
    manifest = web_manifest(name="caller", replicas=1)
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/caller", "--timeout=60s")
    files = cluster.kubectl(
        "-n", namespace, "exec", "deploy/caller", "--", "ls", "/var/run/secrets/kubernetes.io/serviceaccount"
    ).stdout
    assert {"ca.crt", "namespace", "token"} <= set(files.split())
    token = cluster.kubectl(
        "-n", namespace, "exec", "deploy/caller", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"
    ).stdout
    who = run(
        [
            "curl", "-sk", "--max-time", "5", "-H", f"Authorization: Bearer {token}",
            f"https://127.0.0.1:{cluster.port}/api/v1/namespaces/{namespace}/pods",
        ]
    ).stdout  # fmt: skip
    assert f"system:serviceaccount:{namespace}:default" in who and "Forbidden" in who
