from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from component.clock import LoopClock
from kubelet.log_rotation import SIZE_BYTES_MAX, LogRotation
from kubelet.logs import rotations
from kubelet.runtime.cri import Cri, CriError
from kubelet.runtime.pleg import Pleg

pytestmark = pytest.mark.looptime


class Writer:
    """A runtime that writes one log: it opens the path anew when told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened = path.open("ab")
        self.refuses = False
        self.answers = True

    async def reopen_log(self, container_id: str) -> None:
        if self.refuses:
            raise CriError("no")
        self.opened = self.path.open("ab")
        if not self.answers:
            raise CriError("deadline exceeded", timed_out=True)

    def write(self, content: bytes) -> None:
        self.opened.write(content)
        self.opened.flush()


def rotation_of(writer: Writer) -> LogRotation:
    return LogRotation(cast(Pleg, None), cast(Cri, writer), LoopClock())


async def test_a_log_that_is_large_is_renamed_and_written_anew(tmp_path: Path):
    writer = Writer(tmp_path / "0.log")
    writer.write(b"x" * SIZE_BYTES_MAX)
    await rotation_of(writer).rotate(writer.path, "id")
    writer.write(b"new")
    assert writer.path.read_bytes() == b"new"
    assert len(rotations(writer.path)) == 2


async def test_a_log_renamed_by_a_kubelet_that_ended_then_is_written_again(tmp_path: Path):
    writer = Writer(tmp_path / "0.log")
    writer.path.rename(tmp_path / "0.log.20260101-000000")
    await rotation_of(writer).rotate(writer.path, "id")
    writer.write(b"new")
    assert writer.path.read_bytes() == b"new"


async def test_a_log_that_the_runtime_did_not_open_anew_has_its_name_back(tmp_path: Path):
    writer = Writer(tmp_path / "0.log")
    writer.write(b"x" * SIZE_BYTES_MAX)
    writer.refuses = True
    with pytest.raises(CriError):
        await rotation_of(writer).rotate(writer.path, "id")
    writer.write(b"more")
    assert writer.path.read_bytes().endswith(b"xmore")


async def test_a_log_that_was_opened_anew_though_nobody_said_so_is_left_alone(tmp_path: Path):
    writer = Writer(tmp_path / "0.log")
    writer.write(b"x" * SIZE_BYTES_MAX)
    writer.answers = False
    with pytest.raises(CriError):
        await rotation_of(writer).rotate(writer.path, "id")
    writer.write(b"new")
    assert writer.path.read_bytes() == b"new"
