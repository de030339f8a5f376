"""`steer bench store`: our members and etcd's, side by side, under the same clients in turn.

Both clusters run for the whole measurement, on this machine, with TLS both ways; in every round each case is run on
one and then the other, the first of them changing from round to round. Ratios are taken within a round and their median
is what travels; the absolute figures belong to this machine and this hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from lab.bench.child import CLIENT_BOUND_SHARE, Child
from lab.bench.steer import BenchFailed
from lab.bench.store_load import Order, Outcome
from lab.chaos.arena import Loopback
from lab.chaos.cluster import Cluster, ClusterFailed, Etcd, Server, SteerStore

SETTLE_S = 0.2


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure."""

    name: str
    clients: int
    against: str = ""
    """The case of etcd's that it is compared with, where etcd has none of that name."""
    is_latency: bool = False
    """What counts is how long one takes, not how many there are."""
    floor: float = 0.0
    aim: float = 0.0
    """Ratios to etcd to hold; 0 for none."""
    floor_p99: float = 0.0
    aim_p99: float = 0.0
    """Ratios of the 99th percentile to stay under; 0 for none."""

    @property
    def label(self) -> str:
        """Name and clients."""
        return f"{self.name} x{self.clients}"


CASES: tuple[Case, ...] = (
    Case("put", 1),
    Case("put", 32, floor=0.5, aim=1.0, floor_p99=2.5, aim_p99=1.5),
    Case("put", 256, floor=0.5, aim=1.0),
    Case("get", 1),
    Case("get", 32),
    Case("get", 256, floor=0.25, aim=0.5),
    Case("get-serializable", 1),
    Case("get-serializable", 32),
    Case("get-serializable", 256),
    Case("range", 32),
    Case("txn", 32),
    Case("txn", 256),
    Case("pipeline-put", 256, against="put", floor=2.0, aim=4.0),
    Case("pipeline-get", 256, against="get", aim=3.0),
    Case("watch", 1, is_latency=True),
    Case("watch", 32, is_latency=True),
    Case("watch", 256, is_latency=True),
)


@dataclass(slots=True)
class Measured:
    """One case on one server, over all rounds."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_shares: list[float] = field(default_factory=list)
    errors: int = 0

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Add a round: what each process of clients measured."""
        latencies = sorted(each for outcome in outcomes for each in outcome.latencies_ms)
        self.rates.append(sum(outcome.count / outcome.seconds for outcome in outcomes))
        self.p50_ms.append(_percentile(latencies, 0.5))
        self.p99_ms.append(_percentile(latencies, 0.99))
        self.cpu_shares.append(max(outcome.cpu_share for outcome in outcomes))
        self.errors += sum(outcome.errors for outcome in outcomes)

    @property
    def is_client_bound(self) -> bool:
        """Whether the clients had nothing left to give."""
        return statistics.median(self.cpu_shares) >= CLIENT_BOUND_SHARE

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "perSecond": _spread(self.rates),
            "p50Ms": _spread(self.p50_ms),
            "p99Ms": _spread(self.p99_ms),
            "clientCpuShare": round(statistics.median(self.cpu_shares), 3),
            "clientBound": self.is_client_bound,
            "errors": self.errors,
        }


Results = dict[tuple[str, str], Measured]
"""By server's name and case's label."""


def measure(
    *, rounds: int, seconds: float, members: int, processes: int, only: Sequence[str], say: Callable[[str], None]
) -> tuple[list[Case], Results]:
    """Measure the cases (those named in `only`, if any are) on fresh clusters of `members` each.

    Raises:
        BenchFailed: a cluster does not start, or etcd is not installed.
    """
    cases = [case for case in CASES if not only or case.name in only or case.label in only]
    if not cases:
        raise BenchFailed(f"no case is called {', '.join(only)}; there are {', '.join(case.label for case in CASES)}")
    if shutil.which("etcd") is None:
        raise BenchFailed("etcd is not installed: apt install etcd-server")
    directory = Path(tempfile.mkdtemp(prefix="steer-bench-store-"))
    try:
        results = asyncio.run(_measure(directory, cases, rounds, seconds, members, processes, say))
    except ClusterFailed as error:
        raise BenchFailed(f"{error} (logs in {directory})") from None
    shutil.rmtree(directory, ignore_errors=True)
    return cases, results


async def _measure(
    directory: Path,
    cases: Sequence[Case],
    rounds: int,
    seconds: float,
    members: int,
    processes: int,
    say: Callable[[str], None],
) -> Results:
    servers: tuple[Server, ...] = (SteerStore("--log-level", "warning"), Etcd())
    clusters: dict[str, Cluster] = {}
    results: Results = {}
    try:
        for server in servers:
            base = directory / server.name
            base.mkdir()
            clusters[server.name] = cluster = Cluster.found(server, Loopback(base, members), base, members)
            for member in cluster.members:
                cluster.start(member)
            await cluster.settle()
            await _load(cluster, Case("fill", 32), seconds, 1)
        for number in range(rounds):
            order = list(clusters.items())
            if number % 2:
                order.reverse()
            for case in cases:
                said = []
                for name, cluster in order:
                    if name == "etcd" and case.against:
                        continue
                    measured = results.setdefault((name, case.label), Measured())
                    measured.add(await _load(cluster, case, seconds, processes))
                    said.append(f"{name} {measured.rates[-1]:,.0f}/s")
                    await asyncio.sleep(SETTLE_S)
                say(f"round {number + 1}/{rounds}  {case.label:<22} {'  '.join(said)}")
    finally:
        for cluster in clusters.values():
            await cluster.close()
    return results


async def _load(cluster: Cluster, case: Case, seconds: float, processes: int) -> list[Outcome]:
    """Run one case on one cluster."""
    identity = cluster.identity
    count = 1 if case.clients < 32 or case.is_latency or case.name == "fill" else processes
    async with contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(Child("lab.bench.store_load")) for _ in range(count)]
        for number, worker in enumerate(workers):
            order = Order(
                case=case.name,
                clients=case.clients // count,
                seconds=seconds,
                endpoints=tuple(cluster.endpoints),
                cert=str(identity.cert),
                key=str(identity.key),
                ca=str(identity.ca),
                number=number,
            )
            await worker.tell(msgspec.json.encode(order))
        for worker in workers:
            if await worker.hear() != b"ready\n":
                raise BenchFailed(f"the clients of {case.label} could not connect to {cluster.server.name}")
        for worker in workers:
            await worker.tell(b"go")
        return [msgspec.json.decode(await worker.hear(seconds + 60), type=Outcome) for worker in workers]


# -- what it comes to


@dataclass(frozen=True, slots=True)
class Row:
    """A case, ours beside etcd's."""

    case: Case
    ours: Measured
    theirs: Measured | None
    ratios: list[float]
    """Ours to etcd's, round by round: of rates, or of times where `case.is_latency`."""
    ratios_p99: list[float]

    def verdicts(self) -> list[str]:
        """Return which of the case's goals are reached: `aim`, `floor` or `missed`."""
        verdicts: list[str] = []
        if self.ratios and (self.case.floor or self.case.aim):
            ratio = statistics.median(self.ratios)
            reached = "aim" if ratio >= self.case.aim else "floor" if ratio >= self.case.floor > 0 else "missed"
            verdicts.append(f"{reached} (floor {self.case.floor:g}, aim {self.case.aim:g})")
        if self.ratios_p99 and self.case.floor_p99:
            ratio = statistics.median(self.ratios_p99)
            reached = "aim" if ratio <= self.case.aim_p99 else "floor" if ratio <= self.case.floor_p99 else "missed"
            verdicts.append(f"p99 {reached} ({ratio:.2f}: floor {self.case.floor_p99:g}, aim {self.case.aim_p99:g})")
        return verdicts


def compare(cases: Sequence[Case], results: Results) -> list[Row]:
    """Set our results beside etcd's, of the same case or the one it is held against."""
    rows: list[Row] = []
    for case in cases:
        ours = results["steer-store", case.label]
        theirs = results.get(("etcd", Case(case.against or case.name, case.clients).label))
        ratios: list[float] = []
        ratios_p99: list[float] = []
        if theirs is not None:
            pairs = (ours.p50_ms, theirs.p50_ms) if case.is_latency else (ours.rates, theirs.rates)
            ratios = [mine / other for mine, other in zip(*pairs, strict=False) if other]
            ratios_p99 = [mine / other for mine, other in zip(ours.p99_ms, theirs.p99_ms, strict=False) if other]
        rows.append(Row(case, ours, theirs, ratios, ratios_p99))
    return rows


def show(rows: Sequence[Row], facts: dict[str, Any], *, as_json: bool) -> None:
    """Print the comparison."""
    if as_json:
        plain = [
            {
                "case": row.case.name,
                "clients": row.case.clients,
                "steerStore": row.ours.to_json(),
                "etcd": row.theirs.to_json() if row.theirs else None,
                "ratio": _spread(row.ratios) if row.ratios else None,
                "ratioP99": _spread(row.ratios_p99) if row.ratios_p99 else None,
                "goals": row.verdicts(),
            }
            for row in rows
        ]
        print(json.dumps({"title": "store", "machine": facts, "cases": plain}, indent=2))
        return
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    out.print("[bold]the store beside etcd[/]")
    out.print("[dim]" + "  ".join(f"{key} {value}" for key, value in facts.items()) + "[/]")
    table = Table(box=None, header_style="", pad_edge=False)
    table.add_column("CASE", no_wrap=True)
    for heading in ("STEER /s", "P50 ms", "P99 ms", "ETCD /s", "P50 ms", "P99 ms", "RATIO", "MIN-MAX"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("GOAL")
    for row in rows:
        ratio = f"{statistics.median(row.ratios):.2f}" if row.ratios else ""
        spread = f"{min(row.ratios):.2f}-{max(row.ratios):.2f}" if row.ratios else ""
        table.add_row(row.case.label, *_cells(row.ours), *_cells(row.theirs), ratio, spread, "; ".join(row.verdicts()))
    out.print(table)
    out.print(
        "[dim]RATIO is of rates, ours to etcd's (more is better); of watch cases of P50 times (less is better).[/]"
    )
    bound = [
        f"{row.case.label} ({name})"
        for row in rows
        for name, measured in (("steer", row.ours), ("etcd", row.theirs))
        if measured is not None and measured.is_client_bound
    ]
    if bound:
        out.print(f"[yellow]* the client was the limit[/], not the server: {', '.join(bound)}")
    if failed := sum(measured.errors for row in rows for measured in (row.ours, row.theirs) if measured):
        out.print(f"[red]{failed} requests failed[/]: the figures are not to be trusted")


def _cells(measured: Measured | None) -> tuple[str, str, str]:
    if measured is None:
        return "", "", ""
    star = "*" if measured.is_client_bound else ""
    return (
        f"{statistics.median(measured.rates):,.0f}{star}",
        f"{statistics.median(measured.p50_ms):.2f}",
        f"{statistics.median(measured.p99_ms):.2f}",
    )


def _percentile(ranked: Sequence[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, round(share * (len(ranked) - 1)))] if ranked else 0.0


def _spread(samples: Sequence[float]) -> dict[str, Any]:
    rounded = [round(sample, 3) for sample in samples]
    return {"median": statistics.median(rounded), "min": min(rounded), "max": max(rounded), "samples": rounded}
