"""DaemonSets, StatefulSets and ReplicationControllers on real containers, as a user rolls them out with kubectl."""

from __future__ import annotations

from typing import Any

from tests.e2e.conftest import eventually

POD = """
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: steersman.local/web:1
          ports: [{containerPort: 8080, name: http}]
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
          resources: {requests: {cpu: 10m, memory: 16Mi}}
"""
DAEMON_SET = f"""
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  template:
    metadata: {{labels: {{app: agent}}}}{POD}
"""
STATEFUL_SET = f"""
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 80, targetPort: http}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  replicas: 2
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}{POD}
"""
REPLICATION_CONTROLLER = f"""
apiVersion: v1
kind: ReplicationController
metadata: {{name: old}}
spec:
  replicas: 1
  selector: {{app: old}}
  template:
    metadata: {{labels: {{app: old}}}}{POD}
"""


def names(k: Any, app: str) -> list[str]:
    shown = k("get", "pods", "-l", f"app={app}", "--sort-by=.metadata.creationTimestamp", "-o", "name")
    return [line.removeprefix("pod/") for line in shown.split()]


def variables(k: Any, app: str) -> str:
    return k("get", "pods", "-l", f"app={app}", "-o", "jsonpath={.items[*].spec.containers[0].env[*].value}")


def test_a_daemon_set_rolls_out_and_back(k: Any) -> None:
    k("apply", "-f", "-", stdin=DAEMON_SET)
    assert "successfully rolled out" in k("rollout", "status", "ds/agent", "--timeout=60s")
    nodes = k("get", "pods", "-l", "app=agent", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    assert sorted(nodes) == ["node-1", "node-2", "node-3"]
    surge = '{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":0,"maxSurge":"100%"}}}}'
    k("patch", "ds", "agent", "-p", surge)
    k("set", "env", "ds/agent", "V=2")
    k("rollout", "status", "ds/agent", "--timeout=60s")
    assert variables(k, "agent").split() == ["2", "2", "2"]
    assert "skipped rollback" in k("rollout", "undo", "ds/agent", "--to-revision=2")
    assert "rolled back" in k("rollout", "undo", "ds/agent")
    k("rollout", "status", "ds/agent", "--timeout=60s")
    assert variables(k, "agent") == ""
    history = k("rollout", "history", "ds/agent")
    assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["2", "3"]


def test_a_stateful_set_scales_rolls_out_and_back_in_order(k: Any, namespace: str) -> None:
    k("apply", "-f", "-", stdin=STATEFUL_SET + "---" + REPLICATION_CONTROLLER)
    k("rollout", "status", "sts/db", "--timeout=60s")
    assert names(k, "db") == ["db-0", "db-1"]
    # Each pod has a name of its own, under that of the headless Service.
    full, address = f"db-1.db.{namespace}.svc.cluster.local", k("get", "pod", "db-1", "-o", "jsonpath={.status.podIP}")
    eventually(lambda: address in k("exec", "db-0", "--", "nslookup", full), 20, "the pod is found by its name")
    k("scale", "sts/db", "--replicas=1")
    eventually(lambda: names(k, "db") == ["db-0"], 30, "one pod left")
    k("set", "env", "sts/db", "V=2")
    k("rollout", "status", "sts/db", "--timeout=60s")
    assert variables(k, "db") == "2"
    assert "skipped rollback" in k("rollout", "undo", "sts/db", "--to-revision=2")
    k("rollout", "undo", "sts/db")
    k("rollout", "status", "sts/db", "--timeout=60s")
    assert variables(k, "db") == ""
    eventually(lambda: "1 " in k("get", "rc", "old", "-o", "jsonpath={.status.readyReplicas} "), 30, "it is ready")
    k("scale", "rc/old", "--replicas=0")
    eventually(lambda: not names(k, "old"), 30, "it has no pods")
