"""Commands: what goes in, what comes out, and that none is left running."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from kubeproxy.commands import CommandMissing, run


async def test_input_goes_in_and_output_errors_and_code_come_out():
    result = await run(["sh", "-c", "cat; echo bad >&2; exit 3"], "text\n", timeout_s=10)
    assert (result.code, result.output, result.errors) == (3, "text\n", "bad\n")


async def test_a_command_that_ends_before_it_has_read_its_input_is_no_error_of_ours():
    result = await run(["sh", "-c", "exit 4"], "x" * 1_000_000, timeout_s=10)
    assert result.code == 4


async def test_a_missing_program_is_named():
    with pytest.raises(CommandMissing, match="no-such-program"):
        await run(["no-such-program"], timeout_s=1)


async def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path):
    record = tmp_path / "pid"
    with pytest.raises(TimeoutError, match="took longer"):
        await run(["sh", "-c", f"sleep 60 & echo $! > {record}; wait"], timeout_s=0.5)
    assert _has_ended(int(record.read_text()))


async def test_a_cancelled_command_is_killed_with_its_children(tmp_path):
    record = tmp_path / "pid"
    task = asyncio.create_task(run(["sh", "-c", f"sleep 60 & echo $! > {record}; wait"], timeout_s=60))
    await asyncio.to_thread(_wait_for_text, record)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 5
    assert _has_ended(int(record.read_text()))


def _wait_for_text(path: Path) -> None:
    while not path.exists() or not path.read_text().strip():
        time.sleep(0.01)


def _has_ended(pid: int) -> bool:
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False
