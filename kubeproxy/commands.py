"""Runs the kernel's command line tools: bounded in time, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

KILLED_WITHIN_S = 1.0


class CommandMissing(Exception):
    """The program is not installed."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended."""

    code: int
    output: str
    errors: str


async def run(command: Sequence[str], text: str = "", *, timeout_s: float) -> Result:
    """Run `command` with `text` as its input.

    The standard library starts it, not the event loop: uvloop forks where the library calls vfork, which is not safe
    beside gRPC's threads, and it fails when a command ends before it has read its input.

    Raises:
        CommandMissing: there is no such program.
        TimeoutError: it took longer than `timeout_s`; it was killed.
    """
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 - a vfork: the loop waits for the exec, not for the command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise CommandMissing(f"{command[0]} is not installed") from None
    # The thread waits for the command, however long it takes: a wait with a timeout would poll for its end.
    end = asyncio.ensure_future(asyncio.to_thread(process.communicate, text))
    try:
        await asyncio.wait({end}, timeout=timeout_s)
    finally:
        if not end.done():
            _kill(process)
    if not end.done():
        await asyncio.wait({end}, timeout=KILLED_WITHIN_S)
        raise TimeoutError(f"`{' '.join(command)}` took longer than {timeout_s:.0f} s")
    output, errors = end.result()
    return Result(process.returncode, output, errors)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill the whole group: a command in a node is a child of the program that entered the node."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
