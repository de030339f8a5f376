"""`steer bench store --gigabyte`: whether a store with much data in it is as well as an empty one.

Three members are filled, then asked, while a steady stream of puts goes on: how long a restarted member takes, how long
a new one takes to catch up, what a snapshot does to the time a put takes, and how much memory all of it needs. The
stream is paced, the same all the time, so that its times can be compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import grpc.aio
from rich.console import Console
from rich.table import Table

from lab.bench.steer import BenchFailed
from lab.chaos.arena import PYTHON, Loopback
from lab.chaos.cluster import Cluster, ClusterFailed, Member, SteerStore
from proto.etcd import rpc_pb2
from store.client import Put, StoreClient

VALUE_BYTES = 1024
TXN_PUTS = 64
FILLERS = 16
STREAM_CLIENTS = 8
STREAM_PUTS_PER_S = 200
LEVEL_REVISIONS = 20
"""A member this close to the leader, under a stream of puts, has caught up."""
SNAPSHOTS = 3
"""Each is set beside a calm while of its own, because a machine is never calm for long."""
SETTLE_S, CALM_S = 2.0, 10.0
MEMORY_DIRECTORY = Path("/dev/shm")
WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement and what it must stay under."""

    name: str
    value: float
    unit: str
    limit: float
    """0: none."""

    @property
    def holds(self) -> bool:
        """Whether it stays under its limit."""
        return not self.limit or self.value < self.limit


@dataclass(slots=True)
class Stream:
    """Clients that put at a steady pace; each put is timed from when it was due."""

    endpoints: list[str]
    cluster: Cluster
    latencies_ms: list[float] = field(default_factory=list)
    errors: int = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Stream]:
        """Put until the block ends."""
        clients = [
            StoreClient(self.endpoints[number % len(self.endpoints) :] + self.endpoints[: number % len(self.endpoints)],
                        self.cluster.identity, server_name="localhost", timeout_s=30)
            for number in range(STREAM_CLIENTS)
        ]  # fmt: skip
        for client in clients:
            await client.txn((), (Put(b"/stream/first", b""),))
        tasks = [asyncio.create_task(self._put(client, number)) for number, client in enumerate(clients)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in clients:
                await client.close()

    async def _put(self, client: StoreClient, number: int) -> None:
        interval_s = STREAM_CLIENTS / STREAM_PUTS_PER_S
        due = time.perf_counter() + interval_s * number / STREAM_CLIENTS
        for count in range(1 << 40):
            due += interval_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            try:
                await client.txn((), (Put(b"/stream/%d/%d" % (number, count % 100), bytes(VALUE_BYTES)),))
                self.latencies_ms.append((time.perf_counter() - due) * 1000)
            except Exception:  # counted: a figure with errors in it is shown as one
                self.errors += 1

    def p99_ms(self) -> float:
        """Return the 99th percentile of what was measured so far, and begin anew."""
        measured, self.latencies_ms = sorted(self.latencies_ms), []
        return measured[int(len(measured) * 0.99)] if measured else float("nan")


@dataclass(slots=True)
class Memory:
    """The most that each member's process held."""

    cluster: Cluster
    resident_bytes_max: int = 0
    private_bytes_max: int = 0

    async def watch(self) -> None:
        """Look twice a second."""
        while True:
            for member in self.cluster.members:
                if member.is_running:
                    resident_bytes, private_bytes = _memory_of(member.pid)
                    self.resident_bytes_max = max(self.resident_bytes_max, resident_bytes)
                    self.private_bytes_max = max(self.private_bytes_max, private_bytes)
            await asyncio.sleep(0.5)


def _memory_of(pid: int) -> tuple[int, int]:
    """Return what a process holds in memory, and how much of that is not of files; zeros when it is gone."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (OSError, ValueError):
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return int(resident) * page, (int(resident) - int(shared)) * page


def measure(data_bytes: int, say: Callable[[str], None]) -> list[Figure]:
    """Measure on a cluster of its own, which is removed again.

    Raises:
        BenchFailed: a member does not start or does not catch up.
    """
    directory = Path(tempfile.mkdtemp(prefix="steer-bench-store-"))
    try:
        return asyncio.run(_measure(directory, data_bytes, say))
    except ClusterFailed as error:
        raise BenchFailed(str(error)) from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _measure(directory: Path, data_bytes: int, say: Callable[[str], None]) -> list[Figure]:
    cluster = Cluster.found(SteerStore("--log-level", "warning"), Loopback(directory, 3), directory, 3)
    memory = Memory(cluster)
    watching = asyncio.create_task(memory.watch())
    try:
        for member in cluster.members:
            cluster.start(member)
        await cluster.settle()
        figures = [Figure("filled", await _fill(cluster, data_bytes, say), "s", 0)]
        await cluster.settle(WITHIN_S)
        leader = await cluster.leader()
        others = [member for member in cluster.members if member is not leader]
        async with Stream([leader.client, others[0].client], cluster).running() as stream:
            calms_ms, durings_ms, saves_s = [], [], []
            for _ in range(SNAPSHOTS):
                calms_ms.append(await _calm_ms(stream))
                took_s, size_bytes = await _snapshot(cluster, leader)
                durings_ms.append(stream.p99_ms())
                saves_s.append(took_s)
                say(
                    f"put p99 {calms_ms[-1]:.1f} ms calm, {durings_ms[-1]:.1f} ms during a snapshot "
                    f"({size_bytes / 1e6:,.0f} MB in {took_s:.1f} s)"
                )
            ratio = median(during_ms / calm_ms for calm_ms, during_ms in zip(calms_ms, durings_ms, strict=True))
            figures.append(Figure("snapshot saved", median(saves_s), "s", 0))
            figures.append(Figure("put p99, calm", median(calms_ms), "ms", 0))
            figures.append(Figure("put p99, during a snapshot", median(durings_ms), "ms", 0))
            figures.append(Figure("put p99 during a snapshot, to calm", ratio, "x", 3))

            cluster.kill(others[1])
            cluster.start(others[1])
            restart_s = await _until_level(cluster, others[1], leader)
            say(f"restart: {restart_s:.1f} s")
            figures.append(Figure("restart of a member, until it has all", restart_s, "s", 20))

            calm_ms = await _calm_ms(stream)
            cluster.kill(others[1])
            newcomer = await cluster.replace(others[1])
            joined_s = await _until_level(cluster, newcomer, leader, votes=True)
            joining_ms = stream.p99_ms()
            say(f"new member: {joined_s:.1f} s, put p99 meanwhile {joining_ms:.1f} ms")
            figures.append(Figure("new member, until it has all and votes", joined_s, "s", 0))
            figures.append(Figure("put p99 while it catches up, to calm", joining_ms / calm_ms, "x", 0))
            figures.append(Figure("puts that failed", stream.errors, "", 1))
        await cluster.settle(WITHIN_S)
        figures.append(Figure("memory of a member, at most", memory.resident_bytes_max / data_bytes, "x data", 1.5))
        figures.append(Figure("of that not file cache", memory.private_bytes_max / data_bytes, "x data", 0))
        return figures
    finally:
        watching.cancel()
        await cluster.close()


async def _calm_ms(stream: Stream) -> float:
    """Return the 99th percentile while nothing else is asked of the members."""
    await asyncio.sleep(SETTLE_S)
    stream.p99_ms()
    await asyncio.sleep(CALM_S)
    return stream.p99_ms()


async def _fill(cluster: Cluster, data_bytes: int, say: Callable[[str], None]) -> float:
    began = time.monotonic()
    numbers = iter(range(0, data_bytes // VALUE_BYTES, TXN_PUTS))
    value = os.urandom(VALUE_BYTES)
    leader = await cluster.leader()
    client = StoreClient([leader.client], cluster.identity, server_name="localhost", timeout_s=60)
    said = 0

    async def fill() -> None:
        nonlocal said
        for first in numbers:
            puts = tuple(Put(b"/large/%012d" % number, value) for number in range(first, first + TXN_PUTS))
            await client.txn((), puts)
            if first * VALUE_BYTES >= said + data_bytes // 10:
                said = first * VALUE_BYTES
                say(f"filling: {said / 1e6:,.0f} MB of {data_bytes / 1e6:,.0f} in {time.monotonic() - began:.0f} s")

    await asyncio.gather(*(fill() for _ in range(FILLERS)))
    await client.close()
    return time.monotonic() - began


async def _snapshot(cluster: Cluster, member: Member) -> tuple[float, int]:
    """Save a snapshot of a member, by a process of its own; return how long that took and how large it is."""
    identity = cluster.identity
    # In memory where there is such a place: a backup belongs on another disk than the members'.
    began, file = time.monotonic(), _place_beside(cluster.directory) / f"{cluster.directory.name}.snapshot"
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-m", "deploy.cli", "snapshot", "save", file, "--endpoint", member.client),
        *("--cert", identity.cert, "--key", identity.key, "--ca", identity.ca),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            code = await process.wait()
        if code:
            raise BenchFailed("`steer snapshot save` failed")
        return time.monotonic() - began, file.stat().st_size
    finally:
        file.unlink(missing_ok=True)


def _place_beside(directory: Path) -> Path:
    return MEMORY_DIRECTORY if MEMORY_DIRECTORY.is_dir() else directory


async def _until_level(cluster: Cluster, member: Member, leader: Member, *, votes: bool = False) -> float:
    """Wait until a member answers and has what the leader had when it began to answer; return how long that took."""
    began = time.monotonic()
    while time.monotonic() < began + WITHIN_S:
        if not member.is_running:
            raise ClusterFailed(f"{member.name} ended: {cluster.last_words(member)}")
        wanted, found = await cluster.sample(leader), await cluster.sample(member)
        level = wanted is not None and found is not None and found.revision >= wanted.revision - LEVEL_REVISIONS
        if level and (not votes or await _votes(cluster, member, leader)):
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    raise ClusterFailed(f"{member.name} has not caught up in {WITHIN_S:g} s")


async def _votes(cluster: Cluster, member: Member, leader: Member) -> bool:
    with contextlib.suppress(grpc.aio.AioRpcError):
        listed = await cluster.ask(
            leader, "Cluster/MemberList", rpc_pb2.MemberListRequest(), rpc_pb2.MemberListResponse
        )
        return any(each.name == member.name and not each.isLearner for each in listed.members)
    return False


def show(figures: list[Figure], facts: dict[str, Any], *, as_json: bool) -> None:
    """Print the figures, and whether each holds."""
    if as_json:
        rows = [
            {"name": f.name, "value": round(f.value, 3), "unit": f.unit, "limit": round(f.limit, 3), "holds": f.holds}
            for f in figures
        ]
        json.dump({"machine": facts, "figures": rows}, sys.stdout, indent=2)
        print()
        return
    out = Console(highlight=False)
    table = Table("FIGURE", "MEASURED", "LIMIT", "HOLDS", box=None, pad_edge=False)
    for figure in figures:
        limit = f"< {figure.limit:.1f} {figure.unit}" if figure.limit else ""
        holds = ("yes" if figure.holds else "[bold red]no[/]") if figure.limit else ""
        table.add_row(figure.name, f"{figure.value:.1f} {figure.unit}", limit, holds)
    out.print(table)
    out.print(f"[dim]{', '.join(f'{name} {value}' for name, value in facts.items())}[/]")
