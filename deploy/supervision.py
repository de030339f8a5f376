"""What a supervisor and those who ask it tell each other: what runs (a file), orders (a socket), its presence (a lock).

Reading needs no supervisor: what stands in `run/state.json` outlives it, and a process is the same one while its pid
and start time are.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from deploy.plan import Paths, Plan


class Record(msgspec.Struct, kw_only=True, rename="camel"):
    """One process that was started, as `state.json` remembers it."""

    pid: int
    started: int
    """Start time in clock ticks since boot (proc(5), field 22): tells it from a later process of the same pid."""
    since: float
    """When it was started, in seconds since the epoch."""
    arguments: list[str]
    restarts: int = 0
    last_exit: str = ""


class State(msgspec.Struct, kw_only=True, rename="camel"):
    """What `state.json` holds."""

    supervisor: int = 0
    processes: dict[str, Record] = {}
    node_problems: dict[str, str] = {}
    """Why a node that should be on is not, by name."""


def start_time(pid: int) -> int:
    """Return the start time of process `pid`, or 0 when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def is_running(record: Record) -> bool:
    """Whether the recorded process is still there."""
    return start_time(record.pid) == record.started != 0


def read_state(paths: Paths) -> State:
    """Return what runs, as the supervisor last wrote it; empty when there is nothing to read."""
    try:
        return msgspec.json.decode(paths.state.read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return State()


def read_plan(paths: Paths) -> Plan:
    """Return what should run.

    Raises:
        OSError, msgspec.MsgspecError: there is no plan, or it is damaged.
    """
    return msgspec.json.decode(paths.plan.read_bytes(), type=Plan)


@contextlib.contextmanager
def connect(paths: Paths, timeout_s: float = 5.0) -> Iterator[socket.socket]:
    """Give a connection to the running supervisor.

    Raises:
        ConnectionError: none is listening.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            with socket_path(paths) as path:
                connection.connect(path)
        except OSError as error:
            raise ConnectionError(f"no supervisor runs for {paths.data}") from error
        yield connection


def order(paths: Paths, verb: str, *, timeout_s: float = 120.0, **arguments: str) -> dict[str, Any]:
    """Give the running supervisor an order and return its answer.

    Raises:
        ConnectionError: no supervisor is listening.
        RuntimeError: it answered with an error.
    """
    with connect(paths, timeout_s=timeout_s) as connection:
        connection.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(connection.makefile().readline() or "{}")
    if answer.get("error"):
        raise RuntimeError(answer["error"])
    return answer


@contextlib.contextmanager
def socket_path(paths: Paths) -> Iterator[str]:
    """Give a name of the control socket that fits the 108 bytes of a socket address, however deep the data dir."""
    descriptor = os.open(paths.run, os.O_DIRECTORY | os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}/supervisor.sock"
    finally:
        os.close(descriptor)


def take_lock(paths: Paths, timeout_s: float) -> int | None:
    """Take the supervisor's lock; None when another still holds it after `timeout_s`."""
    descriptor = os.open(paths.run / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(0.05)
