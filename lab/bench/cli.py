"""`steer bench`: one measurement a command; each prints a table, or JSON with `-o json`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from lab.bench.report import Report, machine, show
from lab.bench.steer import BenchFailed
from lab.machines.cli import DIRECTORY as LAB_DIRECTORY

app = typer.Typer(help="Measure a cluster.", no_args_is_help=True)

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where the cluster lives.")]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print.")]


@app.command()
def up(
    rounds: Annotated[int, typer.Option(min=1, help="How often each case is timed.")] = 3,
    nodes: Annotated[int, typer.Option(min=1)] = 1,
    runtime: Annotated[Literal["containerd", "hollow"], typer.Option()] = "containerd",
    port: Annotated[int, typer.Option(help="First of the ports its cluster takes.")] = 26443,
    output: Output = "text",
) -> None:
    """Time `steer up` to Ready, on a cluster of its own that is removed again."""
    from lab.bench import up as measurement

    _run(lambda: measurement.measure(rounds=rounds, nodes=nodes, runtime=runtime, port=port), output)


@app.command()
def memory(
    samples: Annotated[int, typer.Option(min=1)] = 5,
    interval_s: Annotated[float, typer.Option("--interval", help="Seconds between samples.")] = 1.0,
    data_dir: DataDir = None,
    output: Output = "text",
) -> None:
    """Add up the resident memory of a running cluster's processes."""
    from lab.bench import memory as measurement

    _run(lambda: measurement.measure(data_dir=data_dir, samples=samples, interval_s=interval_s), output)


@app.command()
def pods(
    rounds: Annotated[int, typer.Option(min=1, help="Pods started one by one.")] = 20,
    at_once: Annotated[int, typer.Option(min=0, help="Pods started together at the end.")] = 30,
    image: Annotated[str, typer.Option(help="An image that the nodes have, and that keeps running.")] = (
        "steersman.local/pause:1"
    ),
    data_dir: DataDir = None,
    output: Output = "text",
) -> None:
    """Time pods from created to Running on a running cluster, beside its runtime's own part."""
    from lab.bench import pods as measurement

    directory = (data_dir or _default_data_dir()).expanduser().absolute()
    _run(
        lambda: asyncio.run(measurement.measure(data_dir=directory, rounds=rounds, at_once=at_once, image=image)),
        output,
    )


@app.command()
def store(
    rounds: Annotated[int, typer.Option(min=1, help="How often each case is run on each.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each time.")] = 3.0,
    members: Annotated[int, typer.Option(min=1, max=5, help="Members of each cluster.")] = 3,
    processes: Annotated[int, typer.Option(min=1, help="Processes of clients, from 32 clients on.")] = 2,
    case: Annotated[list[str] | None, typer.Option(help="Only these, such as put or 'put x32' (repeat it).")] = None,
    gigabyte: Annotated[bool, typer.Option("--gigabyte", help="Instead: our store with 1 GB in it, alone.")] = False,
    megabytes: Annotated[int, typer.Option(min=1, help="How much --gigabyte fills in.", hidden=True)] = 1000,
    output: Output = "text",
) -> None:
    """Measure our store beside etcd, on clusters of their own that are removed again."""
    if gigabyte:
        _large(megabytes * 1_000_000, output)
        return
    from lab.bench import store as measurement

    on = machine()
    try:
        cases, results = measurement.measure(
            rounds=rounds, seconds=seconds, members=members, processes=processes, only=case or (), say=_progress
        )
    except BenchFailed as error:
        print(f"steer bench: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    facts = {**on, "members": members, "rounds": rounds, "seconds": seconds, "processes": processes}
    measurement.show(measurement.compare(cases, results), facts, as_json=output == "json")


@app.command()
def watch(
    watchers: Annotated[int, typer.Option(min=1, help="How many watch the one object that changes.")] = 1000,
    rate: Annotated[float, typer.Option(min=0, help="Changes a second; 0 is one right after the other.")] = 10,
    size: Annotated[int, typer.Option(min=800, help="Bytes of an event.")] = 2048,
    seconds: Annotated[float, typer.Option(min=1)] = 10,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    transport: Annotated[
        Literal["rest", "http2", "grpc"],
        typer.Option(help="rest: a connection each (HTTP/1.1); http2: a hundred on each; grpc: our own processes' way"),
    ] = "rest",
    stalled: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the watchers that read nothing.")] = 0.0,
    kubeconfig: Annotated[Path | None, typer.Option(help="Of any API server, instead of a cluster's here.")] = None,
    against: Annotated[Path | None, typer.Option(help="Another API server's kubeconfig, run in turn.")] = None,
    grpc_port: Annotated[int, typer.Option(help="The component API's; the next after REST's by default.")] = 0,
    data_dir: DataDir = None,
    output: Output = "text",
) -> None:
    """Fan one object's changes out to many watchers, beside the least that any server could spend on it."""
    from lab.bench import watch as measurement

    load = measurement.Load(watchers, rate, size, seconds, transport, int(watchers * stalled))
    found = kubeconfig or (data_dir or _default_data_dir()).expanduser().absolute() / "admin.kubeconfig"
    _run(
        lambda: asyncio.run(
            measurement.measure(
                load, rounds=rounds, kubeconfig=found, against=against, grpc_port=grpc_port, say=_progress
            )
        ),
        output,
    )


@app.command()
def api(
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each case runs each time.")] = 4,
    case: Annotated[list[str] | None, typer.Option(help="Only these, such as get or 'get x32' (repeat it).")] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="Of any API server, instead of a cluster's here.")] = None,
    against: Annotated[Path | None, typer.Option(help="Another API server's kubeconfig, run in turn.")] = None,
    transport: Annotated[
        Literal["rest", "http2"],
        typer.Option(help="rest: a connection for each client (HTTP/1.1); http2: one for a hundred, as Go's have it"),
    ] = "rest",
    data_dir: DataDir = None,
    output: Output = "text",
) -> None:
    """Get, list, create, update and patch by 1, 32 and 256 clients at once."""
    from lab.bench import api as measurement

    found = kubeconfig or (data_dir or _default_data_dir()).expanduser().absolute() / "admin.kubeconfig"
    _run(
        lambda: asyncio.run(
            measurement.measure(
                rounds=rounds,
                seconds=seconds,
                only=case or (),
                kubeconfig=found,
                against=against,
                transport=transport,
                say=_progress,
            )
        ),
        output,
    )


def _large(data_bytes: int, output: str) -> None:
    """Measure with much data; exit code 1 where a figure does not hold."""
    from lab.bench import store_large

    try:
        figures = store_large.measure(data_bytes, _progress)
    except BenchFailed as error:
        print(f"steer bench: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    store_large.show(figures, {**machine(), "data": f"{data_bytes / 1e6:g} MB"}, as_json=output == "json")
    raise typer.Exit(0 if all(figure.holds for figure in figures) else 1)


@app.command()
def failover(
    kills: Annotated[int, typer.Option(min=1, help="How often the leader is killed.")] = 20,
    members: Annotated[int, typer.Option(min=3, max=5, help="Members of the cluster.")] = 3,
    output: Output = "text",
) -> None:
    """Kill our store's leader again and again, and time how long writes stop."""
    from lab.bench import failover as measurement

    _run(lambda: measurement.measure(kills=kills, members=members), output)


@app.command()
def outage(
    kills: Annotated[int, typer.Option(min=0, help="How often the store's leader is killed.")] = 50,
    machines: Annotated[int, typer.Option(min=0, help="How often a machine's power is cut.")] = 3,
    lab_dir: Annotated[Path, typer.Option("--lab-dir", help="The lab, with a cluster on it.")] = LAB_DIRECTORY,
) -> None:
    """Time how long nothing can be written, or kubectl does not work, when a leader or a machine is lost."""
    from lab.bench import outage as measurement
    from lab.chaos.machines.site import NotWell

    with tempfile.TemporaryDirectory(prefix="steer-bench-") as directory:
        at = lab_dir.expanduser().absolute()
        try:
            pauses = asyncio.run(measurement.measure(at, Path(directory), kills, machines, _progress))
        except NotWell as error:
            print(f"steer bench: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
    print("\n".join(pauses.lines()))
    raise typer.Exit(1 if pauses.lost else 0)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _default_data_dir() -> Path:
    """Return where `steer up` puts a cluster unless told otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/steersman")
    return Path.home() / ".local" / "share" / "steersman"


def _run(measure: Callable[[], Report], output: str) -> None:
    """Measure and print; what cannot be measured is one line on stderr and exit code 1."""
    on = machine()
    try:
        report = measure()
    except BenchFailed as error:
        if output == "json":
            print(json.dumps({"error": str(error)}))
        print(f"steer bench: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    show(report, on, as_json=output == "json")
