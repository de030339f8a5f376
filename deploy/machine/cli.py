"""The verbs of a machine under systemd; one verb a function, nothing is decided here."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from deploy.machine import backup, certs, cluster, create, credentials, handover, host, install, invite, steps, tokens
from deploy.machine import join as joining
from deploy.machine import leave as leaving
from deploy.machine import reset as resetting
from deploy.machine import sync as syncing
from deploy.machine import upgrade as upgrading
from deploy.machine.build import Site
from deploy.machine.host import Systemd
from deploy.machine.plan import Layout, Machine
from deploy.report import CannotDo

# What nobody reads in a terminal is not cut to one's width.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
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
    restore: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Begin with the store of this backup.")
    ] = None,
    certs_file: Annotated[
        Path | None,
        typer.Option("--certs", exists=True, dir_okay=False, help="Begin with these keys, of `steer certs export`."),
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
    if not _go(create.steps(site, progress, keys=certs_file, snapshot=restore), progress, dry_run=dry_run):
        return
    invitation = invite.create(layout, site.machine, tokens.DEFAULT_TTL, control_plane=True)
    if output == "json":
        print(
            json.dumps({"node": site.machine.name, "kubeconfig": str(layout.kubeconfig), "join": invitation.values()})
        )
        return
    out.print(f"[bold green]ready[/] in {progress}: node {site.machine.name}")
    out.print(f"  export KUBECONFIG={layout.kubeconfig}; kubectl get nodes", soft_wrap=True)
    _print_invitation(invitation)


def join(
    address: Annotated[
        str | None, typer.Argument(help="host[:port] of an API server of the cluster.", show_default=False)
    ] = None,
    control_plane: Annotated[
        bool, typer.Option("--control-plane", help="Become a member of the control plane, not only a node.")
    ] = False,
    ca_hash: Annotated[
        str | None, typer.Option(help="Hash of the cluster's CA, as `steer token create` prints it.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="Invitation from `steer token create -o json`; - is stdin.")
    ] = None,
    token_file: Annotated[str | None, typer.Option(help="File with the token; - is stdin. Or $STEER_TOKEN.")] = None,
    certificate_key_file: Annotated[
        str | None,
        typer.Option(help="File with the certificate key, for --control-plane. Or $STEER_CERTIFICATE_KEY."),
    ] = None,
    name: Name = None,
    own_address: Annotated[
        str | None,
        typer.Option("--address", help="Address at which the other machines reach this one (default: found out)."),
    ] = None,
    no_packages: NoPackages = False,
    dry_run: DryRun = False,
) -> None:
    """Have this machine take part in a cluster. Secrets come from a file, stdin or the environment."""
    layout, progress = Layout(), _Progress()
    invitation = invite.read(
        address,
        ca_hash,
        file,
        token_file=token_file,
        certificate_key_file=certificate_key_file,
        needs_key=control_plane,
        is_known=host.read_machine(layout) is not None,
    )
    towards = invitation.address.rpartition(":")[0]
    newcomer = joining.Newcomer(
        node_name(name), own_address or host.own_address(towards), "control-plane" if control_plane else "worker"
    )
    site = Site(joining.outline(newcomer), layout, may_install=not no_packages)
    site.check()
    progress("ask the cluster who it is")
    site.machine = joining.meet(invitation, newcomer, layout, keep=not dry_run)
    if not _go(joining.steps(site, invitation, progress), progress, dry_run=dry_run):
        return
    out.print(f"[bold green]joined[/] in {progress}: node {site.machine.name}, a {site.machine.role} machine")


token_app = typer.Typer(help="What lets further machines in.", no_args_is_help=True)


@token_app.command("create")
def token_create(
    control_plane: Annotated[
        bool, typer.Option("--control-plane", help="Also for control-plane machines: uploads the CAs' keys, encrypted.")
    ] = False,
    ttl: Annotated[str, typer.Option(help="How long it is good for, such as 24h or 90m; 0 for ever.")] = "24h",
    output: Output = "text",
) -> None:
    """Make a token and print how a machine joins with it."""
    layout, good_for = Layout(), tokens.parse_duration(ttl)
    invitation = invite.create(layout, _administered(layout), good_for, control_plane=control_plane)
    if output == "json":
        print(json.dumps(invitation.values(), indent=2))
    else:
        _print_invitation(invitation)


@token_app.command("list")
def token_list(output: Output = "text") -> None:
    """List the tokens there are; without their secrets."""
    layout = Layout()
    known = cluster.ask(tokens.list_tokens, layout, _administered(layout))
    rows = [
        {
            "id": each.token.id,
            "expires": each.expires.isoformat() if each.expires else "",
            "usages": list(each.usages),
            "groups": list(each.groups),
            "description": each.description,
        }
        for each in known
    ]
    if output == "json":
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, header_style="", pad_edge=False)
    for heading in ("TOKEN", "EXPIRES", "USAGES", "GROUPS", "DESCRIPTION"):
        table.add_column(heading, no_wrap=True)
    for each in known:
        left = "never" if each.expires is None else _left(each.expires.timestamp() - time.time())
        table.add_row(each.token.id, left, ",".join(each.usages), ",".join(each.groups), each.description)
    out.print(table, soft_wrap=True)


@token_app.command("delete")
def token_delete(token: Annotated[str, typer.Argument(help="Its id: what stands before the dot.")]) -> None:
    """Delete a token: nobody joins with it any more."""
    layout, token_id = Layout(), token.partition(".")[0]
    if not cluster.ask(lambda client: tokens.delete(client, token_id), layout, _administered(layout)):
        raise CannotDo(f"there is no token {token_id}: `steer token list` shows which there are")
    out.print(f"token {token_id} deleted")


certs_app = typer.Typer(help="This machine's certificates.", no_args_is_help=True)


@certs_app.command("status")
def certs_status(output: Output = "text") -> None:
    """Show when each certificate ends, and what is to be done about it; exit code 1 if one has ended."""
    layout, now = Layout(), credentials.now()
    machine = host.the_machine(layout)
    found = list(credentials.certificates(layout, machine))
    if output == "json":
        rows = [
            {"name": each.name, "ends": each.ends.isoformat() if each.ends else "", "path": str(each.path)}
            for each in found
        ]
        print(json.dumps(rows, indent=2))
    else:
        table = Table(box=None, header_style="", pad_edge=False)
        for heading in ("CERTIFICATE", "ENDS", "LEFT"):
            table.add_column(heading, no_wrap=True)
        for each in found:
            days = each.days_left(now)
            table.add_row(each.name, each.ends.strftime("%Y-%m-%d %H:%M UTC") if each.ends else "-", _days(days, each))
        out.print(table, soft_wrap=True)
        for line in certs.advice(found, is_control_plane=machine.is_control_plane):
            out.print(line, soft_wrap=True)
    if any(each.days_left(now) <= 0 for each in found):
        raise typer.Exit(1)


@certs_app.command("renew")
def certs_renew() -> None:
    """Issue this machine's certificates anew and hand them to its processes; works when all have ended."""
    layout = Layout()
    certs.renew(Site(host.the_machine(layout), layout), _Progress())
    out.print("certificates renewed")


@certs_app.command("export")
def certs_export(file: Annotated[Path, typer.Argument(help="Where to; readable by its owner only.")]) -> None:
    """Write the cluster's CAs and keys to FILE: with a backup of the store they make the cluster again."""
    layout = Layout()
    _administered(layout)
    backup.export_keys(layout, file)
    out.print(f"written to {file}: whoever has it can be anybody in the cluster; keep it apart from the backups")


def leave(
    name: Annotated[
        str | None, typer.Argument(help="Another machine; without it, this one goes.", show_default=False)
    ] = None,
    drain_timeout: Annotated[str, typer.Option(help="How long its pods may take to go elsewhere, such as 5m.")] = "5m",
    force: Annotated[
        bool,
        typer.Option("--force", help="Go though pods cannot be moved: nobody starts them again, or budgets forbid it."),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Take a machine out of its cluster: this one, which is bare then, or by NAME another, such as a lost one."""
    layout, progress = Layout(), _Progress()
    wait_s = tokens.parse_duration(drain_timeout)
    machine = host.the_machine(layout)
    going = name or machine.name
    itself = going == machine.name
    site = Site(machine, layout)
    if machine.is_control_plane:
        machine.members = cluster.newest_members(layout, machine)
        leaving.check_last(machine, going)
    elif not itself:
        raise CannotDo(f"{machine.name} is a worker machine: run this on one of the control plane")
    timeout_s = wait_s.total_seconds() if wait_s else float("inf")
    planned = [leaving.drain_step(site, going, timeout_s, progress, force=force)]
    if machine.is_control_plane:
        planned += leaving.steps(site, going, progress)
    if itself:
        planned += resetting.steps(layout, Systemd(), purge=False)
    if not _go(planned, progress, dry_run=dry_run):
        return
    out.print(f"{going} is no part of the cluster any more")
    if not machine.is_control_plane:
        out.print(f"  on a control-plane machine: steer leave {going}    [dim](deletes its Node)[/]")


def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only what would be done is shown.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Delete the backups and the installed code as well.")] = False,
) -> None:
    """Make this a bare machine again, whatever became of its cluster: deletes containers, keys and data."""
    layout, progress = Layout(), _Progress()
    if os.geteuid() != 0:
        raise CannotDo("it removes units, keys and networks: run it with sudo")
    if not _go(resetting.steps(layout, Systemd(), purge=purge), progress, dry_run=not yes):
        out.print("nothing was done: say --yes to do it", soft_wrap=True)
        return
    out.print("[bold]reset[/]" + (f"; backups are in {layout.snapshots}" if layout.snapshots.exists() else ""))


def upgrade(dry_run: DryRun = False) -> None:
    """Take this machine to the version that runs this command, one process after the other; goes back on failure."""
    layout, progress = Layout(), _Progress()
    machine = host.the_machine(layout)
    if dry_run:
        out.print(f"would go from {install.current_version(layout)} to {install.running_version()}")
        return
    before, after = upgrading.upgrade(Site(machine, layout), progress)
    out.print(f"[bold green]upgraded[/] {machine.name} in {progress}: {before} -> {after}", soft_wrap=True)


machine_app = typer.Typer(help="What timers run on a machine.", no_args_is_help=True, hidden=True)


@machine_app.command("sync")
def machine_sync() -> None:
    """Bring this machine's settings and certificates up to date with its cluster."""
    layout = Layout()
    machine = host.read_machine(layout)
    if machine is None:
        return
    syncing.sync(Site(machine, layout), print)


@machine_app.command("hand-over")
def machine_hand_over(
    name: Annotated[str, typer.Argument(help="A process of this machine, such as store.")],
    pid: Annotated[int, typer.Argument(help="Its process id.")],
) -> None:
    """Give a running process its certificates as they are now; `systemctl reload` of its unit does this."""
    for changed in handover.hand_over(Layout(), name, pid):
        print(f"new: {changed}")


@machine_app.command("show")
def machine_show() -> None:
    """Print what this machine is."""
    print(msgspec.json.format(msgspec.json.encode(host.the_machine(Layout()))).decode())


def _administered(layout: Layout) -> Machine:
    machine = host.the_machine(layout)
    if not machine.is_control_plane:
        raise CannotDo(f"{machine.name} is a worker machine: run this on one of the control plane")
    return machine


def _days(days: float, certificate: credentials.Certificate) -> str:
    if days <= 0:
        return "[red]over[/]" if certificate.ends else "[red]missing[/]"
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} h" if days > 1 / 24 else f"{days * 1440:.0f} min"


def _left(seconds: float) -> str:
    if seconds <= 0:
        return "over"
    minutes = int(seconds) // 60
    return f"in {minutes // 60} h" if minutes >= 120 else f"in {minutes} min"


def _print_invitation(invitation: invite.Printed) -> None:
    for line in invitation.lines():
        out.print(line, soft_wrap=True, markup=False)


def add_to(app: typer.Typer) -> None:
    """Hang the verbs into `steer`."""
    app.command()(init)
    app.command()(join)
    app.command()(leave)
    app.command()(upgrade)
    app.command()(reset)
    app.add_typer(token_app, name="token")
    app.add_typer(certs_app, name="certs")
    app.add_typer(machine_app, name="machine")
