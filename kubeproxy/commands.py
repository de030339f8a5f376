"""Runs the kernel's command line tools: bounded in time, input from memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
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

    Raises:
        CommandMissing: there is no such program.
        TimeoutError: it took longer than `timeout_s`; it was killed.
    """
    stdin = _in_memory(text)
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
        except FileNotFoundError:
            raise CommandMissing(f"{command[0]} is not installed") from None
    finally:
        os.close(stdin)
    try:
        output, errors = await asyncio.wait_for(process.communicate(), timeout_s)
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return Result(process.returncode or 0, output.decode(), errors.decode())


def _in_memory(text: str) -> int:
    """Return a descriptor to read `text` from.

    A file in memory rather than a pipe: a program that ends before it has read all breaks a pipe.
    """
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
