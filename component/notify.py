"""Telling systemd that a process is up, alive, and what it waits for (sd_notify(3)).

The protocol is a datagram of `NAME=value` lines to the socket that systemd names in the environment; without it, as
under `steer up`, there is nobody to tell. `READY=1` means that the process is up and listens; what it still waits for
goes into its status line, because a process whose neighbours are down must not be restarted for it. `WATCHDOG=1` is
sent by the event loop itself, so a loop that hangs is found out.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from component.health import Check

SAY_EVERY_S = 5.0


def send(*lines: str) -> None:
    """Send lines such as `READY=1`; does nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.connect(address)
            sender.send("\n".join(lines).encode())
        except OSError:
            return  # systemd is being restarted; the next one will hear


def interval_s() -> float:
    """Return how often to say that we are alive: twice as often as systemd wants to hear it."""
    wanted = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or int(wanted) == 0 or (mine and mine != str(os.getpid())):
        return SAY_EVERY_S
    return min(SAY_EVERY_S, int(wanted) / 2e6)


def status(checks: Mapping[str, Check]) -> str:
    """Return what the process waits for in one line; `ready` when for nothing."""
    problems = [f"{name}: {problem}" for name, check in checks.items() if (problem := check()) is not None]
    return ("not ready: " + "; ".join(problems)).replace("\n", " ") if problems else "ready"


async def run(checks: Mapping[str, Check]) -> None:
    """Say that we are up, and from then on that we are alive, until cancelled.

    That the process stops is not said here but by `component.signals`: a store begins anew within its process when it
    has taken a state over, and systemd kills whoever says that it stops and then does not.
    """
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    send("READY=1", f"STATUS={status(checks)}")
    period_s = interval_s()
    while True:
        await asyncio.sleep(period_s)
        send("WATCHDOG=1", f"STATUS={status(checks)}")
