"""What a run looks like while it goes on: members, faults, and how the clients fare."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lab.chaos.machines.rounds import Rounds
from lab.chaos.machines.site import Site
from lab.chaos.verdict import Run

FAULTS_SHOWN = 6


def render(site: Site, rounds: Rounds, run: Run, of: int) -> RenderableType:
    """Return the whole view."""
    members = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("MACHINE", "POWER", "STORE", "TERM", "REVISION"):
        members.add_column(heading)
    for machine in site.machines:
        status = site.status[machine.name]
        sample = status.sample
        role = "[red]silent[/]" if sample is None else ("[bold green]leader[/]" if status.leads else "follower")
        if sample is not None and not sample.leader:
            role = "[yellow]no leader[/]"
        members.add_row(
            machine.name,
            "[green]on[/]" if status.is_on else "[red]off[/]",
            role,
            str(sample.term) if sample else "-",
            str(sample.revision) if sample else "-",
        )
    progress = rounds.progress
    clients = Table(box=None, show_header=False, pad_edge=False)
    clients.add_row("writes acknowledged", f"[green]{progress.acknowledged}[/]")
    clients.add_row("writes failed or unknown", f"[yellow]{progress.failed}[/]")
    clients.add_row("requests to the Service", f"{progress.requests}, failed [yellow]{progress.requests_failed}[/]")
    for sort, count in sorted(progress.errors.items(), key=lambda item: -item[1])[:4]:
        clients.add_row(f"  {sort}", str(count))
    heading = f"round {progress.number + 1} of {of}: [bold]{progress.fault}[/], {progress.phase}; seed {run.seed}"
    said = Text("\n".join(progress.says[-FAULTS_SHOWN:]), style="dim")
    found = sum(len(report.findings) for report in run.rounds)
    verdict = Text.from_markup(f"[red]{found} findings so far[/]" if found else "[green]nothing found so far[/]")
    return Panel(Group(Text.from_markup(heading), members, Text(""), clients, said, verdict), title="steer chaos")
