"""One machine of a lab: it boots systemd, keeps its own disk, and can be switched off like a real one.

    <dir>/disk.img      its disk, a sparse file with an ext4; all that it ever wrote is in here
    <dir>/etc/          what it is told before its first boot: name, address, hosts
    <dir>/keeper.json   the shell that keeps it running (`keeper.sh`): pid and start time
    <dir>/console.log   what its systemd says while it boots

`power_off` is a power cut: the machine's first process is killed, and the kernel takes everything else with it. What
had been written is still on the disk, synced or not: unlike a real power cut, none of the page cache is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy import cgroups
from deploy.report import CannotDo
from deploy.supervision import start_time
from lab.machines.network import Wire

KEEPER = Path(__file__).with_name("keeper.sh")
BOOT_TIMEOUT_S = 90.0
WEIGHT = 30
"""How many of this box's processes all machines of a lab together count for, when they compete for its processors."""
OFF_TIMEOUT_S = 20.0
IMAGES = "/opt/steersman/images"
"""Where a machine finds the archives of the images that pods of a fresh cluster need."""
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
ENTER = 'for d in $2; do echo 0 >"$d/cgroup.procs" || :; done 2>/dev/null; p=$1; shift 2; exec nsenter -t "$p" "$@"'
"""Takes the first process's pid, the machine's cgroups, and nsenter's arguments: joins both."""
BECOME_PARENT = 'env "$@"; exit $?'
"""Runs in the machine's view of the world, but only what it starts is in the machine's process table.

nsenter could do that itself, but it stops whenever its child is stopped, as all are by systemd when it shuts down, and
nothing would set it going again: the child would never be waited for, and the machine never be off.
"""


@dataclass(frozen=True, slots=True)
class Layers:
    """What is below a machine's own disk, the lowest last but one: see `layers.py`."""

    system: Path
    packages: Path
    code: Path

    @property
    def stacked(self) -> str:
        """As overlayfs takes them: the uppermost first."""
        return f"{self.code}:{self.packages}:{self.system}"


class Machine:
    """One machine; safe to make again at any time for the same directory."""

    def __init__(self, name: str, index: int, directory: Path, wire: Wire) -> None:
        """Name the machine; touches nothing yet. `index` counts from 1 and gives its address."""
        self.name, self.index, self.directory, self._wire = name, index, directory, wire
        self.address = wire.address(index)
        self._cgroup = f"steersman-lab-{wire.identifier}/{name}"

    # -- power

    def _keeper(self) -> int | None:
        try:
            record = json.loads((self.directory / "keeper.json").read_text())
        except (OSError, ValueError):
            return None
        return int(record["pid"]) if start_time(record["pid"]) == record["start"] else None

    def pid(self) -> int | None:
        """Return the pid of the machine's systemd as seen from here, or None when it is off."""
        waiting = [self._keeper() or 0]
        while waiting:
            for child in _children(waiting.pop()):
                if _is_first_process(child):
                    return child
                waiting.append(child)
        return None

    def is_on(self) -> bool:
        """Whether its power is on; it may still be booting, or between two boots."""
        return self._keeper() is not None

    def state(self) -> str:
        """Return off, or what its systemd says of itself: starting, running, degraded, stopping."""
        if not self.is_on():
            return "off"
        with contextlib.suppress(CannotDo, subprocess.SubprocessError):
            return self.try_run(["systemctl", "is-system-running"], timeout_s=10).stdout.strip() or "starting"
        return "starting"

    def install(self, disk_bytes: int, neighbours: dict[str, str]) -> None:
        """Give it a disk and an identity, unless it has them; `neighbours` are names and addresses for /etc/hosts."""
        if (self.directory / "disk.img").exists():
            return
        etc = self.directory / "etc"
        (etc / "lab").mkdir(parents=True, exist_ok=True)
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        (etc / "resolv.conf").write_text("# No name server is reachable from here.\n")
        hosts = [f"{address} {name}" for name, address in neighbours.items()]
        (etc / "hosts").write_text("\n".join(["127.0.0.1 localhost", "::1 localhost", *hosts]) + "\n")
        (etc / "lab/machine.env").write_text(
            f"ADDRESS={self.address}\nPREFIX_LENGTH={self._wire.prefix_length}\nGATEWAY={self._wire.gateway}\n"
        )
        new = self.directory / "disk.new"
        with new.open("wb") as image:
            image.truncate(disk_bytes)
        _run(["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(new)])
        new.rename(self.directory / "disk.img")

    def power_on(self, layers: Layers, images: Path, kubectl: Path | None) -> None:
        """Switch it on; does not wait for the boot. Safe when it is on.

        `images` holds archives that the machine finds at `IMAGES`, `kubectl` is the program it gets.
        """
        if self.is_on():
            return
        mounted = cgroups.hierarchies()
        cgroups.remove(mounted, self._cgroup)
        leaves = cgroups.create(mounted, self._cgroup)
        # For this box all machines of a lab are one group: with one process's share they would stand still for seconds
        # whenever there is much else to do.
        cgroups.weigh(mounted, self._cgroup.partition("/")[0], WEIGHT)
        bindings = [f"--bind-ro={images}:{IMAGES}"]
        if kubectl is not None:
            bindings.append(f"--bind-ro={kubectl}:/usr/local/bin/kubectl")
        command = [
            "unshare", "--mount", "--propagation=private",
            str(KEEPER), str(self.directory), layers.stacked, str(layers.system), " ".join(map(str, leaves)),
            f"--machine={self._wire.container(self.name)}", f"--hostname={self.name}",
            f"--network-bridge={self._wire.bridge}", *bindings,
        ]  # fmt: skip
        with (self.directory / "console.log").open("ab") as console:
            keeper = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True, cwd="/"
            )
        record = {"pid": keeper.pid, "start": start_time(keeper.pid)}
        new = self.directory / "keeper.new"
        new.write_text(json.dumps(record))
        new.rename(self.directory / "keeper.json")

    def await_boot(self) -> str:
        """Wait until its systemd has started everything; return running or degraded.

        Raises:
            CannotDo: it does not boot.
        """
        give_up_at = time.monotonic() + BOOT_TIMEOUT_S
        while time.monotonic() < give_up_at:
            state = self.state()
            if state in ("running", "degraded"):
                return state
            if state == "off":
                break
            time.sleep(0.1)
        raise CannotDo(f"machine {self.name} does not boot: see the end of {self.directory}/console.log")

    def power_off(self) -> None:
        """Cut its power: everything in it stops at once, with no goodbye. Safe when it is off.

        Raises:
            CannotDo: the kernel did not let go of it in time.
        """
        keeper, first = self._keeper(), self.pid()
        if keeper is not None:
            _kill(keeper)  # before its child, which it would boot again
            if first is not None:
                _kill(first)
        give_up_at = time.monotonic() + OFF_TIMEOUT_S
        mounted = cgroups.hierarchies()
        while left := cgroups.processes(mounted, self._cgroup):
            if time.monotonic() > give_up_at:
                raise CannotDo(f"machine {self.name}: processes were killed and are still there: {sorted(left)}")
            if time.monotonic() > give_up_at - OFF_TIMEOUT_S / 2:
                for pid in left:
                    _kill(pid)
            time.sleep(0.02)
        cgroups.remove(mounted, self._cgroup)
        with contextlib.suppress(FileNotFoundError):
            (self.directory / "keeper.json").unlink()

    def destroy(self) -> None:
        """Switch it off and remove its traces from the kernel; its directory stays."""
        self.power_off()
        cgroups.remove_level_above(self._cgroup)

    # -- use

    def argv(self, command: Sequence[str]) -> list[str]:
        """Return what to run here so that `command` runs in the machine.

        Raises:
            CannotDo: the machine is off.
        """
        pid = self.pid()
        if pid is None:
            raise CannotDo(f"machine {self.name} is off: `steer lab power-on {self.name}`")
        directories = [
            str(hierarchy.mountpoint / self._cgroup) for hierarchy in cgroups.hierarchies() if hierarchy.version == 1
        ]
        entering = ["--all", "--no-fork", "--wdns=/root", "--", "env", "-i", f"TERM={os.environ.get('TERM', 'dumb')}"]
        entering += [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        entering += ["/bin/sh", "-c", BECOME_PARENT, "in-machine", *command]
        return ["/bin/sh", "-c", ENTER, "enter-machine", str(pid), " ".join(directories), *entering]

    def try_run(
        self, command: Sequence[str], *, text: str | None = None, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` in the machine and return how it went.

        Raises:
            CannotDo: the machine is off.
            subprocess.TimeoutExpired: it took longer.
        """
        argv = self.argv(command)
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(text, timeout=timeout_s)
        except BaseException:
            kill_group(process.pid)
            process.wait()
            raise
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def run(self, command: Sequence[str], *, text: str | None = None, timeout_s: float = 60.0) -> str:
        """Run `command` in the machine and return its output.

        Raises:
            CannotDo: the machine is off, or the command failed or took longer than `timeout_s`.
        """
        try:
            done = self.try_run(command, text=text, timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            raise CannotDo(f"{self.name}: `{' '.join(command)}` took more than {timeout_s:.0f} s") from None
        if done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
            raise CannotDo(f"{self.name}: `{' '.join(command)}` failed: {said}")
        return done.stdout


def kill_group(pid: int) -> None:
    """Kill what a process that leads a session of its own has started, in whichever machine.

    The program that enters a machine goes on as its child's parent; killed alone, it would leave the child behind.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _is_first_process(pid: int) -> bool:
    """Whether a process is number 1 of a pid namespace below ours."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return len(numbers) > 1 and numbers[-1] == "1"
    return False


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotDo(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
