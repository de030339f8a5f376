"""`steer lab`: verbs of the machines that a deployment is tried on; nothing is decided here."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from lab.machines import lab as labs
from lab.machines.lab import MACHINES_MAX, Lab

app = typer.Typer(no_args_is_help=True, help="Machines with systemd on this box, to deploy to and to break.")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DIRECTORY = Path("/var/lib/steersman-lab")
Directory = Annotated[Path, typer.Option("--lab-dir", help="Where the lab lives; several can live side by side.")]
Names = Annotated[list[str], typer.Argument(help="Machines, such as m1 m2.")]


def _open(directory: Path) -> Lab:
    return Lab(directory.expanduser().absolute())


@app.command()
def up(
    machines: Annotated[int, typer.Option(min=1, max=MACHINES_MAX, help="How many; more grow a lab.")] = 3,
    lab_dir: Directory = DIRECTORY,
) -> None:
    """Make machines with systemd, containerd and Steersman's packages, and boot them."""
    started = time.monotonic()

    def report(step: str) -> None:
        err.print(f"[dim]{time.monotonic() - started:5.1f} s[/]  {step}")

    lab = labs.up(lab_dir.expanduser().absolute(), machines, report)
    out.print(f"[bold green]up[/] in {time.monotonic() - started:.1f} s: {', '.join(m.name for m in lab.machines)}")
    out.print("  steer lab exec m1 -- systemctl is-system-running")


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Delete the machines' disks as well.")] = False,
    lab_dir: Directory = DIRECTORY,
) -> None:
    """Switch every machine off and take the network away."""
    directory = lab_dir.expanduser().absolute()
    if not (directory / "lab.json").exists():
        out.print(f"nothing to stop: there is no lab in {directory}")
        return
    labs.down(directory, purge=purge)
    out.print("[bold]down[/]" + (", and the machines' disks deleted" if purge else ""))


@app.command()
def status(
    lab_dir: Directory = DIRECTORY,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print.")] = "text",
) -> None:
    """Show the machines, their state, and what is cut between them."""
    lab = _open(lab_dir)
    rows = [
        {"name": each.name, "address": str(each.address), "state": each.state(), "pid": each.pid() or 0}
        for each in lab.machines
    ]
    cuts = [{"from": a, "to": b, "dropped": count} for (a, b), count in sorted(lab.wire.cuts().items())]
    if output == "json":
        print(json.dumps({"machines": rows, "cuts": cuts}, indent=2))
        return
    table = Table(box=None, header_style="", pad_edge=False)
    for heading in ("MACHINE", "ADDRESS", "STATE", "PID"):
        table.add_column(heading)
    for row in rows:
        color = {"running": "green", "off": "red"}.get(str(row["state"]), "yellow")
        table.add_row(str(row["name"]), str(row["address"]), f"[{color}]{row['state']}[/]", str(row["pid"] or "-"))
    out.print(table)
    for cut in cuts:
        out.print(f"[red]cut[/] {cut['from']} -> {cut['to']}: {cut['dropped']} frames dropped")


@app.command(
    name="exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def execute(
    context: typer.Context, name: Annotated[str, typer.Argument(help="Machine.")], lab_dir: Directory = DIRECTORY
) -> None:
    """Run a command in a machine as root: `steer lab exec m1 -- COMMAND ...`; a shell without one."""
    command = list(context.args) or ["bash", "-l"]
    argv = _open(lab_dir).machine(name).argv(command)
    out.file.flush()
    os.execv(argv[0], argv)


@app.command("power-off")
def power_off(names: Names, lab_dir: Directory = DIRECTORY) -> None:
    """Cut the power of machines: everything in them stops at once."""
    lab = _open(lab_dir)
    lab.power_off([lab.machine(name) for name in names])
    out.print(f"{', '.join(names)} off")


@app.command("power-on")
def power_on(names: Names, lab_dir: Directory = DIRECTORY) -> None:
    """Switch machines on and wait until they have booted."""
    lab = _open(lab_dir)
    lab.power_on([lab.machine(name) for name in names])
    out.print(f"{', '.join(names)} on")


@app.command()
def cut(
    name: Annotated[str, typer.Argument(help="Machine.")],
    others: Annotated[
        list[str] | None, typer.Option("--from", help="Only from these machines; `host` is this box.")
    ] = None,
    direction: Annotated[
        Literal["both", "in", "out"], typer.Option(help="Which way: what it would hear (in), what it says (out).")
    ] = "both",
    lab_dir: Directory = DIRECTORY,
) -> None:
    """Cut a machine off from the others; cuts add up until `heal`."""
    _open(lab_dir).cut(name, others or [], incoming=direction != "out", outgoing=direction != "in")
    out.print(f"{name} is cut off")


@app.command()
def heal(lab_dir: Directory = DIRECTORY) -> None:
    """Mend every cut."""
    out.print(f"healed; {_open(lab_dir).wire.heal()} frames had been dropped")
