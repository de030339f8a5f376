from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet import logs
from kubelet.logs import LogOptions, last_lines, parse_line, read, tail_offset


def line(second: int, text: str, tag: str = "F") -> str:
    return f"2024-01-01T00:00:{second:02}.000000000Z stdout {tag} {text}\n"


async def collect(path: Path, options: LogOptions = LogOptions(), running: bool = False) -> str:
    return b"".join([piece async for piece in read(path, options, lambda: running, poll_s=0.01)]).decode()


def written(directory: Path, text: str) -> Path:
    path = directory / "0.log"
    path.write_text(text)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return written(tmp_path, "".join(line(n, f"line {n}") for n in range(10)))


def test_lines_are_read_as_the_runtime_writes_them():
    parsed = parse_line(b"2024-01-01T00:00:00Z stderr P half\n")
    assert parsed is not None
    assert (parsed.stream, parsed.is_partial, parsed.text) == ("stderr", True, b"half")
    assert parse_line(b"nonsense\n") is None
    empty = parse_line(b"2024-01-01T00:00:00Z stdout F \n")
    assert empty is not None and empty.text == b"\n"


async def test_a_whole_log_is_its_text(log: Path):
    assert await collect(log) == "".join(f"line {n}\n" for n in range(10))


async def test_the_tail_is_the_last_lines(log: Path):
    assert await collect(log, LogOptions(tail_lines=2)) == "line 8\nline 9\n"
    assert await collect(log, LogOptions(tail_lines=0)) == ""
    assert (await collect(log, LogOptions(tail_lines=99))).count("\n") == 10


async def test_since_timestamps_and_limit(log: Path):
    since = LogOptions(since_s=1_704_067_208.0)
    assert await collect(log, since) == "line 8\nline 9\n"
    stamped = await collect(log, LogOptions(tail_lines=1, timestamps=True))
    assert stamped == "2024-01-01T00:00:09.000000000Z line 9\n"
    assert await collect(log, LogOptions(limit_bytes=10)) == "line 0\nlin"


async def test_parts_of_a_line_are_joined_and_stamped_once(tmp_path: Path):
    path = written(tmp_path, line(0, "ab", "P") + line(0, "cd", "P") + line(0, "ef"))
    assert await collect(path, LogOptions(tail_lines=1)) == "abcdef\n"
    assert await collect(path, LogOptions(timestamps=True)) == "2024-01-01T00:00:00.000000000Z abcdef\n"


async def test_rotated_files_come_first(log: Path):
    rotate(log)
    assert (await collect(log)).splitlines()[-2:] == ["last of the old", "first of the new"]
    assert await collect(log, LogOptions(tail_lines=3)) == "line 9\nlast of the old\nfirst of the new\n"


async def test_following_ends_when_the_container_has(log: Path):
    assert (await collect(log, LogOptions(follow=True, tail_lines=1))) == "line 9\n"


def rotate(log: Path) -> None:
    with log.open("a") as stream:
        stream.write(line(10, "last of the old"))
    log.rename(log.with_name("0.log.20240101-000000"))
    log.write_text(line(11, "first of the new"))


async def test_following_goes_on_over_a_rotation(log: Path):
    pieces: list[bytes] = []
    running = {"it"}
    async for piece in read(log, LogOptions(follow=True, tail_lines=1), lambda: bool(running), poll_s=0.01):
        pieces.append(piece)
        if len(pieces) == 1:
            rotate(log)
        if b"new" in piece:
            running.clear()
    assert b"".join(pieces) == b"line 9\nlast of the old\nfirst of the new\n"


async def test_a_log_that_is_not_there_is_said_to_be(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        await collect(tmp_path / "0.log")


def test_the_end_of_a_log_as_text(log: Path):
    assert last_lines(log, 2, 100) == "line 8\nline 9\n"
    assert last_lines(log, 80, 7) == "line 9\n"


@given(
    st.lists(st.tuples(st.text(alphabet="xyz ", max_size=30), st.sampled_from(["F", "F", "P"])), max_size=40),
    st.integers(1, 20),
    st.sampled_from([16, 64, 1024]),
)
def test_reading_backwards_finds_what_reading_forwards_does(parts: list[tuple[str, str]], lines: int, block: int):
    parts = [*parts, ("end", "F")]
    written = [line(0, text, tag).encode() for text, tag in parts]
    ends = [index for index, (_, tag) in enumerate(parts) if tag == "F"]
    first = ends[-lines - 1] + 1 if len(ends) > lines else 0
    before, logs.BLOCK_BYTES = logs.BLOCK_BYTES, block
    try:
        assert tail_offset(io.BytesIO(b"".join(written)), lines) == len(b"".join(written[:first]))
    finally:
        logs.BLOCK_BYTES = before
