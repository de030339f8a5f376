"""The first process of a node made of namespaces: makes the node's view of the machine, then keeps containerd running.

Run by path with `python -S -I node_init.py PLAN`, standing alone on the standard library, so that it is small and needs
nothing from the node's environment. PLAN is a JSON file that `node_host.py` wrote: it decides everything, this only
carries it out. The steps:

1. enter the node's cgroups, and unshare pid, mount, network, UTS, IPC and cgroup namespaces;
2. fork: the child is process 1 of the node; the parent records its pid and start time, then ends. The child waits for
   that record before it goes on, so that a node which nobody could find again never runs;
3. mount what a machine of its own would have: /proc, /sys, its cgroups as the root, an empty /run, its own
   /etc/hostname and the like; make mounts shared, as kubelets expect (mount propagation);
4. print `ready`, start the plan's services, restart them with back-off when they end, and reap orphans forever.

Killing this process is a power cut: the kernel takes every process, mount and interface of the node with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
EVERY_NAMESPACE = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 2, 4, 8, 4096, 16384
MS_PRIVATE, MS_SHARED = 1 << 18, 1 << 20

BACKOFF_S_MIN, BACKOFF_S_MAX, STEADY_S = 0.1, 5.0, 10.0

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError with errno's meaning when a libc call failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    """Mount `source` on `target`, as the system call does."""
    arguments = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    check(libc.mount(*arguments, flags, os.fsencode(options) if options else None), f"mount {source} on {target}")


def start_time(pid: int) -> int:
    """Return when `pid` started, in clock ticks since boot: with the pid, a name no other process ever has."""
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[19])


def say(message: str) -> None:
    """Write one line to the node's console."""
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} node_init: {message}", file=sys.stderr, flush=True)


def begin(plan: dict[str, Any]) -> int:
    """Steps 1 and 2: become (in the child) process 1 of a new node; the parent never returns."""
    for directory in plan["cgroups"]:
        with open(f"{directory}/cgroup.procs", "w") as procs:
            procs.write("0")
    # A namespace's root is the cgroup its maker is in, so on version 2 step into the leaf only afterwards.
    check(libc.unshare(EVERY_NAMESPACE), "unshare")
    for directory in plan["cgroup_leaves"]:
        with open(f"{directory}/cgroup.procs", "w") as procs:
            procs.write("0")
    go_read, go_write = os.pipe()
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go_write)
        os.close(ready_read)
        os.setsid()
        if os.read(go_read, 1) != b"g":
            os._exit(1)
        os.close(go_read)
        return ready_write
    os.close(go_read)
    os.close(ready_write)
    record = {"pid": child, "start": start_time(child), "cgroups": plan["cgroup_leaves"] or plan["cgroups"]}
    temporary = plan["record"] + ".new"
    with open(temporary, "w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, plan["record"])
    os.write(go_write, b"g")
    sys.exit(0 if os.read(ready_read, 1) == b"r" else 1)


def furnish(plan: dict[str, Any]) -> None:
    """Step 3: mounts, hostname, kernel settings."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for kind, target, options in plan["cgroup_mounts"]:
        if kind != "tmpfs" and target != "/sys/fs/cgroup":
            os.makedirs(target, exist_ok=True)
        mount(kind, target, kind, MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    for name, target in plan["cgroup_links"]:
        os.symlink(target, name)
    for directory in plan["hand_down"]:
        with open(f"{directory}/cgroup.controllers") as file:
            controllers = file.read().split()
        for controller in controllers:
            try:
                with open(f"{directory}/cgroup.subtree_control", "w") as file:
                    file.write(f"+{controller}")
            except OSError as error:
                say(f"controller {controller} is not for pods: {error}")
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for directory in ("/run/lock", "/run/netns"):
        os.makedirs(directory)
    for source, target in plan["binds"]:
        target = os.path.realpath(target)
        if target.startswith("/run/"):
            # The machine's /etc/resolv.conf may be a link into the /run that was just covered.
            os.makedirs(os.path.dirname(target), exist_ok=True)
            open(target, "w").close()
        if os.path.exists(target):
            mount(source, target, None, MS_BIND)
    mount("none", "/", None, MS_REC | MS_SHARED)
    socket.sethostname(plan["hostname"])
    for path, value in plan["sysctls"]:
        try:
            with open(path, "w") as file:
                file.write(value)
        except OSError as error:
            say(f"{path} = {value}: {error}")


class Service:
    """One command kept running."""

    def __init__(self, argv: list[str], log: str) -> None:
        self.argv, self.log = argv, log
        self.pid, self.started, self.start_at, self.backoff_s = 0, 0.0, 0.0, BACKOFF_S_MIN

    def start(self, now: float) -> None:
        """Fork and exec; the child gets default signals and a session of its own."""
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                signal.pthread_sigmask(signal.SIG_SETMASK, [])
                log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.execvp(self.argv[0], self.argv)
            except OSError as error:
                say(f"{self.argv[0]}: {error}")
            os._exit(127)
        self.pid, self.started = pid, now
        say(f"started {self.argv[0]}, pid {pid}")

    def ended(self, status: int, now: float) -> None:
        """Plan the next start: soon after a long life, later after each short one."""
        lived_s = now - self.started
        self.backoff_s = BACKOFF_S_MIN if lived_s > STEADY_S else min(BACKOFF_S_MAX, self.backoff_s * 2)
        self.pid, self.start_at = 0, now + self.backoff_s
        say(f"{self.argv[0]} ended ({status}) after {lived_s:.1f} s; again in {self.backoff_s:.1f} s")


def keep_running(services: Sequence[Service]) -> NoReturn:
    """Step 4: start, restart, reap."""
    while True:
        now = time.monotonic()
        for service in services:
            if not service.pid and service.start_at <= now:
                service.start(now)
        due = [service.start_at for service in services if not service.pid]
        signal.sigtimedwait([signal.SIGCHLD], max(0.01, min(due) - now) if due else 3600)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            for service in services:
                if service.pid == pid:
                    service.ended(os.waitstatus_to_exitcode(status), time.monotonic())


def main() -> None:
    """Run the plan named on the command line."""
    with open(sys.argv[1]) as file:
        plan = json.load(file)
    ready = begin(plan)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    furnish(plan)
    os.write(ready, b"r")
    os.close(ready)
    say(f"{plan['hostname']} is on")
    keep_running([Service(one["argv"], one["log"]) for one in plan["services"]])


main()
