"""How long `steer up` takes until every node is Ready: on an empty machine, on a running cluster, after `down`."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from lab.bench import steer
from lab.bench.report import Figure, Goal, Report

FLOOR_S, AIM_S = 15.0, 5.0


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

    def timed(samples: list[float]) -> None:
        started = time.monotonic()
        steer.run(*up, environment=environment)
        samples.append(time.monotonic() - started)

    try:
        for _ in range(rounds):
            timed(fresh)
            timed(again)
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
        ],
        goals=[Goal("fresh", FLOOR_S, AIM_S)],
        facts={"rounds": rounds, "nodes": nodes, "runtime": runtime},
    )
