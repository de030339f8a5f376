"""How long `steer up` takes until every node is Ready: on an empty machine, on a running cluster, after `down`.

And how long an API server that was killed takes from its next start until `/readyz` says ok.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

from lab.bench import steer
from lab.bench.kube import Kube
from lab.bench.report import Figure, Goal, Report

FLOOR_S, AIM_S = 15.0, 5.0
READY_FLOOR_S, READY_AIM_S = 2.0, 1.0


def measure(*, rounds: int, nodes: int, runtime: str, port: int) -> Report:
    """Make and remove a cluster of its own in each round; no other cluster is touched.

    The three cases take turns within a round, so that what else the machine does falls on all of them alike.
    """
    # Short, because a socket's path has at most 107 bytes.
    scratch = Path(tempfile.mkdtemp(prefix="sb-", dir="/var/tmp"))
    data_dir = scratch / "c"
    # A kubeconfig of its own: the user's contexts stay as they are.
    environment = {**os.environ, "KUBECONFIG": str(scratch / "kubeconfig")}
    where = ("--data-dir", str(data_dir))
    up = ("up", *where, "--nodes", str(nodes), "--runtime", runtime, "--port", str(port))
    fresh: list[float] = []
    again: list[float] = []
    after_down: list[float] = []
    ready: list[float] = []

    def timed(samples: list[float]) -> None:
        started = time.monotonic()
        steer.run(*up, environment=environment)
        samples.append(time.monotonic() - started)

    try:
        for _ in range(rounds):
            timed(fresh)
            timed(again)
            ready.append(_api_server_start(data_dir))
            steer.run("down", *where, environment=environment)
            timed(after_down)
            steer.run("down", "--purge", *where, environment=environment)
    finally:
        if (data_dir / "cluster.json").exists():
            steer.run("down", "--purge", *where, environment=environment)
        shutil.rmtree(scratch, ignore_errors=True)
    return Report(
        "steer up, until every node is Ready",
        [
            Figure("fresh", "s", fresh),
            Figure("after down", "s", after_down),
            Figure("already up", "s", again),
            Figure("API server start", "s", ready),
        ],
        goals=[
            Goal("fresh", FLOOR_S, AIM_S),
            Goal("API server start", READY_FLOOR_S, READY_AIM_S),
        ],
        facts={"rounds": rounds, "nodes": nodes, "runtime": runtime},
    )


def _api_server_start(data_dir: Path) -> float:
    """Kill the API server; return the seconds from its next start, which the kernel knows, until it is ready."""
    os.kill(_api_server(data_dir), signal.SIGKILL)
    asyncio.run(_until_ready(data_dir / "admin.kubeconfig"))
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    # proc(5): field 22 is the start, in clock ticks since boot; the second field may hold spaces.
    fields = Path(f"/proc/{_api_server(data_dir)}/stat").read_text().rpartition(")")[2].split()
    return now - int(fields[19]) / os.sysconf("SC_CLK_TCK")


async def _until_ready(kubeconfig: Path, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    async with Kube(kubeconfig) as kube:
        while not await kube.is_ready():
            if time.monotonic() > deadline:
                raise steer.BenchFailed(f"the API server was not ready within {within_s:.0f} s after it was killed")
            await asyncio.sleep(0.01)


def _api_server(data_dir: Path) -> int:
    for process in steer.status(data_dir)["processes"]:
        if process["name"] == "apiserver" and process.get("pid"):
            return int(process["pid"])
    raise steer.BenchFailed("steer status knows of no API server that runs")
