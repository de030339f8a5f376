"""What a process uses, under the names that every Prometheus client gives it; read from /proc at the scrape.

Prometheus documentation, "Writing client libraries", "Process metrics".
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import resource
from pathlib import Path

from component.metrics import Family, Gauge, Labels

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


def families() -> list[Family]:
    """Return the metrics of the process that asks."""
    virtual, resident = _memory_bytes()
    return [
        _told("process_cpu_seconds_total", "Time on processors.", _cpu_s(), "counter"),
        _told("process_resident_memory_bytes", "Memory it holds.", resident),
        _told("process_virtual_memory_bytes", "Addresses it has taken.", virtual),
        _told("process_start_time_seconds", "When it started, since the epoch.", _started_s()),
        _told("process_open_fds", "Files and sockets it has open.", _open_files()),
        _told("process_max_fds", "How many it may have.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        Gauge("python_gc_collections_total", "Garbage collections.", _collections, ("generation",), "counter"),
        Gauge("python_info", "What runs it; always 1.", lambda: {(platform.python_version(),): 1}, ("version",)),
    ]


def _told(name: str, help: str, value: float, kind: str = "gauge") -> Gauge:
    return Gauge(name, help, lambda: value, kind="counter" if kind == "counter" else "gauge")


def _memory_bytes() -> tuple[int, int]:
    with contextlib.suppress(OSError, ValueError):
        pages = Path("/proc/self/statm").read_text().split()
        return int(pages[0]) * _PAGE_BYTES, int(pages[1]) * _PAGE_BYTES
    return 0, 0


def _cpu_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return round(spent.ru_utime + spent.ru_stime, 6)


def _started_s() -> float:
    with contextlib.suppress(OSError, ValueError, StopIteration):
        # The program's name, in brackets, may hold anything: fields are counted from its end (proc(5)).
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        lines = Path("/proc/stat").read_text().splitlines()
        booted = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
        return booted + ticks / _TICKS
    return 0


def _open_files() -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/fd"))
    return 0


def _collections() -> dict[Labels, float]:
    return {(str(generation),): stats["collections"] for generation, stats in enumerate(gc.get_stats())}
