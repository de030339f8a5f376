"""A short walk for every version: the ways of speaking in which versions differ, once each."""

from __future__ import annotations

from tests.e2e.kubectl import IMAGE, Kubectl
from tests.e2e.walk.changing import config_map


def the_core(k: Kubectl) -> None:
    k("create", "deployment", "d", f"--image={IMAGE}")
    k("create", "sa", "sa")
    assert k("create", "token", "sa").count(".") == 2
    assert k("auth", "can-i", "create", "pods").strip() == "yes"
    assert "created" in k("apply", "-f", "-", stdin=config_map("c", a="1"))
    assert '+  a: "2"' in k.fails("diff", "-f", "-", stdin=config_map("c", a="2"))
    assert "serverside-applied" in k(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=config_map("c", a="2")
    )
    assert "maxSurge" in k("explain", "deployment.spec.strategy.rollingUpdate")
    assert "deployments.apps" in k("api-resources", "-o", "name")
    k("rollout", "status", "deployment/d", "--timeout=60s")
    assert k("exec", "deploy/d", "--", "echo", "hello").strip() == "hello"
    assert "d-" in k("get", "pods", "-l", "app=d") and "Started" in k("describe", "pods")
    assert "deleted" in k("delete", "deployment", "d", "--cascade=foreground", "--timeout=60s")
