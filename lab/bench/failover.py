"""How long writes stop when the leader is killed: `kill -9`, and the time until the next write is acknowledged.

The clients are the API server's (`StoreClient`, told of all members), and write all the time, one after the other each.
What counts is the first write begun after the kill that is acknowledged. Whatever was acknowledged is read back at the
end of each round: a fast failover that loses writes would be none.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from lab.bench.report import Figure, Goal, Report
from lab.bench.steer import BenchFailed
from lab.chaos.arena import Loopback
from lab.chaos.cluster import Cluster, ClusterFailed, SteerStore
from store.client import Put, StoreClient, Unavailable

FLOOR_S, AIM_S = 1.5, 0.6
"""The floor is for the worst of all kills, the aim for their median."""
CLIENTS = 4
"""Each with a connection of its own: they find different members first."""
BEFORE_KILL_S = 0.5
RESUME_WITHIN_S = 20.0


class Writer:
    """A client that writes one key again and again."""

    def __init__(self, store: StoreClient, number: int) -> None:
        self.acknowledged = 0
        self.begun_at = self.acknowledged_at = 0.0
        """When the newest acknowledged write was begun, and acknowledged."""
        self.key = f"/failover/{number}".encode()
        self._store = store
        self.written = asyncio.Event()

    async def run(self) -> None:
        """Write until cancelled."""
        number = 0
        while True:
            number += 1
            began = time.monotonic()
            try:
                await self._store.txn((), (Put(self.key, b"%d" % number),))
            except Unavailable:
                continue
            self.begun_at, self.acknowledged_at, self.acknowledged = began, time.monotonic(), number
            self.written.set()

    async def resumed(self, after: float) -> float:
        """Return when a write begun after `after` was acknowledged."""
        while self.begun_at < after:
            self.written.clear()
            await self.written.wait()
        return self.acknowledged_at

    async def has_lost(self) -> bool:
        """Whether the key is older than what was acknowledged."""
        acknowledged = self.acknowledged
        found = (await self._store.range(self.key)).kvs
        return bool(acknowledged) and (not found or int(found[0].value) < acknowledged)


def measure(*, kills: int, members: int) -> Report:
    """Kill the leader so many times, of a cluster of its own.

    Raises:
        BenchFailed: it did not come back, or lost a write.
    """
    directory = Path(tempfile.mkdtemp(prefix="steer-bench-failover-"))
    try:
        samples = asyncio.run(_measure(directory, kills, members))
    except (ClusterFailed, TimeoutError) as error:
        raise BenchFailed(f"{error or 'writes did not resume'} (logs in {directory})") from None
    shutil.rmtree(directory, ignore_errors=True)
    return Report(
        "the store's leader is killed, until writes resume",
        [Figure("writes resume", "s", samples), Figure("the worst of them", "s", [max(samples)])],
        goals=[Goal("writes resume", FLOOR_S, AIM_S), Goal("the worst of them", FLOOR_S, FLOOR_S)],
        facts={"kills": kills, "members": members},
    )


async def _measure(directory: Path, kills: int, members: int) -> list[float]:
    cluster = Cluster.found(SteerStore("--log-level", "warning"), Loopback(directory, members), directory, members)
    samples: list[float] = []
    stores: list[StoreClient] = []
    tasks: list[asyncio.Task[None]] = []
    try:
        for member in cluster.members:
            cluster.start(member)
        await cluster.settle()
        stores = [StoreClient(cluster.endpoints, cluster.identity, server_name="localhost") for _ in range(CLIENTS)]
        writers = [Writer(store, number) for number, store in enumerate(stores)]
        tasks = [asyncio.create_task(writer.run()) for writer in writers]
        for _ in range(kills):
            await asyncio.sleep(BEFORE_KILL_S)
            leader = await cluster.leader()
            killed_at = time.monotonic()
            cluster.kill(leader)
            async with asyncio.timeout(RESUME_WITHIN_S):
                resumed = [asyncio.create_task(writer.resumed(killed_at)) for writer in writers]
                done, waiting = await asyncio.wait(resumed, return_when=asyncio.FIRST_COMPLETED)
                samples.append(min(task.result() for task in done) - killed_at)
                await asyncio.gather(*waiting)  # all of them must go on, not only the luckiest
            if any([await writer.has_lost() for writer in writers]):
                raise BenchFailed(f"an acknowledged write was lost (logs in {directory})")
            cluster.start(leader)
            await _agreed(cluster)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for store in stores:
            await store.close()
        await cluster.close()
    return samples


async def _agreed(cluster: Cluster) -> None:
    """Wait until every member serves and knows the same leader; writes go on meanwhile."""
    async with asyncio.timeout(RESUME_WITHIN_S):
        while True:
            found = [await cluster.sample(member) for member in cluster.members]
            if all(found) and len({sample.leader for sample in found if sample}) == 1 and found[0] and found[0].leader:
                return
            await asyncio.sleep(0.05)
