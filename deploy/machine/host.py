"""What the machine is asked and told: systemd, packages, files. The thin shell below the steps."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from component.files import write_private
from component.serve import Identity
from deploy.health import problem_of
from deploy.machine.plan import Layout, Machine, Unit, service, settings_of
from deploy.report import CannotDo

POLL_S = 0.1
READY_WITHIN_S = 90.0
UNIT_FILES = Path(__file__).parent.parent / "systemd"


def run(*command: str, timeout_s: float = 60.0) -> str:
    """Run a program and return what it printed.

    Raises:
        CannotDo: it is missing, failed, or took too long; the message has its last line.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise CannotDo(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise CannotDo(f"`{' '.join(command)}` did not end in {timeout_s:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CannotDo(f"`{' '.join(command)}` failed: {said[-1] if said else f'exit code {done.returncode}'}")
    return done.stdout


def read_machine(layout: Layout) -> Machine | None:
    """Return what this machine is, or None if it is no part of a cluster.

    Raises:
        CannotDo: the file is damaged.
    """
    try:
        return msgspec.json.decode(layout.machine.read_bytes(), type=Machine)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise CannotDo(f"{layout.machine} is damaged ({error}): mend it, or `steer reset` clears the machine") from None


def the_machine(layout: Layout) -> Machine:
    """Return what this machine is.

    Raises:
        CannotDo: it is no part of a cluster.
    """
    machine = read_machine(layout)
    if machine is None:
        raise CannotDo("this machine is no part of a cluster: `steer init` begins one, `steer join` takes part in one")
    return machine


def write_machine(layout: Layout, machine: Machine) -> None:
    """Keep what this machine is."""
    replace(layout.machine, msgspec.json.format(msgspec.json.encode(machine)) + b"\n")


def replace(path: Path, content: bytes, mode: int = 0o644) -> bool:
    """Make `path` hold `content`, whole or not at all; return whether it was changed."""
    if path.exists() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    write_private(path, content)
    path.chmod(mode)
    return True


def render_settings(unit: Unit) -> bytes:
    """Return a unit's settings file."""
    head = f"# Written by steer; flags in steersman-{unit.name}.env win over it and are left alone.\n"
    return (head + yaml.safe_dump(settings_of(unit.arguments), sort_keys=False)).encode()


def write_settings(layout: Layout, units: Iterable[Unit]) -> list[str]:
    """Write every unit's settings; return the names of those that changed."""
    return [unit.name for unit in units if replace(layout.settings(unit.name), render_settings(unit))]


@dataclass(frozen=True, slots=True)
class UnitState:
    """What systemd says of a unit."""

    active: str
    """active, activating, inactive, failed, ..."""
    pid: int
    restarts: int
    since: float
    """Monotonic seconds at which it became active."""
    status: str
    """What the process says of itself."""


class Systemd:
    """systemd, by `systemctl`."""

    def reload(self) -> None:
        """Have it read the unit files again."""
        run("systemctl", "daemon-reload")

    def enable(self, *names: str) -> None:
        """Have units started at every boot."""
        run("systemctl", "enable", "--quiet", *names)

    def disable(self, *names: str) -> None:
        """Take that back; units that are not there are left out."""
        subprocess.run(["systemctl", "disable", "--quiet", *names], capture_output=True, check=False)

    def start(self, *names: str) -> None:
        """Start units; those that failed too often are given another chance. Raises CannotDo."""
        self._bring_up("start", names)

    def restart(self, *names: str) -> None:
        """Stop and start units; raises CannotDo."""
        self._bring_up("restart", names)

    def hand_over(self, name: str) -> None:
        """Hand a running unit the credentials it names as they are now (`deploy.machine.handover`); raises CannotDo."""
        try:
            run("systemctl", "reload", name)
        except CannotDo:
            raise CannotDo(f"it could not be handed them, and `journalctl -u {name}` says why") from None

    def _bring_up(self, verb: str, names: Sequence[str]) -> None:
        subprocess.run(["systemctl", "reset-failed", *names], capture_output=True, check=False)
        try:
            run("systemctl", verb, *names, timeout_s=120)
        except CannotDo:
            raise CannotDo(f"{' and '.join(names)} did not {verb}: `journalctl -u {names[0]}` says why") from None

    def stop(self, *names: str) -> None:
        """Stop units; those that are not there or do not run are left out."""
        known = [name for name in names if self.state(name).active != "unknown"]
        if known:
            run("systemctl", "stop", *known, timeout_s=120)

    def is_active(self, name: str) -> bool:
        """Whether a unit runs."""
        return self.state(name).active == "active"

    def state(self, name: str) -> UnitState:
        """Return what a unit is doing; `unknown` if there is no such unit."""
        wanted = "LoadState,ActiveState,MainPID,NRestarts,ActiveEnterTimestampMonotonic,StatusText"
        lines = run("systemctl", "show", "--property", wanted, name).splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        return UnitState(
            active=values.get("ActiveState", "unknown") if values.get("LoadState") != "not-found" else "unknown",
            pid=int(values.get("MainPID") or 0),
            restarts=int(values.get("NRestarts") or 0),
            since=int(values.get("ActiveEnterTimestampMonotonic") or 0) / 1e6,
            status=values.get("StatusText", ""),
        )


def install_units(layout: Layout, names: Sequence[str]) -> bool:
    """Put unit files in place; return whether one changed."""
    changed = False
    for name in names:
        changed = replace(layout.units / name, (UNIT_FILES / name).read_bytes()) or changed
    return changed


def await_ready(
    unit: Unit, systemd: Systemd, identity: Identity | None = None, *, within_s: float = READY_WITHIN_S
) -> None:
    """Wait until a process says that it is ready.

    Raises:
        CannotDo: it did not in time, or systemd gave up on it.
    """
    problem: str | None = None

    def is_ready() -> bool:
        nonlocal problem
        problem = problem_of(unit.health, identity)
        if problem and systemd.state(unit.service).active == "failed":
            raise CannotDo(f"{unit.service} failed: `journalctl -u {unit.service}` says why")
        return problem is None

    if not wait_until(is_ready, within_s):
        raise CannotDo(
            f"{unit.service} did not get ready in {within_s:.0f} s: {problem}; see journalctl -u {unit.service}"
        )


def wait_until(is_so: Callable[[], bool], within_s: float) -> bool:
    """Look again and again until `is_so`, for `within_s` at most; return whether it came true."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


async def listens(address: str, port: int, within_s: float) -> bool:
    """Whether somebody takes a connection there."""
    try:
        async with asyncio.timeout(within_s):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def own_address(towards: str = "192.0.2.1") -> str:
    """Return the address from which this machine would talk to `towards`; no packet is sent to find it.

    Raises:
        CannotDo: there is no way there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))
            return str(probe.getsockname()[0])
        except OSError as error:
            raise CannotDo(f"this machine has no way to {towards} ({error.strerror}): give --address") from None


def own_addresses() -> set[str]:
    """Return every IPv4 address of this machine."""
    found = set()
    for line in run("ip", "-4", "-oneline", "address", "show").splitlines():
        fields = line.split()
        if "inet" in fields:
            found.add(fields[fields.index("inet") + 1].partition("/")[0])
    return found


def is_booted_by_systemd() -> bool:
    """Whether systemd runs this machine (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system") and shutil.which("systemctl") is not None


def unit_names(names: Iterable[str]) -> list[str]:
    """Return systemd's names of processes."""
    return [service(name) for name in names]
