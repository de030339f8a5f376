"""What a run looks like while it goes on: the machines, the fault, how the clients fare, and every fault's results."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lab.chaos.machines.rounds import Rounds
from lab.chaos.machines.site import Site
from lab.chaos.schedule import Fault
from lab.chaos.verdict import BY_NAME, Run

SAID_SHOWN = 5
ERRORS_SHOWN = 3


def render(site: Site, rounds: Rounds, run: Run, of: int, faults: Sequence[Fault]) -> RenderableType:
    """Return the whole view."""
    progress = rounds.progress
    found = sum(len(report.findings) for report in run.rounds)
    minutes = sum(report.took_s for report in run.rounds) / 60
    verdict = f"[bold red]{found} findings[/]" if found else "[bold green]nothing found[/]"
    heading = Text.from_markup(
        f"round {progress.number + 1} of {of}   seed {run.seed}   {minutes:.0f} min in {len(run.rounds)} rounds "
        f"so far: {verdict}\n"
    )
    what = BY_NAME[progress.fault].does if progress.fault in BY_NAME else ""
    lasts_s = time.monotonic() - progress.began
    fault = Text.from_markup(f"[bold]{progress.fault}[/]  [cyan]{progress.phase}[/]  {lasts_s:.0f} s\n[dim]{what}[/]\n")
    said = Text("\n".join(progress.says[-SAID_SHOWN:]), style="yellow")
    now = Group(heading, fault, _machines(site), Text(""), _clients(rounds), Text(""), said)
    columns = Table.grid(padding=(0, 3))
    columns.add_row(now, _faults(run, faults, progress.fault))
    return Panel(columns, title="[bold]steer chaos machines[/]", border_style="red" if found else "green")


def _machines(site: Site) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("MACHINE", "POWER", "STORE", "TERM", "REVISION", "API"):
        table.add_column(heading, justify="right" if heading in ("TERM", "REVISION") else "left")
    for machine in site.machines:
        status = site.status[machine.name]
        sample = status.sample
        role = "[red]silent[/]" if sample is None else ("[bold green]leader[/]" if status.leads else "follower")
        if sample is not None and not sample.leader:
            role = "[yellow]no leader[/]"
        table.add_row(
            machine.name,
            "[green]on[/]" if status.is_on else "[red]off[/]",
            role,
            str(sample.term) if sample else "-",
            str(sample.revision) if sample else "-",
            "[green]ok[/]" if status.api == "ok" else f"[red]{status.api or 'silent'}[/]",
        )
    return table


def _clients(rounds: Rounds) -> Table:
    progress = rounds.progress
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_row(f"[green]{progress.acknowledged}[/]", "writes acknowledged")
    table.add_row(f"[yellow]{progress.not_acknowledged}[/]", "writes refused, or whose outcome is not known")
    table.add_row(f"[green]{progress.requests - progress.requests_failed}[/]", "requests answered by the Service")
    table.add_row(f"[yellow]{progress.requests_failed}[/]", "requests to the Service that failed")
    for sort, count in sorted(progress.errors.items(), key=lambda item: -item[1])[:ERRORS_SHOWN]:
        table.add_row(f"[dim]{count}[/]", f"[dim]times {sort}[/]")
    return table


def _faults(run: Run, faults: Sequence[Fault], current: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("FAULT", no_wrap=True)
    table.add_column("ROUNDS", justify="right")
    table.add_column("NO WRITE FOR", justify="right", no_wrap=True)
    table.add_column("")
    for fault in faults:
        done = [report for report in run.rounds if report.fault == fault.name]
        found = sum(len(report.findings) for report in done)
        seen = all(any(report.effects.get(effect) for report in done) for effect in fault.effects)
        mark = f"[red]{found} found[/]" if found else ("[green]ok[/]" if seen else "[yellow]without effect[/]")
        worst = f"{max(report.silence_s for report in done):.1f} s" if done else ""
        name = f"[bold cyan]{fault.name}[/]" if fault.name == current else fault.name
        table.add_row(name, str(len(done)) if done else "", worst, mark if done else "")
    return table
