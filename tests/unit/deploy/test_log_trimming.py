from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from deploy import log_trimming


async def test_a_log_over_its_bound_is_emptied_and_one_copy_kept(tmp_path: Path):
    path = tmp_path / "store.log"
    path.write_bytes(b"x" * 11)
    await log_trimming.trim(path, 11)
    assert path.stat().st_size == 11
    path.write_bytes(b"y" * 12)
    await log_trimming.trim(path, 11)
    assert path.stat().st_size == 0 and (tmp_path / "store.log.1").read_bytes() == b"y" * 12


async def test_a_log_is_emptied_though_a_full_disk_has_no_room_for_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(source: Path, target: Path) -> Any:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    path = tmp_path / "store.log"
    path.write_bytes(b"x" * 12)
    await log_trimming.trim(path, 11)
    assert path.stat().st_size == 0 and not (tmp_path / "store.log.1").exists()


async def test_a_log_that_cannot_be_trimmed_keeps_no_other_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Done(Exception):
        pass

    async def stop(seconds: float) -> None:
        raise Done

    (tmp_path / "a.log").mkdir()
    (tmp_path / "b.log").write_bytes(b"x" * 5000)
    monkeypatch.setattr(log_trimming.asyncio, "sleep", stop)
    with pytest.raises(Done):
        await log_trimming.run(tmp_path, 1)
    assert (tmp_path / "b.log").stat().st_size == 0
