"""A run: round after round of load with one fault in the middle, each judged before the next begins.

A round: clients start; after a calm while the fault strikes, is mended, and every member runs again; a little later the
clients stop. Then the members must come to agree, every register is read once more through every member, a last write
fences the round for the watchers, leases must end, and what each member holds is read from it directly. All that goes
into the history, and the history to the checks. Writes of earlier rounds are looked for again in later ones: a member
that loses what it had long acknowledged is as bad as one that loses what is new.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import grpc.aio

from lab.chaos import checks, effects
from lab.chaos.clients import LEASE_TTL_S, Load
from lab.chaos.cluster import Cluster, ClusterFailed
from lab.chaos.effects import Effect, Effects, Sample
from lab.chaos.faults import INJECTIONS, Scene
from lab.chaos.history import Call, Kind, Outcome, count_outcomes, write_evidence
from lab.chaos.schedule import Round
from lab.chaos.verdict import RoundReport
from proto.etcd import rpc_pb2
from store.client import prefix_end

AFTERMATH_S = 1.0
"""Load after the fault is mended."""
WATCH_TIMEOUT_S = 20.0
LEASE_GRACE_S = 10.0
"""Beyond its TTL, for elections that give every lease its whole time again."""
BEHIND_MIN = 50
LEDGERS_KEPT = 3
SAMPLE_EVERY_S = 0.2
PAGE_KEYS = 5000

_SNAPSHOT_METRICS = ("etcd_network_snapshot_receive_success",)


class Rounds:
    """Runs rounds on one cluster, which is up."""

    def __init__(self, cluster: Cluster, directory: Path, say: Callable[[str], None] = lambda _: None) -> None:
        """Prepare; `directory` gets the histories of rounds in which something was found."""
        self._cluster = cluster
        self._directory = directory
        self._say = say
        self._ledgers: deque[tuple[str, list[Call]]] = deque()
        self._log_ends: dict[Path, int] = {}
        self._metric_last: dict[str, float] = {}
        self._said: Effects = Counter()

    async def begin(self) -> None:
        """Start the cluster and wait for it."""
        for member in self._cluster.members:
            self._cluster.start(member)
        await self._cluster.settle()

    async def run(self, round: Round) -> RoundReport:
        """Run one round and judge it.

        What keeps the round from coming to its end (a member that does not come back, members that never agree) is a
        finding like any other; the cluster must then be given up.
        """
        began = time.monotonic()
        rng = random.Random(round.seed)
        load = Load(self._cluster, f"/chaos/{round.number:05d}/", random.Random(rng.getrandbits(48)))
        scene = Scene(self._cluster, round, rng, Counter(), self._snapshots_taken_in)
        await self._read_said()
        said_before = Counter(self._said)
        samples: list[dict[str, Sample]] = []
        sampler = asyncio.create_task(self._sample(samples))
        findings: list[str] = []
        struck = ended = began
        try:
            await self._cluster.settle()
            start = max(sample.revision for sample in (await self._cluster.sample_all()).values()) + 1
            load.start(start)
            try:
                await asyncio.sleep(round.calm_s)
                struck = time.monotonic()
                await INJECTIONS[round.fault.name](scene)
                await asyncio.sleep(AFTERMATH_S)
                ended = time.monotonic()
            finally:
                await load.stop()
            await self._cluster.settle()
            fence = await self._read_back(load)
            await self._await_leases(load)
            fence = max(fence, await self._fence(load))
            await load.finish_watches(fence, WATCH_TIMEOUT_S)
            load.note_ended_leases()
            findings += await asyncio.to_thread(self._judge, load, fence)
            findings += await self._judge_members(load)
        except (ClusterFailed, grpc.aio.AioRpcError) as error:
            findings.append(f"the round did not come to its end: {_message(error)}")
            with contextlib.suppress(Exception):
                await load.finish_watches(0, 0)
        finally:
            sampler.cancel()
        await self._read_said()
        seen = scene.effects + load.effects + (self._said - said_before)
        seen += effects.from_samples(samples, BEHIND_MIN)
        calls = [*load.history.calls, *load.ledger]
        if findings:
            self._keep(round, load, findings)
        outcomes = count_outcomes(calls)
        return RoundReport(
            number=round.number,
            fault=round.fault.name,
            took_s=time.monotonic() - began,
            calls=len(calls),
            unknown=outcomes[Outcome.UNKNOWN],
            refused=outcomes[Outcome.FAILED],
            events=sum(len(watched.events) for watched in load.history.watched),
            silence_s=checks.longest_silence(calls, struck, ended) if ended > struck else 0.0,
            effects={str(effect): count for effect, count in sorted(seen.items()) if count},
            findings=tuple(findings),
        )

    # -- the end of a round

    async def _read_back(self, load: Load) -> int:
        """Read every register through every member, into the history; return the latest revision."""
        latest = 0
        for member in self._cluster.members:
            for key in load.registers:
                call = Call(-1, member.name, Kind.GET, key, time.monotonic())
                await load.make(call, member, 10.0)
                if call.outcome is not Outcome.OK:
                    raise ClusterFailed(f"{member.name} is well and does not answer: {call.error}")
                latest = max(latest, call.revision)
        return latest

    async def _await_leases(self, load: Load) -> None:
        """Wait until no lease's key is left; who is still there after its time will be found by its check."""
        deadline = time.monotonic() + LEASE_TTL_S + LEASE_GRACE_S
        key = f"{load.prefix}e/".encode()
        count = rpc_pb2.RangeRequest(key=key, range_end=prefix_end(key), count_only=True)
        while time.monotonic() < deadline:
            answer = await self._cluster.ask(self._cluster.members[0], "KV/Range", count, rpc_pb2.RangeResponse)
            if not answer.count:
                return
            await asyncio.sleep(0.2)

    async def _fence(self, load: Load) -> int:
        call = Call(-1, self._cluster.members[0].name, Kind.PUT, f"{load.prefix}fence", time.monotonic(), "fence")
        await load.make(call, self._cluster.members[0], 10.0)
        if call.outcome is not Outcome.OK:
            raise ClusterFailed(f"the members are well and take no write: {call.error}")
        return call.revision

    def _judge(self, load: Load, fence: int) -> list[str]:
        history = load.history
        registers = [call for call in history.calls if call.key.startswith(f"{load.prefix}r/")]
        findings = checks.check_registers(type(history)(calls=registers))
        calls = [*history.calls, *load.ledger]
        findings += checks.check_revisions(calls)
        # What leases delete nobody asked to be deleted; also what was put on one by a call whose outcome is not known.
        expiries = [
            Call(-1, "lease", Kind.DELETE, call.key, call.invoked)
            for call in history.calls
            if call.key.startswith(f"{load.prefix}e/")
        ]
        findings += checks.check_watches(history.watched, [*calls, *expiries], fence, history.compactions)
        findings += checks.check_leases(history.leases)
        return findings

    async def _judge_members(self, load: Load) -> list[str]:
        """Compare what members hold, and look for the ledgers of this round and those before it."""
        self._ledgers.append((load.ledger_prefix, load.ledger))
        findings: list[str] = []
        hashes: dict[str, tuple[int, int]] = {}
        compacted: set[int] = set()
        await self._cluster.settle()
        for member in self._cluster.members:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await self._cluster.ask(
                    member, "Maintenance/HashKV", rpc_pb2.HashKVRequest(), rpc_pb2.HashKVResponse, 20.0
                )
                hashes[member.name] = (answer.hash, answer.header.revision)
                compacted.add(answer.compact_revision)
        comparable = hashes if len(compacted) == 1 else {}  # history is hashed too, and is forgotten at its own time
        load.effects[Effect.HASHES_COMPARED] += len(comparable) > 1
        stored_by_member = {
            member.name: await self._stored(member.name, load.prefix.encode()) for member in self._cluster.members
        }
        findings += checks.check_members_agree(stored_by_member, comparable)
        for prefix, calls in self._ledgers:
            if prefix == load.ledger_prefix:
                some = stored_by_member[self._cluster.members[0].name]
                stored = {key: value for key, value in some.items() if key.startswith(prefix)}
            else:
                stored = await self._stored(self._cluster.members[-1].name, prefix.encode())
            findings += checks.check_ledger(calls, stored)
        while len(self._ledgers) > LEDGERS_KEPT:
            self._ledgers.popleft()
            old = f"/chaos/{int(load.prefix.split('/')[2]) - LEDGERS_KEPT:05d}/".encode()
            delete = rpc_pb2.DeleteRangeRequest(key=old, range_end=prefix_end(old))
            member = self._cluster.members[0]
            await self._cluster.ask(member, "KV/DeleteRange", delete, rpc_pb2.DeleteRangeResponse, 20.0)
        return findings

    async def _stored(self, name: str, prefix: bytes) -> dict[str, tuple[str, int, int]]:
        """Read what a member itself holds under a prefix, without asking the others."""
        member = next(each for each in self._cluster.members if each.name == name)
        stored: dict[str, tuple[str, int, int]] = {}
        key = prefix
        while True:
            request = rpc_pb2.RangeRequest(key=key, range_end=prefix_end(prefix), limit=PAGE_KEYS, serializable=True)
            answer = await self._cluster.ask(member, "KV/Range", request, rpc_pb2.RangeResponse, 20.0)
            for kv in answer.kvs:
                value = kv.value.decode(errors="backslashreplace")
                stored[kv.key.decode(errors="backslashreplace")] = (value, kv.version, kv.mod_revision)
            if not answer.more:
                return stored
            key = answer.kvs[-1].key + b"\0"

    # -- effects

    async def _sample(self, samples: list[dict[str, Sample]]) -> None:
        while True:
            samples.append(await self._cluster.sample_all())
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def _read_said(self) -> None:
        """Count what members wrote to their logs, and what their metrics say, since it was last read."""
        for path in sorted((self._cluster.directory / "logs").glob("*.log")):
            with path.open("rb") as file:
                file.seek(self._log_ends.get(path, 0))
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._log_ends[path] = self._log_ends.get(path, 0) + len(whole)
            self._said += effects.from_logs(whole.splitlines())
        for member in self._cluster.members:
            if not member.is_running:
                continue
            try:
                text = await asyncio.to_thread(_fetch, f"http://{member.metrics}/metrics")
            except OSError:
                continue
            for name, value in effects.parse_metrics(text).items():
                if name.startswith(_SNAPSHOT_METRICS):
                    place = f"{member.name} {name}"
                    last = self._metric_last.get(place, 0.0)
                    self._said[Effect.SNAPSHOTS_TAKEN_IN] += int(value - last if value >= last else value)
                    self._metric_last[place] = value

    async def _snapshots_taken_in(self) -> int:
        await self._read_said()
        return self._said[Effect.SNAPSHOTS_TAKEN_IN]

    def _keep(self, round: Round, load: Load, findings: list[str]) -> None:
        path = self._directory / f"round-{round.number}.jsonl"
        write_evidence(path, findings, (call.to_json() for call in (*load.history.calls, *load.ledger)))
        self._say(f"the history is in {path}")


def _message(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error)


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=2) as response:
        text: str = response.read().decode()
    return text
