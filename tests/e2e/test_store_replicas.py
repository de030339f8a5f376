"""`steer up --store-replicas 3`: the store's leader dies again and again, and nobody who uses kubectl notices."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.conftest import RunningCluster, eventually, first_port, kubectl_binaries

CLIENTS = 8
KILLS = int(os.environ.get("STEERSMAN_KILLS", "20"))


@dataclass
class Appliers:
    """Clients that apply one ConfigMap after the other, created and then changed twice, and note what kubectl said."""

    cluster: RunningCluster
    said: dict[str, int] = field(default_factory=dict)
    """By name, the newest value that kubectl called created or configured."""
    failed: list[str] = field(default_factory=list)
    calls: int = 0
    slowest_s: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._apply, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _apply(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            name, value = f"stream-{number}-{count // 3}", count % 3
            count += 1
            manifest = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name},
                "data": {"value": str(value)},
            }
            began = time.monotonic()
            done = subprocess.run(
                [self.cluster.kubectl_path, "apply", "-f", "-"],
                input=json.dumps(manifest), capture_output=True, text=True, env=self.cluster.environment, timeout=90,
            )  # fmt: skip
            with self._lock:
                self.calls += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                if done.returncode:
                    self.failed.append(done.stderr.strip())
                elif "created" in done.stdout or "configured" in done.stdout:
                    self.said[name] = value

    def missing(self) -> list[str]:
        """Return what was said and is not so; a call without an answer may have made a later value."""
        items = self.cluster.get("configmaps", "-n", "default")["items"]
        found = {item["metadata"]["name"]: int(item["data"].get("value", -1)) for item in items if "data" in item}
        return [f"{name}={value}" for name, value in self.said.items() if found.get(name, -1) < value]


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[RunningCluster]:
    port = first_port() + 1400
    made = RunningCluster(str(tmp_path / "data"), port, next(iter(kubectl_binaries().values())), tmp_path)
    try:
        made.steer("up", "--runtime", "hollow", "--store-replicas", "3", "--port", str(port))
        yield made
    finally:
        keep_logs = os.environ.get("STEERSMAN_KEEP_LOGS")
        if keep_logs:
            shutil.copytree(f"{made.data_dir}/logs", keep_logs, dirs_exist_ok=True)
        made.steer("down", "--purge", check=False)


def kill_the_leader(cluster: RunningCluster) -> str:
    """Kill it once all members are well, and return its name."""

    def leader() -> str:
        status = cluster.status()
        members = [each for each in status["processes"] if each["name"].startswith("store-")]
        assert all(each["ready"] for each in members), members
        found: str = status["store"]["leader"]
        return found if found != "none" else ""

    name = eventually(leader, 60, "all members of the store are well")
    os.kill(cluster.process(f"store-{name}")["pid"], signal.SIGKILL)
    return str(name)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_hollow_cluster_loses_its_stores_leader_twenty_times_and_no_apply(replicated: RunningCluster) -> None:
    appliers = Appliers(replicated)
    appliers.start()
    killed: list[str] = []
    began = time.monotonic()
    try:
        for _ in range(KILLS):
            killed.append(kill_the_leader(replicated))
            heard = len(appliers.said)
            eventually(lambda heard=heard: len(appliers.said) > heard + CLIENTS, 60, "applies go on")
    finally:
        appliers.stop()
    took_s = time.monotonic() - began
    missing = appliers.missing()
    print(
        f"\nleaders killed: {len(killed)} in {took_s:.0f} s ({', '.join(killed)}); applies: {appliers.calls}, "
        f"of them failed: {len(appliers.failed)}, slowest: {appliers.slowest_s:.1f} s; "
        f"objects said to be there: {len(appliers.said)}, missing: {len(missing)}"
    )
    assert missing == []
    assert appliers.failed == []
