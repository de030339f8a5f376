"""The supervisor, its guard and its children, as real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from deploy import supervision
from deploy.plan import Cluster, Paths, Plan, Process

SLEEPER = ["-c", "import time; time.sleep(600)"]


def until(claim: Callable[[], bool], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def write_plan(paths: Paths, **arguments: list[str]) -> None:
    processes = [
        Process(name=name, program=Path(sys.executable).name, arguments=args, log=str(paths.logs / f"{name}.log"))
        for name, args in arguments.items()
    ]
    cluster = Cluster(data_dir=str(paths.data), runtime="hollow")
    paths.plan.write_bytes(msgspec.json.encode(Plan(cluster=cluster, processes=processes)))


def pid_of(paths: Paths, name: str) -> int:
    record = supervision.read_state(paths).processes.get(name)
    return record.pid if record and supervision.is_running(record) else 0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Paths]:
    paths = Paths(tmp_path)
    paths.run.mkdir()
    paths.logs.mkdir()
    write_plan(paths, one=SLEEPER, two=SLEEPER)
    program = str(Path(sys.executable).parent / "steer-supervisor")
    child = subprocess.Popen([program, "--data-dir", str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: all(pid_of(paths, name) for name in ("one", "two", "guard")))
        yield paths
    finally:
        with contextlib.suppress(ConnectionError):
            supervision.order(paths, "shutdown")
        child.kill()
        child.wait()


def test_a_killed_process_is_started_again_and_counted(running: Paths) -> None:
    first = pid_of(running, "one")
    os.kill(first, signal.SIGKILL)
    until(lambda: pid_of(running, "one") not in (0, first))
    assert supervision.read_state(running).processes["one"].restarts == 1
    assert supervision.read_state(running).processes["two"].restarts == 0


def test_a_supervisor_whose_turn_comes_after_the_cluster_was_stopped_starts_nothing(running: Paths) -> None:
    program = str(Path(sys.executable).parent / "steer-supervisor")
    waiting = subprocess.Popen([program, "--data-dir", str(running.data), "--if-kept"], stderr=subprocess.PIPE)
    try:
        supervision.order(running, "shutdown")
        _, said = waiting.communicate(timeout=20)
    finally:
        waiting.kill()
    assert waiting.returncode == 0 and b"another one runs" not in said, "it had its turn"
    assert not any(pid_of(running, name) for name in ("one", "two", "guard"))


def test_a_killed_supervisor_comes_back_and_finds_its_children(running: Paths) -> None:
    children = {name: pid_of(running, name) for name in ("one", "two", "guard")}
    first = supervision.read_state(running).supervisor
    os.kill(first, signal.SIGKILL)
    until(lambda: supervision.read_state(running).supervisor != first)
    until(lambda: bool(supervision.start_time(supervision.read_state(running).supervisor)))
    assert {name: pid_of(running, name) for name in children} == children
    os.kill(children["two"], signal.SIGKILL)
    until(lambda: pid_of(running, "two") not in (0, children["two"]))


def test_a_killed_guard_is_replaced(running: Paths) -> None:
    first = pid_of(running, "guard")
    os.kill(first, signal.SIGKILL)
    until(lambda: pid_of(running, "guard") not in (0, first))


def test_a_reload_starts_what_is_new_stops_what_is_gone_and_leaves_the_rest(running: Paths) -> None:
    one, two = pid_of(running, "one"), pid_of(running, "two")
    write_plan(running, one=SLEEPER, three=SLEEPER)
    supervision.order(running, "reload")
    until(lambda: bool(pid_of(running, "three")))
    assert pid_of(running, "one") == one
    assert not supervision.start_time(two)


def test_a_process_whose_arguments_changed_is_started_with_the_new_ones(running: Paths) -> None:
    one = pid_of(running, "one")
    write_plan(running, one=[*SLEEPER, "changed"], two=SLEEPER)
    supervision.order(running, "reload")
    until(lambda: pid_of(running, "one") not in (0, one))
    # A process that has just been started has no arguments yet, for a moment.
    until(lambda: bool(Path(f"/proc/{pid_of(running, 'one')}/cmdline").read_bytes()))
    assert Path(f"/proc/{pid_of(running, 'one')}/cmdline").read_bytes().endswith(b"changed\0")


def test_shutdown_leaves_no_process(running: Paths) -> None:
    pids = [pid_of(running, name) for name in ("one", "two", "guard")]
    overseer = supervision.read_state(running).supervisor
    supervision.order(running, "shutdown")
    until(lambda: not any(supervision.start_time(pid) for pid in [*pids, overseer]))


def test_a_second_supervisor_gives_way(running: Paths) -> None:
    program = str(Path(sys.executable).parent / "steer-supervisor")
    second = subprocess.run(
        [program, "--data-dir", str(running.data)], capture_output=True, text=True, timeout=30, check=False
    )
    assert second.returncode == 0 and "another one runs" in second.stderr


def test_what_a_dead_supervisor_left_running_can_be_stopped_without_starting_anything(running: Paths) -> None:
    state = supervision.read_state(running)
    pids = [record.pid for record in state.processes.values()]
    (running.run / "keep").unlink()
    os.kill(state.processes["guard"].pid, signal.SIGKILL)
    os.kill(state.supervisor, signal.SIGKILL)
    program = str(Path(sys.executable).parent / "steer-supervisor")
    until(lambda: not supervision.start_time(state.supervisor))
    subprocess.run([program, "--data-dir", str(running.data), "--stop"], capture_output=True, timeout=30, check=True)
    until(lambda: not any(supervision.start_time(pid) for pid in pids))
    assert supervision.read_state(running).processes == {}
