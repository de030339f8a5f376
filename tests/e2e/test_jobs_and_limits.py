"""Jobs run to their end on real containers, and namespaces that stay within their limits, by stock kubectl."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.conftest import eventually

IMAGE = "steersman.local/web:1"


def a_job(name: str, script: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": IMAGE, "command": ["sh", "-c", script]}
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    head = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}
    return {**head, "spec": {"template": {"spec": pod}, **spec}}


def test_jobs_run_to_their_end_whichever_it_is(k: Any) -> None:
    script = "echo $JOB_COMPLETION_INDEX on $(hostname)"
    k("apply", "-f", "-", stdin=a_job("indexed", script, completions=3, parallelism=2, completionMode="Indexed"))
    k("apply", "-f", "-", stdin=a_job("bad", "exit 3", backoffLimit=0))
    k("apply", "-f", "-", stdin=a_job("long", "sleep 1000"))
    k("wait", "--for=condition=complete", "job/indexed", "--timeout=60s")
    k("wait", "--for=condition=failed", "job/bad", "--timeout=60s")
    logs = k("logs", "-l", "job-name=indexed", "--tail=-1")
    assert sorted(logs.split("\n"))[-3:] == [f"{index} on indexed-{index}" for index in range(3)]
    status = json.loads(k("get", "job", "indexed", "-o", "json"))["status"]
    assert (status["succeeded"], status["completedIndexes"]) == (3, "0-2")
    k("delete", "job", "--all", "--timeout=60s")
    eventually(lambda: "No resources found" in k("get", "pods"), 60, "the Jobs' pods go with them")


def test_a_namespace_stays_within_its_quota_and_defaults(k: Any) -> None:
    limits = [{"type": "Container", "default": {"cpu": "20m"}, "defaultRequest": {"cpu": "10m"}}]
    head = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}}
    k("apply", "-f", "-", stdin={**head, "spec": {"limits": limits}})
    k("create", "quota", "q", "--hard=pods=2,requests.cpu=1")
    eventually(lambda: "pods: 0/2" in k("get", "quota", "q"), 30, "the quota is counted")
    k("create", "deployment", "web", f"--image={IMAGE}", "--replicas=3")
    eventually(lambda: "pods: 2/2, requests.cpu: 20m/1" in k("get", "quota", "q"), 30, "two pods are let in")
    refused = k("run", "more", f"--image={IMAGE}", check=False)
    assert "is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2" in refused
    k("scale", "deployment/web", "--replicas=1")
    eventually(lambda: "pods: 1/2, requests.cpu: 10m/1" in k("get", "quota", "q"), 60, "what goes is given back")


def test_a_restricted_namespace_refuses_pods_and_warns_about_what_makes_them(k: Any) -> None:
    k("label", "namespace", k.namespace, "pod-security.kubernetes.io/enforce=restricted")
    rules = 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    assert rules in k("run", "naive", f"--image={IMAGE}", check=False)
    assert "Warning: would violate PodSecurity" in k("create", "deployment", "web", f"--image={IMAGE}")
