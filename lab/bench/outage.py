"""How long nothing can be written when the store's leader is killed, and how long kubectl waits when a machine goes.

Runs on a lab with a cluster on it, over REST through a balancer on this box, as users outside the cluster do. A writer
makes one write after the other, each with a deadline; the pause is the longest time between two acknowledged ones
around a kill. Every acknowledged write is looked for at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from lab.chaos.machines.load import Balancer
from lab.chaos.machines.site import NotWell, Site
from lab.machines.lab import Lab

NAMESPACE = "default"
WRITE_EVERY_S = 0.02
ANSWER_WITHIN_S = 3.0
AROUND_S = 2.5
"""How long after a kill its pause is looked for."""
BACK_WITHIN_S = 60.0
KUBECTL = ("get", "nodes", "--request-timeout=2s")


@dataclass
class Pauses:
    """What was measured."""

    leader_kills_s: list[float] = field(default_factory=list)
    machine_kills_s: list[float] = field(default_factory=list)
    """Until kubectl worked again."""
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the figures for people."""
        found = [f"{self.acknowledged} writes acknowledged, {len(self.lost)} of them lost {' '.join(self.lost[:5])}"]
        for what, values in (
            ("no write acknowledged after kill -9 of the store's leader", self.leader_kills_s),
            ("kubectl works again after a machine's power was cut", self.machine_kills_s),
        ):
            if values:
                found.append(
                    f"{what}: median {statistics.median(values):.2f} s, worst {max(values):.2f} s ({len(values)} times)"
                )
        return found


async def measure(
    lab_directory: Path, directory: Path, kills: int, machines: int, say: Callable[[str], None]
) -> Pauses:
    """Kill the leader `kills` times and cut a machine's power `machines` times.

    Raises:
        CannotDo: there is no lab, or no cluster on it.
        NotWell: the cluster does not recover.
    """
    site = Site(Lab(lab_directory), directory)
    pauses = Pauses()
    acknowledged: list[tuple[float, str]] = []
    try:
        async with Balancer(site) as address, _session(site, address) as http:
            await _await_stores(site)
            writer = asyncio.create_task(_write(http, acknowledged))
            try:
                for number in range(kills):
                    pauses.leader_kills_s.append(await _kill_leader(site, acknowledged))
                    say(f"kill {number + 1} of {kills}: {pauses.leader_kills_s[-1]:.2f} s")
                for number in range(machines):
                    pauses.machine_kills_s.append(await _cut_power(site, number))
                    say(f"power cut {number + 1} of {machines}: {pauses.machine_kills_s[-1]:.2f} s")
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            pauses.acknowledged = len(acknowledged)
            pauses.lost = await _lost(http, [name for _, name in acknowledged])
    finally:
        await site.close()
    return pauses


@asynccontextmanager
async def _session(site: Site, address: str) -> AsyncIterator[aiohttp.ClientSession]:
    identity = site.admin_identity
    tls = ssl.create_default_context(cafile=str(identity.ca))
    tls.load_cert_chain(identity.cert, identity.key)
    tls.check_hostname = False  # the balancer's address is in no certificate; the CA vouches
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(f"https://{address}", connector=connector, timeout=timeout) as http:
        yield http


def _path(name: str = "") -> str:
    return f"/api/v1/namespaces/{NAMESPACE}/configmaps" + (f"/{name}" if name else "")


async def _write(http: aiohttp.ClientSession, acknowledged: list[tuple[float, str]]) -> None:
    prefix = f"failover-{int(time.time())}"
    for number in itertools.count():
        name = f"{prefix}-{number}"
        body: dict[str, Any] = {"metadata": {"name": name, "labels": {"made-by": "bench-outage"}}}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with http.post(_path(), json=body) as answer:
                if answer.status == 201:
                    acknowledged.append((time.monotonic(), name))
        await asyncio.sleep(WRITE_EVERY_S)


async def _kill_leader(site: Site, acknowledged: Sequence[tuple[float, str]]) -> float:
    leader = await site.leader()
    pid = await asyncio.to_thread(site.host_pid, leader, "store")
    await asyncio.to_thread(_wait_for_writes, acknowledged)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    deadline = killed + BACK_WITHIN_S
    while True:
        await asyncio.sleep(0.1)
        if acknowledged and acknowledged[-1][0] > killed + AROUND_S:
            break
        if time.monotonic() > deadline:
            raise NotWell(f"no write within {BACK_WITHIN_S:.0f} s of the death of {leader.name}'s store")
    moments = [at for at, _ in acknowledged if at > killed - 1.0]
    await _await_stores(site)
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


def _wait_for_writes(acknowledged: Sequence[tuple[float, str]]) -> None:
    began = time.monotonic()
    while not acknowledged or acknowledged[-1][0] < began + 0.3:
        if time.monotonic() > began + BACK_WITHIN_S:
            raise NotWell("nothing can be written though all is well")
        time.sleep(0.02)


async def _cut_power(site: Site, number: int) -> float:
    victim = site.machines[number % len(site.machines)]
    asker = site.machines[(number + 1) % len(site.machines)]
    await site.await_well()
    # Counted from the first blow: it takes the kernel a second to clear away what was killed.
    began = time.monotonic()
    going = asyncio.create_task(asyncio.to_thread(site.lab.power_off, [victim]))
    while victim.is_on():  # noqa: ASYNC110 - what it waits for is the kernel's to tell
        await asyncio.sleep(0.005)
    command = ["kubectl", "--kubeconfig", "/etc/steersman/admin.kubeconfig", *KUBECTL]
    try:
        while (await asyncio.to_thread(asker.try_run, command, timeout_s=30)).returncode:
            if time.monotonic() > began + BACK_WITHIN_S:
                raise NotWell(f"kubectl does not work on {asker.name} since {victim.name} lost its power")
        return time.monotonic() - began
    finally:
        await going
        await asyncio.to_thread(site.lab.power_on, [victim])


async def _await_stores(site: Site) -> None:
    deadline = time.monotonic() + BACK_WITHIN_S
    while True:
        samples = await site.look()
        if len(samples) == len(site.machines) and len({(s.term, s.leader) for s in samples.values()}) == 1:
            return
        if time.monotonic() > deadline:
            raise NotWell("the stores do not agree on a leader")
        await asyncio.sleep(0.1)


async def _lost(http: aiohttp.ClientSession, names: Sequence[str]) -> list[str]:
    found: set[str] = set()
    selector = {"labelSelector": "made-by=bench-outage"}
    async with http.get(_path(), params=selector, timeout=aiohttp.ClientTimeout(total=60)) as answer:
        answer.raise_for_status()
        found = {item["metadata"]["name"] for item in (await answer.json())["items"]}
    async with http.delete(_path(), params=selector, timeout=aiohttp.ClientTimeout(total=60)) as answer:
        answer.raise_for_status()
    return [name for name in names if name not in found]
