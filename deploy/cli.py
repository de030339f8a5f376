"""`steer`: one verb a function; nothing is decided here.

Bad input is one line on stderr and exit code 2; what cannot be done is one line (or one a reason) and exit code 1.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy import local
from deploy.local import ProcessStatus
from deploy.machine.host import read_machine
from deploy.machine.plan import Layout
from deploy.plan import APISERVERS_MAX, NODES_MAX, Cluster, ExternalStore, Paths, parse_endpoints
from deploy.report import BadInput, CannotDo

app = typer.Typer(
    name="steer",
    help="Run, look at, measure and break a Steersman cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
images_app = typer.Typer(help="Container images of the nodes.", no_args_is_help=True)
node_app = typer.Typer(help="One node of this machine's cluster.", no_args_is_help=True)
app.add_typer(images_app, name="images")
app.add_typer(node_app, name="node")
# What nobody reads in a terminal is not cut to one's width.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)
PROCESSES_WIDTH_MIN = 90
"""Columns that a table of processes takes at least, what is wrong with one included."""


MACHINE_VERBS = ("init", "join", "leave", "upgrade", "reset", "token", "certs", "machine")
"""Verbs of a machine under systemd, which `deploy.machine.cli` has."""


def default_data_dir() -> Path:
    """Return where a cluster lives unless told otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/steersman")
    return Path.home() / ".local" / "share" / "steersman"


DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the cluster lives; several can live side by side.")
]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print.")]


def _directory(data_dir: Path | None) -> Path:
    return (data_dir or default_data_dir()).expanduser().absolute()


class _Progress:
    """Shows each step on a line of its own with the time it took, or nothing when the whole took under a second."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, step: str) -> None:
        err.print(f"[dim]{time.monotonic() - self._started:5.1f} s[/]  {step}")


@app.command()
def up(
    nodes: Annotated[
        int | None, typer.Option(min=1, max=NODES_MAX, help="How many nodes; more grow a cluster.")
    ] = None,
    runtime: Annotated[
        Literal["containerd", "hollow"] | None,
        typer.Option(help="containerd, or hollow: containers exist only in memory, no root needed."),
    ] = None,
    store_replicas: Annotated[
        int | None, typer.Option(help="Members of the store: 1, 3 or 5; another number grows or shrinks a cluster.")
    ] = None,
    apiservers: Annotated[
        int | None, typer.Option(min=1, max=APISERVERS_MAX, help="API servers; kubectl reaches whichever are alive.")
    ] = None,
    store_endpoints: Annotated[
        str | None,
        typer.Option(help="A store that runs already, such as etcd, instead of one of its own: https://HOST:PORT,..."),
    ] = None,
    store_cert: Annotated[Path | None, typer.Option(help="Client certificate that store admits (PEM).")] = None,
    store_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    store_ca: Annotated[Path | None, typer.Option(help="CA of that store's certificates (PEM).")] = None,
    port: Annotated[int | None, typer.Option(min=1024, max=65000, help="First of the ports taken (6443).")] = None,
    failover: Annotated[
        Literal["default", "fast"] | None,
        typer.Option(help="default: a silent node is lost after 50 s and evicted after 300; fast: 10 s and 10 s."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Start a whole cluster on this machine; returns when every node is Ready, and DNS and metrics answer."""
    wanted = Cluster(data_dir=str(_directory(data_dir)))
    if Paths(wanted.directory).cluster.exists():
        wanted = local.read_cluster(wanted.directory)
    if store_replicas not in (None, 1, 3, 5):
        raise typer.BadParameter(f"{store_replicas} is not 1, 3 or 5", param_hint="'--store-replicas'")
    if store_endpoints or store_cert or store_key or store_ca:
        wanted.external_store = _external_store(wanted, store_endpoints, store_cert, store_key, store_ca)
    if wanted.external_store is not None and store_replicas is not None:
        raise typer.BadParameter(
            "the store is not this cluster's own: it has the members it has", param_hint="'--store-replicas'"
        )
    for name, value in (
        ("nodes", nodes),
        ("store_replicas", store_replicas),
        ("apiservers", apiservers),
        ("runtime", runtime),
        ("port", port),
        ("failover", failover),
    ):
        if value is not None:
            setattr(wanted, name, value)
    started = time.monotonic()
    cluster = local.up(wanted, _Progress())
    took = f"{time.monotonic() - started:.1f} s"
    count = f"{cluster.nodes} node{'s' if cluster.nodes != 1 else ''}"
    out.print(f"[bold green]ready[/] in {took}: {count}, {cluster.runtime} runtime")
    context, path = local.context_name(cluster), Paths(cluster.directory).kubeconfig
    out.print(f"  kubectl --context {context} get nodes    [dim]or[/]  export KUBECONFIG={path}", soft_wrap=True)


def _external_store(
    wanted: Cluster, endpoints: str | None, cert: Path | None, key: Path | None, ca: Path | None
) -> ExternalStore:
    """Return the store asked for; what was not given stays as it was."""
    known = wanted.external_store
    try:
        addresses = parse_endpoints(endpoints) if endpoints else known.endpoints if known else []
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--store-endpoints'") from None
    if not addresses:
        raise typer.BadParameter(
            "it is needed with --store-cert, --store-key, --store-ca", param_hint="'--store-endpoints'"
        )
    files: dict[str, str] = {}
    for name, path in (("cert", cert), ("key", key), ("ca", ca)):
        chosen = path.expanduser().absolute() if path else Path(getattr(known, name)) if known else None
        if chosen is None or not chosen.is_file():
            lack = "it is needed with --store-endpoints" if chosen is None else f"{chosen} is not there"
            raise typer.BadParameter(lack, param_hint=f"'--store-{name}'")
        files[name] = str(chosen)
    return ExternalStore(endpoints=addresses, **files)


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Delete its data as well.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Stop the cluster: containers, processes, namespaces, rules."""
    directory = _directory(data_dir)
    if not Paths(directory).cluster.exists():
        out.print(f"nothing to stop: there is no cluster in {directory}")
        return
    cluster = local.read_cluster(directory)
    local.down(cluster, _Progress(), purge=purge)
    out.print("[bold]down[/]" + ("" if not purge else ", and its data deleted"))


@app.command()
def status(data_dir: DataDir = None, output: Output = "text") -> None:
    """Show every process and node: pid, health, memory, restarts, certificates, logs."""
    from deploy import inspect

    machine = read_machine(Layout()) if data_dir is None else None
    if machine is not None:
        from deploy.machine import status as machine_status
        from deploy.machine.host import Systemd

        processes = machine_status.processes(Layout(), machine, Systemd())
        view = machine_status.view(Layout(), machine)
        about: dict[str, object] = {"machine": machine.name, "role": machine.role}
        logs = "journalctl -u steersman-NAME"
        warnings = machine_status.warnings(Layout(), machine)
    else:
        cluster = local.read_cluster(_directory(data_dir))
        processes = local.status(cluster)
        is_up = any(p.name.startswith("apiserver") and p.is_running for p in processes)
        view = inspect.look(cluster) if is_up else None
        about = {"dataDir": cluster.data_dir, "runtime": cluster.runtime, "port": cluster.port}
        logs = f"{Paths(cluster.directory).logs}/NAME.log"
        warnings = []
    if output == "json":
        about |= {"processes": list(local.to_json(processes))}
        about |= {"store": view.store if view else None, "nodes": view.nodes if view else []}
        print(local.dump_json(about))
    else:
        _print_processes(processes)
        if view:
            _print_view(view)
        for line in warnings:
            out.print(f"[red]{line}[/]", soft_wrap=True)
        out.print(f"[dim]logs: {logs}[/]")
    if any(not process.is_running or process.is_ready is False for process in processes):
        raise typer.Exit(1)


@app.command()
def kubeconfig(data_dir: DataDir = None) -> None:
    """Print the path of the admin kubeconfig."""
    print(Paths(local.read_cluster(_directory(data_dir)).directory).kubeconfig)


@images_app.command("load")
def images_load(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True, help="OCI archives.")],
    data_dir: DataDir = None,
) -> None:
    """Put OCI or docker archives into every node."""
    if data_dir is None and read_machine(Layout()) is not None:
        from deploy.machine import build

        build.load_images(files)
        out.print(f"loaded {', '.join(file.name for file in files)}")
        return
    from deploy import hosts

    for line in hosts.load_images(local.read_cluster(_directory(data_dir)), files):
        out.print(line)


@images_app.command("list")
def images_list(data_dir: DataDir = None) -> None:
    """List the images that each node has."""
    from deploy import hosts

    table = Table(box=None, header_style="", pad_edge=False)
    for heading in ("NODE", "IMAGE", "SIZE"):
        table.add_column(heading)
    for node, image, size in hosts.list_images(local.read_cluster(_directory(data_dir))):
        table.add_row(node, image, size)
    out.print(table)


@node_app.command("power-off")
def node_power_off(name: str, data_dir: DataDir = None) -> None:
    """Cut a node's power: everything in it stops at once, with no goodbye."""
    local.power(local.read_cluster(_directory(data_dir)), name, on=False)
    out.print(f"{name} is off")


@node_app.command("power-on")
def node_power_on(name: str, data_dir: DataDir = None) -> None:
    """Switch a node on again."""
    local.power(local.read_cluster(_directory(data_dir)), name, on=True)
    out.print(f"{name} is on")


def _print_processes(processes: list[ProcessStatus]) -> None:
    table = Table(box=None, header_style="", pad_edge=False)
    for heading in ("PROCESS", "PID", "RESTARTS", "UP", "MEMORY", "CERTIFICATE", "STATE"):
        numeric = heading in ("PID", "RESTARTS", "UP", "MEMORY")
        # What is wrong may be long; it takes further lines rather than the other columns' room.
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=heading != "STATE", overflow="fold")
    for process in processes:
        if process.problem:
            state = f"[red]{escape(process.problem)}[/]"
        else:
            state = "[green]ready[/]" if process.is_ready else "running"
        table.add_row(
            process.name,
            str(process.pid or "-"),
            str(process.restarts),
            _duration(process.uptime_s) if process.is_running else "-",
            f"{process.rss_bytes / 2**20:.0f} MiB" if process.is_running else "-",
            process.certificate_ends,
            state,
        )
    # A terminal that is narrower than the other columns wraps the lines itself.
    Console(highlight=False, width=max(out.width, PROCESSES_WIDTH_MIN)).print(table, soft_wrap=True)


def _print_view(view: object) -> None:
    from deploy.inspect import View

    assert isinstance(view, View)
    if view.store:
        facts = "  ".join(f"{key} {value}" for key, value in view.store.items())
        out.print(f"\nstore: {facts}")
    table = Table(box=None, header_style="", pad_edge=False)
    for heading in ("NODE", "STATE", "ADDRESS", "PODS"):
        table.add_column(heading)
    for node in view.nodes:
        color = "green" if node["state"] == "Ready" else "red"
        table.add_row(node["name"], f"[{color}]{node['state']}[/]", node["address"], str(node["pods"]))
    out.print()
    out.print(table)
    if view.problem:
        out.print(f"[red]{view.problem}[/]")


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    if minutes < 2:
        return f"{int(seconds)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"


def main() -> None:
    """Run the command line; the console script."""
    # The exceptions of the click that typer brings with it, under whatever name this version has it.
    click_exception: type[Exception] = typer.BadParameter.__mro__[2]
    try:
        _add_rare_verbs()
        code = app(standalone_mode=False)
    except click_exception as error:
        said = error.format_message()  # type: ignore[attr-defined]
        if said:  # `steer` alone has shown its help, and has nothing to add
            err.print(f"steer: {said} (see --help)", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except CannotDo as error:
        for line in str(error).splitlines():
            err.print(f"steer: {line}", style="red", markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, BadInput) else 1)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _add_rare_verbs() -> None:
    """Add the verbs whose imports are slow, only when they are asked for or listed."""
    asked = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if asked in ("bench", "--help"):
        from lab.bench.cli import app as bench_app

        app.add_typer(bench_app, name="bench", help="Measure a cluster.")
    if asked in ("chaos", "--help"):
        from lab.chaos.cli import app as chaos_app

        app.add_typer(chaos_app, name="chaos", help="Break a store of its own, and judge what its clients saw.")
    if asked in ("lab", "--help"):
        from lab.machines.cli import app as lab_app

        app.add_typer(lab_app, name="lab")
    if asked in MACHINE_VERBS or asked == "--help":
        from deploy.machine.cli import add_to

        add_to(app)
    if asked in ("snapshot", "--help"):
        from deploy.snapshot import app as snapshot_app

        app.add_typer(snapshot_app, name="snapshot")


if __name__ == "__main__":
    main()
