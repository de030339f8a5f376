"""Keeps a cluster's processes running on this machine; systemd does this job on real machines.

The supervisor reads `run/plan.json` (see `deploy.plan`), powers its nodes on, starts every process and starts it again
with back-off when it dies. What it has running stands in `run/state.json`, so that a supervisor that was killed finds
its children again: a process is the same one while its pid and start time are. A shell loop, the guard, starts
the supervisor anew when it dies, and the supervisor does the same for the guard.

It takes orders, one JSON line each, on `run/supervisor.sock`: reload (the plan changed), restart, power-on, power-off
and shutdown.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from component import logs
from component.clock import RealClock
from component.supervise import keep_going
from deploy import log_trimming
from deploy.plan import Paths, Plan, Process
from deploy.supervision import Record, is_running, read_plan, read_state, socket_path, start_time, take_lock
from deploy.watchdog import Watchdog

log = logging.getLogger("supervisor")

T = TypeVar("T")

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 10.0
HEALTHY_AFTER_S = 10.0
"""A process that ran this long starts again at the first back-off."""
STOP_GRACE_S = 5.0
NODE_POLL_S = 1.0
"""How often a node is looked at; one that lost its power by itself is switched on again."""
LOG_BYTES_MAX = 32 * 1024 * 1024
ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2", "GRPC_ENABLE_FORK_SUPPORT": "0"}

GUARD = """
while [ -e "$1/keep" ]; do
  flock "$1/supervisor.lock" true
  [ -e "$1/keep" ] || exit 0
  "$2" "$3" "$4" --if-kept >> "$5" 2>&1 < /dev/null &
  sleep 2
done
"""
"""Waits on the supervisor's lock; when it is let go and the cluster should run, starts a supervisor."""


class Node(Protocol):
    """What the supervisor asks of a node; see `deploy.node_host`. Calls block, and may be repeated."""

    def power_on(self) -> None: ...
    def power_off(self) -> None: ...
    def is_on(self) -> bool: ...
    def argv(self, command: list[str]) -> list[str]: ...


@dataclass(slots=True)
class _Keeper:
    """The task that keeps one process running, and how to tell it to stop."""

    process: Process
    task: asyncio.Task[None]


class Supervisor:
    """Makes what runs equal to the plan, and keeps it so."""

    def __init__(self, paths: Paths, make_nodes: Callable[[Plan], dict[str, Node]]) -> None:
        """`make_nodes` gives the nodes of a plan by name; it is called again when the plan changes."""
        self._paths = paths
        self._make_nodes = make_nodes
        self._state = read_state(paths)
        self._keepers: dict[str, _Keeper] = {}
        self._nodes: dict[str, Node] = {}
        self._node_keepers: dict[str, asyncio.Task[None]] = {}
        self._node_is_on: dict[str, asyncio.Event] = {}
        self._first_try: dict[str, asyncio.Event] = {}
        """Set once an attempt to power a node on has ended, well or not."""
        self._children: list[subprocess.Popen[bytes]] = []
        self._finished = asyncio.Event()
        self._watchdog = Watchdog(paths.data, time.monotonic)
        self._changing = asyncio.Lock()

    async def run(self) -> None:
        """Supervise until a shutdown order."""
        self._state.supervisor = os.getpid()
        self._write_state()
        with contextlib.suppress(FileNotFoundError):
            (self._paths.run / "supervisor.sock").unlink()
        # Before anybody can be answered: who waits for the cluster takes its absence for an order to stop.
        (self._paths.run / "keep").touch()
        with socket_path(self._paths) as path:
            server = await asyncio.start_unix_server(self._serve, path)
        (self._paths.run / "supervisor.sock").chmod(0o600)
        self._watchdog.open()
        clock, trim = RealClock(), partial(log_trimming.run, self._paths.logs, LOG_BYTES_MAX)
        guard = asyncio.create_task(keep_going("guard", self._keep_guard, clock, again_s=1.0))
        trimmer = asyncio.create_task(keep_going("log trimming", trim, clock))
        try:
            async with self._changing:
                await self._reload()
            await self._finished.wait()
        finally:
            guard.cancel()
            trimmer.cancel()
            server.close()
            self._watchdog.close()

    async def stop_all(self) -> None:
        """Stop what a supervisor that is no more left running; starts nothing."""
        self._nodes = await asyncio.to_thread(self._make_nodes, read_plan(self._paths))
        await self._shutdown()

    # -- orders ----------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any]
        try:
            async with asyncio.timeout(5):
                line = await reader.readline()
            if not line:  # somebody only looked whether we listen
                writer.close()
                return
            answer = {"ok": await self._obey(json.loads(line))}
        except Exception as error:
            log.exception("order failed")
            answer = {"error": str(error) or type(error).__name__}
        writer.write(json.dumps(answer).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()
        if answer.get("ok") == "stopped":
            self._finished.set()

    async def _obey(self, request: dict[str, str]) -> str:
        async with self._changing:
            match request["verb"]:
                case "reload":
                    await self._reload()
                case "restart":
                    self._signal(request["name"], signal.SIGTERM)
                case "power-off":
                    await self._power_off(request["node"])
                case "power-on":
                    await self._power_on(request["node"])
                case "shutdown":
                    await self._shutdown()
                    return "stopped"
                case verb:
                    raise ValueError(f"unknown order {verb!r}")
        return "done"

    async def _reload(self) -> None:
        plan = read_plan(self._paths)
        wanted = {process.name: process for process in plan.processes}
        self._nodes = await asyncio.to_thread(self._make_nodes, plan)
        for name in [name for name in self._state.processes if name not in wanted and name != "guard"]:
            await self._stop(name)
        for name, process in wanted.items():
            keeper = self._keepers.get(name)
            if keeper and keeper.process == process:
                continue
            if keeper:
                await self._stop(name)
            if process.node:
                self._node_is_on.setdefault(process.node, asyncio.Event())
            keeping = keep_going(name, partial(self._keep_running, process), RealClock(), again_s=1.0)
            self._keepers[name] = _Keeper(process, asyncio.create_task(keeping, name=name))
        off = set(plan.cluster.powered_off)
        for name in off & self._nodes.keys():
            await self._power_off(name)
        for name in self._nodes.keys() - off:
            self._wish_on(name)
        # A node that was just wished on is waited for, so that whoever ordered it learns how it went.
        await asyncio.gather(*(self._first_try[name].wait() for name in self._nodes.keys() - off))

    def _wish_on(self, name: str) -> None:
        self._node_is_on.setdefault(name, asyncio.Event())
        self._first_try.setdefault(name, asyncio.Event())
        task = self._node_keepers.get(name)
        if task is None or task.done():
            self._node_keepers[name] = asyncio.create_task(self._keep_node(name), name=name)

    async def _keep_node(self, name: str) -> None:
        """Power the node on, and again should it ever be found off, until cancelled."""
        backoff_s = NODE_POLL_S
        while True:
            node = self._nodes[name]
            try:
                if not await _to_the_end(node.is_on) or not self._node_is_on[name].is_set():
                    self._node_is_on[name].clear()
                    await _to_the_end(node.power_on)  # also completes a boot that was cut short
                    log.info("node is on", extra={"node": name})
                    self._node_is_on[name].set()
                    self._note_problem(name, "")
                backoff_s = NODE_POLL_S
            except Exception as error:  # whatever keeps a node from booting, the others go on
                log.exception("node does not boot", extra={"node": name})
                self._note_problem(name, str(error))
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            self._first_try[name].set()
            await asyncio.sleep(backoff_s)

    def _note_problem(self, name: str, problem: str) -> None:
        if self._state.node_problems.get(name, "") != problem:
            self._state.node_problems.pop(name, None)
            if problem:
                self._state.node_problems[name] = problem
            self._write_state()

    async def _power_on(self, name: str) -> None:
        self._wish_on(name)
        await self._first_try[name].wait()
        if problem := self._state.node_problems.get(name):
            raise RuntimeError(f"{name}: {problem}")

    async def _power_off(self, name: str) -> None:
        task = self._node_keepers.pop(name, None)
        if task:
            task.cancel()
            await asyncio.wait([task])
        self._first_try.pop(name, None)
        self._node_is_on.setdefault(name, asyncio.Event()).clear()
        await asyncio.to_thread(self._nodes[name].power_off)
        self._note_problem(name, "")
        log.info("node is off", extra={"node": name})

    async def _shutdown(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._paths.run / "keep").unlink()
        plan = read_plan(self._paths)
        on_nodes = [process.name for process in plan.processes if process.node or "kubelet" in process.name]
        await asyncio.gather(*(self._stop(name) for name in on_nodes))
        await asyncio.gather(*(self._power_off(name) for name in self._nodes))
        # The store goes last: what the others still want to write on their way out, they can.
        rest = [process.name for process in plan.processes if process.name not in on_nodes]
        first = [name for name in rest if not name.startswith(("store", "apiserver"))]
        await asyncio.gather(*(self._stop(name) for name in first))
        for name in reversed([name for name in rest if name not in first]):
            await self._stop(name)
        for name in [name for name in self._state.processes if name != "guard"]:
            await self._stop(name)
        guard = self._state.processes.pop("guard", None)
        if guard and is_running(guard):
            _kill(guard.pid, signal.SIGKILL)
        self._state.supervisor = 0
        self._write_state()

    async def _stop(self, name: str) -> None:
        keeper = self._keepers.pop(name, None)
        if keeper:
            keeper.task.cancel()
            await asyncio.wait([keeper.task])
        record = self._state.processes.get(name)
        if record and is_running(record):
            _kill(record.pid, signal.SIGTERM)
            if not await _ended(record.pid, STOP_GRACE_S):
                log.warning("killed after its grace period", extra={"program": name, "pid": record.pid})
                _kill(record.pid, signal.SIGKILL)
                await _ended(record.pid, STOP_GRACE_S)
        self._state.processes.pop(name, None)
        self._reap()
        self._write_state()

    def _signal(self, name: str, number: signal.Signals) -> None:
        record = self._state.processes.get(name)
        if record is None or not is_running(record):
            raise ValueError(f"{name} is not running")
        _kill(record.pid, number)

    # -- one process -----------------------------------------------------------------------------------------

    async def _keep_running(self, process: Process) -> None:
        """Adopt or start `process`, and start it again each time it ends, until cancelled."""
        backoff_s = BACKOFF_FIRST_S
        record = self._state.processes.get(process.name)
        if record and (record.arguments != [process.program, *process.arguments] or not is_running(record)):
            if is_running(record):
                await self._replace(process, record)
            record = None
        while True:
            if process.node:
                await self._node_is_on[process.node].wait()
            is_new = record is None
            if record is None:
                try:
                    record = await self._start(process)
                except Exception as error:  # a missing program, a node that just lost its power
                    log.error("cannot start", extra={"program": process.name, "error": error})
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
                    continue
            else:
                log.info("found running", extra={"program": process.name, "pid": record.pid})
            await self._await_end(process, record, is_new=is_new)
            self._reap()
            ran_s = time.time() - record.since
            log.warning("ended", extra={"program": process.name, "pid": record.pid, "ran_s": round(ran_s, 1)})
            record.last_exit = f"after {ran_s:.0f} s"
            record = None
            if ran_s > HEALTHY_AFTER_S:
                backoff_s = BACKOFF_FIRST_S
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _await_end(self, process: Process, record: Record, *, is_new: bool) -> None:
        """Return when a process has ended; one that hangs is ended, if it is to be watched."""
        if not process.watchdog_s:
            await _ended(record.pid, None)
            return
        ended = asyncio.create_task(_ended(record.pid, None))
        hung = asyncio.create_task(self._watchdog.until_hung(record.pid, process.watchdog_s, is_new=is_new))
        try:
            await asyncio.wait((ended, hung), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                log.warning("says nothing any more: ending it", extra={"program": process.name, "pid": record.pid})
                _kill(record.pid, signal.SIGKILL)
                await ended
        finally:
            ended.cancel()
            hung.cancel()

    async def _replace(self, process: Process, record: Record) -> None:
        log.info("its arguments changed: starting it again", extra={"program": process.name})
        _kill(record.pid, signal.SIGTERM)
        if not await _ended(record.pid, STOP_GRACE_S):
            _kill(record.pid, signal.SIGKILL)
            await _ended(record.pid, None)

    async def _start(self, process: Process) -> Record:
        command = [_program(process.program), *process.arguments]
        argv = self._nodes[process.node].argv(command) if process.node else command
        Path(process.log).parent.mkdir(parents=True, exist_ok=True)
        with open(process.log, "ab") as output:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                env={**os.environ, **ENVIRONMENT, **(self._watchdog.environment() if process.watchdog_s else {})},
            )
        self._children.append(child)
        pid = child.pid if argv is command else await _entered_pid(child)
        known = self._state.processes.get(process.name)
        record = Record(
            pid=pid,
            started=start_time(pid),
            since=time.time(),
            arguments=[process.program, *process.arguments],
            restarts=known.restarts + 1 if known else 0,
            last_exit=known.last_exit if known else "",
        )
        self._state.processes[process.name] = record
        self._write_state()
        log.info("started", extra={"program": process.name, "pid": pid, "restarts": record.restarts})
        return record

    async def _keep_guard(self) -> None:
        while True:
            record = self._state.processes.get("guard")
            if record is None or not is_running(record):
                arguments = [str(self._paths.run), _program("steer-supervisor"), "--data-dir", str(self._paths.data)]
                arguments.append(str(self._paths.logs / "supervisor.log"))
                child = subprocess.Popen(
                    ["/bin/sh", "-c", GUARD, "steer-guard", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    cwd="/",
                )
                self._children.append(child)
                record = Record(pid=child.pid, started=start_time(child.pid), since=time.time(), arguments=[])
                self._state.processes["guard"] = record
                self._write_state()
            await _ended(record.pid, None)
            self._reap()
            await asyncio.sleep(1)

    # -- upkeep ----------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]

    def _write_state(self) -> None:
        temporary = self._paths.state.with_suffix(".new")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self._state), indent=1))
        temporary.replace(self._paths.state)


async def _to_the_end(work: Callable[[], T]) -> T:
    """Run blocking `work` in a thread; a cancellation waits for its end, since a thread cannot be stopped."""
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def _ended(pid: int, timeout_s: float | None) -> bool:
    """Wait until process `pid`, ours or not, has ended; False when `timeout_s` passed first."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(timeout_s):
            await ended.wait()
        return True
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _entered_pid(child: subprocess.Popen[bytes]) -> int:
    """Return the pid of the program that nsenter started, once it has.

    Raises:
        RuntimeError: nsenter ended without starting anything.
    """
    listing = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    for _ in range(200):
        try:
            found = listing.read_text().split()
        except OSError:
            found = []
        if found:
            return int(found[0])
        if child.poll() is not None:
            raise RuntimeError(f"could not enter the node (exit code {child.returncode}); see its log")
        await asyncio.sleep(0.01)
    raise RuntimeError("could not enter the node within 2 s")


def make_nodes(plan: Plan) -> dict[str, Node]:
    """Return the hosts of a plan's nodes; none for hollow ones, which need no host."""
    if plan.cluster.is_hollow:
        return {}
    from deploy.hosts import hosts_of  # needs root's tools, which hollow clusters do without

    return dict(hosts_of(plan.cluster))


def main() -> int:
    """Run the supervisor of one data directory; returns at once when one is running."""
    import argparse

    parser = argparse.ArgumentParser(prog="steer-supervisor", description="Keep a cluster's processes running.")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--if-kept", action="store_true", help="run only if the cluster is to go on running")
    parser.add_argument("--stop", action="store_true", help="stop what a dead supervisor left running, and end")
    arguments = parser.parse_args()
    paths = Paths(arguments.data_dir)
    logs.configure()
    if not paths.plan.exists():
        print(f"steer-supervisor: {paths.plan} is not there: `steer up` makes it", file=sys.stderr)
        return 2
    if take_lock(paths, timeout_s=5) is None:
        print(f"steer-supervisor: another one runs for {paths.data}", file=sys.stderr)
        return 0
    if arguments.if_kept and not (paths.run / "keep").exists():
        return 0  # stopped by another that the guard had started, while this one waited for the lock
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Orders come over the socket; a stray signal must not stop a cluster. A handler that does nothing, because
        # children would inherit SIG_IGN.
        signal.signal(number, lambda *_: None)
    supervisor = Supervisor(paths, make_nodes)
    asyncio.run(supervisor.stop_all() if arguments.stop else supervisor.run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
