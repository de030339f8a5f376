"""How much memory all our processes take, from `steer status` and the kernel."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from pathlib import Path

from lab.bench import steer
from lab.bench.report import Figure, Goal, Report

FLOOR_MB, AIM_MB = 700.0, 350.0


def measure(*, data_dir: Path | None, samples: int, interval_s: float) -> Report:
    """Sample a running cluster's processes; memory that processes share is counted in each of them (RSS).

    Beside RSS the kernel's proportional sizes (PSS) are given where they can be read: shared pages divided by sharers.
    """
    resident: dict[str, list[float]] = defaultdict(list)
    totals: list[float] = []
    proportional: list[float] = []
    nodes = 0
    for number in range(samples):
        if number:
            time.sleep(interval_s)
        found = steer.status(data_dir)
        running = [process for process in found["processes"] if process.get("pid")]
        if not running:
            raise steer.BenchFailed("no process of the cluster is running: steer up starts it")
        nodes = len(found.get("nodes") or [])
        for process in running:
            resident[process["name"]].append(_rss_bytes(process) / 1e6)
        totals.append(sum(_rss_bytes(process) for process in running) / 1e6)
        shares = [_pss_bytes(process["pid"]) for process in running]
        if None not in shares:
            proportional.append(sum(share or 0 for share in shares) / 1e6)
    figures = [Figure(name, "MB", values) for name, values in resident.items()]
    figures.append(Figure("all processes", "MB", totals))
    if proportional:
        figures.append(Figure("all processes, shared pages once", "MB", proportional))
    return Report(
        "resident memory of Steersman's own processes",
        figures,
        goals=[Goal("all processes", FLOOR_MB, AIM_MB)] if nodes == 1 else [],
        notes=[] if nodes == 1 else ["the goals are for a cluster of one node"],
        facts={"nodes": nodes, "samples": samples},
    )


def _rss_bytes(process: dict[str, object]) -> int:
    value = process.get("rss_bytes", process.get("rssBytes", 0))
    assert isinstance(value, int)
    return value


def _pss_bytes(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
