"""The cluster's own pods in kube-system: they are pods like any others, and what they do does not stop for it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunningCluster, eventually, web_manifest

SYSTEM = ("-n", "kube-system")
APISERVICE = "v1beta1.metrics.k8s.io"
ASK = """
n=0
while [ ! -e /tmp/enough ]; do
  timeout 4 nslookup kubernetes.default.svc.cluster.local 10.96.0.10 >/tmp/said 2>&1 || { echo lost; cat /tmp/said; }
  n=$((n+1))
done
echo asked $n
"""
ASK_BY_ONE_SOCKET = """
import select, socket, sys, dnslib
asked, again = 0, 0
ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ours.connect(("10.96.0.10", 53))
ours.settimeout(1)
while not select.select([sys.stdin], [], [], 0.01)[0]:
    query = dnslib.DNSRecord.question("kubernetes.default.svc.cluster.local")
    for attempt in range(3):
        try:
            ours.send(query.pack())
            while dnslib.DNSRecord.parse(ours.recv(1500)).header.id != query.header.id:
                pass
            break
        except TimeoutError:
            again += 1
        except ConnectionRefusedError:
            print("refused")
    else:
        print("lost")
    asked += 1
print("asked", asked, "again", again)
"""
"""As a resolver does that keeps its socket: the kernel remembers where its first packet went."""


def pods(cluster: RunningCluster, app: str) -> list[dict[str, Any]]:
    found = cluster.get(*SYSTEM, "pods", "-l", f"k8s-app={app}")["items"]
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def test_they_are_pods_that_kubectl_shows_logs_enters_and_measures(cluster: RunningCluster) -> None:
    dns, metrics = pods(cluster, "kube-dns"), pods(cluster, "metrics-server")
    assert len(dns) == 2 and len(metrics) == 1
    assert len({pod["spec"]["nodeName"] for pod in dns}) == 2, "no node's loss takes all names away"
    assert "answering" in cluster.kubectl(*SYSTEM, "logs", "deployment/coredns").stdout
    assert "answering" in cluster.kubectl(*SYSTEM, "logs", "deployment/metrics-server").stdout
    who = ("python3", "-c", "import os; print(os.getuid(), os.access('/', os.W_OK))")
    assert cluster.kubectl(*SYSTEM, "exec", "deployment/metrics-server", "--", *who).stdout == "1000 False\n"

    def measured() -> set[str]:
        shown = cluster.kubectl("top", "pods", *SYSTEM, check=False).stdout
        return set(re.findall(r"^(\S+) +\d+m +\d+Mi", shown, flags=re.MULTILINE))

    wanted = {pod["metadata"]["name"] for pod in (*dns, *metrics)}
    eventually(lambda: measured() >= wanted, 60, "all are measured")
    listed = {process["name"] for process in cluster.status()["processes"]}
    assert not listed & {"dns", "metrics"}, "nothing of them is left beside the control plane"


@pytest.mark.timeout(240)
def test_no_query_is_lost_while_dns_is_rolled_and_its_pods_are_deleted(cluster: RunningCluster, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=web_manifest(name="asker", replicas=1))
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/asker", "--timeout=60s")
    command = [cluster.kubectl_path, "-n", namespace, "exec", "deployment/asker", "--", "sh", "-c", ASK]
    asking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=cluster.environment)
    command = [cluster.kubectl_path, *SYSTEM, "exec", "-i", "deployment/metrics-server", "--"]
    by_one_socket = subprocess.Popen(
        [*command, "python3", "-c", ASK_BY_ONE_SOCKET],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=cluster.environment,
    )  # fmt: skip
    try:
        before = {pod["metadata"]["uid"] for pod in pods(cluster, "kube-dns")}
        cluster.kubectl(*SYSTEM, "rollout", "restart", "deployment/coredns")
        cluster.kubectl(*SYSTEM, "rollout", "status", "deployment/coredns", "--timeout=90s")
        assert not before & {pod["metadata"]["uid"] for pod in pods(cluster, "kube-dns")}
        victim = pods(cluster, "kube-dns")[0]["metadata"]["name"]
        cluster.kubectl(*SYSTEM, "delete", "pod", victim)
        cluster.kubectl(*SYSTEM, "rollout", "status", "deployment/coredns", "--timeout=90s")
    finally:
        cluster.kubectl("-n", namespace, "exec", "deployment/asker", "--", "touch", "/tmp/enough")
    said, _ = asking.communicate(timeout=30)
    assert "lost" not in said, said
    assert int(said.split()[-1]) > 20, "too few questions to tell"
    said, _ = by_one_socket.communicate("enough", timeout=30)
    assert "lost" not in said and "refused" not in said, said
    assert int(said.split()[1]) > 100, "too few questions to tell"


def test_a_dns_server_that_is_killed_is_back_and_names_are_answered_meanwhile(
    cluster: RunningCluster, namespace: str
) -> None:
    victim = pods(cluster, "kube-dns")[0]["metadata"]["name"]

    def restarts() -> int:
        return cluster.get(*SYSTEM, "pod", victim)["status"]["containerStatuses"][0]["restartCount"]

    before = restarts()
    kill = "import os, signal; os.kill(1, signal.SIGTERM)"
    cluster.kubectl(*SYSTEM, "exec", victim, "--", "python3", "-c", kill, check=False)
    eventually(lambda: restarts() > before, 20, "it was started again")
    cluster.kubectl(*SYSTEM, "wait", "--for=condition=Ready", f"pod/{victim}", "--timeout=60s")
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=web_manifest(name="asker", replicas=1))
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/asker", "--timeout=60s")
    cluster.kubectl(
        "-n", namespace, "exec", "deployment/asker", "--", "nslookup", "kube-dns.kube-system.svc.cluster.local"
    )


@pytest.mark.timeout(240)
def test_renewed_certificates_come_to_the_pods_and_are_used(cluster: RunningCluster) -> None:
    from deploy.pki import METRICS_NAMES, Leaf, Pki

    before = {pod["metadata"]["uid"] for app in ("kube-dns", "metrics-server") for pod in pods(cluster, app)}
    authority = Pki(Path(cluster.data_dir, "pki")).cluster
    authority.ensure(Leaf("dns", "system:cluster-dns"), anew=True)
    authority.ensure(Leaf("metrics", "system:steer-metrics", hosts=METRICS_NAMES), anew=True)
    cluster.steer("up")
    wanted = Path(f"{cluster.data_dir}/pki/cluster/dns.crt").read_text().strip()
    read = ("python3", "-c", "print(open('/etc/steersman/identity/tls.crt').read())")

    def shown() -> str:
        return cluster.kubectl(*SYSTEM, "exec", "deployment/coredns", "--", *read).stdout.strip()

    eventually(lambda: shown() == wanted, 120, "DNS has the new certificate")
    logs = ("logs", "deployment/metrics-server", "--since=3m")
    eventually(lambda: "certificates renewed" in cluster.kubectl(*SYSTEM, *logs).stdout, 120, "metrics serve by theirs")
    after = {pod["metadata"]["uid"] for app in ("kube-dns", "metrics-server") for pod in pods(cluster, app)}
    assert after == before, "nobody had to be started again for it"
    eventually(lambda: cluster.kubectl("top", "nodes", check=False).returncode == 0, 30, "metrics are told")


STOCK = """
apiVersion: v1
kind: ServiceAccount
metadata: {labels: {k8s-app: metrics-server}, name: metrics-server, namespace: kube-system}
---
apiVersion: v1
kind: Service
metadata: {labels: {k8s-app: metrics-server}, name: metrics-server, namespace: kube-system}
spec:
  ports: [{appProtocol: https, name: https, port: 443, protocol: TCP, targetPort: https}]
  selector: {k8s-app: metrics-server}
---
apiVersion: apps/v1
kind: Deployment
metadata: {labels: {k8s-app: metrics-server}, name: metrics-server, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: metrics-server}}
  strategy: {rollingUpdate: {maxUnavailable: 0}}
  template:
    metadata: {labels: {k8s-app: metrics-server}}
    spec:
      containers:
      - name: metrics-server
        image: registry.invalid/metrics-server/metrics-server:v0.7.2
        imagePullPolicy: IfNotPresent
        args: [--cert-dir=/tmp, --secure-port=10250, --kubelet-preferred-address-types=InternalIP]
        ports: [{containerPort: 10250, name: https, protocol: TCP}]
        livenessProbe: {failureThreshold: 3, httpGet: {path: /livez, port: https, scheme: HTTPS}, periodSeconds: 10}
        readinessProbe: {failureThreshold: 3, httpGet: {path: /readyz, port: https, scheme: HTTPS}, periodSeconds: 10}
        resources: {requests: {cpu: 100m, memory: 200Mi}}
        volumeMounts: [{mountPath: /tmp, name: tmp-dir}]
      serviceAccountName: metrics-server
      volumes: [{emptyDir: {}, name: tmp-dir}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {labels: {k8s-app: metrics-server}, name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  groupPriorityMinimum: 100
  insecureSkipTLSVerify: true
  service: {name: metrics-server, namespace: kube-system}
  version: v1beta1
  versionPriority: 100
"""


@pytest.mark.timeout(240)
def test_a_stock_metrics_servers_manifest_takes_over_whole_and_ours_is_back_when_it_is_deleted(
    cluster: RunningCluster,
) -> None:
    try:
        cluster.kubectl("apply", "-f", "-", stdin=STOCK)
        spec = cluster.get(*SYSTEM, "deployment", "metrics-server")["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert [volume["name"] for volume in spec["volumes"]] == ["tmp-dir"]
        assert [port["name"] for port in container["ports"]] == ["https"]
        assert "command" not in container and container["args"][0] == "--cert-dir=/tmp"
        assert "automountServiceAccountToken" not in spec, "a stock server asks by its token"
        assert "automountServiceAccountToken" not in cluster.get(*SYSTEM, "serviceaccount", "metrics-server")
        assert "caBundle" not in cluster.get("apiservice", APISERVICE)["spec"]
        cluster.steer("up")
        left = cluster.get(*SYSTEM, "deployment", "metrics-server")["spec"]["template"]["spec"]
        assert left["containers"][0]["image"].startswith("registry.invalid/"), "it is left alone"
    finally:
        cluster.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=STOCK)
        began = time.monotonic()
        cluster.steer("up")
        print(f"up with a metrics server to make took {time.monotonic() - began:.1f} s")
    assert json.loads(
        cluster.kubectl("get", "--raw", f"/apis/apiregistration.k8s.io/v1/apiservices/{APISERVICE}").stdout
    )["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "steersman"}
    eventually(lambda: cluster.kubectl("top", "nodes", check=False).returncode == 0, 60, "ours answers again")
