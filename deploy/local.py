"""One command, a whole cluster on this machine: what `steer up`, `down` and `status` do.

Each step looks at what is there and does the rest, so a second `up` changes nothing and one that was cut short is
finished by the next. Progress goes to a `Report`; whatever cannot work raises `CannotDo` with a sentence
that says what would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from component.serve import Identity
from deploy import kubeconfig, preflight, supervision
from deploy.health import problem_of, resident_bytes
from deploy.pki import Pki, expiry
from deploy.plan import (
    SERVICE_CIDR,
    Addresses,
    Cluster,
    Paths,
    Plan,
    Process,
    first_service_address,
    member_name,
    member_number,
    plan,
    store_endpoint,
    store_files,
    store_peer_address,
)
from deploy.report import CannotDo, Report

READY_WITHIN_S = 120.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process, as `steer status` shows it."""

    name: str
    pid: int
    node: str
    is_running: bool
    is_ready: bool | None
    """None: it has no health address that can be asked from here."""
    problem: str
    restarts: int
    uptime_s: float
    rss_bytes: int
    certificate_ends: str
    log: str


def read_cluster(data_dir: Path) -> Cluster:
    """Return the cluster kept in `data_dir`.

    Raises:
        CannotDo: there is none, or its file is damaged.
    """
    path = Paths(data_dir).cluster
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cluster)
    except FileNotFoundError:
        raise CannotDo(f"there is no cluster in {data_dir}: `steer up` makes one") from None
    except msgspec.MsgspecError as error:
        raise CannotDo(f"{path} is damaged ({error}): `steer down --purge` clears it") from None


def is_up(cluster: Cluster) -> bool:
    """Whether a supervisor runs this cluster."""
    state = supervision.read_state(Paths(cluster.directory))
    return bool(state.supervisor and supervision.start_time(state.supervisor)) and bool(state.processes)


def up(wanted: Cluster, report: Report) -> Cluster:
    """Bring `wanted` up and return when every node is Ready, and DNS and metrics answer.

    Raises:
        CannotDo: the machine lacks something, the data dir holds another cluster, or something did not get ready.
    """
    paths = Paths(wanted.directory)
    cluster = _settle(wanted, paths)
    running = is_up(cluster)
    if problems := preflight.problems(cluster, is_running=running):
        raise CannotDo("\n".join(problems))
    if cluster.external_store is not None and not running:
        from deploy import external_store

        report("asking the store")
        external_store.check(cluster.external_store)
    threads = ThreadPoolExecutor(max_workers=2)
    programs = None if cluster.is_hollow else threads.submit(_build_programs)
    for directory in (paths.data, paths.run, paths.logs, paths.nodes):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    addresses = _prepare_hosts(cluster, report)
    issued = _issue_certificates(cluster, paths, addresses, report)
    wanted_plan = plan(cluster, addresses)
    _write_kubeconfig(cluster, paths)
    _replace(paths.cluster, msgspec.json.format(msgspec.json.encode(cluster)))
    changed = not paths.plan.exists() or supervision.read_plan(paths) != wanted_plan
    _replace(paths.plan, msgspec.json.format(msgspec.json.encode(wanted_plan)))
    if not running:
        report("starting the supervisor")
        _start_supervisor(paths)
    elif changed or issued:
        report("telling the supervisor what changed")
        supervision.order(paths, "reload")
    # Beside all that is waited for: a node takes images as soon as it is on.
    image = None if programs is None else threads.submit(_load_own_images, cluster, programs, report)
    report("waiting for the API server")
    _wait_for(lambda: _problem_of(cluster, _process(wanted_plan, "apiserver")), "the API server", paths)
    if cluster.external_store is None and len(cluster.member_names) != cluster.store_replicas:
        asyncio.run(_change_members(cluster, paths, addresses, report))
        wanted_plan = plan(cluster, addresses)
    from deploy.finish import finish  # it brings every kind of object along; `steer status` needs none

    finishing = finish(
        cluster,
        addresses,
        admin_identity(cluster),
        image,
        report,
        within_s=READY_WITHIN_S,
        check_not_stopped=lambda: _check_not_stopped(paths),
    )
    asyncio.run(finishing)
    if image is not None:
        _forget_former_programs(cluster, image.result())
    _await_processes(cluster, wanted_plan, paths)
    return cluster


def down(cluster: Cluster, report: Report, *, purge: bool) -> None:
    """Stop everything `up` started; with `purge` delete the data as well. Safe to call twice."""
    paths = Paths(cluster.directory)
    if paths.plan.exists():
        report("stopping containers and processes")
        try:
            supervision.order(paths, "shutdown", timeout_s=180)
            _await_supervisor_end(paths)
        except ConnectionError:
            _stop_without_supervisor(paths)
    if not cluster.is_hollow:
        report("removing nodes and their network")
        _remove_hosts(cluster)
    shutil.rmtree(paths.run, ignore_errors=True)
    if cluster.user_kubeconfig:
        with contextlib.suppress(ValueError, OSError):
            kubeconfig.remove_from(Path(cluster.user_kubeconfig), context_name(cluster))
    if purge:
        report(f"deleting {paths.data}")
        shutil.rmtree(paths.data, ignore_errors=True)


def power(cluster: Cluster, node: str, *, on: bool) -> None:
    """Switch a node off as a power cut would, or on again. It stays so through `up` and restarts."""
    if node not in cluster.node_names:
        raise CannotDo(f"there is no node {node!r}: the nodes are {', '.join(cluster.node_names)}")
    if cluster.is_hollow:
        raise CannotDo("hollow nodes share one process and have no power switch: use --runtime containerd")
    paths = Paths(cluster.directory)
    off = [name for name in cluster.powered_off if name != node] + ([] if on else [node])
    cluster.powered_off = off
    _replace(paths.cluster, msgspec.json.format(msgspec.json.encode(cluster)))
    current = supervision.read_plan(paths)
    changed = Plan(cluster=cluster, processes=current.processes)
    _replace(paths.plan, msgspec.json.format(msgspec.json.encode(changed)))
    try:
        supervision.order(paths, "power-on" if on else "power-off", node=node)
    except (ConnectionError, RuntimeError) as error:
        raise CannotDo(str(error)) from None


def status(cluster: Cluster) -> list[ProcessStatus]:
    """Return every process of the cluster as it is now, the supervisor first."""
    paths = Paths(cluster.directory)
    state = supervision.read_state(paths)
    found = [_supervisor_status(paths, state)]
    try:
        current = supervision.read_plan(paths)
    except (OSError, msgspec.MsgspecError):
        return found
    for process in current.processes:
        record = state.processes.get(process.name)
        running = record is not None and supervision.is_running(record)
        problem = ""
        ready: bool | None = None
        if not running:
            off = process.node in cluster.powered_off
            problem = "node off" if off else "not running"
        elif process.health:
            problem = _problem_of(cluster, process) or ""
            ready = not problem
        found.append(
            ProcessStatus(
                name=process.name,
                pid=record.pid if record and running else 0,
                node=process.node,
                is_running=running,
                is_ready=ready,
                problem=problem,
                restarts=record.restarts if record else 0,
                uptime_s=time.time() - record.since if record and running else 0.0,
                rss_bytes=resident_bytes(record.pid) if record and running else 0,
                certificate_ends=_certificate_end(process),
                log=process.log,
            )
        )
    return found


def context_name(cluster: Cluster) -> str:
    """Return the kubectl context's name: `steersman`, with the port for a cluster that is not on the default one."""
    return kubeconfig.CONTEXT if cluster.port == Cluster(data_dir="").port else f"{kubeconfig.CONTEXT}-{cluster.port}"


def store_identity(cluster: Cluster) -> Identity:
    """Return the certificate that the store admits."""
    files = store_files(cluster)
    return Identity(cert=Path(files.cert), key=Path(files.key), ca=Path(files.ca))


def admin_identity(cluster: Cluster) -> Identity:
    """Return the certificate that may do everything."""
    directory = Paths(cluster.directory).pki / "cluster"
    return Identity(cert=directory / "admin.crt", key=directory / "admin.key", ca=directory / "ca.crt")


# -- steps of up ---------------------------------------------------------------------------------------------


def _settle(wanted: Cluster, paths: Paths) -> Cluster:
    """Return `wanted`, seen against the cluster that the data dir already holds."""
    if not paths.cluster.exists():
        wanted.store_initial = wanted.store_members = wanted.member_names
        return wanted
    existing = read_cluster(wanted.directory)
    wanted.store_initial, wanted.store_members = existing.store_initial, existing.store_members
    if (existing.external_store is None) != (wanted.external_store is None):
        runs = "a store of its own" if existing.external_store is None else "--store-endpoints"
        raise CannotDo(
            f"{paths.data} holds a cluster with {runs}, and its objects are there: "
            "choose another --data-dir, or `steer down --purge` first"
        )
    for name in ("port", "runtime"):
        if getattr(existing, name) != getattr(wanted, name):
            raise CannotDo(
                f"{paths.data} holds a cluster with --{name} {getattr(existing, name)}: "
                f"leave --{name} as it was, or choose another --data-dir, or `steer down --purge` first"
            )
    if wanted.nodes < existing.nodes:
        raise CannotDo(
            f"the cluster has {existing.nodes} nodes, and taking nodes away is not supported: "
            f"give --nodes {existing.nodes} or more, or `steer down --purge` first"
        )
    wanted.powered_off = existing.powered_off
    return wanted


def _prepare_hosts(cluster: Cluster, report: Report) -> Addresses:
    if cluster.is_hollow:
        return Addresses(advertise=_own_address(), nodes=dict.fromkeys(cluster.node_names, "127.0.0.1"))
    from deploy import hosts

    report("building the nodes' network")
    return hosts.prepare(cluster)


def _remove_hosts(cluster: Cluster) -> None:
    from deploy import hosts

    hosts.remove(cluster)


def _build_programs() -> Path:
    from deploy import hosts

    return hosts.build_programs()


def _load_own_images(cluster: Cluster, programs: Future[Path], report: Report) -> str:
    """Load what pods need to run at all, then the image of our own programs, and return that one's name."""
    from deploy import hosts

    hosts.load_own_images(cluster, report)
    return hosts.load_programs(cluster, programs.result(), report)


def _forget_former_programs(cluster: Cluster, image: str) -> None:
    from deploy import hosts

    hosts.forget_former_programs(cluster, image)


def _issue_certificates(cluster: Cluster, paths: Paths, addresses: Addresses, report: Report) -> bool:
    pki = Pki(paths.pki)
    reachable = [addresses.gateway, addresses.advertise, first_service_address(SERVICE_CIDR), socket.gethostname()]
    issued = bool(pki.ensure_control_plane(reachable, cluster.member_names))
    for name in cluster.node_names:
        issued = pki.ensure_node(name, [addresses.nodes[name]]) or issued
    if issued:
        report("certificates issued")
    return issued


def _write_kubeconfig(cluster: Cluster, paths: Paths) -> None:
    identity = admin_identity(cluster)
    server = f"https://127.0.0.1:{cluster.port}"
    name = context_name(cluster)
    config = kubeconfig.build(server, identity.ca, identity.cert, identity.key, context=name)
    kubeconfig.write(paths.kubeconfig, config)
    try:
        kubeconfig.merge_into(kubeconfig.user_path(), config)
        cluster.user_kubeconfig = str(kubeconfig.user_path())
    except (ValueError, OSError) as error:
        print(f"steer: left your kubeconfig alone: {error}", file=sys.stderr)


def _start_supervisor(paths: Paths) -> None:
    paths.logs.mkdir(parents=True, exist_ok=True)
    log = paths.logs / "supervisor.log"
    with open(log, "ab") as output:
        subprocess.Popen(
            [str(Path(sys.executable).parent / "steer-supervisor"), "--data-dir", str(paths.data)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError, OSError), supervision.connect(paths):
            return
        time.sleep(POLL_S)
    raise CannotDo(f"the supervisor did not start: see {log}")


def _stop_without_supervisor(paths: Paths) -> None:
    """Stop what a dead supervisor left behind; nobody but its state file knows what that is."""
    with contextlib.suppress(FileNotFoundError):
        (paths.run / "keep").unlink()
    program = str(Path(sys.executable).parent / "steer-supervisor")
    done = subprocess.run(
        [program, "--data-dir", str(paths.data), "--stop"], capture_output=True, text=True, timeout=180, check=False
    )
    if done.returncode != 0 or "another one runs" in done.stderr:
        raise CannotDo(f"could not stop everything: {done.stderr.strip().splitlines()[-1:]}; run it again")


def _await_supervisor_end(paths: Paths) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        lock = supervision.take_lock(paths, timeout_s=10)
        if lock is not None:
            os.close(lock)
            return


def _process(wanted: Plan, name: str) -> Process:
    return next(process for process in wanted.processes if process.name == name)


def _check_not_stopped(paths: Paths) -> None:
    """Raise if somebody brings the cluster down while we wait for it to come up: there is nothing to wait for.

    Raises:
        CannotDo: the supervisor was told to stop.
    """
    if not (paths.run / "keep").exists():
        raise CannotDo("the cluster was brought down meanwhile: run `steer up` again to have it back")


def _wait_for(problem: Callable[[], str | None], what: str, paths: Paths) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    last: str | None = "it did not answer"
    while time.monotonic() < deadline:
        last = problem()
        if last is None:
            return
        _check_not_stopped(paths)
        time.sleep(POLL_S)
    raise CannotDo(f"{what} did not get ready in {READY_WITHIN_S:.0f} s: {last}; its log is in {paths.logs}")


def _await_processes(cluster: Cluster, wanted: Plan, paths: Paths) -> None:
    """Wait until every process says that it is ready, but for those of nodes that are switched off."""
    for process in wanted.processes:
        if process.health and process.node not in cluster.powered_off:
            _wait_for(lambda process=process: _problem_of(cluster, process), process.name, paths)  # type: ignore[misc]


async def _change_members(cluster: Cluster, paths: Paths, addresses: Addresses, report: Report) -> None:
    """Grow or shrink the store to `store_replicas`, a member at a time; a run that was cut short is gone on with."""
    from deploy import store_members
    from store.client import StoreClient

    numbers = sorted(member_number(name) for name in cluster.member_names)
    free = (number for number in range(1, 2 * cluster.store_replicas + len(numbers)) if number not in numbers)
    while len(numbers) < cluster.store_replicas:
        numbers.append(next(free))
    names = [member_name(number) for number in numbers[: cluster.store_replicas]]
    pki = Pki(paths.pki)
    pki.ensure_control_plane([], [name for name in names if name not in cluster.member_names])
    concerned = dict.fromkeys([*cluster.member_names, *names])
    client = StoreClient([store_endpoint(cluster, name) for name in concerned], store_identity(cluster))

    async def adopt(members: list[str]) -> None:
        cluster.store_members = members
        _replace(paths.cluster, msgspec.json.format(msgspec.json.encode(cluster)))
        # The API server keeps its endpoints until all is done: each change of them restarts it.
        current = {p.name: p for p in supervision.read_plan(paths).processes if p.program == "steer-apiserver"}
        fresh = plan(cluster, addresses)
        processes = [current.get(process.name, process) for process in fresh.processes]
        _replace(paths.plan, msgspec.json.encode(Plan(cluster=cluster, processes=processes)))
        await asyncio.to_thread(supervision.order, paths, "reload")

    async def start(name: str) -> None:
        if name not in cluster.member_names:
            await adopt([*cluster.member_names, name])

    async def stop(name: str) -> None:
        await adopt([member for member in cluster.member_names if member != name])
        await asyncio.to_thread(shutil.rmtree, paths.data / "store" / name, ignore_errors=True)

    try:
        wanted = [(name, store_peer_address(cluster, name)) for name in names]
        steps = store_members.plan_steps(await client.members(), wanted)
        await store_members.carry_out(steps, client, report, start=start, stop=stop)
    finally:
        await client.close()
    _replace(paths.plan, msgspec.json.format(msgspec.json.encode(plan(cluster, addresses))))
    await asyncio.to_thread(supervision.order, paths, "reload")
    _wait_for(lambda: _problem_of(cluster, _process(plan(cluster, addresses), "apiserver")), "the API server", paths)


# -- looking -------------------------------------------------------------------------------------------------


def _problem_of(cluster: Cluster, process: Process) -> str | None:
    """Ask a process for its health; None when it is ready, else what it says is wrong."""
    return problem_of(process.health, admin_identity(cluster))


def _supervisor_status(paths: Paths, state: supervision.State) -> ProcessStatus:
    pid = state.supervisor
    running = bool(pid and supervision.start_time(pid))
    since = (paths.run / "supervisor.sock").stat().st_mtime if running else 0.0
    return ProcessStatus(
        name="supervisor",
        pid=pid if running else 0,
        node="",
        is_running=running,
        is_ready=running or None,
        problem="" if running else "not running",
        restarts=0,
        uptime_s=time.time() - since if running else 0.0,
        rss_bytes=resident_bytes(pid) if running else 0,
        certificate_ends="",
        log=str(paths.logs / "supervisor.log"),
    )


def _certificate_end(process: Process) -> str:
    arguments = process.arguments
    for flag in ("--cert", "--tls-cert"):
        if flag in arguments:
            end = expiry(Path(arguments[arguments.index(flag) + 1].replace("{node}", "node-1")))
            return end.strftime("%Y-%m-%d") if end else "missing"
    return ""


def _own_address() -> str:
    """Return an address of this machine that is not loopback, if it has one; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(content)
    temporary.replace(path)


def to_json(processes: list[ProcessStatus]) -> Iterator[dict[str, Any]]:
    """Yield each process as JSON values, in camelCase as Kubernetes writes them."""
    for process in processes:
        yield {
            "name": process.name,
            "pid": process.pid,
            "node": process.node,
            "running": process.is_running,
            "ready": process.is_ready,
            "problem": process.problem,
            "restarts": process.restarts,
            "uptimeSeconds": round(process.uptime_s, 1),
            "rssBytes": process.rss_bytes,
            "certificateEnds": process.certificate_ends,
            "log": process.log,
        }


def dump_json(value: Any) -> str:
    """Return `value` as indented JSON."""
    return json.dumps(value, indent=2)
