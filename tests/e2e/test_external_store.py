"""A cluster on a store that it does not run: three members of etcd."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import STEER, RunningCluster, eventually, first_port, kubectl_binaries, run
from tests.e2e.etcd_cluster import etcd_cluster


@pytest.mark.timeout(120)
def test_a_hollow_cluster_runs_on_etcd(tmp_path: Path) -> None:
    port = first_port() + 700
    made = RunningCluster(str(tmp_path / "data"), port, next(iter(kubectl_binaries().values())), tmp_path)
    options = ["--runtime", "hollow", "--port", str(port)]
    (tmp_path / "etcd").mkdir()
    with etcd_cluster(tmp_path / "etcd") as store:
        refused = made.steer("up", *options, *store[:2], check=False)
        assert refused.returncode == 2
        assert "--store-cert" in refused.stderr
        nowhere = made.steer("up", *options, "--store-endpoints", "https://127.0.0.1:9", *store[2:], check=False)
        assert nowhere.returncode == 1
        assert "the store at 127.0.0.1:9 can't be used" in nowhere.stderr
        try:
            made.steer("up", *options, *store)
            assert made.store_processes() == []
            assert made.status()["store"]["members"] == 3
            made.kubectl("create", "deployment", "web", "--image=steersman.local/web:1", "--replicas=2")
            eventually(lambda: made.get("deployment", "web")["status"].get("readyReplicas") == 2, 30, "web is ready")
            other = run([STEER, "up", "--store-replicas", "3", "--data-dir", made.data_dir], check=False)
            assert other.returncode == 2
            assert "--store-replicas" in other.stderr
        finally:
            made.steer("down", "--purge", check=False)
