"""Requests to an API server: get, list, create, update, patch by 1, 32 and 256 clients; beside another server.

Each server runs each case in turn, round by round, on the same machine. The clients are a process of their own
(`lab.bench.api_load`); when that one is the limit, the figures say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from lab.bench.api_load import Order, Outcome
from lab.bench.child import CLIENT_BOUND_SHARE, Child
from lab.bench.kube import NAMESPACE, Kube, namespace
from lab.bench.kubeconfig import Json
from lab.bench.report import Figure, Goal, Report
from lab.bench.steer import BenchFailed

_OBJECTS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
LISTED = 5000
CASES = ("get", "list", "create", "update", "patch")
CLIENTS = (1, 32, 256)
CPU = "process_cpu_seconds_total"
RATE_GOALS = {"get x32": (2500, 8000), "update x32": (600, 1500), "create x32": (600, 1500)}
"""Requests a second on a quiet machine of two cores: floor, aim."""
_FILLERS = 32


@dataclass(slots=True)
class Series:
    """One case on one server, a sample a round."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    client_share: list[float] = field(default_factory=list)


Results = dict[tuple[str, str], Series]
"""By server and case."""


async def measure(
    *,
    rounds: int,
    seconds: float,
    only: Sequence[str],
    kubeconfig: Path,
    against: Path | None,
    transport: str,
    say: Callable[[str], None],
) -> Report:
    """Run every case on every server, `rounds` times; `against` is another API server's kubeconfig."""
    labels = [f"{case} x{clients}" for case in CASES for clients in (CLIENTS if case != "list" else CLIENTS[:1])]
    chosen = [label for label in labels if not only or label in only or label.partition(" ")[0] in only]
    if not chosen:
        raise BenchFailed(f"no such case: {', '.join(only)}; there are {', '.join(labels)}")
    results: Results = {}
    async with contextlib.AsyncExitStack() as stack:
        kubes = {"server": await stack.enter_async_context(Kube(kubeconfig))}
        if against:
            kubes["other"] = await stack.enter_async_context(Kube(against))
        for kube in kubes.values():
            await stack.enter_async_context(namespace(kube))
            await kube.create(_OBJECTS, {"metadata": {"name": "read"}, "data": {"pad": "x" * 800}})
            if any(label.startswith("list") for label in chosen):
                say(f"creating {LISTED} pods to list")
                await _fill(kube)
        for number in range(rounds):
            for label in chosen:
                said = []
                for name, kube in kubes.items():
                    one = results.setdefault((name, label), Series())
                    await _run(label, seconds, one, kube, transport)
                    said.append(f"{name} {one.rates[-1]:,.0f}/s  p50 {one.p50_ms[-1]:.1f} ms")
                say(f"round {number + 1}/{rounds}  {label:<12} {'   '.join(said)}")
    facts = {"rounds": rounds, "seconds": seconds, "listed": LISTED, "transport": transport}
    return Report("requests", list(_figures(results)), goals=_goals(), notes=list(_notes(results)), facts=facts)


async def _fill(kube: Kube) -> None:
    """Create the pods that are listed; none is ever placed."""
    numbers = iter(range(LISTED))

    async def creator() -> None:
        for number in numbers:
            await kube.create(_PODS, _pod(number))

    await asyncio.gather(*(creator() for _ in range(_FILLERS)))


def _pod(number: int) -> Json:
    container = {
        "name": "main",
        "image": "steersman.local/pause:1",
        "env": [{"name": f"VARIABLE_{n}", "value": "x" * 40} for n in range(12)],
    }
    # A gate keeps the scheduler from looking at it.
    spec = {"containers": [container], "schedulingGates": [{"name": "steersman.local/only-to-be-listed"}]}
    metadata = {"name": f"listed-{number:05d}", "labels": {"app": "listed", "number": str(number)}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def _run(label: str, seconds: float, series: Series, kube: Kube, transport: str) -> None:
    case, _, clients = label.partition(" x")
    url = urlsplit(kube.server)
    with tempfile.TemporaryDirectory() as directory:
        order = Order(
            case=case,
            address=(url.hostname or "127.0.0.1", url.port or 443),
            base=_PODS if case == "list" else _OBJECTS,
            clients=int(clients),
            seconds=seconds,
            tls=kube.credentials.write(Path(directory)),
            server_name=kube.credentials.server_name,
            token=kube.credentials.token,
            transport=transport,
            number=len(series.rates),
        )
        async with Child("lab.bench.api_load") as load:
            await load.tell(msgspec.json.encode(order))
            await load.hear()
            before = await kube.metrics()
            await load.tell()
            outcome = msgspec.json.decode(await load.hear(), type=Outcome)
            after = await kube.metrics()
    if outcome.errors:
        raise BenchFailed(f"{label}: {outcome.errors} requests failed, the first of them {outcome.error}")
    ranked = sorted(outcome.latencies_ms)
    series.rates.append(outcome.count / outcome.seconds)
    series.p50_ms.append(ranked[len(ranked) // 2])
    series.p99_ms.append(ranked[int(len(ranked) * 0.99)])
    series.client_share.append(outcome.cpu_share)
    if CPU in after and outcome.count:
        series.cpu_ms.append((after[CPU] - before[CPU]) * 1e3 / outcome.count)


def _figures(results: Results) -> Iterator[Figure]:
    for (name, label), one in results.items():
        prefix = "" if name == "server" else "other: "
        yield Figure(f"{prefix}{label}", "/s", one.rates)
        yield Figure(f"{prefix}{label} p50", "ms", one.p50_ms)
        yield Figure(f"{prefix}{label} p99", "ms", one.p99_ms)
        if one.cpu_ms:
            yield Figure(f"{prefix}{label} CPU each", "ms", one.cpu_ms)
        other = results.get(("other", label))
        if name == "server" and other is not None:
            ratios = [mine / theirs for mine, theirs in zip(one.rates, other.rates, strict=False)]
            yield Figure(f"{label}, of the other's rate", "x", ratios)


def _goals() -> Sequence[Goal]:
    return (Goal("list x1 p50", 105, 30),)


def _notes(results: Results) -> Iterator[str]:
    for (name, label), one in results.items():
        if name == "server" and label in RATE_GOALS:
            floor, aim = RATE_GOALS[label]
            median = statistics.median(one.rates)
            reached = "aim" if median >= aim else "floor" if median >= floor else "missed"
            yield f"{reached}: {label} {median:,.0f}/s (floor {floor:,}, aim {aim:,})"
        if max(one.client_share) > CLIENT_BOUND_SHARE:
            yield f"{label} ({name}): the clients used {max(one.client_share):.0%} of a core: they may be the limit"
