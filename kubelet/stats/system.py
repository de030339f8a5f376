"""What the machine uses, and of it the kubelet and its runtime, read from /proc and control groups."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import Final, NamedTuple

from kubelet import machine
from kubelet.cgroups import Cgroups, GroupUsage

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Memory(NamedTuple):
    """What the machine holds in memory, in bytes, and how often a page was not there."""

    used_bytes: int
    working_set_bytes: int
    available_bytes: int
    rss_bytes: int
    faults: int
    major_faults: int
    swapped_bytes: int


def memory() -> Memory:
    """Return what the kernel says of all memory; zeros for what it does not."""
    info, events = machine.meminfo(), _numbers(_PROC / "vmstat")
    available = info.get("MemAvailable", 0)
    return Memory(
        info.get("MemTotal", 0) - info.get("MemFree", 0),
        max(0, machine.memory_bytes() - available),
        available,
        info.get("AnonPages", 0),
        events.get("pgfault", 0),
        events.get("pgmajfault", 0),
        info.get("SwapTotal", 0) - info.get("SwapFree", 0),
    )


class Process(NamedTuple):
    """A process of the node's own, and since when it runs, in seconds since the epoch."""

    pid: int
    started_at: float
    usage: GroupUsage


def process(pid: int, cgroups: Cgroups) -> Process | None:
    """Return what a process uses: its service's group if it has one (systemd), else itself; None if it is gone."""
    try:
        # The name, in parentheses, may hold anything; the numbers begin with the third field.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        status = _numbers(_PROC / str(pid) / "status")
    except OSError:
        return None
    began_s = int(fields[19]) / _TICKS
    booted_at = _numbers(_PROC / "stat").get("btime", 0)
    service = _service(pid)
    if service and (used := cgroups.usage(service)).used_bytes:
        return Process(pid, booted_at + began_s, used)
    resident, anonymous = status.get("VmRSS:", 0) * 1024, status.get("RssAnon:", 0) * 1024
    cpu_ns = (int(fields[11]) + int(fields[12])) * (1_000_000_000 // _TICKS)
    return Process(pid, booted_at + began_s, GroupUsage(cpu_ns, resident, 0, anonymous, int(fields[7]), int(fields[9])))


def listener(endpoint: str) -> int:
    """Return who listens on a Unix socket ("unix:///run/x.sock"), by process id here; 0 if nobody, or not from here."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        connection.connect(endpoint.removeprefix("unix://"))
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])
    return 0


def _service(pid: int) -> str:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory") and path.endswith(".service"):
                return path
    return ""


def _numbers(path: Path) -> dict[str, int]:
    """Return lines of a name and a number; others are left out."""
    found = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) >= 2 and words[1].isdecimal():
                found[words[0]] = int(words[1])
    return found
