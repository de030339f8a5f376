"""A run: round after round of load with one fault in the middle, each judged before the next begins.

A round: the cluster is well; clients start; after a calm the fault strikes and is mended; the cluster must come to be
well again by itself while the clients go on; then they stop, everything is read once more, and the record is judged:
registers linearizable, nothing acknowledged lost, watches complete and in order, a Service's requests failing only
where a fault took its pods, writes going on soon where most of the stores stayed well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from deploy.report import CannotDo
from lab.chaos import checks, effects
from lab.chaos.effects import Effect, Sample
from lab.chaos.history import Call, Kind, Outcome, count_outcomes, write_evidence
from lab.chaos.machines import traffic
from lab.chaos.machines.faults import INJECTIONS, Scene, no_effects
from lab.chaos.machines.load import KUBECTL, Load
from lab.chaos.machines.scenarios import LEAVES_MAJORITY
from lab.chaos.machines.site import NotWell, Site
from lab.chaos.machines.traffic import Blow
from lab.chaos.schedule import Round
from lab.chaos.verdict import RoundReport

AFTERMATH_S = 3.0
WATCH_WITHIN_S = 20.0
SERVICE_WITHIN_S = 30.0
SAMPLE_EVERY_S = 0.5
BEHIND_MIN = 200
UNFINISHED = "the round did not come to its end"
SILENCE_MAX_S = 15.0
"""How long no write may be acknowledged in a fault that leaves most of the stores well."""


@dataclass
class Progress:
    """What a live view shows of the round under way."""

    number: int = 0
    fault: str = ""
    phase: str = ""
    began: float = field(default_factory=time.monotonic)
    says: list[str] = field(default_factory=list)
    acknowledged: int = 0
    not_acknowledged: int = 0
    requests: int = 0
    requests_failed: int = 0
    errors: dict[str, int] = field(default_factory=dict)


class Rounds:
    """Runs rounds on one site."""

    def __init__(self, site: Site, address: str, directory: Path, say: Callable[[str], None]) -> None:
        """Prepare; `address` is a balancer's, `directory` gets the timeline and the histories with findings."""
        self._site = site
        self._address = address
        self._directory = directory
        self._say = say
        self.progress = Progress()
        self.samples: list[dict[str, Sample]] = []

    def timeline(self, what: str, **values: Any) -> None:
        """Add a line to the timeline's file."""
        with (self._directory / "timeline.jsonl").open("a") as file:
            print(json.dumps({"at": round(time.time(), 3), "what": what, **values}), file=file)

    def _phase(self, phase: str) -> None:
        self.progress.phase = phase
        self.timeline("phase", round=self.progress.number, fault=self.progress.fault, phase=phase)

    def _tell(self, line: str) -> None:
        self.progress.says.append(line)
        self.timeline("fault", round=self.progress.number, says=line)
        self._say(f"    {line}")

    async def run(self, round: Round) -> RoundReport:
        """Run one round and judge it."""
        began = time.monotonic()
        self.progress = Progress(round.number, round.fault.name)
        rng = random.Random(round.seed)
        load = Load(self._site, self._address, round.number, random.Random(rng.getrandbits(48)))
        load.on_call = lambda call: self._count(call, load)
        scene = Scene(self._site, round, rng, no_effects(), self._tell, load)
        self.samples = []
        findings = scene.findings
        struck = healed = began
        began_at = time.time()
        sampler = asyncio.create_task(self._sample(load))
        try:
            self._phase("waiting until all is well")
            await self._site.await_well()
            await self._site.spread_pods()
            self._phase("calm")
            await load.start()
            await load.traffic.await_answers(SERVICE_WITHIN_S)
            load.traffic.requests.clear()  # what an earlier round's fault may still have cost is not this one's
            await asyncio.sleep(round.calm_s + 1.0)
            struck = time.monotonic()
            self._phase("fault")
            await INJECTIONS[round.fault.name](scene)
            self._phase("healing")
            await self._site.await_well()
            await load.traffic.await_answers(SERVICE_WITHIN_S)
            healed = time.monotonic()
            self._phase("aftermath")
            await asyncio.sleep(AFTERMATH_S)
            await load.stop()
            self._phase("judging")
            await load.finish(WATCH_WITHIN_S)
            stored = await load.stored()
            findings += await asyncio.to_thread(judge_calls, load, stored)
            findings += traffic.judge(load.traffic, Blow(frozenset(scene.hit), struck, healed))
        except (CannotDo, NotWell, OSError, RuntimeError, ValueError, TimeoutError) as error:
            findings.append(f"{UNFINISHED}: {error or type(error).__name__}")
        finally:
            sampler.cancel()
            await load.close()
            with contextlib.suppress(CannotDo):
                await asyncio.to_thread(self._site.lab.wire.heal)
        calls = [*load.history.calls, *load.ledger]
        silence_s = checks.longest_silence(calls, struck, healed) if healed > struck else 0.0
        if round.fault.name in LEAVES_MAJORITY and silence_s > SILENCE_MAX_S:
            findings.append(f"no write was acknowledged for {silence_s:.1f} s, though most of the stores were well")
        seen = scene.effects + effects.from_samples(self.samples, BEHIND_MIN)
        requests = load.traffic.requests if healed > struck else []
        requests_failed = sum(bool(request.problem) for request in requests)
        seen[Effect.SERVICE_REQUESTS_FAILED] += requests_failed
        seen[Effect.WATCHES_RESUMED] += sum(watched.resumptions for watched in load.history.watched)
        outcomes = count_outcomes(calls)
        writes = count_outcomes(call for call in calls if call.kind is not Kind.GET)
        if healed > struck and (first := first_by_kubectl(load.ledger, struck)) is not None:
            scene.figures["first kubectl done that began after the blow"] = first
        report = RoundReport(
            number=round.number,
            fault=round.fault.name,
            took_s=time.monotonic() - began,
            calls=len(calls) + len(requests),
            unknown=outcomes[Outcome.UNKNOWN],
            refused=outcomes[Outcome.FAILED],
            events=sum(len(watched.events) for watched in load.history.watched),
            silence_s=silence_s,
            effects={str(effect): count for effect, count in sorted(seen.items()) if count},
            findings=tuple(findings),
            began_at=to_ms(began_at),
            build=self._site.build,
            failover=self._site.failover,
            acknowledged=writes[Outcome.OK],
            not_acknowledged=writes[Outcome.UNKNOWN] + writes[Outcome.FAILED],
            requests=len(requests),
            requests_failed=requests_failed,
            figures={name: to_ms(value) for name, value in scene.figures.items()},
        )
        self.timeline("round", **{name: getattr(report, name) for name in report.__struct_fields__})
        if findings:
            self._keep(round, load, findings)
        return report

    def _count(self, call: Call, load: Load) -> None:
        if call.kind is not Kind.GET:
            self.progress.acknowledged += call.outcome is Outcome.OK
            self.progress.not_acknowledged += call.outcome is not Outcome.OK
        self.progress.errors = load.errors

    async def _sample(self, load: Load) -> None:
        while True:
            samples = await self._site.look()
            self.samples.append(samples)
            if load.has_started:
                self.progress.requests = len(load.traffic.requests)
                self.progress.requests_failed = sum(bool(request.problem) for request in load.traffic.requests)
            shown = {name: [s.term, s.leader, s.revision] for name, s in samples.items()}
            self.timeline("sample", members=shown)
            await asyncio.sleep(SAMPLE_EVERY_S)

    def _keep(self, round: Round, load: Load, findings: list[str]) -> None:
        path = self._directory / f"round-{round.number}.jsonl"
        told = [call.to_json() for call in (*load.history.calls, *load.ledger)]
        if load.has_started:
            told += [msgspec.to_builtins(record) for record in (*load.traffic.requests, *load.traffic.ready)]
        write_evidence(path, findings, told)
        self._say(f"    the history is in {path}")


def judge_calls(load: Load, stored: checks.Stored) -> list[str]:
    """Hold what the clients were answered against what is stored: nothing lost, nothing read that was not so."""
    findings = checks.check_registers(load.history)
    writes = [call for call in (*load.history.calls, *load.ledger) if call.kind is not Kind.GET]
    findings += checks.check_revisions(writes)
    findings += checks.check_ledger(load.ledger, stored)
    findings += checks.check_watches(load.history.watched, load.history.calls, load.fence)
    return findings


def first_by_kubectl(ledger: Sequence[Call], struck: float) -> float | None:
    """Return how long after the blow the first kubectl was done that began after it; it runs about once a second."""
    done = [call for call in ledger if call.client == KUBECTL and call.outcome is Outcome.OK and call.invoked >= struck]
    return min((call.returned - struck for call in done), default=None)


def to_ms(seconds: float) -> float:
    """Return seconds as they go on file."""
    return round(seconds, 3)
