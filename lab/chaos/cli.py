"""`steer chaos`: break a store of its own, or a cluster on a lab's machines, and say whether it held."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from lab.chaos.arena import INSIDE, PYTHON, Arena, ArenaFailed, Isolated, Loopback, enter, may_isolate
from lab.chaos.cluster import Cluster, ClusterFailed, Etcd, Server, SteerStore
from lab.chaos.rounds import Rounds
from lab.chaos.schedule import Fault, draw, possible
from lab.chaos.verdict import Run, judge, progress_line, show
from lab.machines.cli import DIRECTORY as LAB_DIRECTORY

app = typer.Typer(help="Break things on purpose, and check that what was promised holds.", no_args_is_help=True)


@app.callback()
def chaos() -> None:
    """Keep every verb a verb of its own."""


@app.command()
def store(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of this sitting.")] = 20,
    seconds: Annotated[float | None, typer.Option(help="Begin no round after so long.")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats a run's schedule; drawn if not given.")] = None,
    resume: Annotated[Path | None, typer.Option(help="File of a run: its rounds add up over sittings.")] = None,
    members: Annotated[int, typer.Option(min=1, max=5)] = 3,
    fault: Annotated[list[str] | None, typer.Option(help="Only these faults (repeat it).")] = None,
    server: Annotated[Literal["steer-store", "etcd"], typer.Option(help="What to test.")] = "steer-store",
    server_module: Annotated[str, typer.Option(help="Python module run as steer-store.", hidden=True)] = "store",
    loopback: Annotated[bool, typer.Option("--loopback", help="Stay on loopback, with fewer faults.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Directory for logs and histories, kept.")] = None,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print.")] = "text",
) -> None:
    """Start a store, break it round after round, and check every promise against what its clients saw.

    As root all faults are possible, in namespaces that vanish with the run; otherwise members are only killed, paused,
    restarted and replaced. Exit code 0: clean; 1: something was found, or a fault had no effect; 2: it could not run.
    """
    why_not = "--loopback was given" if loopback else may_isolate()
    if why_not is None and not os.environ.get(INSIDE):
        raise typer.Exit(enter([PYTHON, "-c", "from lab.chaos.cli import app; app()", *sys.argv[_store_at() :]]))
    if why_not is not None:
        print(f"fewer faults: {why_not}", file=sys.stderr)
    offers = set(Isolated.offers if why_not is None else Loopback.offers) | ({"cluster"} if members > 2 else set())
    run = Run(server, members, seed if seed is not None else random.SystemRandom().getrandbits(32))
    try:
        faults = possible(offers, fault or ())
        if resume is not None and resume.exists():
            run = Run.load(resume)
            if (run.server, run.members) != (server, members) or seed not in (None, run.seed):
                raise ValueError(f"{resume} is of {run.members} members of {run.server}, seed {run.seed}")
    except ValueError as error:
        print(f"steer chaos store: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    what: Server = Etcd("--snapshot-count", "500") if server == "etcd" else SteerStore(module=server_module)
    directory = keep or Path(tempfile.mkdtemp(prefix="steer-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds if seconds else None
    try:
        arena: Arena = (Isolated if why_not is None else Loopback)(directory, members)
        asyncio.run(_sit(run, faults, what, arena, directory, rounds, deadline, resume))
    except ArenaFailed as error:
        print(f"steer chaos store: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("stopped: the verdict is on the rounds that came to an end", file=sys.stderr)
    verdict = judge(run.rounds, faults)
    show(run, verdict, as_json=output == "json")
    if verdict.is_clean and keep is None:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        print(f"logs and histories: {directory}", file=sys.stderr)
    raise typer.Exit(0 if verdict.is_clean else 1)


@app.command()
def machines(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of this sitting.")] = 23,
    seconds: Annotated[float | None, typer.Option(help="Begin no round after so long.")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats a run's schedule; drawn if not given.")] = None,
    resume: Annotated[Path | None, typer.Option(help="File of a run: its rounds add up over sittings.")] = None,
    fault: Annotated[list[str] | None, typer.Option(help="Only these faults (repeat it).")] = None,
    lab_dir: Annotated[Path, typer.Option("--lab-dir", help="The lab, with a cluster on it.")] = LAB_DIRECTORY,
    keep: Annotated[Path | None, typer.Option(help="Directory for the timeline, logs and histories, kept.")] = None,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print.")] = "text",
) -> None:
    """Break a cluster on a lab's machines round after round, and check what its clients saw.

    The cluster is what `steer init` and `steer join --control-plane` made of the machines of `steer lab up`. Exit code
    0: clean; 1: something was found, or a fault had no effect; 2: it could not run.
    """
    from lab.chaos.machines.scenarios import SCENARIOS
    from lab.chaos.machines.sitting import sit

    run = Run("lab", 0, seed if seed is not None else random.SystemRandom().getrandbits(32))
    try:
        faults = possible((), fault or (), SCENARIOS)
        if resume is not None and resume.exists():
            run = Run.load(resume)
            if run.server != "lab" or seed not in (None, run.seed):
                raise ValueError(f"{resume} is of {run.members} members of {run.server}, seed {run.seed}")
    except ValueError as error:
        print(f"steer chaos machines: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    directory = keep or Path(tempfile.mkdtemp(prefix="steer-chaos-"))
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + seconds if seconds else None
    _take_every_stop_alike()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(sit(run, faults, lab_dir.expanduser().absolute(), directory, rounds, deadline, resume, _say))
    verdict = judge(run.rounds, faults)
    show(run, verdict, as_json=output == "json")
    print(f"timeline, logs and histories: {directory}", file=sys.stderr)
    raise typer.Exit(0 if verdict.is_clean else 1)


def _take_every_stop_alike() -> None:
    """Let SIGTERM end a run as Ctrl-C does, with all that it started; a shell's `&` has Ctrl-C ignored as well."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Files of runs (--resume).", exists=True, dir_okay=False)],
    command: Annotated[list[str] | None, typer.Option(help="A command that made them, to be quoted.")] = None,
    remarks: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Markdown to put in below the verdict.")
    ] = None,
) -> None:
    """Write up runs as Markdown, on stdout."""
    from lab.chaos.machines.report import write_up

    try:
        print(
            write_up([Run.load(path) for path in runs], command or [], remarks.read_text() if remarks else ""), end=""
        )
    except ValueError as error:
        print(f"steer chaos report: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


async def _sit(
    run: Run,
    faults: tuple[Fault, ...],
    server: Server,
    arena: Arena,
    directory: Path,
    count: int,
    deadline: float | None,
    resume: Path | None,
) -> None:
    """Add `count` rounds to the run."""
    cluster = Cluster.found(server, arena, directory, run.members)
    rounds = Rounds(cluster, directory, _say)
    _say(f"{run.members} members of {server.name}, seed {run.seed}, {len(faults)} faults: {directory}")
    last = len(run.rounds) + count
    try:
        await rounds.begin()
        while len(run.rounds) < last and (deadline is None or time.monotonic() < deadline):
            report = await rounds.run(draw(run.seed, len(run.rounds), faults))
            run.rounds.append(report)
            _say(progress_line(report, last))
            for finding in report.findings:
                _say(f"    {finding}")
            if resume is not None:
                run.save(resume)
            if any("did not come to its end" in finding for finding in report.findings):
                return  # what the cluster is in now proves nothing more
    except ClusterFailed as error:
        _say(f"the cluster does not start: {error}")
    finally:
        await cluster.close()


def _store_at() -> int:
    """Return where in our command line the verb stands, so that it can be run again as it is."""
    return next((place for place, word in enumerate(sys.argv) if word == "store"), 1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
