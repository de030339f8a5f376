"""Hears processes say that they are alive, as systemd does on real machines (sd_notify(3), `component.notify`).

An API server that hangs keeps its share of the port that several have together: the kernel goes on giving it
connections, which nobody takes. So one that says nothing for too long is to be ended, and one that is stopped
(SIGSTOP) sooner, since it is known then that it is not merely slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import struct
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("supervisor")

SAY_EVERY_S = 1.0
LOOK_EVERY_S = 0.5
STOPPED_S = 2.5
"""How long a process that is stopped may say nothing."""
_MESSAGE_BYTES_MAX = 4096
_CREDENTIALS = struct.Struct("3i")


class Watchdog:
    """One socket for all processes of a cluster; the kernel says who sends.

    Args:
        data_dir: the cluster's; the socket's name follows from it, so that a supervisor that takes processes over hears
            them again.
        monotonic: the time in seconds.
    """

    def __init__(self, data_dir: Path, monotonic: Callable[[], float]) -> None:
        # Abstract, since a path may be too long for a socket.
        self._name = f"steersman-{hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()[:24]}"
        self._monotonic = monotonic
        self._heard: dict[int, float] = {}
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Begin to hear; without the socket, which somebody else may hold, nobody is ever taken to hang."""
        hearer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        hearer.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            hearer.bind(f"\0{self._name}")
        except OSError as error:
            log.warning("processes that hang will not be noticed", extra={"error": error})
            hearer.close()
            return
        self._socket = hearer
        asyncio.get_running_loop().add_reader(hearer, self._hear)

    def close(self) -> None:
        """Hear no more."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def environment(self) -> dict[str, str]:
        """Return what a process must be told to say that it is alive."""
        return {"NOTIFY_SOCKET": f"@{self._name}", "WATCHDOG_USEC": str(int(SAY_EVERY_S * 2e6))}

    async def until_hung(self, pid: int, within_s: float, *, is_new: bool) -> None:
        """Return when a process has said nothing for `within_s`.

        Args:
            pid: the process.
            within_s: how long it may be silent.
            is_new: whether it was started just now; it has all the time to say something for the first time.
        """
        if self._socket is None:
            await asyncio.Event().wait()
        if is_new:
            self._heard.pop(pid, None)  # of an earlier process
        else:
            self._heard[pid] = self._monotonic()
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                heard = self._heard.get(pid)
                silent_s = self._monotonic() - heard if heard is not None else 0.0
                if silent_s > within_s or (silent_s > STOPPED_S and is_stopped(pid)):
                    return
        finally:
            self._heard.pop(pid, None)

    def _hear(self) -> None:
        assert self._socket is not None
        space = socket.CMSG_SPACE(_CREDENTIALS.size)
        with contextlib.suppress(BlockingIOError):
            while True:
                _, told, _, _ = self._socket.recvmsg(_MESSAGE_BYTES_MAX, space)
                for level, kind, content in told:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                        self._heard[_CREDENTIALS.unpack(content)[0]] = self._monotonic()


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by a signal or a debugger."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False
