"""Where the members live: networks, disks and clocks that can be broken without touching the machine's own.

`Loopback` needs no rights and offers little. `Isolated` needs root: it runs inside namespaces made for it alone
(`enter`), so that interfaces, mounts, loop devices and processes all vanish with it, even on kill -9. In it every
member has a network namespace on a bridge, a small ext4 on a loop device whose backing file lies in a tmpfs, and, where
asked for, a time namespace of its own.

Three ways to break a disk, all real to the member: the filesystem is frozen (FIFREEZE: writers wait in the kernel),
filled up (writes fail with ENOSPC), or the tmpfs under the device is filled up, so that the filesystem takes writes
which the device then refuses, and fsync fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

INSIDE = "STEER_CHAOS_INSIDE"
"""Set in the environment once `enter` has done its work."""
MEMBERS_MAX = 9
PORTS_MIN, PORTS_MAX = 12_000, 32_000
DEVICE_BYTES = 512 << 20
BACKING_BYTES = 640 << 20
_UNSHARE = ("unshare", "--fork", "--kill-child", "--pid", "--net", "--mount", "--mount-proc", "--")
_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878  # _IOWR('X', 119, int), _IOWR('X', 120, int)


class ArenaFailed(Exception):
    """The surroundings can't be made or broken as asked; the message says what failed."""


class Arena(Protocol):
    """Surroundings of the members, by slot, counted from 1. A member that is replaced stays in its slot."""

    @property
    def offers(self) -> Collection[str]:
        """What can be broken: `network`, `disk`, `time`."""
        ...

    def address(self, slot: int) -> str:
        """Return the slot's IP address."""
        ...

    def ports(self, slot: int) -> tuple[int, int, int]:
        """Return its ports for clients, peers and metrics."""
        ...

    def directory(self, slot: int) -> Path:
        """Return the directory on its disk."""
        ...

    def spawn(self, slot: int, command: Sequence[str], log: Path, clock_offset_s: int = 0) -> subprocess.Popen[bytes]:
        """Start a process there, its monotonic clock off by so many seconds, its output appended to `log`."""
        ...

    def cut(self, pairs: Collection[tuple[int, int]]) -> None:
        """Drop packets from the first slot of each pair to the second, in that direction only."""
        ...

    def mend_network(self) -> int:
        """Let all packets through; return how many were dropped since."""
        ...

    def freeze(self, slot: int) -> None:
        """Have every write to the slot's disk wait."""
        ...

    def thaw(self, slot: int) -> None:
        """Let them go on; safe where it is not frozen."""
        ...

    def fill(self, slot: int) -> None:
        """Leave no space on the slot's disk."""
        ...

    def fail(self, slot: int) -> None:
        """Have the device under the slot's disk refuse what it has no place for."""
        ...

    def mend_disk(self, slot: int) -> None:
        """Make the slot's disk good again; nothing may run on it. What was on it is kept, unless the device failed."""
        ...


class Loopback:
    """Members side by side on 127.0.0.1, in one directory: processes can be broken, their surroundings can't."""

    offers: Collection[str] = frozenset()

    def __init__(self, directory: Path, slots: int) -> None:
        self._directory = directory
        self._ports = {slot: (_free_port(), _free_port(), _free_port()) for slot in range(1, slots + 1)}
        for slot in self._ports:
            self.directory(slot).mkdir(parents=True)

    def address(self, slot: int) -> str:
        return "127.0.0.1"

    def ports(self, slot: int) -> tuple[int, int, int]:
        return self._ports[slot]

    def directory(self, slot: int) -> Path:
        return self._directory / f"disk-{slot}"

    def spawn(self, slot: int, command: Sequence[str], log: Path, clock_offset_s: int = 0) -> subprocess.Popen[bytes]:
        if clock_offset_s:
            raise ArenaFailed("clocks can't be set apart without root")
        return _spawn(["setpriv", "--pdeathsig", "KILL", *command], log)

    def cut(self, pairs: Collection[tuple[int, int]]) -> None:
        raise ArenaFailed("networks can't be cut without root")

    def mend_network(self) -> int:
        return 0

    def freeze(self, slot: int) -> None:
        raise ArenaFailed("disks can't be broken without root")

    fill = fail = freeze

    def thaw(self, slot: int) -> None:
        return

    mend_disk = thaw


class Isolated:
    """Namespaces, bridges, loop devices: everything in private namespaces of this process (see `enter`)."""

    offers: Collection[str] = frozenset({"network", "disk", "time"})

    def __init__(self, directory: Path, slots: int) -> None:
        """Build the network and the disks.

        Raises:
            ArenaFailed: this kernel or container does not let us.
        """
        assert os.environ.get(INSIDE), "call enter() first"
        assert slots <= MEMBERS_MAX
        self._directory = directory
        self._frozen: set[int] = set()
        Path("/run/netns").mkdir(exist_ok=True)
        _run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "br0", "type", "bridge")
        _run("ip", "addr", "add", "10.77.0.254/24", "dev", "br0")
        _run("ip", "link", "set", "br0", "up")
        for slot in range(1, slots + 1):
            self._add_host(slot)
            self._add_disk(slot)

    def address(self, slot: int) -> str:
        return f"10.77.0.{slot}"

    def ports(self, slot: int) -> tuple[int, int, int]:
        return 2379, 2380, 2381

    def directory(self, slot: int) -> Path:
        return self._directory / f"disk-{slot}"

    def spawn(self, slot: int, command: Sequence[str], log: Path, clock_offset_s: int = 0) -> subprocess.Popen[bytes]:
        prefix = ["nsenter", f"--net=/run/netns/m{slot}", "--", "setpriv", "--pdeathsig", "KILL"]
        if clock_offset_s:
            prefix += ["unshare", "--time", "--monotonic", str(clock_offset_s), "--boottime", str(clock_offset_s), "--"]
        return _spawn([*prefix, *command], log)

    # -- network

    def cut(self, pairs: Collection[tuple[int, int]]) -> None:
        for source, target in sorted(pairs):
            self._iptables(target, "-A", "INPUT", "-s", self.address(source), "-j", "DROP")

    def mend_network(self) -> int:
        dropped = 0
        for netns in sorted(Path("/run/netns").iterdir()):
            slot = int(netns.name[1:])
            for line in self._iptables(slot, "-nvxL", "INPUT").splitlines():
                words = line.split()
                if len(words) > 2 and words[2] == "DROP":
                    dropped += int(words[0])
            self._iptables(slot, "-F", "INPUT")
        return dropped

    def _iptables(self, slot: int, *arguments: str) -> str:
        return _run("nsenter", f"--net=/run/netns/m{slot}", "iptables", "-w", *arguments)

    def _add_host(self, slot: int) -> None:
        name = f"m{slot}"
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", f"to-{name}", "master", "br0", "up")
        _run("ip", "-n", name, "addr", "add", f"{self.address(slot)}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "eth0", "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")

    # -- disks

    def freeze(self, slot: int) -> None:
        if slot not in self._frozen:
            self._freezing(slot, _FIFREEZE)
            self._frozen.add(slot)

    def thaw(self, slot: int) -> None:
        if slot in self._frozen:
            self._freezing(slot, _FITHAW)
            self._frozen.discard(slot)

    def fill(self, slot: int) -> None:
        _fill(self.directory(slot) / "filler")

    def fail(self, slot: int) -> None:
        _fill(self._backing(slot) / "filler")

    def mend_disk(self, slot: int) -> None:
        self.thaw(slot)
        with contextlib.suppress(OSError):
            (self.directory(slot) / "filler").unlink(missing_ok=True)
        filler = self._backing(slot) / "filler"
        if not filler.exists():
            return
        # A device that failed once is not to be believed: the kernel may have told a writer that all was well before it
        # noticed (seen here: fdatasync returned, and the block was gone). So it is another device, and empty.
        filler.unlink()
        _run("umount", str(self.directory(slot)))
        self._image(slot).unlink()
        self._format(slot)

    def _add_disk(self, slot: int) -> None:
        self._backing(slot).mkdir(parents=True)
        self.directory(slot).mkdir(parents=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={BACKING_BYTES}", "tmpfs", str(self._backing(slot)))
        self._format(slot)

    def _format(self, slot: int) -> None:
        with self._image(slot).open("wb") as image:
            image.truncate(DEVICE_BYTES)
        _run("mkfs.ext4", "-q", "-m", "0", str(self._image(slot)))
        # With discard, space given back is a hole in the image again: so a full tmpfs is felt soon.
        _run("mount", "-o", "loop,discard,noatime", str(self._image(slot)), str(self.directory(slot)))
        shutil.rmtree(self.directory(slot) / "lost+found", ignore_errors=True)

    def _backing(self, slot: int) -> Path:
        return self._directory / f"backing-{slot}"

    def _image(self, slot: int) -> Path:
        return self._backing(slot) / "image"

    def _freezing(self, slot: int, request: int) -> None:
        descriptor = os.open(self.directory(slot), os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, request, 0)
        except OSError as error:
            raise ArenaFailed(f"the disk of slot {slot} can't be frozen or thawed: {error}") from None
        finally:
            os.close(descriptor)


def may_isolate() -> str | None:
    """Return why namespaces can't be used, or None where they can."""
    if os.geteuid() != 0:
        return "only root can make namespaces and disks"
    for tool in ("unshare", "nsenter", "setpriv", "ip", "iptables", "mount", "mkfs.ext4"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if not os.environ.get(INSIDE):
        tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            return f"this machine does not let even root make namespaces ({tried.stderr.strip()})"
    return None


def enter(command: Sequence[str]) -> int:
    """Run `command` inside namespaces of its own, which end all that it started; return its exit code."""
    # Should this process be killed, unshare is too, and with it everything inside.
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *_UNSHARE, *command], env={**os.environ, INSIDE: "1"})
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # it had the same signal, and tidies up


def _spawn(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )


def _fill(path: Path) -> None:
    """Write a file until the filesystem it is on has no space left."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096):
            block = bytes(size)
            with contextlib.suppress(OSError):
                while True:
                    file.write(block)
        with contextlib.suppress(OSError):
            os.fsync(file.fileno())


_ports = itertools.count(random.SystemRandom().randrange(PORTS_MIN, PORTS_MAX))


def _free_port() -> int:
    """Return a port that is free, and stays so while its member is down: connections take theirs from above."""
    for number in itertools.islice(_ports, PORTS_MAX - PORTS_MIN):
        port = PORTS_MIN + number % (PORTS_MAX - PORTS_MIN)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise ArenaFailed(f"no port from {PORTS_MIN} to {PORTS_MAX} is free")


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ArenaFailed(f"{' '.join(command)}: {error}") from None
    if done.returncode:
        raise ArenaFailed(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def is_waiting_for_disk(pid: int) -> bool:
    """Whether a thread of the process sleeps in the kernel without being interruptible."""
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError, IndexError):
            if task.read_text().rpartition(")")[2].split()[0] == "D":
                return True
    return False


def is_paused(pid: int) -> bool:
    """Whether the process is stopped by a signal."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False


def has_own_clock(pid: int) -> bool:
    """Whether the process lives in another time namespace than we do."""
    try:
        return os.readlink(f"/proc/{pid}/ns/time") != os.readlink("/proc/self/ns/time")
    except OSError:
        return False


PYTHON = sys.executable
