"""What a run adds up to: its rounds on file, so that it can be taken up again, and the verdict over all of them.

A verdict is clean only if nothing was found, and if every fault that was injected had each of the effects it was meant
to have, at least once. Faults that did not come up yet are named: a short run is clean as far as it went.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from lab.chaos import schedule
from lab.chaos.machines import scenarios
from lab.chaos.schedule import Fault

BY_NAME = {**scenarios.BY_NAME, **schedule.BY_NAME}
"""Every fault there is, by name; what runs on machines has names of its own."""


class RoundReport(msgspec.Struct, frozen=True):
    """One round, as it went."""

    number: int
    fault: str
    took_s: float
    calls: int
    unknown: int
    refused: int
    events: int
    silence_s: float
    """The longest time without an acknowledged write."""
    effects: dict[str, int]
    findings: tuple[str, ...]
    began_at: float = 0.0
    """On the wall clock."""
    build: str = ""
    """What ran, as it names itself."""
    failover: str = "default"
    """How soon a machine is given up: `steer init --failover`."""
    acknowledged: int = 0
    """Writes that were."""
    not_acknowledged: int = 0
    """Writes that were refused, or whose outcome is not known."""
    requests: int = 0
    """To a Service, from every machine."""
    requests_failed: int = 0
    figures: dict[str, float] = {}
    """Further things measured, in seconds."""


class Run(msgspec.Struct):
    """All rounds of a run, over as many sittings as it took."""

    server: str
    members: int
    seed: int
    rounds: list[RoundReport] = []

    def save(self, path: Path) -> None:
        """Write the run to a file, whole or not at all."""
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        temporary.replace(path)

    @staticmethod
    def load(path: Path) -> Run:
        """Read a run from its file.

        Raises:
            ValueError: it is no run's; the message says so.
        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=Run)
        except msgspec.MsgspecError as error:
            raise ValueError(f"{path} is not the file of a run: {error}") from None


class Verdict(msgspec.Struct, frozen=True):
    """What the rounds prove."""

    is_clean: bool
    findings: tuple[str, ...]
    missing: tuple[str, ...]
    """Effects that a fault was to have and never had."""
    not_run: tuple[str, ...]
    """Faults that have not come up."""
    effects: dict[str, int]
    by_fault: dict[str, dict[str, int]]


def judge(rounds: Sequence[RoundReport], faults: Sequence[Fault]) -> Verdict:
    """Return the verdict on a run's rounds; `faults` are those that could come up."""
    findings = tuple(f"round {each.number} ({each.fault}): {finding}" for each in rounds for finding in each.findings)
    by_fault: dict[str, Counter[str]] = {}
    for each in rounds:
        by_fault.setdefault(each.fault, Counter()).update(each.effects)
    missing = tuple(
        f"{name}: no {effect} seen"
        for name, seen in sorted(by_fault.items())
        for effect in BY_NAME[name].effects
        if not seen[effect]
    )
    totals: Counter[str] = Counter()
    for seen in by_fault.values():
        totals.update(seen)
    return Verdict(
        is_clean=bool(rounds) and not findings and not missing,
        findings=findings,
        missing=missing,
        not_run=tuple(fault.name for fault in faults if fault.name not in by_fault),
        effects=dict(sorted(totals.items())),
        by_fault={name: dict(sorted((+seen).items())) for name, seen in sorted(by_fault.items())},
    )


def progress_line(report: RoundReport, of: int) -> str:
    """Return a finished round as a line."""
    effects = BY_NAME[report.fault].effects
    seen = ", ".join(f"{effect} {report.effects.get(effect, 0)}" for effect in effects)
    state = "ok" if not report.findings else f"FOUND {len(report.findings)}"
    width = max(map(len, scenarios.BY_NAME)) if report.fault in scenarios.BY_NAME else 16
    return (
        f"round {report.number + 1:>3}/{of} {report.fault:<{width}} {report.took_s:5.1f} s  {report.calls:>6} calls "
        f"({report.unknown} unknown, {report.refused} refused)  silent {report.silence_s:.2f} s  {seen}: {state}"
    )


def show(run: Run, verdict: Verdict, *, as_json: bool) -> None:
    """Print the verdict on stdout."""
    if as_json:
        plain: dict[str, Any] = msgspec.to_builtins(run)
        plain["verdict"] = msgspec.to_builtins(verdict)
        print(json.dumps(plain, indent=2))
        return
    out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 150)
    table = Table(box=None, header_style="", pad_edge=False)
    table.add_column("FAULT")
    for heading in ("ROUNDS", "CALLS", "UNKNOWN", "SILENT S"):
        table.add_column(heading, justify="right")
    table.add_column("EFFECTS SEEN")
    for name, seen in verdict.by_fault.items():
        rounds = [each for each in run.rounds if each.fault == name]
        calls, unknown = sum(each.calls for each in rounds), sum(each.unknown for each in rounds)
        worst = max(each.silence_s for each in rounds)
        meant = ", ".join(f"{effect} {seen.get(effect, 0)}" for effect in BY_NAME[name].effects)
        table.add_row(name, str(len(rounds)), str(calls), str(unknown), f"{worst:.2f}", meant)
    out.print(table)
    out.print("[bold]all effects:[/] " + ", ".join(f"{name} {count}" for name, count in verdict.effects.items()))
    for line in verdict.findings:
        out.print(f"[red]found[/] {line}", markup=True)
    for line in verdict.missing:
        out.print(f"[yellow]without effect[/] {line}")
    if verdict.not_run:
        out.print(f"not run: {', '.join(verdict.not_run)}")
    calls = sum(each.calls for each in run.rounds)
    minutes = sum(each.took_s for each in run.rounds) / 60
    about = (
        f"{len(run.rounds)} rounds in {minutes:.0f} minutes, {calls} calls, {run.members} members of {run.server}, "
        f"seed {run.seed}"
    )
    if verdict.is_clean:
        out.print(f"[bold green]clean[/]: {about}: nothing acknowledged was lost, nothing stale was read")
    else:
        found = len(verdict.findings)
        out.print(f"[bold red]not clean[/]: {about}: {found} findings, {len(verdict.missing)} faults without effect")
