"""One sitting of a run on machines: opens the lab, shows the run live, adds rounds to it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from lab.chaos.machines.load import Balancer, credentials_in
from lab.chaos.machines.rounds import Rounds
from lab.chaos.machines.site import Site
from lab.chaos.machines.view import render
from lab.chaos.schedule import Fault, draw
from lab.chaos.verdict import Run, progress_line
from lab.machines.lab import Lab

EXAMPLE = Path(__file__).resolve().parents[3] / "deploy/examples/web.yaml"
REFRESH_S = 0.25


async def sit(
    run: Run,
    faults: Sequence[Fault],
    lab_directory: Path,
    directory: Path,
    count: int,
    deadline: float | None,
    resume: Path | None,
    say: Callable[[str], None],
) -> None:
    """Add `count` rounds to the run, or as many as fit before `deadline` (monotonic).

    Raises:
        CannotDo: there is no lab, or no cluster on it.
    """
    site = Site(Lab(lab_directory), directory)
    run.members = len(site.machines)
    say(f"{run.members} machines, seed {run.seed}, {len(faults)} faults: {directory}")
    _apply_example(site)
    last = len(run.rounds) + count
    async with Balancer(site) as address:
        rounds = Rounds(site, address, directory, say)
        viewer = asyncio.create_task(_view(site, rounds, run, last, faults)) if sys.stderr.isatty() else None
        try:
            while len(run.rounds) < last and (deadline is None or time.monotonic() < deadline):
                say(f"round {len(run.rounds) + 1}/{last}: {draw(run.seed, len(run.rounds), faults).fault.does}")
                report = await rounds.run(draw(run.seed, len(run.rounds), faults))
                run.rounds.append(report)
                say(progress_line(report, last))
                for finding in report.findings:
                    say(f"    {finding}")
                if resume is not None:
                    run.save(resume)
        finally:
            if viewer is not None:
                viewer.cancel()
                await asyncio.gather(viewer, return_exceptions=True)
            await site.close()
            for path in credentials_in(directory):
                with contextlib.suppress(OSError):
                    path.unlink()


def _apply_example(site: Site) -> None:
    """Put three web pods behind a Service, the traffic of which is judged."""
    for machine in site.machines:
        if machine.pid() is not None:
            command = ["kubectl", "--kubeconfig", "/etc/steersman/admin.kubeconfig", "apply", "-f", "-"]
            machine.run(command, text=EXAMPLE.read_text())
            return


async def _view(site: Site, rounds: Rounds, run: Run, of: int, faults: Sequence[Fault]) -> None:
    with Live(render(site, rounds, run, of, faults), console=Console(stderr=True), refresh_per_second=4) as live:
        while True:
            await asyncio.sleep(REFRESH_S)
            live.update(render(site, rounds, run, of, faults))
