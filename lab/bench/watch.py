"""Watch fan-out: one object changes, and so many watchers hear of it; beside the limit, and beside another server.

Every round runs each server and a bare loop that sends as many bytes to as many connections (`lab.bench.fanout_limit`),
one after the other on the same machine, so that ratios hold however busy it is. The watchers are a process of their own
(`lab.bench.watch_load`), and the server's CPU is its own `process_cpu_seconds_total`.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from deploy.pki import Authority, Leaf
from lab.bench import fanout_limit, watch_load
from lab.bench.child import CLIENT_BOUND_SHARE, Child
from lab.bench.kube import NAMESPACE, Kube, namespace
from lab.bench.kubeconfig import ClientTls, Json
from lab.bench.report import Figure, Goal, Report

_OBJECTS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
WRITERS = 4
"""Of them write at once where the rate is unlimited."""
CPU, MEMORY, ENCODES = (
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "apiserver_watch_encodes_total",
)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of each server."""

    watchers: int
    rate: float
    """Writes a second; 0 is back to back."""
    event_bytes: int
    seconds: float
    transport: str
    stalled: int
    """Watchers that read nothing."""


@dataclass(slots=True)
class Series:
    """One server's figures, a sample a round."""

    delivered: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    encodes: list[float] = field(default_factory=list)
    client_share: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    """Watches that read, and that the server ended."""
    evicted: list[float] = field(default_factory=list)
    """Watches that did not read, and that it ended."""


async def measure(
    load: Load, *, rounds: int, kubeconfig: Path, against: Path | None, grpc_port: int, say: Callable[[str], None]
) -> Report:
    """Run every server in turn, `rounds` times; `against` is another API server's kubeconfig."""
    series: dict[str, Series] = {"server": Series(), **({"other": Series()} if against else {}), "limit": Series()}
    async with contextlib.AsyncExitStack() as stack:
        kubes = {"server": await stack.enter_async_context(Kube(kubeconfig))}
        if against:
            kubes["other"] = await stack.enter_async_context(Kube(against))
        for kube in kubes.values():
            await stack.enter_async_context(namespace(kube))
        for number in range(rounds):
            for name, one in series.items():
                if name == "limit":
                    await _measure_limit(load, one)
                else:
                    await _measure_server(load, one, kubes[name], grpc_port if name == "server" else 0)
                say(f"round {number + 1}/{rounds}  {name:<7} {_line(one)}")
    return _report(load, rounds, series)


# -- one server, one round


async def _measure_server(load: Load, series: Series, kube: Kube, grpc_port: int) -> None:
    url = urlsplit(kube.server)
    host, port = url.hostname or "127.0.0.1", url.port or 443
    with tempfile.TemporaryDirectory() as directory:
        made = await kube.create(_OBJECTS, _config_map(load))
        version = made["metadata"]["resourceVersion"]
        query = f"watch=1&resourceVersion={version}&fieldSelector=metadata.name%3Dwatched"
        order = watch_load.Order(
            transport=load.transport,
            address=(host, (grpc_port or port + 1) if load.transport == "grpc" else port),
            server_name="kubernetes" if load.transport == "grpc" else kube.credentials.server_name,
            path=NAMESPACE if load.transport == "grpc" else f"{_OBJECTS}?{query}",
            resource_version=version,
            watchers=load.watchers,
            stalled=load.stalled,
            tls=kube.credentials.write(Path(directory)),
            token=kube.credentials.token,
        )
        try:
            async with Child("lab.bench.watch_load") as watchers:
                await watchers.tell(msgspec.json.encode(order))
                await watchers.hear()
                # The first events are not counted: they find nothing warm.
                await _write(kube, load, 1.0)
                await watchers.tell()
                await watchers.hear()
                before, writes = await kube.metrics(), await _write(kube, load, load.seconds)
                await watchers.tell()
                outcome = msgspec.json.decode(await watchers.hear(), type=watch_load.Outcome)
                after = await kube.metrics()
        finally:
            await kube.delete(f"{_OBJECTS}/watched")
    _add(series, outcome)
    if outcome.events and CPU in after:
        series.cpu_us.append((after[CPU] - before[CPU]) * 1e6 / outcome.events)
    if MEMORY in after:
        series.memory_mb.append(after[MEMORY] / 2**20)
    if writes and ENCODES in after:
        series.encodes.append((after[ENCODES] - before.get(ENCODES, 0.0)) / writes)


async def _write(kube: Kube, load: Load, seconds: float) -> int:
    """Change the object at the load's rate; returns how often."""
    until, count = time.monotonic() + seconds, 0

    async def writer() -> None:
        nonlocal count
        while time.monotonic() < until:
            await kube.replace(f"{_OBJECTS}/watched", _config_map(load))
            count += 1

    if not load.rate:
        await asyncio.gather(*(writer() for _ in range(WRITERS)))
        return count
    due = time.monotonic()
    while due < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await kube.replace(f"{_OBJECTS}/watched", _config_map(load))
        count += 1
        due += 1 / load.rate
    return count


def _config_map(load: Load) -> Json:
    metadata = {"name": "watched", "namespace": NAMESPACE, "annotations": {"sent": str(time.monotonic_ns())}}
    # About what the server adds around it is left out of the padding.
    data = {"pad": "x" * max(0, load.event_bytes - 600)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


# -- the limit, one round


async def _measure_limit(load: Load, series: Series) -> None:
    with tempfile.TemporaryDirectory() as directory:
        authority = Authority(Path(directory) / "limit", "limit")
        authority.ensure(Leaf("server", "localhost", hosts=("localhost",)))
        cert, key = authority.directory / "server.crt", authority.directory / "server.key"
        async with Child("lab.bench.fanout_limit") as server, Child("lab.bench.watch_load") as watchers:
            # A bare loop waits for whoever reads nothing, so here all read.
            command = fanout_limit.Order(str(cert), str(key), load.watchers, load.event_bytes, load.rate)
            await server.tell(msgspec.json.encode(command))
            order = watch_load.Order(
                transport="raw",
                address=("127.0.0.1", int(await server.hear())),
                server_name="localhost",
                path="",
                resource_version="",
                watchers=load.watchers,
                stalled=0,
                tls=ClientTls(ca=str(authority.cert_path)),
            )
            await watchers.tell(msgspec.json.encode(order))
            await watchers.hear()
            await server.tell()
            await watchers.tell()
            await watchers.hear()
            await asyncio.sleep(load.seconds)
            await watchers.tell()
            outcome = msgspec.json.decode(await watchers.hear(), type=watch_load.Outcome)
            await server.tell()
            cost = msgspec.json.decode(await server.hear(), type=fanout_limit.Outcome)
    _add(series, outcome)
    if cost.delivered:
        series.cpu_us.append(cost.cpu_seconds * 1e6 / cost.delivered)


# -- what it comes to


def _add(series: Series, outcome: watch_load.Outcome) -> None:
    ranked = sorted(outcome.latencies_ms)
    series.delivered.append(outcome.events / outcome.seconds)
    series.client_share.append(outcome.cpu_share)
    series.lost.append(outcome.ended)
    series.evicted.append(outcome.evicted)
    if ranked:
        series.p50_ms.append(ranked[len(ranked) // 2])
        series.p99_ms.append(ranked[int(len(ranked) * 0.99)])


def _line(series: Series) -> str:
    cpu = f"{series.cpu_us[-1]:6.2f} us CPU each  " if series.cpu_us else ""
    times = f"p50 {series.p50_ms[-1]:.1f} ms  p99 {series.p99_ms[-1]:.1f} ms" if series.p50_ms else "nothing arrived"
    return f"{series.delivered[-1]:9,.0f} events/s  {cpu}{times}"


def _report(load: Load, rounds: int, series: dict[str, Series]) -> Report:
    figures: list[Figure] = []
    for name, one in series.items():
        for label, unit, samples in (
            ("delivered", "events/s", one.delivered),
            ("CPU an event", "us", one.cpu_us),
            ("p50", "ms", one.p50_ms),
            ("p99", "ms", one.p99_ms),
            ("memory", "MB", one.memory_mb),
            ("encodes a write", "", one.encodes),
        ):
            if samples:
                figures.append(Figure(f"{name}: {label}", unit, samples))
    ours, limit = series["server"], series["limit"]
    for name, one in series.items():
        if name != "limit":
            ratios = [mine / least for mine, least in zip(one.cpu_us, limit.cpu_us, strict=False) if least]
            if ratios:
                figures.append(Figure(f"{name}: CPU an event, of the limit's", "x", ratios))
    if "other" in series:
        other = series["other"]
        ratios = [theirs / mine for mine, theirs in zip(ours.cpu_us, other.cpu_us, strict=False) if mine]
        if ratios:
            figures.append(Figure("other: CPU an event, of the server's", "x", ratios))
    return Report(
        "watch fan-out",
        figures,
        goals=[Goal("server: CPU an event, of the limit's", 3.0, 1.5), *_goals(load)],
        notes=list(_notes(load, series)),
        facts={
            "watchers": load.watchers,
            "rate": load.rate or "back to back",
            "bytes": load.event_bytes,
            "seconds": load.seconds,
            "transport": load.transport,
            "stalled": load.stalled,
            "rounds": rounds,
        },
    )


def _goals(load: Load) -> Sequence[Goal]:
    """Return the absolute goals, which are of one load on a quiet machine of two cores."""
    if load.watchers != 1000 or load.transport not in ("rest", "http2") or load.stalled:
        return ()
    if load.rate == 10:
        return (Goal("server: CPU an event", 12.0, 5.0),)
    if load.rate == 100:
        return (Goal("server: p99", 500.0, 100.0),)
    return ()


def _notes(load: Load, series: dict[str, Series]) -> Iterator[str]:
    for name, one in series.items():
        if max(one.client_share) > CLIENT_BOUND_SHARE:
            yield f"{name}: the watchers' own process used {max(one.client_share):.0%} of a core: they may be the limit"
        if any(one.lost):
            yield f"{name}: {max(one.lost):.0f} watches that read were ended by the server"
        if load.stalled and name != "limit":
            yield f"{name}: {statistics.median(one.evicted):.0f} of {load.stalled} stalled watches were ended"
    if load.watchers == 1000 and not load.rate and load.transport in ("rest", "http2"):
        median = statistics.median(series["server"].delivered)
        reached = "aim" if median >= 200_000 else "floor" if median >= 60_000 else "missed"
        yield f"{reached}: {median:,.0f} events/s back to back (floor 60,000, aim 200,000)"
