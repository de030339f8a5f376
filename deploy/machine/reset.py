"""`steer reset`: a machine that was part of a cluster becomes a bare one again; `steer leave` does it last.

Everything that the cluster put on the machine goes: containers, units, settings, keys, data, interfaces, rules. What
stays is the installed code, users, and backups of the store, unless they are to go too. Safe to repeat, also on a
machine where `init` or `join` failed half way.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from deploy import cgroups
from deploy.machine import host
from deploy.machine.build import TARGET, TIMERS
from deploy.machine.host import UNIT_FILES, Systemd
from deploy.machine.plan import CONTROL_PLANE, NODE, Layout, service
from deploy.machine.steps import Step, never
from deploy.processes import CLUSTER_CIDR, SERVICE_CIDR
from deploy.report import CannotDo

BRIDGE = "cni0"
ROUTE_PROTOCOL = "77"
PODS = "kubepods"
CONTAINERS_GONE_WITHIN_S = 20.0
UNMOUNT_ROUNDS = 5


def steps(layout: Layout, systemd: Systemd, *, purge: bool) -> list[Step]:
    """Return the steps; with `purge` the backups and the installed code go as well."""
    kept = () if purge else (layout.snapshots,)
    return [
        Step("stop the units", never, lambda: _stop(systemd)),
        Step("end the containers", lambda: not pod_processes(), _end_containers),
        Step("remove the units", lambda: not _our_units(layout), lambda: _remove_units(layout, systemd)),
        Step("unmount volumes", lambda: not _mounts(layout), lambda: _unmount(layout)),
        Step("remove interfaces, routes and rules", never, _clear_network),
        Step("delete the logs of pods", lambda: not _pod_logs(layout), lambda: _delete_logs(layout)),
        Step(
            f"delete {layout.etc} and {layout.data}" + ("" if purge else f", but {layout.snapshots}"),
            lambda: not layout.etc.exists() and not _data(layout, kept),
            lambda: _delete(layout, kept),
        ),
        *([Step(f"delete {layout.prefix}", lambda: False, lambda: _delete_code(layout))] if purge else []),
    ]


def _stop(systemd: Systemd) -> None:
    timers = {timer for each in TIMERS.values() for timer in each}
    # The kubelet first: it would start again what is ended.
    first = [service("kubelet"), *sorted(timers), service("sync"), service("snapshot")]
    rest = [service(name) for name in (*reversed(CONTROL_PLANE), *NODE) if name not in ("kubelet", "containerd")]
    systemd.stop(*first)
    systemd.stop(*rest, service("containerd"), TARGET)


def pod_processes() -> set[int]:
    """Return the processes of all pods of this machine, by their control groups."""
    return cgroups.processes(cgroups.hierarchies(), PODS)


def _end_containers() -> None:
    """Kill whatever runs in a pod, and the shims that watched over it."""
    deadline = time.monotonic() + CONTAINERS_GONE_WITHIN_S
    while left := pod_processes() | _shims():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise CannotDo(f"{len(left)} processes of containers do not end: {sorted(left)[:10]}")
        time.sleep(0.1)
    cgroups.remove(cgroups.hierarchies(), PODS)


def _shims() -> set[int]:
    """Return the shims of our containerd: its socket is in their command line."""
    found = set()
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
            if b"containerd-shim" in arguments[0] and any(b"/run/steersman/containerd/" in each for each in arguments):
                found.add(int(directory.name))
    return found


def _our_units(layout: Layout) -> list[Path]:
    return [layout.units / file.name for file in UNIT_FILES.glob("steersman*") if (layout.units / file.name).exists()]


def _remove_units(layout: Layout, systemd: Systemd) -> None:
    names = [path.name for path in _our_units(layout) if path.is_file()]
    systemd.disable(*names)
    for path in _our_units(layout):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    systemd.reload()
    subprocess.run(["systemctl", "reset-failed", "steersman-*"], capture_output=True, check=False)


def _mounts(layout: Layout) -> list[str]:
    """Return what is mounted below our directories, the deepest first."""
    ours = (f"{layout.data}/", "/run/steersman/")
    listed = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((place for place in listed if f"{place}/".startswith(ours)), key=len, reverse=True)


def _unmount(layout: Layout) -> None:
    for _ in range(UNMOUNT_ROUNDS):  # one may lie over another
        for place in _mounts(layout):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
        if not _mounts(layout):
            return
    raise CannotDo(f"could not unmount {', '.join(_mounts(layout)[:5])}")


def _clear_network() -> None:
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)
    routes = [["flush", "proto", ROUTE_PROTOCOL]]
    routes += [["delete", "unreachable", network] for network in (CLUSTER_CIDR, SERVICE_CIDR)]
    for route in routes:
        subprocess.run(["ip", "-4", "route", *route], capture_output=True, check=False)
    for save in ("iptables-save", "iptables-legacy-save"):
        saved = subprocess.run([save], capture_output=True, text=True, check=False)
        if saved.returncode or "KUBE-" not in saved.stdout:
            continue
        rest = "\n".join(line for line in saved.stdout.splitlines() if "KUBE-" not in line) + "\n"
        subprocess.run([save.replace("-save", "-restore")], input=rest, text=True, capture_output=True, check=False)


def _data(layout: Layout, kept: tuple[Path, ...]) -> list[Path]:
    if not layout.data.exists():
        return []
    return [path for path in layout.data.iterdir() if path not in kept]


def _pod_logs(layout: Layout) -> list[Path]:
    """Return directories of logs that are this kubelet's: another's may lie beside them, so by the pods it knows."""
    pods = layout.data / "kubelet/pods"
    known = {each.name for each in pods.iterdir()} if pods.exists() else set()
    logs = layout.root / "var/log/pods"
    return [each for each in logs.iterdir() if each.name.rpartition("_")[2] in known] if logs.exists() else []


def _delete_logs(layout: Layout) -> None:
    for directory in _pod_logs(layout):
        shutil.rmtree(directory)
    for link in (layout.root / "var/log/containers").glob("*.log"):
        if link.is_symlink() and not link.exists():
            link.unlink()


def _delete(layout: Layout, kept: tuple[Path, ...]) -> None:
    for path in _data(layout, kept):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(layout.etc, ignore_errors=True)
    shutil.rmtree(layout.root / "run/steersman", ignore_errors=True)
    with contextlib.suppress(OSError):
        layout.data.rmdir()


def _delete_code(layout: Layout) -> None:
    shutil.rmtree(layout.prefix, ignore_errors=True)
    (layout.root / "usr/local/bin/steer").unlink(missing_ok=True)


def is_part_of_a_cluster(layout: Layout) -> bool:
    """Whether there is anything to reset."""
    return host.read_machine(layout) is not None or layout.etc.exists() or bool(_our_units(layout))
