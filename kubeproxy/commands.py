"""Runs the kernel's command line tools: bounded in time, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass


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
    try:
        output, errors = await asyncio.to_thread(process.communicate, text, timeout_s)
    except subprocess.TimeoutExpired:
        await asyncio.to_thread(_kill, process)
        raise TimeoutError(f"`{' '.join(command)}` took longer than {timeout_s:.0f} s") from None
    except asyncio.CancelledError:
        _kill(process)
        raise
    return Result(process.returncode, output, errors)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill the whole group: a command in a node is a child of the program that entered the node."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
