"""The verbs of a machine under systemd; one verb a function, nothing is decided here."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable
from typing import Annotated, Literal

import typer
from rich.console import Console

from deploy.machine import create, host, steps
from deploy.machine.build import Site
from deploy.machine.plan import Layout

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Name = Annotated[str | None, typer.Option(help="The node's name (default: the machine's host name).")]
Address = Annotated[
    str | None, typer.Option(help="Address at which the other machines reach this one (default: found out).")
]
NoPackages = Annotated[bool, typer.Option("--no-packages", help="Install no packages; say what is missing.")]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print.")]


class _Progress:
    """Shows each step on a line of its own with the time it took."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, step: str) -> None:
        err.print(f"[dim]{time.monotonic() - self._started:5.1f} s[/]  {step}", soft_wrap=True)

    def __str__(self) -> str:
        return f"{time.monotonic() - self._started:.1f} s"


def node_name(name: str | None) -> str:
    """Return the node's name: the one given, or the machine's host name."""
    return (name or socket.gethostname()).lower()


def _go(list_of_steps: Iterable[steps.Step], progress: _Progress, *, dry_run: bool) -> bool:
    """Carry the steps out, or show them; return whether they were carried out."""
    if dry_run:
        for line in steps.show(list_of_steps):
            out.print(line, soft_wrap=True)
        return False
    steps.carry_out(list_of_steps, progress)
    return True


def init(
    name: Name = None,
    address: Address = None,
    failover: Annotated[
        Literal["default", "fast"],
        typer.Option(help="default: a silent node is lost after 50 s and evicted after 300; fast: 10 s and 10 s."),
    ] = "default",
    server_name: Annotated[
        list[str] | None,
        typer.Option(help="Further name or address of the API server, such as a load balancer's; may be repeated."),
    ] = None,
    no_packages: NoPackages = False,
    dry_run: DryRun = False,
    output: Output = "text",
) -> None:
    """Begin a cluster on this machine, under systemd; prints how further machines join."""
    layout, progress = Layout(), _Progress()
    wanted = create.first_machine(node_name(name), address or host.own_address(), failover, server_name or [])
    site = Site(create.settle(wanted, layout), layout, may_install=not no_packages)
    site.check()
    if not _go(create.steps(site), progress, dry_run=dry_run):
        return
    if output == "json":
        print(json.dumps({"node": site.machine.name, "kubeconfig": str(layout.kubeconfig)}))
        return
    out.print(f"[bold green]ready[/] in {progress}: node {site.machine.name}")
    out.print(f"  export KUBECONFIG={layout.kubeconfig}; kubectl get nodes", soft_wrap=True)


def add_to(app: typer.Typer) -> None:
    """Hang the verbs into `steer`."""
    app.command()(init)
