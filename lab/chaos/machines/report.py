"""A run written up for people: docs/chaos-report.md."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence

from lab.chaos.verdict import BY_NAME, RoundReport, Run, judge

LOSES_A_MACHINE = frozenset({"power-cut", "power-cut-leader", "lose-machine"})


def write_up(runs: Sequence[Run], commands: Sequence[str], remarks: str = "") -> str:
    """Return runs as Markdown: the verdict, then what each fault did; `remarks` are put in after the verdict."""
    lines = ["# What breaking it on purpose showed", ""]
    lines += [
        "Written by `steer chaos report` from the files of the runs. `docs/lab.md` says how to run them and what a run",
        "is clean by; a seed repeats a run's schedule of faults.",
        "",
    ]
    if commands:
        lines += ["```", *commands, "```", ""]
    rounds = [each for run in runs for each in run.rounds]
    if len(runs) > 1:
        lines += [f"Together: {_sums(rounds)}", ""]
    if remarks:
        lines += [remarks.strip(), ""]
    for run in runs:
        lines += _run(run)
    return "\n".join(lines).rstrip() + "\n"


def _run(run: Run) -> list[str]:
    faults = [BY_NAME[name] for name in dict.fromkeys(each.fault for each in run.rounds)]
    verdict = judge(run.rounds, faults)
    subject = f"{run.members} machines of a lab" if run.server == "lab" else f"{run.members} members of {run.server}"
    modes = sorted({each.failover for each in run.rounds} - {"default"})
    named = f", failover {', '.join(modes)}" if modes else ""
    lines = [
        f"## {subject}, seed {run.seed}{named}",
        "",
        f"**{'Clean' if verdict.is_clean else 'Not clean'}**: {_sums(run.rounds)}",
        "",
        *_when(run.rounds),
        "| fault | rounds | longest without a write, median and worst | effects seen |",
        "| --- | ---: | ---: | --- |",
    ]
    for fault in sorted(faults, key=lambda fault: fault.name):
        rounds = [each for each in run.rounds if each.fault == fault.name]
        seen = verdict.by_fault.get(fault.name, {})
        effects = ", ".join(f"{effect} {seen.get(effect, 0)}" for effect in fault.effects)
        silent = _spread([each.silence_s for each in rounds])
        lines.append(f"| {fault.name}: {fault.does} | {len(rounds)} | {silent} | {effects} |")
    lines.append("")
    lines += _figures(run.rounds)
    for title, found in (("Found", verdict.findings), ("Faults without effect", verdict.missing)):
        if found:
            lines += [f"### {title}", "", *(f"- {each}" for each in found), ""]
    return lines


def _sums(rounds: Sequence[RoundReport]) -> str:
    """Return what rounds add up to, as a sentence."""
    calls, unknown = sum(each.calls for each in rounds), sum(each.unknown for each in rounds)
    writes, failed = sum(each.acknowledged for each in rounds), sum(each.not_acknowledged for each in rounds)
    requests, lost = sum(each.requests for each in rounds), sum(each.requests_failed for each in rounds)
    parts = [f"{len(rounds)} rounds in {sum(each.took_s for each in rounds) / 3600:.2f} hours"]
    parts.append(f"{calls} calls ({unknown} with unknown outcome)")
    if writes:
        parts.append(f"{writes} writes acknowledged and {failed} not")
    if requests:
        parts.append(f"{requests} requests to a Service ({lost} failed)")
    parts.append(f"{sum(each.events for each in rounds)} watch events")
    return ", ".join(parts) + f", {sum(len(each.findings) for each in rounds)} findings."


def _when(rounds: Sequence[RoundReport]) -> list[str]:
    """Return which builds ran when."""
    lines = []
    for build in dict.fromkeys(each.build for each in rounds if each.build):
        own = [each for each in rounds if each.build == build]
        first, last = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)) for at in (own[0].began_at, own[-1].began_at))
        hours = sum(each.took_s for each in own) / 3600
        lines.append(f"- build {build}: {len(own)} rounds, {hours:.2f} hours, begun from {first} to {last} UTC")
    return [*lines, ""] if lines else []


def _figures(rounds: Sequence[RoundReport]) -> list[str]:
    """Return what else was measured."""
    found: dict[str, list[float]] = {}
    for each in rounds:
        for name, value in each.figures.items():
            if not name.startswith("first kubectl"):
                found.setdefault(name, []).append(value)
            elif each.fault in LOSES_A_MACHINE:
                found.setdefault(f"{name}, where a machine was lost", []).append(value)
    if not found:
        return []
    rows = [f"| {name} | {len(values)} | {_spread(values)} |" for name, values in sorted(found.items())]
    return ["| measured | times | median and worst |", "| --- | ---: | ---: |", *rows, ""]


def _spread(values: Iterable[float]) -> str:
    ordered = sorted(values)
    return f"{statistics.median(ordered):.2f} s, {ordered[-1]:.2f} s"
