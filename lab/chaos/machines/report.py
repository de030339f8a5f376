"""A run written up for people: docs/chaos-report.md."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from lab.chaos.verdict import BY_NAME, Run, judge


def write_up(runs: Sequence[Run], commands: Sequence[str]) -> str:
    """Return runs as Markdown: the verdict, then what each fault did."""
    lines = ["# What breaking it on purpose showed", ""]
    lines += [
        "Written by `steer chaos report` from the files of the runs. `docs/lab.md` says how to run them; a seed",
        "repeats a run's schedule of faults.",
        "",
    ]
    if commands:
        lines += ["```", *commands, "```", ""]
    for run in runs:
        lines += _run(run)
    return "\n".join(lines).rstrip() + "\n"


def _run(run: Run) -> list[str]:
    faults = [BY_NAME[name] for name in dict.fromkeys(each.fault for each in run.rounds)]
    verdict = judge(run.rounds, faults)
    hours = sum(each.took_s for each in run.rounds) / 3600
    calls, unknown = sum(each.calls for each in run.rounds), sum(each.unknown for each in run.rounds)
    subject = f"{run.members} machines of a lab" if run.server == "lab" else f"{run.members} members of {run.server}"
    lines = [
        f"## {subject}, seed {run.seed}",
        "",
        f"**{'Clean' if verdict.is_clean else 'Not clean'}**: {len(run.rounds)} rounds in {hours:.1f} hours, "
        f"{calls} calls ({unknown} with unknown outcome), {sum(each.events for each in run.rounds)} watch events, "
        f"{len(verdict.findings)} findings.",
        "",
        "| fault | rounds | longest without a write, median and worst | effects seen |",
        "| --- | ---: | ---: | --- |",
    ]
    for fault in sorted(faults, key=lambda fault: fault.name):
        rounds = [each for each in run.rounds if each.fault == fault.name]
        silences = [each.silence_s for each in rounds]
        seen = verdict.by_fault.get(fault.name, {})
        effects = ", ".join(f"{effect} {seen.get(effect, 0)}" for effect in fault.effects)
        silent = f"{statistics.median(silences):.2f} s, {max(silences):.2f} s"
        lines.append(f"| {fault.name}: {fault.does} | {len(rounds)} | {silent} | {effects} |")
    lines.append("")
    for title, found in (("Found", verdict.findings), ("Faults without effect", verdict.missing)):
        if found:
            lines += [f"### {title}", "", *(f"- {each}" for each in found), ""]
    return lines
