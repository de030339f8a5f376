"""Bad input gets an error that says what is wrong and where, and nothing is half made."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deploy.pki import Authority, Leaf
from tests.e2e.conftest import RunningCluster, run, web_manifest


def refused(cluster: RunningCluster, manifest: str, *arguments: str) -> str:
    done = cluster.kubectl("apply", "-f", "-", *arguments, stdin=manifest, check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


def deployment() -> str:
    return web_manifest(name="bad").split("---")[0]


def test_an_unknown_field_is_named(cluster: RunningCluster) -> None:
    error = refused(cluster, deployment().replace("replicas: 3", "replicas: 3\n  replcas: 4"))
    assert 'unknown field "spec.replcas"' in error


def test_a_wrong_type_is_named(cluster: RunningCluster) -> None:
    error = refused(cluster, deployment().replace("replicas: 3", "replicas: three"), "--validate=ignore")
    assert "replicas" in error and "int32" in error


def test_a_missing_selector_is_named(cluster: RunningCluster) -> None:
    error = refused(
        cluster, deployment().replace("  selector:\n    matchLabels: {app: bad}\n", ""), "--validate=ignore"
    )
    assert "spec.selector: Required value" in error


def test_a_name_with_capitals_is_refused_with_the_rule(cluster: RunningCluster) -> None:
    error = refused(cluster, deployment().replace("name: bad", "name: Bad"))
    assert 'metadata.name: Invalid value: "Bad"' in error and "RFC 1123" in error


def test_a_two_megabyte_object_is_refused(cluster: RunningCluster, tmp_path: Path) -> None:
    big = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"a": "x" * 2_000_000}}
    file = tmp_path / "big.json"
    file.write_text(json.dumps(big))
    done = cluster.kubectl("create", "-f", str(file), check=False)
    assert done.returncode != 0
    assert "[]: Too long: may not be more than 1048576 bytes" in done.stderr
    assert "NotFound" in cluster.kubectl("get", "configmap", "big", check=False).stderr


def curl(cluster: RunningCluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    ca = f"{cluster.data_dir}/pki/cluster/ca.crt"
    url = f"https://127.0.0.1:{cluster.port}/api/v1/namespaces"
    return run(["curl", "-s", "--max-time", "5", "--cacert", ca, *arguments, url], check=False)


def test_a_token_of_nobody_is_unauthorized(cluster: RunningCluster) -> None:
    status = json.loads(curl(cluster, "-H", "Authorization: Bearer nobody").stdout)
    assert (status["code"], status["reason"]) == (401, "Unauthorized")


def test_without_credentials_nothing_is_shown(cluster: RunningCluster) -> None:
    status = json.loads(curl(cluster).stdout)
    assert status["code"] in (401, 403)
    assert "namespaces" in status["message"] or status["reason"] == "Unauthorized"


def test_a_certificate_of_another_ca_gets_nowhere(cluster: RunningCluster, tmp_path: Path) -> None:
    other = Authority(tmp_path, "somebody-else")
    other.ensure(Leaf("admin", "kubernetes-admin", ("system:masters",)))
    done = curl(cluster, "--cert", str(tmp_path / "admin.crt"), "--key", str(tmp_path / "admin.key"))
    assert done.returncode != 0 or json.loads(done.stdout)["code"] == 401


@pytest.mark.parametrize("port_offset", [1, 10])
def test_grpc_ports_refuse_those_without_a_certificate(cluster: RunningCluster, port_offset: int) -> None:
    done = run(
        ["curl", "-sk", "--max-time", "5", "--http2", f"https://127.0.0.1:{cluster.port + port_offset}/"], check=False
    )
    assert done.returncode != 0 and done.stdout == ""
